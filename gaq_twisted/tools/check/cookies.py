"""Whether a cookie is accepted by the protocols that are served, and what to do if it is not.

Nothing here shows a secret, a token or a whole channel id.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gaq_twisted.access.tokens import cookies
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.tools.check.findings import Finding, Mark, duration, shown_name, shown_time
from gaq_twisted.tools.check.protocols import REALTIME, STREAMS, Accepted, Judge, judges
from gaq_twisted.tools.check.refusals import Refusals, names_realtime_protocol

# What the browsers of each protocol send besides the cookie.
_QUERIES = {
    "tab_id (Superset 7)": (REALTIME.protocol,),
    "last_id": (STREAMS.protocol,),
    "neither": (STREAMS.protocol, REALTIME.protocol),
}


class Verdict(NamedTuple):
    """Whether a cookie would be accepted."""

    findings: list[Finding]
    channel: str | None
    """The channel that it names; None if the streams protocol rejects it or is not served."""


def cookie_header(settings: Settings, text: str) -> str:
    """Returns the Cookie header that an operator means: a whole one, or the token alone.

    Args:
        settings: name the cookies.
        text: what the operator gives.
    """
    text = text.strip()
    if text.lower().startswith("cookie:"):
        return text[len("cookie:") :].strip()
    # Tokens are in base64url without padding.
    if "=" in text:
        return text
    is_realtime = settings.protocol == "realtime" or (
        settings.protocol == "both" and names_realtime_protocol(text)
    )
    name = settings.realtime_jwt_cookie_name if is_realtime else settings.jwt_cookie_name
    return f"{name}={text}"


def judge_cookie(loaded: Loaded, header: str, now_seconds: float) -> Verdict:
    """Returns whether a Cookie header would be accepted, and if not, why and what to do.

    Args:
        loaded: the settings and their sources; the secrets must be keys for the algorithms.
        header: the header's value.
        now_seconds: the time, in seconds since 1970.
    """
    cases = [_Case(judge, header, now_seconds) for judge in judges(loaded, now_seconds)]
    accepted = {case.protocol: case.accepted for case in cases if case.accepted is not None}
    findings = [finding for case in cases for finding in case.findings(bool(accepted))]
    if len(cases) > 1:
        findings.append(_who_takes_it(accepted))
    streams = accepted.get(STREAMS.protocol)
    return Verdict(findings, streams.channel if streams else None)


def _who_takes_it(accepted: Mapping[str, Accepted]) -> Finding:
    """Returns which protocol a browser with these cookies gets, by its query parameters."""
    parts = []
    for query, protocols in _QUERIES.items():
        taken = [protocol for protocol in protocols if protocol in accepted]
        parts.append(f"{query}: {taken[0] if taken else 'rejected'}")
    return Finding(
        Mark.NOTE if accepted else Mark.FAIL,
        "cookie",
        f"the protocol of a socket with these cookies, by query parameter: {'; '.join(parts)}",
        "" if accepted else "see the findings above",
    )


class _Case:
    """A Cookie header, judged by one protocol.

    It says more about a cookie than the server may tell its client.

    Args:
        judge: the protocol.
        header: the header's value.
        now_seconds: the time, in seconds since 1970.
    """

    def __init__(self, judge: Judge, header: str, now_seconds: float) -> None:
        self.protocol = judge.terms.protocol
        self.accepted: Accepted | None = None
        """What the header means, if it is accepted."""
        self._error: Unauthorized | None = None
        self._judge = judge
        self._header = header
        self._now_seconds = now_seconds
        is_streams = judge.terms is STREAMS
        self._tokens = [
            value
            for name, value in cookies(header, unquote=is_streams)
            if name == judge.cookie_name
        ]
        try:
            self.accepted = judge.identify(header)
        except Unauthorized as error:
            self._error = error

    def findings(self, is_any_accepted: bool) -> Iterator[Finding]:
        """Yields what is found.

        Args:
            is_any_accepted: whether any protocol accepts the header; if so, the others do not need
                their cookie.
        """
        if self.accepted is not None:
            yield self._acceptance(self.accepted)
            yield from self._notes()
            return
        refusals = Refusals(self._judge, self._now_seconds)
        # Of several cookies, realtime reads only the first.
        counted = self._tokens if self._judge.terms is STREAMS else self._tokens[:1]
        yield from map(refusals.finding, counted)
        others = list(self._acceptable_others())
        if not self._tokens and (others or not is_any_accepted):
            yield self._missing()
        elif not self._tokens:
            yield self._absent()
        yield from others
        if len(self._tokens) > len(counted):
            yield self._several()

    def _acceptance(self, accepted: Accepted) -> Finding:
        end = "no expiry"
        if accepted.expires_at is not None:
            left = duration(accepted.expires_at - self._now_seconds)
            end = f"expires at {shown_time(accepted.expires_at)}, in {left}"
        return Finding(Mark.OK, self._judge.topic, f"accepted ({accepted.name}, {end})")

    def _notes(self) -> Iterator[Finding]:
        """Yields what may later cause the rejection of an accepted cookie."""
        judge, key = self._judge, self._judge.terms.previous_secret
        if judge.previous_secret and judge.with_value(key, "").refusal(self._header) is not None:
            yield Finding(
                Mark.NOTE,
                judge.topic,
                f"it is signed with {judge.key_to_set(key)}, and will be rejected once that is"
                " removed",
                judge.terms.renewal,
            )
        if len(self._tokens) > 1:
            yield self._several()

    def _several(self) -> Finding:
        terms = self._judge.terms
        return Finding(
            Mark.NOTE,
            self._judge.topic,
            f"the browser sends {len(self._tokens)} cookies named {self._judge.cookie_name}, of"
            f" which {terms.counted}",
            f"delete those that were set for another {terms.superset_domain}",
        )

    def _missing(self) -> Finding:
        """Returns the finding about a header without our cookie."""
        names = ", ".join(shown_name(name) for name, _ in cookies(self._header))
        there = f"the cookies are: {names}" if names else "there are no cookies"
        terms = self._judge.terms
        return Finding(
            Mark.FAIL,
            self._judge.topic,
            f"rejected with 401: {self._error}; {there}",
            f"{terms.without_cookie}; and {self._judge.key_to_set(terms.cookie)} must equal"
            f" Superset's {terms.superset_cookie}",
        )

    def _absent(self) -> Finding:
        """Returns the finding about a header that has only the cookie of another protocol."""
        return Finding(
            Mark.NOTE,
            self._judge.topic,
            f"{self._error}, so pages of {self._judge.terms.versions} get no socket in this"
            " browser; this is normal if it has not opened one yet",
        )

    def _acceptable_others(self) -> Iterator[Finding]:
        """Yields a finding per cookie that would be accepted under the right name."""
        judge, terms = self._judge, self._judge.terms
        for name, value in cookies(self._header, unquote=terms is STREAMS):
            if name == judge.cookie_name or not name:
                continue
            if judge.with_value(terms.cookie, name).refusal(f"{name}={value}") is None:
                yield Finding(
                    Mark.FAIL,
                    judge.topic,
                    f"the cookie {shown_name(name)} contains a token that would be accepted",
                    f"set {judge.key_to_set(terms.cookie)} to {shown_name(name)}, the value of"
                    f" Superset's {terms.superset_cookie}",
                )
