"""The cookies of the load test's clients, signed as Superset signs them."""

from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError


class Signer:
    """Signs the cookies of clients."""

    def __init__(self, settings: Settings) -> None:
        """Take the secret, and how cookie and claim are named.

        Raises:
            ConfigError: if nothing can be signed with the secret.
        """
        # It refuses what the server would refuse.
        Authenticator(settings)
        self._cookie_name = settings.jwt_cookie_name
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

    def cookie_header(self, channel: str, expires_at: int) -> str:
        """Return the Cookie header of a browser of that channel.

        Args:
            channel: the channel.
            expires_at: when it ends to be valid, in seconds since 1970.
        """
        token = jwt.encode(
            {self._channel_claim: channel, "sub": "1", "exp": expires_at},
            self._key,
            algorithm=self._algorithm,
        )
        return f"{self._cookie_name}={token}"
