"""The page at /demo, and the buttons' other end."""

from importlib.resources import files
from typing import Any
from uuid import uuid4

import jwt
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.auth import Authenticator, Unauthorized
from gaq_twisted.demo.publisher import Publisher
from gaq_twisted.settings import Settings

_JOBS = {b"chart": 1, b"dashboard": 20, b"failure": 1}
# Superset's own cookie for this host, at path /, has the same name and is left alone.
_COOKIE_PATH = "/demo"
_POLICY = (
    b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    b" img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    b" frame-ancestors 'none'"
)


class DemoPage(Resource):
    """Gives each browser a channel of its own, and the page."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        """Take what signs the cookie, and what publishes jobs."""
        super().__init__()
        self._settings = settings
        self._authenticator = Authenticator(settings)
        self._page = files(__package__).joinpath("page.html").read_bytes()
        self.putChild(b"", self)
        self.putChild(b"publish", Publish(self._authenticator, publisher))

    def render_GET(self, request: Request) -> bytes:
        """Answer with the page, and a cookie if the browser has no good one."""
        try:
            self._authenticator.identify(request.getHeader("cookie") or "")
        except Unauthorized:
            self._give_cookie(request)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"content-security-policy", _POLICY)
        return self._page

    def _give_cookie(self, request: Request) -> None:
        settings = self._settings
        token = jwt.encode(
            {settings.jwt_channel_id_key: str(uuid4()), "sub": "1"},
            str(settings.jwt_secret),
            algorithm=settings.jwt_algorithms[0],
        )
        request.addCookie(
            settings.jwt_cookie_name, token, path=_COOKIE_PATH, httpOnly=True, sameSite="lax"
        )


class Publish(Resource):
    """Publishes jobs for the browser that asks."""

    isLeaf = True
    _log = Logger()

    def __init__(self, authenticator: Authenticator, publisher: Publisher) -> None:
        """Take what finds the browser's channel, and what publishes."""
        super().__init__()
        self._authenticator = authenticator
        self._publisher = publisher

    def render_POST(self, request: Request) -> bytes | int:
        """Publish what the query's `kind` names: chart, dashboard or failure."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        kind = request.args.get(b"kind", [b""])[0]
        if kind not in _JOBS:
            request.setResponseCode(400)
            return b"kind must be chart, dashboard or failure\n"
        try:
            channel = self._authenticator.identify(request.getHeader("cookie") or "").channel
        except Unauthorized as error:
            request.setResponseCode(401)
            return f"{error}\n".encode()
        publishing = Deferred.fromCoroutine(self._publish(channel, kind))
        request.notifyFinish().addErrback(lambda _: publishing.cancel())
        publishing.addCallbacks(
            lambda _: self._finish(request, 204), lambda failure: self._failed(request, failure)
        )
        return NOT_DONE_YET

    async def _publish(self, channel: str, kind: bytes) -> None:
        for _ in range(_JOBS[kind]):
            await self._publisher.publish(channel, failed=kind == b"failure")

    def _failed(self, request: Request, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # The browser is gone.
        self._log.failure("the demo could not publish", failure, event="demo_failed")
        self._finish(request, 503, f"{failure.getErrorMessage()}\n".encode())

    def _finish(self, request: Any, code: int, body: bytes = b"") -> None:
        request.setResponseCode(code)
        request.write(body)
        request.finish()
