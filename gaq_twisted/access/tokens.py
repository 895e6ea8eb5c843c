"""Who a client is: the channel that the JWT in its cookie names, and until when."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
from jwt.algorithms import get_default_algorithms
from jwt.types import Options

from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError
from gaq_twisted.core.edition import Unauthorized

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
# Algorithms of one kind take the same key (RFC 7518 section 3.1, RFC 8037).
_KINDS = {"HS": "HMAC", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "EdDSA"}


class Identity(NamedTuple):
    """Who a client is."""

    channel: str
    expires_at: float | None
    """When it must be gone, in seconds since 1970; None for never."""


class Authenticator:
    """Finds out who a client is."""

    def __init__(self, settings: Settings) -> None:
        """Take the cookie's name, the claim's name, the secrets and the algorithms.

        Raises:
            ConfigError: if a secret is no key for one of the algorithms.
        """
        self._cookie_name = settings.jwt_cookie_name
        self._channel_claim = settings.jwt_channel_id_key
        self._algorithms = list(settings.jwt_algorithms)
        self._keys = list(_keys(settings))

    def identify(self, cookie_header: str) -> Identity:
        """Return who the client is that sent this Cookie header.

        Where there are several cookies of our name, as a browser sends them that
        has them for several paths or domains, the first good one counts.

        Args:
            cookie_header: the header's value, or an empty text.

        Raises:
            Unauthorized: if no cookie names a channel and is signed with a secret.
        """
        refusal = Unauthorized("no_cookie", f"no cookie named {self._cookie_name}")
        for name, token in cookies(cookie_header):
            if name != self._cookie_name:
                continue
            try:
                return self._identity(self._claims(token))
            except Unauthorized as error:
                refusal = error
        raise refusal

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            for key in self._keys[:-1]:
                try:
                    return self._decoded(token, key)
                except jwt.InvalidSignatureError:
                    continue
            return self._decoded(token, self._keys[-1])
        except jwt.ExpiredSignatureError:
            raise Unauthorized("token_expired", "the token has expired") from None
        except jwt.ImmatureSignatureError:
            raise Unauthorized("token_not_yet_valid", "the token is not valid yet") from None
        except jwt.InvalidAlgorithmError:
            raise Unauthorized(
                "algorithm", "the token's algorithm is not among jwtAlgorithms"
            ) from None
        except jwt.InvalidSignatureError:
            raise Unauthorized(
                "signature", "bad signature: the token is not signed with jwtSecret"
            ) from None
        except jwt.InvalidTokenError:
            raise Unauthorized(
                "no_jwt", f"the cookie {self._cookie_name} is not a valid JWT"
            ) from None

    def _decoded(self, token: str, key: Any) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=self._algorithms, options=_CHECKS
        )
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        channel = claims.get(self._channel_claim)
        # JSON can spell what no log should show, and half a surrogate pair, which is no text.
        if not isinstance(channel, str) or not channel or not channel.isprintable():
            raise Unauthorized(
                "no_channel", f"no channel: the token has no text {self._channel_claim}"
            )
        return Identity(channel, int(claims["exp"]) if "exp" in claims else None)


def _keys(settings: Settings) -> Iterator[Any]:
    """Yield what signatures are verified with.

    Raises:
        ConfigError: if a secret is no key for one of the algorithms.
    """
    names = ", ".join(settings.jwt_algorithms)
    kinds = {_KINDS[name[:2]] for name in settings.jwt_algorithms}
    if len(kinds) > 1:
        # Whoever knows a public key could use it as the secret of an HMAC (RFC 8725 section 2.1).
        raise ConfigError(
            [f"jwtAlgorithms is {names}: leave those of one kind, the one that Superset signs with"]
        )
    for setting, secret in (
        ("jwtSecret", settings.jwt_secret),
        ("previousJwtSecret", settings.previous_jwt_secret),
    ):
        if not secret:
            continue
        key: Any = str(secret)
        for name in settings.jwt_algorithms:
            try:
                key = get_default_algorithms()[name].prepare_key(key)
            except (ValueError, TypeError, jwt.InvalidKeyError):
                if kinds == {"HMAC"}:
                    problem = (
                        "holds a key of a key pair: set jwtAlgorithms to what Superset signs with,"
                        " such as RS256"
                    )
                else:
                    problem = f"holds no {name} key: it must be the public key as PEM"
                raise ConfigError([f"{setting} {problem} (jwtAlgorithms is {names})"]) from None
        yield key.public_key() if hasattr(key, "public_key") else key


def cookies(header: str) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each cookie in a Cookie header."""
    # The standard library's parser gives up at the first odd cookie, so one of
    # another application could hide ours (RFC 6265 section 5.4 only joins by "; ").
    for pair in header.split(";"):
        name, found, value = pair.partition("=")
        if found:
            yield name.strip(), value.strip().strip('"')
