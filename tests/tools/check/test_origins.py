"""Whether a page may connect."""

from gaq_twisted.config.forms import OriginPattern
from gaq_twisted.tools.check.findings import Mark
from gaq_twisted.tools.check.origins import judge_origin
from tests.tools.check.case import FindingTestCase


class OriginVerdictTests(FindingTestCase):
    """Whether a page may connect."""

    def check(
        self, mark: Mark, *parts: str, origin: str, allowed: str = "", host: str | None = None
    ) -> None:
        """Checks what is found about an origin."""
        patterns = tuple(OriginPattern(one) for one in allowed.split())
        finding = judge_origin(patterns, origin, host)
        self.assert_advice(finding, mark, *parts)

    def test_accepted(self) -> None:
        """A page that the rules allow is accepted."""
        page = "https://bi.example.com"
        self.check(Mark.OK, "allowedOrigins is empty", origin=page)
        for allowed in (page, "*", "https://*.example.com"):
            self.check(Mark.OK, "is accepted", origin=page, allowed=allowed)
        self.check(Mark.OK, origin=page, allowed="same-host", host="bi.example.com:8080")
        self.check(Mark.OK, origin="null", allowed="null")

    def test_refused(self) -> None:
        """The missing rule is reported, and the existing ones."""
        self.check(
            Mark.FAIL,
            "403",
            "which is https://bi.example.com",
            'add "http://bi.example.com" to',
            origin="http://bi.example.com",
            allowed="https://bi.example.com",
        )
        self.check(Mark.FAIL, "add null", origin="null", allowed="https://bi.example.com")

    def test_no_origin(self) -> None:
        """A URL with a path or without a scheme is corrected."""
        for given in ("https://bi.example.com/superset/", "bi.example.com/x"):
            self.check(
                Mark.FAIL,
                "is not an origin",
                "as https://bi.example.com",
                origin=given,
                allowed="https://bi.example.com",
            )

    def test_same_host(self) -> None:
        """For same-host the host decides; without it the result is not certain."""
        for host, mark, part in (
            (None, Mark.WARN, "add --host"),
            ("ws.example.com", Mark.FAIL, 'for the host "ws.example.com"'),
        ):
            self.check(mark, part, origin="https://bi.example.com", allowed="same-host", host=host)
