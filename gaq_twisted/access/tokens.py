"""Authentication: the channel that the JWT in a client's cookie names, and until when."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
from jwt.algorithms import get_default_algorithms
from jwt.types import Options

from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError
from gaq_twisted.core.reasons import TokenReason, UpgradeReason

# A token must satisfy what the JWT library of the Node.js server demands. By default PyJWT
# also rejects a `sub` that is a number or null, which Superset writes, and checks claims to
# which Superset gives no meaning.
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
# Algorithms of one kind use the same key (RFC 7518 section 3.1, RFC 8037).
_KINDS = {"HS": "HMAC", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "EdDSA"}


class Unauthorized(Exception):
    """A client may not connect; the text is one line that says why, without any of the token.

    Args:
        reason: what to count it by.
        text: why.
    """

    def __init__(self, reason: TokenReason, text: str) -> None:
        super().__init__(text)
        self.reason: TokenReason = reason


class Identity(NamedTuple):
    """An authenticated client."""

    channel: str
    expires_at: float | None
    """When its sockets must be closed, in seconds since 1970; None for never."""


class Authenticator:
    """Authenticates clients by the JWT in their cookie.

    Args:
        settings: name the cookie, the claim, the secrets and the algorithms.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """

    def __init__(self, settings: Settings) -> None:
        self._cookie_name = settings.jwt_cookie_name
        self._channel_claim = settings.jwt_channel_id_key
        self._algorithms = list(settings.jwt_algorithms)
        self._keys = list(_keys(settings))

    def identify(self, cookie_header: str) -> Identity:
        """Returns the identity of the client that sent this Cookie header.

        A browser that has our cookie for several paths or domains sends several of that name;
        the first good one counts.

        Args:
            cookie_header: the header's value, or an empty text.

        Raises:
            Unauthorized: if no cookie names a channel and is signed with a secret.
        """
        refusal = Unauthorized(UpgradeReason.NO_COOKIE, f"no cookie named {self._cookie_name}")
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
            raise Unauthorized(UpgradeReason.TOKEN_EXPIRED, "the token has expired") from None
        except jwt.ImmatureSignatureError:
            raise Unauthorized(
                UpgradeReason.TOKEN_NOT_YET_VALID, "the token is not valid yet"
            ) from None
        except jwt.InvalidAlgorithmError:
            raise Unauthorized(
                UpgradeReason.ALGORITHM, "the token's algorithm is not among jwtAlgorithms"
            ) from None
        except jwt.InvalidSignatureError:
            raise Unauthorized(
                UpgradeReason.SIGNATURE, "bad signature: the token is not signed with jwtSecret"
            ) from None
        except jwt.InvalidTokenError:
            raise Unauthorized(
                UpgradeReason.NO_JWT, f"the cookie {self._cookie_name} is not a valid JWT"
            ) from None

    def _decoded(self, token: str, key: Any) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=self._algorithms, options=_CHECKS
        )
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        channel = claims.get(self._channel_claim)
        # JSON can spell control characters, which no log should show, and half a surrogate pair.
        if not isinstance(channel, str) or not channel or not channel.isprintable():
            raise Unauthorized(
                UpgradeReason.NO_CHANNEL, f"no channel: the token has no text {self._channel_claim}"
            )
        return Identity(channel, int(claims["exp"]) if "exp" in claims else None)


def _keys(settings: Settings) -> Iterator[Any]:
    """Yields the keys that signatures are verified with.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """
    names = ", ".join(settings.jwt_algorithms)
    kinds = {_KINDS[name[:2]] for name in settings.jwt_algorithms}
    if len(kinds) > 1:
        # An attacker could use a public key as the secret of an HMAC (RFC 8725 section 2.1).
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
    """Yields the name and value of each cookie in a Cookie header."""
    # The standard library's parser stops at the first malformed cookie, so a cookie of another
    # application could hide ours (RFC 6265 section 5.4 only joins by "; ").
    for pair in header.split(";"):
        name, found, value = pair.partition("=")
        if found:
            yield name.strip(), value.strip().strip('"')
