"""Explains to operators why a token is rejected, and what to do.

Nothing here shows a secret, a token or a whole channel id.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, assert_never

import jwt

from gaq_twisted.access.tokens import REALTIME_AUDIENCE, not_a_number
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.reasons import UpgradeReason
from gaq_twisted.tools.check.findings import Finding, Mark, duration, shown_name, shown_time
from gaq_twisted.tools.check.protocols import REALTIME, STREAMS, Judge

_BEFORE_THE_CLAIMS = (UpgradeReason.NO_JWT, UpgradeReason.ALGORITHM, UpgradeReason.SIGNATURE)
_TIME_CLAIMS = ("exp", "nbf")
_MAKER = "find out what creates this cookie"


class Details(NamedTuple):
    """What to add to the text of a rejection."""

    more: str
    """The rest of the sentence."""
    remedy: str


class Refusals:
    """Explains rejections by one protocol.

    Args:
        judge: the protocol.
        now_seconds: the time, in seconds since 1970.
    """

    def __init__(self, judge: Judge, now_seconds: float) -> None:
        self._judge = judge
        self._terms = judge.terms
        self._now_seconds = now_seconds

    def finding(self, token: str) -> Finding:
        """Returns why a token is rejected, and the remedy.

        Raises:
            ValueError: if it is accepted.
        """
        error = self._judge.refusal_of(token)
        if error is None:
            raise ValueError("this token is valid")
        more, remedy = self._details(error, token)
        return Finding(Mark.FAIL, self._judge.topic, f"rejected with 401: {error}{more}", remedy)

    def _details(self, error: Unauthorized, token: str) -> Details:
        match error.reason:
            case UpgradeReason.NO_COOKIE | UpgradeReason.NO_JWT:
                return self._no_jwt(error, token)
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
            (secret.strip(), "without the surrounding white space"),
            (f"{secret}\n", "with a trailing line end"),
            (secret.strip("\"'"), "without the surrounding quotes"),
        ):
            one = judge.with_value(terms.secret, variant)
            if variant != secret and _has_good_signature(one.refusal_of(token)):
                return Details(
                    f" ({source}), but with the same text {what}",
                    f"make {key} and Superset's {terms.superset_secret} exactly the same",
                )
        previous = judge.key_to_set(terms.previous_secret)
        return Details(
            f" ({source})",
            f"set {key} to the value of Superset's {terms.superset_secret}; if it is that"
            f" already, the cookie is older than the secret: set {previous} to the former"
            f" secret, or {terms.renewal}",
        )

    def _algorithm(self, token: str) -> Details:
        algorithm = str(_unverified_header(token).get("alg"))
        accepted = self._judge.settings.jwt_algorithms
        remedy = f"{_MAKER}: Superset signs with HS256"
        if algorithm not in ("none", "None"):
            remedy += f"; if that was changed, set jwtAlgorithms to {shown_name(algorithm)}"
            if algorithm[:2] not in {one[:2] for one in accepted}:
                key = self._judge.key_to_set(self._terms.secret)
                remedy += f" and {key} to a key for it"
        return Details(f", which is {', '.join(accepted)}: it is {shown_name(algorithm)}", remedy)

    def _expired(self, token: str) -> Details:
        at_seconds = int(_unverified_claims(token)["exp"])
        return Details(
            f", at {shown_time(at_seconds)}, {duration(self._now_seconds - at_seconds)} ago by"
            " this machine's clock",
            f"{self._terms.renewal}; if the cookie is new, synchronise the clocks",
        )

    def _not_yet_valid(self, token: str) -> Details:
        at_seconds = _unverified_claims(token)["nbf"]
        if not isinstance(at_seconds, int | float):
            return Details(f": nbf is {shown_name(str(at_seconds))}, which is not a number", _MAKER)
        return Details(
            f", but from {shown_time(at_seconds)}, in {duration(at_seconds - self._now_seconds)}"
            " by this machine's clock",
            "synchronise the clocks of Superset's machine and of this one",
        )

    def _no_channel(self, token: str) -> Details:
        claims = _unverified_claims(token)
        names = ", ".join(map(shown_name, claims)) or "none"
        if self._judge.settings.jwt_channel_id_key in claims:
            return Details("; it exists, but is empty or not a printable string", _MAKER)
        return Details(
            f"; the claims are: {names}",
            "set jwtChannelIdKey to the claim that contains the channel; in Superset 1.2 to 6.1"
            " it is channel",
        )

    def _no_jwt(self, error: Unauthorized, token: str) -> Details:
        key = self._judge.key_to_set(self._terms.cookie)
        if self._terms is REALTIME and token.startswith('"'):
            return Details(", because it is in quotes", f"{_MAKER}: Superset 7 writes no quotes")
        claim = next((one for one in _TIME_CLAIMS if str(error).endswith(not_a_number(one))), None)
        if claim is not None:
            value = json.dumps(_unverified_claims(token).get(claim))
            return Details(
                f", but {shown_name(value)}",
                f"{_MAKER}: such a claim must be a number of seconds, or be absent (RFC 7519"
                " section 4.1)",
            )
        return Details(
            "",
            "give the whole value of the cookie; if this is the whole value,"
            f" {key} names the cookie of another application",
        )

    def _other_protocol(self) -> Details:
        if self._judge.serves_others:
            return Details(
                "",
                f"set {STREAMS.cookie} and {REALTIME.cookie} to different names: the first to"
                f" {STREAMS.superset_cookie} of the older Superset, the second to"
                f" {REALTIME.superset_cookie} of Superset 7",
            )
        return Details(
            "", "set protocol to both, or to realtime if there is no older Superset any more"
        )

    def _audience(self, token: str) -> Details:
        claims = _unverified_claims(token)
        more = f": it is {_shown(claims, 'aud')}, not {REALTIME_AUDIENCE}"
        if "aud" in claims or self._judge.settings.jwt_channel_id_key not in claims:
            return Details(more, f"{_MAKER}: Superset 7 writes {REALTIME_AUDIENCE}")
        if self._judge.serves_others:
            key = self._judge.key_to_set(REALTIME.cookie)
            remedy = f"set {key} to {REALTIME.superset_cookie} of Superset 7"
        else:
            remedy = "set protocol to both, or to streams if there is no Superset 7 yet"
        return Details(more, f"this is a token from {STREAMS.versions}: {remedy}")


def principal_faults(claims: dict[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the claims that name a user or guest, without their values."""
    kind, subject = claims.get("principal_type"), claims.get("sub")
    if kind not in ("user", "guest"):
        yield f"principal_type is {_shown(claims, 'principal_type')}, neither user nor guest"
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        yield "sub is not a string, is empty, or has control characters"
    elif kind == "user" and ":" in subject:
        yield "sub has a colon, which would make it another user's tab"
    elif kind == "guest" and not subject.startswith("guest:"):
        yield "sub does not begin with guest:"
    elif kind == "guest" and subject.count(":") > 1:
        yield "sub has a second colon, which would make it another guest's tab"
    elif kind == "user" and claims.get("channel") != f"user:{subject}":
        yield "channel is not user: followed by sub"
    elif kind == "guest" and claims.get("channel") != subject:
        yield "channel is not sub"


def names_realtime_protocol(token: str) -> bool:
    """Returns whether a token looks like one from Superset 7, whether valid or not."""
    with suppress(jwt.InvalidTokenError):
        return "principal_type" in _unverified_claims(token)
    return False


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
