"""Verifies JWTs in cookies, and reads the channel from those of Superset 1.2 to 6.1."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jwt
from jwt.algorithms import get_default_algorithms
from jwt.types import Options

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import UpgradeReason

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
REALTIME_AUDIENCE = "superset-websocket"
"""The claim `aud` of Superset 7's tokens."""
# Algorithms of one kind use the same key (RFC 7518 section 3.1, RFC 8037).
_KINDS = {"HS": "HMAC", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "EdDSA"}
# PyJWT names the claim in its message, and has one exception for all of them.
_TIME_CLAIM = re.compile(r"\((exp|nbf)\)")


class Signed(NamedTuple):
    """What tokens must be signed with."""

    cookie_name: str
    """The cookie that holds the token."""
    secrets: Sequence[tuple[str, str]]
    """The names and values of the settings with the secrets, the current one first."""
    algorithms: Sequence[str]
    """The accepted algorithms, all of one kind."""


class TokenReader:
    """Reads the claims of tokens with a valid signature.

    Args:
        signed: what they must be signed with.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """

    def __init__(self, signed: Signed) -> None:
        self.cookie_name = signed.cookie_name
        self._algorithms = list(signed.algorithms)
        self._secret_name = signed.secrets[0][0]
        self._keys = list(_keys(signed))

    def no_cookie(self) -> Unauthorized:
        """Returns the error for a client without the cookie."""
        return Unauthorized(UpgradeReason.NO_COOKIE, f"no cookie named {self.cookie_name}")

    def claims(self, token: str, checks: Options) -> dict[str, Any]:
        """Returns the claims of a token.

        Args:
            token: the token.
            checks: the claims to check.

        Raises:
            Unauthorized: if its signature or one of these claims is not valid.
        """
        try:
            for key in self._keys[:-1]:
                try:
                    return self._decoded(token, key, checks)
                except jwt.InvalidSignatureError:
                    continue
            return self._decoded(token, self._keys[-1], checks)
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
                UpgradeReason.SIGNATURE,
                f"bad signature: the token is not signed with {self._secret_name}",
            ) from None
        except jwt.InvalidTokenError as error:
            claim = _TIME_CLAIM.search(str(error))
            why = not_a_number(claim[1]) if claim else ""
            raise Unauthorized(
                UpgradeReason.NO_JWT, f"the cookie {self.cookie_name} is not a valid JWT{why}"
            ) from None

    def _decoded(self, token: str, key: Any, checks: Options) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=self._algorithms, options=checks)
        return claims


class Identity(NamedTuple):
    """An authenticated client."""

    channel: str
    expires_at: float | None
    """When its sockets must be closed, in seconds since 1970; None for never."""


class Authenticator:
    """Authenticates browsers of Superset 1.2 to 6.1 by the JWT in their cookie.

    Args:
        settings: name the cookie, the claim, the secrets and the algorithms.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """

    def __init__(self, settings: Settings) -> None:
        self._channel_claim = settings.jwt_channel_id_key
        self._reader = TokenReader(
            Signed(
                settings.jwt_cookie_name,
                [
                    ("jwtSecret", settings.jwt_secret),
                    ("previousJwtSecret", settings.previous_jwt_secret),
                ],
                settings.jwt_algorithms,
            )
        )

    def identify(self, cookie_header: str) -> Identity:
        """Returns the identity of the client that sent this Cookie header.

        A browser with our cookie for several paths or domains sends all of them; the first valid
        one counts.

        Args:
            cookie_header: the header's value, or an empty string.

        Raises:
            Unauthorized: if no cookie is a valid token with a channel.
        """
        refusal = self._reader.no_cookie()
        for name, token in cookies(cookie_header):
            if name != self._reader.cookie_name:
                continue
            try:
                return self._identity(self._reader.claims(token, _CHECKS))
            except Unauthorized as error:
                refusal = error
        raise refusal

    def _identity(self, claims: dict[str, Any]) -> Identity:
        if names_realtime(claims.get("aud")):
            raise Unauthorized(
                UpgradeReason.OTHER_PROTOCOL, "the token is from Superset 7 (protocol realtime)"
            )
        channel = claims.get(self._channel_claim)
        # JSON strings can contain control characters, which no log should show, and lone
        # surrogates.
        if not isinstance(channel, str) or not channel or not channel.isprintable():
            raise Unauthorized(
                UpgradeReason.NO_CHANNEL,
                f"no channel: the claim {self._channel_claim} is missing or not a valid string",
            )
        return Identity(channel, int(claims["exp"]) if "exp" in claims else None)


def not_a_number(claim: str) -> str:
    """Returns the end of the text of an Unauthorized that has this reason."""
    return f": its claim {claim} is not a number"


def names_realtime(audience: object) -> bool:
    """Returns whether a claim `aud` (RFC 7519 section 4.1.3) names the server of Superset 7."""
    return audience == REALTIME_AUDIENCE or (
        isinstance(audience, list) and REALTIME_AUDIENCE in audience
    )


def _keys(signed: Signed) -> Iterator[Any]:
    """Yields the keys that signatures are verified with.

    Raises:
        ConfigError: if a secret is not a key for one of the algorithms.
    """
    names = ", ".join(signed.algorithms)
    kinds = {_KINDS[name[:2]] for name in signed.algorithms}
    if len(kinds) > 1:
        # An attacker could use a public key as the secret of an HMAC (RFC 8725 section 2.1).
        raise ConfigError(
            [
                f"jwtAlgorithms is {names}: keep only algorithms of one kind, the one that Superset"
                " signs with"
            ]
        )
    for setting, secret in signed.secrets:
        if not secret:
            continue
        key: Any = str(secret)
        for name in signed.algorithms:
            try:
                key = get_default_algorithms()[name].prepare_key(key)
            except (ValueError, TypeError, jwt.InvalidKeyError):
                if kinds == {"HMAC"}:
                    problem = (
                        "contains a key of a key pair: set jwtAlgorithms to the algorithm that"
                        " Superset signs with, such as RS256"
                    )
                else:
                    problem = f"contains no {name} key: it must be the public key in PEM format"
                raise ConfigError([f"{setting} {problem} (jwtAlgorithms is {names})"]) from None
        yield key.public_key() if hasattr(key, "public_key") else key


def cookies(header: str, *, unquote: bool = True) -> Iterator[tuple[str, str]]:
    """Yields the name and value of each cookie in a Cookie header; `unquote` removes quotes."""
    # The standard library's parser stops at the first malformed cookie, so a cookie of another
    # application could hide ours (RFC 6265 section 5.4 only joins by "; ").
    for pair in header.split(";"):
        name, found, value = pair.partition("=")
        if found:
            value = value.strip()
            yield name.strip(), value.strip('"') if unquote else value
