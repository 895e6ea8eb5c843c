"""Whether a cookie is accepted by the streams protocol, and what to do if it is not.

Nothing here shows a secret, a token or a whole channel id.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import jwt
from msgspec.structs import replace

from gaq_twisted.access.tokens import Authenticator, cookies
from gaq_twisted.config.forms import Secret, SpareSecret
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.check.findings import Finding, Mark, cut, duration, shown_name, shown_time

_SIGN_IN_AGAIN = "sign out of Superset and in again in that browser, which makes a new cookie"
_REASONS_AFTER_THE_SIGNATURE = ("token_expired", "token_not_yet_valid", "no_channel")


class Verdict(NamedTuple):
    """Whether a cookie would be accepted."""

    findings: list[Finding]
    channel: str | None
    """The channel that it names; None if it would be refused."""


def cookie_header(cookie_name: str, text: str) -> str:
    """Returns the Cookie header that an operator means: a whole one, or the token alone."""
    text = text.strip()
    if text.lower().startswith("cookie:"):
        return text[len("cookie:") :].strip()
    # Tokens are in base64url without padding.
    return text if "=" in text else f"{cookie_name}={text}"


def judge_cookie(loaded: Loaded, header: str, now_seconds: float) -> Verdict:
    """Returns whether a Cookie header would be accepted, and if not, why and what to do.

    Args:
        loaded: the settings and their sources; the secrets must be keys for the algorithms.
        header: the header's value.
        now_seconds: the time, in seconds since 1970.
    """
    judge = _CookieJudge(loaded, now_seconds)
    tokens = [value for name, value in cookies(header) if name == loaded.settings.jwt_cookie_name]
    try:
        identity = Authenticator(loaded.settings).identify(header)
    except Unauthorized as error:
        refused = [judge.refused(token) for token in tokens] or [judge.missing(header, error)]
        return Verdict([*refused, *judge.acceptable_others(header)], None)
    end = "without an end"
    if identity.expires_at is not None:
        left = duration(identity.expires_at - now_seconds)
        end = f"until {shown_time(identity.expires_at)}, {left} from now"
    accepted = f"accepted, as channel {cut(identity.channel)}, {end}"
    findings = [Finding(Mark.OK, "cookie", accepted), *judge.notes(header, len(tokens))]
    return Verdict(findings, identity.channel)


class _CookieJudge:
    """Says more about a cookie than the server may say to its client."""

    def __init__(self, loaded: Loaded, now_seconds: float) -> None:
        self._settings = loaded.settings
        self._sources = loaded.sources
        self._now_seconds = now_seconds

    def notes(self, header: str, token_count: int) -> Iterator[Finding]:
        """Yields what may surprise the operator of an accepted cookie later."""
        settings = self._settings
        if settings.previous_jwt_secret:
            current = replace(settings, previous_jwt_secret=SpareSecret())
            if _refusal(current, header) is not None:
                yield Finding(
                    Mark.NOTE,
                    "cookie",
                    "it is signed with previousJwtSecret, and will be refused once that is gone",
                    _SIGN_IN_AGAIN,
                )
        if token_count > 1:
            yield Finding(
                Mark.NOTE,
                "cookie",
                f"the browser sends {token_count} cookies named {settings.jwt_cookie_name}, of"
                " which the first good one counts",
                "delete those that were made for another GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN",
            )

    def missing(self, header: str, error: Unauthorized) -> Finding:
        """Returns the finding about a header without our cookie."""
        names = ", ".join(shown_name(name) for name, _ in cookies(header))
        there = f"there are: {names}" if names else "there is none at all"
        return Finding(
            Mark.FAIL,
            "cookie",
            f"refused with 401: {error}; {there}",
            "let GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL have the host name under which users open"
            " Superset, or set GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN to a domain of both;"
            " GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SECURE needs https: and wss:; and jwtCookieName must"
            " be Superset's GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME",
        )

    def acceptable_others(self, header: str) -> Iterator[Finding]:
        """Yields a finding per cookie that would be accepted under the name of ours."""
        for name, value in cookies(header):
            if name == self._settings.jwt_cookie_name or not name:
                continue
            if _refusal(replace(self._settings, jwt_cookie_name=name), f"{name}={value}") is None:
                yield Finding(
                    Mark.FAIL,
                    "cookie",
                    f"the cookie {shown_name(name)} holds a token that would be accepted",
                    f"set jwtCookieName to {shown_name(name)}, as Superset's"
                    " GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME is",
                )

    def refused(self, token: str) -> Finding:
        """Returns why a token is refused, and the remedy.

        Raises:
            ValueError: if it is accepted.
        """
        error = self._refusal_of(self._settings, token)
        if error is None:
            raise ValueError("this token is good")
        details = {
            "signature": self._signature,
            "algorithm": self._algorithm,
            "token_expired": self._expired,
            "token_not_yet_valid": self._not_yet_valid,
            "no_channel": self._no_channel,
            "no_jwt": self._no_jwt,
        }
        more, remedy = details[error.reason](token)
        return Finding(Mark.FAIL, "cookie", f"refused with 401: {error}{more}", remedy)

    # Each returns the rest of the sentence, and the remedy.

    def _signature(self, token: str) -> tuple[str, str]:
        source = self._sources["jwtSecret"]
        secret = self._settings.jwt_secret
        for variant, what in (
            (secret.strip(), "without the white space around it"),
            (f"{secret}\n", "with a line end behind it"),
            (secret.strip("\"'"), "without the quotes around it"),
        ):
            # The variant may be shorter than the setting may be.
            one = replace(self._settings, jwt_secret=Secret(variant))
            if variant != secret and _has_good_signature(self._refusal_of(one, token)):
                return (
                    f" ({source}), but with the same text {what}",
                    "let jwtSecret and Superset's GLOBAL_ASYNC_QUERIES_JWT_SECRET be the same to"
                    " the last character",
                )
        return (
            f" ({source})",
            "set jwtSecret to what Superset has as GLOBAL_ASYNC_QUERIES_JWT_SECRET; if it is that"
            " already, the cookie is older than the secret: set previousJwtSecret to the one"
            f" before, or {_SIGN_IN_AGAIN}",
        )

    def _algorithm(self, token: str) -> tuple[str, str]:
        algorithm = str(_unverified_header(token).get("alg"))
        accepted = ", ".join(self._settings.jwt_algorithms)
        remedy = "look who makes this cookie: Superset signs with HS256"
        if algorithm not in ("none", "None"):
            remedy += f"; if that is changed, set jwtAlgorithms to {shown_name(algorithm)}"
            if algorithm[:2] not in {one[:2] for one in self._settings.jwt_algorithms}:
                remedy += " and jwtSecret to a key for it"
        return f", which is {accepted}: it is {shown_name(algorithm)}", remedy

    def _expired(self, token: str) -> tuple[str, str]:
        at_seconds = int(_unverified_claims(token)["exp"])
        return (
            f", at {shown_time(at_seconds)}, {duration(self._now_seconds - at_seconds)} ago by"
            " this machine's clock",
            f"{_SIGN_IN_AGAIN}; if it is new, set the clocks right",
        )

    def _not_yet_valid(self, token: str) -> tuple[str, str]:
        at_seconds = int(_unverified_claims(token)["nbf"])
        return (
            f", but from {shown_time(at_seconds)} on, in"
            f" {duration(at_seconds - self._now_seconds)} by this machine's clock",
            "set the clocks of Superset's machine and of this one right",
        )

    def _no_channel(self, token: str) -> tuple[str, str]:
        claims = _unverified_claims(token)
        names = ", ".join(map(shown_name, claims)) or "none"
        key = shown_name(self._settings.jwt_channel_id_key)
        if self._settings.jwt_channel_id_key in claims:
            return f": its claim {key} is no text, or an empty one", "look who makes this cookie"
        return (
            f"; its claims are: {names}",
            "set jwtChannelIdKey to the claim that holds the channel, which is channel in all"
            " versions of Superset",
        )

    def _no_jwt(self, token: str) -> tuple[str, str]:
        return (
            "",
            "give the whole value of the cookie; if this is the whole value, jwtCookieName names"
            " a cookie of something else",
        )

    def _refusal_of(self, settings: Settings, token: str) -> Unauthorized | None:
        return _refusal(settings, f"{settings.jwt_cookie_name}={token}")


def _refusal(settings: Settings, header: str) -> Unauthorized | None:
    """Returns why a Cookie header is refused; None if it is accepted."""
    try:
        Authenticator(settings).identify(header)
    except Unauthorized as error:
        return error
    return None


def _has_good_signature(refusal: Unauthorized | None) -> bool:
    return refusal is None or refusal.reason in _REASONS_AFTER_THE_SIGNATURE


def _unverified_header(token: str) -> dict[str, Any]:
    with suppress(jwt.InvalidTokenError):
        return dict(jwt.get_unverified_header(token))
    return {}


def _unverified_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
