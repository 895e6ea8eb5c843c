"""The page at /demo, and the buttons' other end."""

import json
from importlib.resources import files
from typing import Any
from uuid import uuid4

import jwt
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gaq_twisted.access.tokens import Authenticator, Unauthorized
from gaq_twisted.config.settings import Settings
from gaq_twisted.streams.publisher import Publisher
from gaq_twisted.tools.demo.jobs import publish_job
from gaq_twisted.web.policy import content_security_policy

_JOBS = {b"chart": 1, b"dashboard": 20, b"failure": 1}
# Superset's own cookie for this host, at path /, has the same name and is left alone.
_COOKIE_PATH = "/demo"


class DemoPage(Resource):
    """Gives each browser a channel of its own, and the page."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        """Take what signs the cookie, and what publishes jobs."""
        super().__init__()
        self._cookies = Cookies(settings)
        self._page = files(__package__).joinpath("page.html").read_bytes()
        self._policy = content_security_policy(self._page)
        self.putChild(b"", self)
        self.putChild(b"cookie", Cookie(self._cookies))
        self.putChild(b"publish", Publish(self._cookies, publisher))

    def render_GET(self, request: Request) -> bytes:
        """Answer with the page, and a cookie if the browser has no good one."""
        self._cookies.renew(request)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"content-security-policy", self._policy)
        return self._page


class Cookies:
    """The cookies that the page's browsers have."""

    def __init__(self, settings: Settings) -> None:
        """Take the secret, and how cookie and claim are named."""
        self._settings = settings
        self._authenticator = Authenticator(settings)

    def channel(self, request: Request) -> str:
        """Return the channel of the browser.

        Raises:
            Unauthorized: as Authenticator.identify.
        """
        return self._authenticator.identify(request.getHeader("cookie") or "").channel

    def renew(self, request: Request) -> None:
        """Give the browser a new cookie if it has no good one."""
        try:
            self.channel(request)
        except Unauthorized:
            self._give(request, self._channel_of_expired(request) or str(uuid4()))

    def _give(self, request: Request, channel: str) -> None:
        settings = self._settings
        token = jwt.encode(
            {settings.jwt_channel_id_key: channel, "sub": "1"},
            str(settings.jwt_secret),
            algorithm=settings.jwt_algorithms[0],
        )
        request.addCookie(
            settings.jwt_cookie_name, token, path=_COOKIE_PATH, httpOnly=True, sameSite="lax"
        )

    def _channel_of_expired(self, request: Request) -> str | None:
        """Return the channel of a cookie that was good once, so that the browser misses nothing."""
        settings = self._settings
        token = request.getCookie(settings.jwt_cookie_name.encode()) or b""
        try:
            claims = jwt.decode(
                token,
                str(settings.jwt_secret),
                algorithms=list(settings.jwt_algorithms),
                options={"verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return None
        channel = claims.get(settings.jwt_channel_id_key)
        return channel if isinstance(channel, str) else None


class Cookie(Resource):
    """Tells a page why its connection was refused, and gives it a new cookie."""

    isLeaf = True

    def __init__(self, cookies: Cookies) -> None:
        """Take the cookies."""
        super().__init__()
        self._cookies = cookies

    def render_GET(self, request: Request) -> bytes:
        """Say why the browser's cookie is refused, or null if it is not."""
        try:
            self._cookies.channel(request)
        except Unauthorized as error:
            return _as_json(request, {"refusal": str(error)})
        return _as_json(request, {"refusal": None})

    def render_POST(self, request: Request) -> bytes:
        """Give the browser a new cookie if it has no good one."""
        self._cookies.renew(request)
        request.setResponseCode(204)
        return b""


class Publish(Resource):
    """Publishes jobs for the browser that asks."""

    isLeaf = True
    _log = Logger()

    def __init__(self, cookies: Cookies, publisher: Publisher) -> None:
        """Take what finds the browser's channel, and what publishes."""
        super().__init__()
        self._cookies = cookies
        self._publisher = publisher

    def render_POST(self, request: Request) -> bytes | int:
        """Publish what the query's `kind` names (chart, dashboard or failure); say which jobs."""
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
