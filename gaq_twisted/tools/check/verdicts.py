"""What an operator is told about settings, a cookie and an origin, each fault with its remedy.

Nothing here shows a secret, a token or a whole channel id.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt
from msgspec.structs import replace

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.access.tokens import Authenticator, Unauthorized, cookies
from gaq_twisted.config.catalogue import all_settings, values_by_key
from gaq_twisted.config.load import DEFAULT, Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import OriginPattern, Secret, SpareSecret

_CHANNEL_CHARACTERS = 8
_NAME_CHARACTERS = 40
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86_400
_UNITS = ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min"))
# From so many on a larger unit is easier to read.
_MANY_UNITS = 2
_SIGN_IN_AGAIN = "sign out of Superset and in again in that browser, which makes a new cookie"


class Mark(StrEnum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """One thing that was looked at."""

    mark: Mark
    topic: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f". Remedy: {self.remedy}" if self.remedy else ""
        # Other programs' words may end a sentence themselves.
        return f"{self.mark:<4}  {self.topic}: {self.text.removesuffix('.')}{remedy}"


class Verdict(NamedTuple):
    """Whether a cookie would be accepted."""

    findings: list[Finding]
    channel: str | None
    """The channel that it names; None if it would be refused."""


def settings_table(loaded: Loaded) -> Iterator[str]:
    """Yield a line for each setting: its key, value and source; those that were set come first."""
    values = values_by_key(loaded.settings)
    rows = [
        (one.key, _shown_value(values[one.key], one.is_secret), loaded.sources[one.key])
        for one in all_settings()
    ]
    key_width = max(len(key) for key, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for title, is_default in (("Set:", False), ("As by default:", True)):
        yield title
        for key, value, source in rows:
            if (source == DEFAULT) is is_default:
                where = "" if is_default else f"  {source}"
                yield f"  {key:<{key_width}}  {value:<{value_width}}{where}".rstrip()


def cut(identifier: str) -> str:
    """Return the beginning of an id that not everyone should know."""
    return f"{identifier[: min(_CHANNEL_CHARACTERS, len(identifier) // 2)]}..."


def duration(seconds: float) -> str:
    """Return a time span for people."""
    for unit, name in _UNITS:
        if abs(seconds) >= _MANY_UNITS * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def cookie_header(settings: Settings, text: str) -> str:
    """Return the Cookie header that an operator means: a whole one, or the token alone."""
    text = text.strip()
    if text.lower().startswith("cookie:"):
        return text[len("cookie:") :].strip()
    # Tokens are in base64url without padding.
    return text if "=" in text else f"{settings.jwt_cookie_name}={text}"


def judge_cookie(loaded: Loaded, header: str, now_seconds: float) -> Verdict:
    """Say whether a Cookie header would be accepted, and if not, why and what to do.

    Args:
        loaded: the settings and where they come from; their secrets must be keys for their
            algorithms.
        header: the header's value.
        now_seconds: the time, in seconds since 1970.
    """
    judge = _CookieJudge(loaded, now_seconds)
    tokens = [value for name, value in cookies(header) if name == loaded.settings.jwt_cookie_name]
    try:
        identity = Authenticator(loaded.settings).identify(header)
    except Unauthorized as error:
        refused = [judge.refused(token) for token in tokens] or [judge.missing(header, error)]
        return Verdict([*refused, *judge.would_do(header)], None)
    end = "without an end"
    if identity.expires_at is not None:
        left = duration(identity.expires_at - now_seconds)
        end = f"until {_shown_time(identity.expires_at)}, {left} from now"
    findings = [judge.finding(Mark.OK, f"accepted, as channel {cut(identity.channel)}, {end}")]
    findings.extend(judge.about_accepted(header, tokens))
    return Verdict(findings, identity.channel)


class _CookieJudge:
    """Tells more about a cookie than the server may tell its client."""

    def __init__(self, loaded: Loaded, now_seconds: float) -> None:
        self._settings = loaded.settings
        self._sources = loaded.sources
        self._now_seconds = now_seconds

    def finding(self, mark: Mark, text: str, remedy: str = "") -> Finding:
        return Finding(mark, "cookie", text, remedy)

    def about_accepted(self, header: str, tokens: list[str]) -> Iterator[Finding]:
        settings = self._settings
        if settings.previous_jwt_secret:
            current = replace(settings, previous_jwt_secret=SpareSecret())
            if _refusal(current, header) is not None:
                yield self.finding(
                    Mark.NOTE,
                    "it is signed with previousJwtSecret, and will be refused once that is gone",
                    _SIGN_IN_AGAIN,
                )
        if len(tokens) > 1:
            yield self.finding(
                Mark.NOTE,
                f"the browser sends {len(tokens)} cookies named {settings.jwt_cookie_name}, of"
                " which the first good one counts",
                "delete those that were made for another GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN",
            )

    def missing(self, header: str, error: Unauthorized) -> Finding:
        names = ", ".join(_shown_name(name) for name, _ in cookies(header))
        there = f"there are: {names}" if names else "there is none at all"
        return self.finding(
            Mark.FAIL,
            f"refused with 401: {error}; {there}",
            "let GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL have the host name under which users open"
            " Superset, or set GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN to a domain of both;"
            " GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SECURE needs https: and wss:; and jwtCookieName must"
            " be Superset's GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME",
        )

    def would_do(self, header: str) -> Iterator[Finding]:
        """Yield a finding for each other cookie that would be accepted if it were looked at."""
        for name, value in cookies(header):
            if name == self._settings.jwt_cookie_name or not name:
                continue
            if _refusal(replace(self._settings, jwt_cookie_name=name), f"{name}={value}") is None:
                yield self.finding(
                    Mark.FAIL,
                    f"the cookie {_shown_name(name)} holds a token that would be accepted",
                    f"set jwtCookieName to {_shown_name(name)}, as Superset's"
                    " GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME is",
                )

    def refused(self, token: str) -> Finding:
        error = self._refusal_of(self._settings, token)
        if error is None:
            raise ValueError("this token is good")
        tell = {
            "signature": self._signature,
            "algorithm": self._algorithm,
            "token_expired": self._expired,
            "token_not_yet_valid": self._not_yet_valid,
            "no_channel": self._no_channel,
            "no_jwt": self._no_jwt,
        }
        more, remedy = tell[error.reason](token)
        return self.finding(Mark.FAIL, f"refused with 401: {error}{more}", remedy)

    # What else can be said, and what to do.

    def _signature(self, token: str) -> tuple[str, str]:
        source = self._sources["jwtSecret"]
        secret = self._settings.jwt_secret
        for variant, what in (
            (secret.strip(), "without the white space around it"),
            (f"{secret}\n", "with a line end behind it"),
            (secret.strip("\"'"), "without the quotes around it"),
        ):
            # A secret of another length than settings may have.
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
            remedy += f"; if that is changed, set jwtAlgorithms to {_shown_name(algorithm)}"
            if algorithm[:2] not in {one[:2] for one in self._settings.jwt_algorithms}:
                remedy += " and jwtSecret to a key for it"
        return f", which is {accepted}: it is {_shown_name(algorithm)}", remedy

    def _expired(self, token: str) -> tuple[str, str]:
        at_seconds = int(_unverified_claims(token)["exp"])
        return (
            f", at {_shown_time(at_seconds)}, {duration(self._now_seconds - at_seconds)} ago by"
            " this machine's clock",
            f"{_SIGN_IN_AGAIN}; if it is new, set the clocks right",
        )

    def _not_yet_valid(self, token: str) -> tuple[str, str]:
        at_seconds = int(_unverified_claims(token)["nbf"])
        return (
            f", but from {_shown_time(at_seconds)} on, in"
            f" {duration(at_seconds - self._now_seconds)} by this machine's clock",
            "set the clocks of Superset's machine and of this one right",
        )

    def _no_channel(self, token: str) -> tuple[str, str]:
        claims = _unverified_claims(token)
        names = ", ".join(map(_shown_name, claims)) or "none"
        key = _shown_name(self._settings.jwt_channel_id_key)
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


def judge_origin(settings: Settings, origin: str, host: str | None) -> Finding:
    """Say whether a page of an origin may connect, and if not, what to do.

    Args:
        settings: tell which origins may.
        origin: the Origin header.
        host: the Host header; None if it is not known.
    """
    shown = json.dumps(origin)
    patterns = settings.allowed_origins
    if OriginRules(patterns).allow(origin, host or ""):
        why = "" if patterns else ", as any is: allowedOrigins is empty"
        return Finding(Mark.OK, "origin", f"{shown} is accepted{why}")
    if origin == "null":
        return Finding(
            Mark.FAIL,
            "origin",
            f"{shown} is refused with 403: it is not among allowedOrigins",
            "open Superset by its URL, not in a sandboxed frame or from a file; if this is meant,"
            " add null to allowedOrigins",
        )
    if not _is_origin(origin):
        url = urlsplit(origin if "://" in origin else f"https://{origin}")
        return Finding(
            Mark.FAIL,
            "origin",
            f"{shown} is no origin, and browsers send none such",
            f"give scheme and host without a path, as {url.scheme}://{url.netloc}",
        )
    if "same-host" in patterns and host is None:
        return Finding(
            Mark.WARN,
            "origin",
            f"{shown} is accepted by same-host, if that host is the one in"
            " GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL and proxies pass it on; otherwise refused with"
            " 403",
            "add --host to be certain",
        )
    return Finding(
        Mark.FAIL,
        "origin",
        f"{shown} is refused with 403: it is not among allowedOrigins, which is"
        f" {', '.join(patterns)}" + (f", for the host {json.dumps(host)}" if host else ""),
        f"add {shown} to allowedOrigins",
    )


def _shown_value(value: Any, is_secret: bool) -> str:
    if is_secret:
        return "set" if value else "empty"
    return json.dumps(value)


def _shown_name(name: str) -> str:
    """Return a name that a stranger may have chosen."""
    if len(name) > _NAME_CHARACTERS:
        name = f"{name[: _NAME_CHARACTERS - 3]}..."
    return name if name.isprintable() else ascii(name)


def _shown_time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"


def _is_origin(text: str) -> bool:
    if "://" not in text or "*" in text:
        return False
    try:
        OriginPattern(text)
    except ValueError:
        return False
    return True


def _refusal(settings: Settings, header: str) -> Unauthorized | None:
    """Return why a Cookie header is refused; None if it is not."""
    try:
        Authenticator(settings).identify(header)
    except Unauthorized as error:
        return error
    return None


def _has_good_signature(refusal: Unauthorized | None) -> bool:
    return refusal is None or refusal.reason in (
        *("token_expired", "token_not_yet_valid", "no_channel"),
    )


def _unverified_header(token: str) -> dict[str, Any]:
    with suppress(jwt.InvalidTokenError):
        return dict(jwt.get_unverified_header(token))
    return {}


def _unverified_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
