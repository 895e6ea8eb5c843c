"""Authenticates users and guests of Superset 7 by their tokens."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

from jwt.types import Options

from gaq_twisted.access.tokens import Signed, TokenReader, cookies, names_realtime
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import UpgradeReason

_ISSUER = "superset"
_GUEST = "guest:"
# All claims are checked here, because PyJWT accepts numeric strings and gives leeway.
_CHECKS: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Principal(NamedTuple):
    """An authenticated user, or an embedded guest."""

    route: str
    """The route of all its tabs: `user:<id>` or `guest:<hash>`."""
    expires_at: float
    """When its sockets must be closed, in seconds since 1970."""


class PrincipalAuthenticator:
    """Authenticates browsers of Superset 7 by the JWT in their cookie.

    Args:
        settings: name the cookie, the secrets and the algorithms.
        seconds: returns the time in seconds since 1970.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """

    def __init__(self, settings: Settings, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._reader = TokenReader(
            Signed(
                settings.realtime_jwt_cookie_name,
                _secrets(settings),
                settings.jwt_algorithms,
            )
        )

    def identify(self, cookie_header: str) -> Principal:
        """Returns the principal that sent this Cookie header.

        Of several cookies of that name the first one counts, as in Superset's Node.js server.

        Args:
            cookie_header: the header's value, or an empty string.

        Raises:
            Unauthorized: if that cookie is not a token of Superset 7 for this server.
        """
        for name, token in cookies(cookie_header, unquote=False):
            if name == self._reader.cookie_name:
                return self._principal(self._reader.claims(token, _CHECKS))
        raise self._reader.no_cookie()

    def _principal(self, claims: dict[str, Any]) -> Principal:
        if not names_realtime(claims.get("aud")):
            raise Unauthorized(UpgradeReason.AUDIENCE, "the token is not for this server (aud)")
        if claims.get("iss") != _ISSUER:
            raise Unauthorized(UpgradeReason.ISSUER, "the token is not issued by Superset (iss)")
        return Principal(_route(claims), self._expiry(claims))

    def _expiry(self, claims: dict[str, Any]) -> float:
        now, expires_at = self._seconds(), claims.get("exp")
        if not _is_number(expires_at):
            raise Unauthorized(UpgradeReason.NO_EXPIRY, "the token has no valid expiry (exp)")
        if not now < expires_at:
            raise Unauthorized(UpgradeReason.TOKEN_EXPIRED, "the token has expired")
        starts_at = claims.get("nbf", 0)
        if not _is_number(starts_at) or not starts_at <= now:
            raise Unauthorized(UpgradeReason.TOKEN_NOT_YET_VALID, "the token is not valid yet")
        return float(expires_at)


def _secrets(settings: Settings) -> list[tuple[str, str]]:
    """Returns the names and values of the settings with the secrets, as the operator set them.

    After a reload with settings for streams only, the realtime secrets are empty.
    """
    current, previous = settings.realtime_jwt_secret, settings.previous_realtime_jwt_secret
    streams_current, streams_previous = settings.jwt_secret, settings.previous_jwt_secret
    if not current or str(current) == str(streams_current):
        first = ("jwtSecret", str(streams_current))
    else:
        first = ("realtimeJwtSecret", str(current))
    if not current or previous == streams_previous:
        return [first, ("previousJwtSecret", streams_previous)]
    return [first, ("previousRealtimeJwtSecret", previous)]


def _route(claims: dict[str, Any]) -> str:
    """Returns the principal's route, if the claims agree on it."""
    subject, kind = claims.get("sub"), claims.get("principal_type")
    if isinstance(subject, str) and subject.isprintable():
        # With a colon it would be the route of another user's or guest's tab.
        if kind == "user" and subject and ":" not in subject:
            route = f"user:{subject}"
        elif kind == "guest" and subject.startswith(_GUEST) and subject.count(":") == 1:
            route = subject
        else:
            route = ""
        if route and claims.get("channel") == route:
            return route
    raise Unauthorized(
        UpgradeReason.PRINCIPAL,
        "the token names no user or guest: principal_type, sub and channel do not agree",
    )


def _is_number(value: object) -> TypeGuard[float]:
    # Python's JSON parser accepts Infinity, which no timer can wait for.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
