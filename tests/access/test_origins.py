"""Which pages may connect."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.config.forms import OriginPattern


class OriginTests(SynchronousTestCase):
    """Origins against lists of what is allowed."""

    def assert_rules(
        self, allowed: str, *, good: tuple[str, ...], bad: tuple[str, ...], host: str = "gaq.test"
    ) -> None:
        """Checks which origins a list, written with spaces, allows."""
        rules = OriginRules([OriginPattern(text) for text in allowed.split()])
        for origin in good:
            self.assertTrue(rules.allow(origin, host), origin)
        for origin in bad:
            self.assertFalse(rules.allow(origin, host), origin)

    def test_any(self) -> None:
        """An empty list, and one with a star, allow every page."""
        for allowed in ("", "*", "https://a.test *"):
            self.assert_rules(allowed, good=("https://b.test", "null", "junk", ""), bad=())

    def test_exact(self) -> None:
        """Scheme, host and port must be equal, but may be spelt differently."""
        self.assert_rules(
            "https://BI.example.com http://other.test:8088 https://[::1]:8443",
            good=(
                "https://bi.example.com",
                "https://bi.example.com:443",
                "HTTPS://BI.EXAMPLE.COM",
                "https://bi.example.com.",
                "http://other.test:8088",
                "https://[::1]:8443",
            ),
            bad=(
                "http://bi.example.com",
                "https://bi.example.com:8443",
                "https://example.com",
                "https://bi.example.com.evil.test",
                "https://evil.test/bi.example.com",
                "https://evilbi.example.com",
                "https://bi.example.com@evil.test",
                "null",
                "",
                "https://bi.example.com/",
                "https://bi.example.com#",
                "https://bi.example.com\\x",
                "http://other.test",
                "https://[::1]",
                "bi.example.com",
                "https://",
                "https://bi.example.com:99999",
                "https://bi.example.com, https://evil.test",
            ),
        )

    def test_below_a_domain(self) -> None:
        """A star matches one or more whole labels of the name, but not none."""
        self.assert_rules(
            "https://*.example.com",
            good=("https://a.example.com", "https://b.a.example.com", "https://A.Example.Com:443"),
            bad=(
                "https://example.com",
                "https://.example.com",
                "https://evilexample.com",
                "https://a.example.com.evil.test",
                "http://a.example.com",
                "https://a.example.co",
                "https://a.example.com:8443",
                "https://*.example.com",
            ),
        )

    def test_same_host(self) -> None:
        """The page's host must be the one that is connected to; the ports do not matter."""
        good = ("http://gaq.test:8088", "https://gaq.test", "https://GAQ.TEST:1")
        bad = ("http://gaq.test.evil.test", "http://evil.test", "null", "gaq.test")
        for host in ("gaq.test", "gaq.test:8080", "GAQ.test.", "gaq.test.:1"):
            self.assert_rules("same-host", good=good, bad=bad, host=host)
        self.assert_rules("same-host", good=("http://[::1]:8088",), bad=good, host="[::1]:8080")
        for host in ("", "evil.test@gaq.test", "gaq.test/", "gaq.test, evil.test", "gaq.test:x"):
            self.assert_rules("same-host", good=(), bad=good, host=host)

    def test_null(self) -> None:
        """Pages without an origin of their own are allowed only by an explicit rule."""
        self.assert_rules("null", good=("null",), bad=("https://a.test",))

    def test_no_origin(self) -> None:
        """A client that sends no Origin is allowed, because it is not a browser."""
        self.assertTrue(OriginRules([OriginPattern("https://a.test")]).allow(None, "gaq.test"))
