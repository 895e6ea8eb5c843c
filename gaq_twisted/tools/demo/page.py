"""The page at /demo, and what its buttons call."""

import json
from importlib.resources import files
from typing import Any
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.streams.publisher import Publisher
from gaq_twisted.tools.cookies import Signer
from gaq_twisted.tools.demo.jobs import publish_job
from gaq_twisted.web.policy import content_security_policy

_JOBS = {b"chart": 1, b"dashboard": 20, b"failure": 1}
# Superset's own cookie for this host has the same name, at path /, and must survive.
_COOKIE_PATH = "/demo"


class DemoPage(Resource):
    """Serves the page, with a cookie for a channel of its own.

    Args:
        settings: the settings of the server.
        publisher: publishes the jobs of the buttons.
    """

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        super().__init__()
        self._cookies = Cookies(settings)
        self._page = files(__package__).joinpath("page.html").read_bytes()
        self._policy = content_security_policy(self._page)
        self.putChild(b"", self)
        self.putChild(b"cookie", CookieResource(self._cookies))
        self.putChild(b"publish", PublishResource(self._cookies, publisher))

    def render_GET(self, request: Request) -> bytes:
        """Sends the page, and a cookie if the browser has no good one."""
        self._cookies.renew(request)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


class Cookies:
    """The cookies of the page's browsers.

    Args:
        settings: the settings of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._authenticator = Authenticator(settings)
        self._signer = Signer(settings)

    def channel(self, request: Request) -> str:
        """Returns the channel of the browser.

        Raises:
            Unauthorized: as Authenticator.identify.
        """
        return self._authenticator.identify(request.getHeader("cookie") or "").channel

    def renew(self, request: Request) -> None:
        """Sets a new cookie if the browser has no good one.

        The channel of an expired one is kept, so that the browser misses nothing.
        """
        try:
            self.channel(request)
        except Unauthorized:
            name = self._signer.cookie_name
            old_token = (request.getCookie(name.encode()) or b"").decode("utf-8", "replace")
            channel = self._signer.channel_of(old_token) or str(uuid4())
            token = self._signer.token(channel)
            request.addCookie(name, token, path=_COOKIE_PATH, httpOnly=True, sameSite="lax")


class CookieResource(Resource):
    """Says why the browser's cookie is refused, and replaces it."""

    isLeaf = True

    def __init__(self, cookies: Cookies) -> None:
        super().__init__()
        self._cookies = cookies

    def render_GET(self, request: Request) -> bytes:
        """Sends why the browser's cookie is refused; null if it is accepted."""
        try:
            self._cookies.channel(request)
        except Unauthorized as error:
            return _as_json(request, {"refusal": str(error)})
        return _as_json(request, {"refusal": None})

    def render_POST(self, request: Request) -> bytes:
        """Sets a new cookie if the browser has no good one."""
        self._cookies.renew(request)
        request.setResponseCode(204)
        return b""


class PublishResource(Resource):
    """Publishes jobs to the channel of the browser."""

    isLeaf = True
    _log = Logger()

    def __init__(self, cookies: Cookies, publisher: Publisher) -> None:
        super().__init__()
        self._cookies = cookies
        self._publisher = publisher

    def render_POST(self, request: Request) -> bytes | int:
        """Publishes the jobs of a `kind` (chart, dashboard or failure), and sends their ids."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        kind = request.args.get(b"kind", [b""])[0]
        if kind not in _JOBS:
            request.setResponseCode(400)
            return b"kind must be chart, dashboard or failure\n"
        try:
            channel = self._cookies.channel(request)
        except Unauthorized as error:
            request.setResponseCode(401)
            return f"{error}\n".encode()
        publishing = Deferred.fromCoroutine(self._publish(channel, kind))
        request.notifyFinish().addErrback(lambda _: publishing.cancel())
        publishing.addCallbacks(
            lambda jobs: self._finish(request, 200, _as_json(request, {"jobs": jobs})),
            lambda failure: self._failed(request, failure),
        )
        return NOT_DONE_YET

    async def _publish(self, channel: str, kind: bytes) -> list[dict[str, str]]:
        failed = kind == b"failure"
        return [
            (await publish_job(self._publisher, channel, failed=failed))._asdict()
            for _ in range(_JOBS[kind])
        ]

    def _failed(self, request: Request, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # The browser is gone.
        self._log.failure("the demo could not publish", failure, event="demo_failed")
        self._finish(request, 503, f"{failure.getErrorMessage()}\n".encode())

    def _finish(self, request: Any, code: int, body: bytes) -> None:
        request.setResponseCode(code)
        request.write(body)
        request.finish()


def _as_json(request: Request, answer: object) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(answer).encode()
