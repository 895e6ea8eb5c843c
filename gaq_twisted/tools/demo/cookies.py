"""The cookies of the demo's browsers."""

import json
import secrets
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

from twisted.web.resource import Resource
from twisted.web.server import Request

from gaq_twisted.access.principals import Principal, PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.cookies import RealtimeSigner, Signer

# Superset's own cookies for this host have the same names, at path /, and must survive.
_COOKIE_PATH = "/demo"
# Superset 7's lifetime; it renews a token once half of that is over.
_LIFETIME_SECONDS = 900
_MOST_USERS = 1_000_000


class Cookies(Protocol):
    """The cookies of one protocol."""

    def refusal(self, request: Request) -> Unauthorized | None:
        """Returns why the browser's cookie is rejected; None if it is accepted."""

    def renew(self, request: Request) -> None:
        """Sets a new cookie if the browser needs one."""


class ChannelCookies:
    """Cookies of Superset 1.2 to 6.1, each with its own channel.

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
        return self._authenticator.identify(_header(request)).channel

    def refusal(self, request: Request) -> Unauthorized | None:
        """Returns why the browser's cookie is rejected; None if it is accepted."""
        try:
            self.channel(request)
        except Unauthorized as error:
            return error
        return None

    def renew(self, request: Request) -> None:
        """Sets a new cookie if the browser has no good one.

        The channel of an expired one is kept, so that the browser misses nothing.
        """
        if self.refusal(request) is None:
            return
        name = self._signer.cookie_name
        channel = self._signer.channel_of(_value(request, name)) or str(uuid4())
        _set(request, name, self._signer.token(channel))


class PrincipalCookies:
    """Cookies of Superset 7, each for its own user.

    Args:
        settings: the settings of the server.
        seconds: returns the time in seconds since 1970.
    """

    def __init__(self, settings: Settings, seconds: Callable[[], float]) -> None:
        self._authenticator = PrincipalAuthenticator(settings, seconds)
        self._signer = RealtimeSigner(settings)
        self._seconds = seconds

    def principal(self, request: Request) -> Principal:
        """Returns the user of the browser.

        Raises:
            Unauthorized: as PrincipalAuthenticator.identify.
        """
        return self._authenticator.identify(_header(request))

    def refusal(self, request: Request) -> Unauthorized | None:
        """Returns why the browser's cookie is rejected; None if it is accepted."""
        try:
            self.principal(request)
        except Unauthorized as error:
            return error
        return None

    def renew(self, request: Request) -> None:
        """Sets a new cookie if the browser has no good one, or half of its life is over."""
        now = int(self._seconds())
        try:
            if self.principal(request).expires_at - now > _LIFETIME_SECONDS / 2:
                return
        except Unauthorized:
            pass
        name = self._signer.cookie_name
        user = f"user:{1 + secrets.randbelow(_MOST_USERS)}"
        principal = self._signer.principal_of(_value(request, name)) or user
        token = self._signer.token(principal, now, now + _LIFETIME_SECONDS)
        _set(request, name, token, _LIFETIME_SECONDS)


class CookieResource(Resource):
    """Reports why the browser's cookie is rejected, and replaces it.

    Args:
        cookies: the cookies of one protocol.
    """

    isLeaf = True

    def __init__(self, cookies: Cookies) -> None:
        super().__init__()
        self._cookies = cookies

    def render_GET(self, request: Request) -> bytes:
        """Sends why the browser's cookie is rejected; null if it is accepted."""
        refusal = self._cookies.refusal(request)
        return as_json(request, {"refusal": None if refusal is None else str(refusal)})

    def render_POST(self, request: Request) -> bytes:
        """Sets a new cookie if the browser needs one."""
        self._cookies.renew(request)
        request.setResponseCode(204)
        return b""


def as_json(request: Request, answer: object) -> bytes:
    """Returns the body of an answer, and sets its headers."""
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(answer).encode()


def _header(request: Request) -> str:
    return request.getHeader("cookie") or ""


def _value(request: Request, name: str) -> str:
    return (request.getCookie(name.encode()) or b"").decode("utf-8", "replace")


def _set(request: Request, name: str, token: str, max_age_seconds: int | None = None) -> None:
    max_age = None if max_age_seconds is None else str(max_age_seconds)
    request.addCookie(
        name, token, path=_COOKIE_PATH, max_age=max_age, httpOnly=True, sameSite="lax"
    )
