"""Cookies as Superset signs them, for the demo and the load test."""

import time
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.access.tokens import REALTIME_AUDIENCE, Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.settings import Settings

_ISSUER = "superset"


class Signer:
    """Signs tokens of Superset 1.2 to 6.1, and reads its own tokens.

    Args:
        settings: the secret, the algorithm, and the names of cookie and claim.

    Raises:
        ConfigError: if nothing can be signed with the secret.
    """

    def __init__(self, settings: Settings) -> None:
        # Raises what the server would raise.
        Authenticator(settings)
        self.cookie_name = settings.jwt_cookie_name
        self._channel_claim = settings.jwt_channel_id_key
        self._algorithm = settings.jwt_algorithms[0]
        self._key = _signing_key("jwtSecret", settings.jwt_secret, self._algorithm)

    def token(self, channel: str, expires_at: int | None = None) -> str:
        """Returns a new token.

        Args:
            channel: the channel that it names.
            expires_at: when it expires, in seconds since 1970; None for never.
        """
        claims: dict[str, object] = {self._channel_claim: channel, "sub": "1"}
        if expires_at is not None:
            claims["exp"] = expires_at
        return jwt.encode(claims, self._key, algorithm=self._algorithm)

    def cookie_header(self, channel: str, expires_at: int | None = None) -> str:
        """Returns the Cookie header of a browser with such a token."""
        return f"{self.cookie_name}={self.token(channel, expires_at)}"

    def channel_of(self, token: str) -> str | None:
        """Returns the channel of a token with a good signature, even if it has expired."""
        try:
            claims = jwt.decode(
                token, self._key, algorithms=[self._algorithm], options={"verify_exp": False}
            )
        except jwt.InvalidTokenError:
            return None
        channel = claims.get(self._channel_claim)
        return channel if isinstance(channel, str) else None


class RealtimeSigner:
    """Signs tokens of Superset 7, and reads its own tokens.

    Args:
        settings: the secret, the algorithm, and the name of the cookie.

    Raises:
        ConfigError: if nothing can be signed with the secret.
    """

    def __init__(self, settings: Settings) -> None:
        # Raises what the server would raise.
        PrincipalAuthenticator(settings, time.time)
        self.cookie_name = settings.realtime_jwt_cookie_name
        self._algorithm = settings.jwt_algorithms[0]
        self._key = _signing_key("realtimeJwtSecret", settings.realtime_jwt_secret, self._algorithm)

    def token(self, principal: str, issued_at: int, expires_at: int) -> str:
        """Returns a new token.

        Args:
            principal: its user: `user:<id>` or `guest:<hash>`.
            issued_at: when it was issued, in seconds since 1970.
            expires_at: when it expires, in seconds since 1970.
        """
        kind, _, identity = principal.partition(":")
        claims = {
            "channel": principal,
            "principal_type": kind,
            "sub": principal if kind == "guest" else identity,
            "aud": REALTIME_AUDIENCE,
            "iat": issued_at,
            "iss": _ISSUER,
            "exp": expires_at,
        }
        return jwt.encode(claims, self._key, algorithm=self._algorithm)

    def cookie_header(self, principal: str, issued_at: int, expires_at: int) -> str:
        """Returns the Cookie header of a browser with such a token."""
        return f"{self.cookie_name}={self.token(principal, issued_at, expires_at)}"

    def principal_of(self, token: str) -> str | None:
        """Returns the principal of a token with a good signature, even if it has expired."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=REALTIME_AUDIENCE,
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        channel = claims.get("channel")
        return channel if isinstance(channel, str) else None


def _signing_key(setting: str, secret: str, algorithm: str) -> Any:
    """Returns the key to sign with.

    Raises:
        ConfigError: if it is a public key.
    """
    key: Any = get_default_algorithms()[algorithm].prepare_key(str(secret))
    if not isinstance(key, bytes) and not hasattr(key, "sign"):
        raise ConfigError(
            [
                f"{setting} contains a public key, which cannot sign: for this test it must be"
                " the private key that Superset signs with; put the path of its PEM file into"
                f" {_file_variable(setting)}"
            ]
        )
    return key


def _file_variable(setting: str) -> str:
    return "JWT_SECRET_FILE" if setting == "jwtSecret" else "REALTIME_JWT_SECRET_FILE"
