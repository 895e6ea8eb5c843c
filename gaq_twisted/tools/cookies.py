"""Cookies as Superset signs them, for the demo and the load test."""

from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.settings import Settings


class Signer:
    """Signs tokens, and reads those that it has signed.

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
        algorithm = get_default_algorithms()[self._algorithm]
        self._key: Any = algorithm.prepare_key(str(settings.jwt_secret))
        if not isinstance(self._key, bytes) and not hasattr(self._key, "sign"):
            raise ConfigError(
                [
                    "jwtSecret holds a public key, which signs nothing: for this test it must be"
                    " the private key that Superset signs with; put its PEM file's name into"
                    " JWT_SECRET_FILE"
                ]
            )

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
