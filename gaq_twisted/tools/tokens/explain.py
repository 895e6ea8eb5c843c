"""What a cookie contains, and whether the server accepts it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jwt

from gaq_twisted.access.tokens import cookies
from gaq_twisted.config.load import Loaded
from gaq_twisted.tools.check.cookies import cookie_header, judge_cookie
from gaq_twisted.tools.check.findings import Mark, duration, shown_name, shown_time

_TIMES = {"iat": "issued", "nbf": "valid from", "exp": "expires"}


class Explanation(NamedTuple):
    """The facts about a cookie."""

    lines: list[str]
    is_accepted: bool
    """Whether a protocol that is served accepts it."""


def explain(loaded: Loaded, text: str, now_seconds: float) -> Explanation:
    """Returns what a cookie contains, and whether the server accepts it.

    Args:
        loaded: the settings of the server, and their sources; the secrets must be keys for the
            algorithms.
        text: a Cookie header, or a token.
        now_seconds: the time, in seconds since 1970.
    """
    header = cookie_header(loaded.settings, text)
    findings = judge_cookie(loaded, header, now_seconds).findings
    return Explanation(
        [*_contents(header, now_seconds), *map(str, findings)],
        any(finding.mark is Mark.OK for finding in findings),
    )


def _contents(header: str, now_seconds: float) -> Iterator[str]:
    """Yields the contents of the tokens in a header, without checking their signatures."""
    for name, value in cookies(header):
        try:
            head = jwt.get_unverified_header(value)
            claims: dict[str, Any] = jwt.decode(value, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            continue
        algorithm = shown_name(str(head.get("alg")))
        yield f"The cookie {shown_name(name)} contains a token with these claims ({algorithm}):"
        for claim, content in claims.items():
            time = _time(claim, claims, now_seconds)
            yield f"  {shown_name(claim)}: {json.dumps(content)}{time}"


def _time(claim: str, claims: Mapping[str, Any], now_seconds: float) -> str:
    """Returns what a claim means, if it is a time."""
    content = claims[claim]
    if claim not in _TIMES or not isinstance(content, int | float):
        return ""
    distance = content - now_seconds
    relative = f"in {duration(distance)}" if distance > 0 else f"{duration(-distance)} ago"
    return f" ({_TIMES[claim]} {shown_time(content)}, {relative})"
