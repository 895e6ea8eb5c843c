"""Which servers a page may ask, and which pages may ask a server."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.web.status.replicas import addresses, is_internal


class AddressTests(SynchronousTestCase):
    """The addresses of other servers, which become a part of the page's policy."""

    def test_addresses(self) -> None:
        """Hosts and ports are taken, with commas between them."""
        for text, expected in (
            ("", []),
            ("gaq-1:9090", ["gaq-1:9090"]),
            ("gaq-1:9090,10.0.0.7:1,", ["gaq-1:9090", "10.0.0.7:1"]),
            ("a.b.svc.cluster.local", ["a.b.svc.cluster.local"]),
        ):
            self.assertEqual(addresses(text), expected, text)

    def test_others(self) -> None:
        """Whatever else could widen the policy is rejected, and so are too many addresses."""
        for text in (
            "*",
            "*.example.com",
            "'unsafe-inline'",
            "a;script-src",
            "a b",
            "https:",
            "http://a:1",
            "a:1/path",
            "a:123456",
            "-a",
            "gaq_1:9090",
            "[::1]:9090",
            "a\n",
            "\ufffd",
            ",".join(["a:1"] * 21),
        ):
            self.assertIsNone(addresses(text), text)


class OriginTests(SynchronousTestCase):
    """The origins whose pages may read the events."""

    def test_internal(self) -> None:
        """Those of the network may."""
        for origin in (
            "http://127.0.0.1:9090",
            "http://localhost:9090",
            "https://10.1.2.3",
            "http://192.168.0.1:9090",
            "http://[fd00::1]:9090",
            "http://gaq-1:9090",
            "http://gaq-1.gaq.svc.cluster.local:9090",
            "http://gaq.europe.internal",
        ):
            self.assertTrue(is_internal(origin), origin)

    def test_external(self) -> None:
        """Those that anybody can have may not."""
        for origin in (
            "",
            "null",
            "http://",
            "http://[",
            "https://bi.example.com",
            "https://evil.com:9090",
            "http://8.8.8.8:9090",
            "http://[2606:4700::1]:9090",
            "http://127.0.0.1.evil.com",
            "http://evil.com.",
        ):
            self.assertFalse(is_internal(origin), origin)
