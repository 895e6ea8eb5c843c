"""Who a client is: the channel that the JWT in its cookie names."""

from collections.abc import Iterator

import jwt
from jwt.types import Options

from gaq_twisted.config import Settings

# What a token must satisfy is what the Node.js server's JWT library demands.
# PyJWT by default also refuses a `sub` that is a number or null, which Superset
# writes, and looks at claims that Superset gives no meaning.
_CHECKS: Options = {
    "verify_signature": True,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Unauthorized(Exception):
    """The client may not connect; its text is one line that says why, without any of the token."""


class Authenticator:
    """Finds the channel of a client."""

    def __init__(self, settings: Settings) -> None:
        """Take the cookie's name, the claim's name, the secret and the algorithms."""
        self._cookie_name = settings.jwt_cookie_name
        self._channel_claim = settings.jwt_channel_id_key
        self._secret = str(settings.jwt_secret)
        self._algorithms = list(settings.jwt_algorithms)

    def channel(self, cookie_header: str) -> str:
        """Return the channel id of the client that sent this Cookie header.

        Where there are several cookies of our name, as a browser sends them that
        has them for several paths or domains, the first good one counts.

        Args:
            cookie_header: the header's value, or an empty text.

        Raises:
            Unauthorized: if no cookie names a channel and is signed with the secret.
        """
        refusal = Unauthorized(f"no cookie named {self._cookie_name}")
        for token in _cookie_values(cookie_header, self._cookie_name):
            try:
                return self._channel_of(token)
            except Unauthorized as error:
                refusal = error
        raise refusal

    def _channel_of(self, token: str) -> str:
        try:
            claims = jwt.decode(token, self._secret, algorithms=self._algorithms, options=_CHECKS)
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired") from None
        except jwt.ImmatureSignatureError:
            raise Unauthorized("the token is not valid yet") from None
        except jwt.InvalidAlgorithmError:
            raise Unauthorized("the token's algorithm is not among jwtAlgorithms") from None
        except jwt.InvalidSignatureError:
            raise Unauthorized("bad signature: the token is not signed with jwtSecret") from None
        except jwt.InvalidTokenError:
            raise Unauthorized(f"the cookie {self._cookie_name} is not a valid JWT") from None
        channel = claims.get(self._channel_claim)
        if not isinstance(channel, str) or not channel:
            raise Unauthorized(f"no channel: the token has no text {self._channel_claim}")
        return channel


def _cookie_values(header: str, name: str) -> Iterator[str]:
    # The standard library's parser gives up at the first odd cookie, so one of
    # another application could hide ours (RFC 6265 section 5.4 only joins by "; ").
    for pair in header.split(";"):
        key, found, value = pair.partition("=")
        if found and key.strip() == name:
            yield value.strip().strip('"')
