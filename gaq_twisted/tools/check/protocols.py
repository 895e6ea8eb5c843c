"""How each protocol judges cookies, and the settings for it, here and in Superset."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.derived import DEFAULT, serves_realtime, serves_streams
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.check.findings import cut, shown_name

_CAPITAL = re.compile("[A-Z]")


class Accepted(NamedTuple):
    """What is known about the browser whose cookie is accepted."""

    name: str
    """Its name in findings; never a whole confidential id."""
    expires_at: float | None
    """When its sockets are closed, in seconds since 1970; None for never."""
    channel: str | None = None
    """The whole channel of the streams protocol."""


class Terms(NamedTuple):
    """The names of a protocol's settings, and what its Superset does."""

    protocol: str
    """Its name in the settings."""
    versions: str
    """The versions of Superset that speak it."""
    cookie: str
    """The key of the cookie's name; the next two are also keys."""
    secret: str
    previous_secret: str
    superset_cookie: str
    """Superset's name of the setting, as are the next two."""
    superset_secret: str
    superset_domain: str
    renewal: str
    """How a browser gets a new cookie."""
    counted: str
    """Which of several cookies of the name counts."""
    without_cookie: str
    """Why a browser may have no cookie."""


STREAMS = Terms(
    protocol="streams",
    versions="Superset 1.2 to 6.1",
    cookie="jwtCookieName",
    secret="jwtSecret",
    previous_secret="previousJwtSecret",
    superset_cookie="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME",
    superset_secret="GLOBAL_ASYNC_QUERIES_JWT_SECRET",
    superset_domain="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN",
    renewal="sign out of Superset and in again in that browser to get a new cookie",
    counted="the first valid one counts",
    without_cookie="use the host name in GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL with which users"
    " open Superset, or set GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN to a domain of both;"
    " GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SECURE needs https: and wss:",
)
REALTIME = Terms(
    protocol="realtime",
    versions="Superset 7",
    cookie="realtimeJwtCookieName",
    secret="realtimeJwtSecret",
    previous_secret="previousRealtimeJwtSecret",
    superset_cookie="WEBSOCKET_JWT_COOKIE_NAME",
    superset_secret="WEBSOCKET_JWT_SECRET",
    superset_domain="WEBSOCKET_JWT_COOKIE_DOMAIN",
    renewal="reload a page of Superset in that browser to get a new cookie",
    counted="only the first one counts",
    without_cookie="set WEBSOCKET_ENABLE, and give the user's role the permission can_read on"
    " Realtime, without which Superset sets no cookie; use the host name in WEBSOCKET_URL with"
    " which users open Superset, or set WEBSOCKET_JWT_COOKIE_DOMAIN to a domain of both;"
    " WEBSOCKET_JWT_COOKIE_SECURE needs https: and wss:; in a frame on another site,"
    " WEBSOCKET_JWT_COOKIE_SAMESITE must be None",
)
# If only realtime is served, it uses these settings, as Superset's Node.js server does.
_TWINS = {
    REALTIME.cookie: "jwtCookieName",
    REALTIME.secret: "jwtSecret",
    REALTIME.previous_secret: "previousJwtSecret",
}


class Judge:
    """Judges cookies as one protocol does.

    Args:
        terms: the protocol.
        loaded: the settings and their sources; the secrets must be keys for the algorithms.
        identify: returns who sent a Cookie header, by these settings; raises Unauthorized.
    """

    def __init__(
        self, terms: Terms, loaded: Loaded, identify: Callable[[Settings, str], Accepted]
    ) -> None:
        self.terms = terms
        self.settings = loaded.settings
        self._loaded = loaded
        self._identify = identify

    @property
    def cookie_name(self) -> str:
        """The name of the cookie that counts."""
        return self._value(self.terms.cookie)

    @property
    def secret(self) -> str:
        """The secret that tokens are signed with."""
        return self._value(self.terms.secret)

    @property
    def previous_secret(self) -> str:
        """The secret that tokens may also be signed with."""
        return self._value(self.terms.previous_secret)

    @property
    def serves_others(self) -> bool:
        """Whether another protocol is served as well."""
        return self.settings.protocol == "both"

    @property
    def topic(self) -> str:
        """The topic of findings about its cookies."""
        is_only_streams = self.settings.protocol == STREAMS.protocol
        return "cookie" if is_only_streams else f"{self.terms.protocol} cookie"

    def identify(self, header: str) -> Accepted:
        """Returns who sent a Cookie header.

        Raises:
            Unauthorized: if it is rejected.
        """
        return self._identify(self.settings, header)

    def refusal(self, header: str) -> Unauthorized | None:
        """Returns why a Cookie header is rejected; None if it is accepted."""
        try:
            self.identify(header)
        except Unauthorized as error:
            return error
        return None

    def refusal_of(self, token: str) -> Unauthorized | None:
        """Returns why a token is rejected; None if it is accepted."""
        return self.refusal(f"{self.cookie_name}={token}")

    def with_value(self, key: str, value: str) -> "Judge":
        """Returns a judge with another value of a setting, which is not checked."""
        settings = replace(self.settings, **{_attribute(key): value})
        return Judge(self.terms, self._loaded._replace(settings=settings), self._identify)

    def key_to_set(self, key: str) -> str:
        """Returns the key that an operator sets to change one of the terms' settings."""
        is_set = self._loaded.sources[key] != DEFAULT and not self._followed(key)
        return key if is_set or self.serves_others else _TWINS.get(key, key)

    def source(self, key: str) -> str:
        """Returns where the value of a setting comes from."""
        return self._loaded.sources[self._followed(key) or key]

    def _followed(self, key: str) -> str | None:
        """Returns the key of the setting from which this one's value was taken."""
        source = self._loaded.sources[key]
        return source.removeprefix("as ") if source.startswith("as ") else None

    def _value(self, key: str) -> str:
        return str(getattr(self.settings, _attribute(key)))


def judges(loaded: Loaded, now_seconds: float) -> Iterator[Judge]:
    """Yields a judge for each protocol that is served.

    Args:
        loaded: the settings and their sources.
        now_seconds: the time, in seconds since 1970.
    """

    def principal(settings: Settings, header: str) -> Accepted:
        found = PrincipalAuthenticator(settings, lambda: now_seconds).identify(header)
        kind, _, identity = found.route.partition(":")
        shown = cut(identity) if kind == "guest" else shown_name(identity)
        return Accepted(f"{kind} {shown}", found.expires_at)

    if serves_streams(loaded.settings):
        yield Judge(STREAMS, loaded, _channel)
    if serves_realtime(loaded.settings):
        yield Judge(REALTIME, loaded, principal)


def _channel(settings: Settings, header: str) -> Accepted:
    channel, expires_at = Authenticator(settings).identify(header)
    return Accepted(f"channel {cut(channel)}", expires_at, channel)


def _attribute(key: str) -> str:
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", key)
