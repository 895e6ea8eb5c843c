"""Why a token is refused, in more words than its client may read, and what to do.

Nothing here shows a secret, a token or a whole channel id.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, assert_never

import jwt

from gaq_twisted.access.tokens import REALTIME_AUDIENCE
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import UpgradeReason
from gaq_twisted.tools.check.findings import Finding, Mark, duration, shown_name, shown_time
from gaq_twisted.tools.check.protocols import REALTIME, STREAMS, Judge

_BEFORE_THE_CLAIMS = (UpgradeReason.NO_JWT, UpgradeReason.ALGORITHM, UpgradeReason.SIGNATURE)
_MAKER = "look who makes this cookie"


class Details(NamedTuple):
    """What to add to the text of a refusal."""

    more: str
    """The rest of the sentence."""
    remedy: str


class Refusals:
    """Explains refusals by one protocol.

    Args:
        judge: the protocol.
        now_seconds: the time, in seconds since 1970.
    """

    def __init__(self, judge: Judge, now_seconds: float) -> None:
        self._judge = judge
        self._terms = judge.terms
        self._now_seconds = now_seconds

    def finding(self, token: str) -> Finding:
        """Returns why a token is refused, and the remedy.

        Raises:
            ValueError: if it is accepted.
        """
        error = self._judge.refusal_of(token)
        if error is None:
            raise ValueError("this token is good")
        more, remedy = self._details(error, token)
        return Finding(Mark.FAIL, self._judge.topic, f"refused with 401: {error}{more}", remedy)

    def _details(self, error: Unauthorized, token: str) -> Details:
        match error.reason:
            case UpgradeReason.NO_COOKIE | UpgradeReason.NO_JWT:
                return self._no_jwt(token)
            case UpgradeReason.SIGNATURE:
                return self._signature(token)
            case UpgradeReason.ALGORITHM:
                return self._algorithm(token)
            case UpgradeReason.TOKEN_EXPIRED:
                return self._expired(token)
            case UpgradeReason.TOKEN_NOT_YET_VALID:
                return self._not_yet_valid(token)
            case UpgradeReason.NO_CHANNEL:
                return self._no_channel(token)
            case UpgradeReason.OTHER_PROTOCOL:
                return self._other_protocol()
            case UpgradeReason.AUDIENCE:
                return self._audience(token)
            case UpgradeReason.ISSUER:
                issuer = _shown(_unverified_claims(token), "iss")
                return Details(f": it is {issuer}", f"{_MAKER}: Superset 7 writes superset")
            case UpgradeReason.NO_EXPIRY:
                return Details(
                    f": exp is {_shown(_unverified_claims(token), 'exp')}",
                    f"{_MAKER}: Superset 7 always writes exp, as a number",
                )
            case UpgradeReason.PRINCIPAL:
                faults = "; ".join(principal_faults(_unverified_claims(token)))
                return Details(
                    f" ({faults})",
                    f"{_MAKER}: Superset 7 writes these claims for users and for embedded guests",
                )
            case _:
                assert_never(error.reason)

    def _signature(self, token: str) -> Details:
        judge, terms = self._judge, self._terms
        source, key = judge.source(terms.secret), judge.key_to_set(terms.secret)
        secret = judge.secret
        for variant, what in (
            (secret.strip(), "without the white space around it"),
            (f"{secret}\n", "with a line end behind it"),
            (secret.strip("\"'"), "without the quotes around it"),
        ):
            one = judge.with_value(terms.secret, variant)
            if variant != secret and _has_good_signature(one.refusal_of(token)):
                return Details(
                    f" ({source}), but with the same text {what}",
                    f"let {key} and Superset's {terms.superset_secret} be the same to the last"
                    " character",
                )
        previous = judge.key_to_set(terms.previous_secret)
        return Details(
            f" ({source})",
            f"set {key} to what Superset has as {terms.superset_secret}; if it is that already,"
            f" the cookie is older than the secret: set {previous} to the one before, or"
            f" {terms.renewal}",
        )

    def _algorithm(self, token: str) -> Details:
        algorithm = str(_unverified_header(token).get("alg"))
        accepted = self._judge.settings.jwt_algorithms
        remedy = f"{_MAKER}: Superset signs with HS256"
        if algorithm not in ("none", "None"):
            remedy += f"; if that is changed, set jwtAlgorithms to {shown_name(algorithm)}"
            if algorithm[:2] not in {one[:2] for one in accepted}:
                key = self._judge.key_to_set(self._terms.secret)
                remedy += f" and {key} to a key for it"
        return Details(f", which is {', '.join(accepted)}: it is {shown_name(algorithm)}", remedy)

    def _expired(self, token: str) -> Details:
        at_seconds = int(_unverified_claims(token)["exp"])
        return Details(
            f", at {shown_time(at_seconds)}, {duration(self._now_seconds - at_seconds)} ago by"
            " this machine's clock",
            f"{self._terms.renewal}; if it is new, set the clocks right",
        )

    def _not_yet_valid(self, token: str) -> Details:
        at_seconds = _unverified_claims(token)["nbf"]
        if not isinstance(at_seconds, int | float):
            return Details(f": nbf is {shown_name(str(at_seconds))}, which is no number", _MAKER)
        return Details(
            f", but from {shown_time(at_seconds)} on, in"
            f" {duration(at_seconds - self._now_seconds)} by this machine's clock",
            "set the clocks of Superset's machine and of this one right",
        )

    def _no_channel(self, token: str) -> Details:
        claims = _unverified_claims(token)
        names = ", ".join(map(shown_name, claims)) or "none"
        key = shown_name(self._judge.settings.jwt_channel_id_key)
        if self._judge.settings.jwt_channel_id_key in claims:
            return Details(f": its claim {key} is no text, or an empty one", _MAKER)
        return Details(
            f"; its claims are: {names}",
            "set jwtChannelIdKey to the claim that holds the channel, which is channel in all"
            " versions of Superset that have streams",
        )

    def _no_jwt(self, token: str) -> Details:
        key = self._judge.key_to_set(self._terms.cookie)
        if self._terms is REALTIME and token.startswith('"'):
            return Details(", because it is in quotes", f"{_MAKER}: Superset 7 writes no quotes")
        wrong_time = _wrong_time(token)
        if wrong_time:
            return Details(
                f": its claim {wrong_time}, which is no time",
                f"{_MAKER}: such a claim must be a number of seconds, or be left out (RFC 7519"
                " section 4.1)",
            )
        return Details(
            "",
            "give the whole value of the cookie; if this is the whole value,"
            f" {key} names a cookie of something else",
        )

    def _other_protocol(self) -> Details:
        if self._judge.serves_others:
            return Details(
                "",
                f"let {STREAMS.cookie} and {REALTIME.cookie} be different: the first must be"
                f" {STREAMS.superset_cookie} of the Superset before 7, the second"
                f" {REALTIME.superset_cookie} of Superset 7",
            )
        return Details("", "set protocol to both, or to realtime if no Superset before 7 is left")

    def _audience(self, token: str) -> Details:
        claims = _unverified_claims(token)
        more = f": it is {_shown(claims, 'aud')}, not {REALTIME_AUDIENCE}"
        if "aud" in claims or self._judge.settings.jwt_channel_id_key not in claims:
            return Details(more, f"{_MAKER}: Superset 7 writes {REALTIME_AUDIENCE}")
        if self._judge.serves_others:
            key = self._judge.key_to_set(REALTIME.cookie)
            remedy = f"set {key} to {REALTIME.superset_cookie} of Superset 7"
        else:
            remedy = "set protocol to both, or to streams if no Superset 7 is there yet"
        return Details(more, f"this is a token of {STREAMS.versions}: {remedy}")


def principal_faults(claims: dict[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the claims that name a user or guest, without their values."""
    kind, subject = claims.get("principal_type"), claims.get("sub")
    if kind not in ("user", "guest"):
        yield f"principal_type is {_shown(claims, 'principal_type')}, neither user nor guest"
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        yield "sub is no text, or an empty one, or has control characters"
    elif kind == "user" and ":" in subject:
        yield "sub has a colon, which would make it another user's tab"
    elif kind == "guest" and not subject.startswith("guest:"):
        yield "sub does not begin with guest:"
    elif kind == "guest" and subject.count(":") > 1:
        yield "sub has a second colon, which would make it another guest's tab"
    elif kind == "user" and claims.get("channel") != f"user:{subject}":
        yield "channel is not user: and sub"
    elif kind == "guest" and claims.get("channel") != subject:
        yield "channel is not sub"


def names_realtime_protocol(token: str) -> bool:
    """Returns whether a token claims, truly or not, to be one of Superset 7."""
    with suppress(jwt.InvalidTokenError):
        return "principal_type" in _unverified_claims(token)
    return False


def _wrong_time(token: str) -> str:
    """Returns which claim should be a time, but is none, and what it is; empty if all are."""
    claims: dict[str, Any] = {}
    with suppress(jwt.InvalidTokenError):
        claims = _unverified_claims(token)
    for name in ("exp", "nbf"):
        if name in claims and not isinstance(claims[name], int | float):
            return f"{name} is {shown_name(json.dumps(claims[name]))}"
    return ""


def _has_good_signature(refusal: Unauthorized | None) -> bool:
    return refusal is None or refusal.reason not in _BEFORE_THE_CLAIMS


def _shown(claims: dict[str, Any], name: str) -> str:
    return shown_name(str(claims[name])) if name in claims else "missing"


def _unverified_header(token: str) -> dict[str, Any]:
    with suppress(jwt.InvalidTokenError):
        return dict(jwt.get_unverified_header(token))
    return {}


def _unverified_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
