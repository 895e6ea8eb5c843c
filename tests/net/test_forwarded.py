"""The address of a client, from the headers of proxies."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import Network
from gaq_twisted.net.forwarded import TrustedProxies
from gaq_twisted.net.request_head import Head

PROXY, CLIENT = "10.0.0.1", "198.51.100.1"


class ForwardedTests(SynchronousTestCase):
    """Headers that proxies add."""

    def client(
        self, *values: str, peer: str = PROXY, header: str = "x-forwarded-for"
    ) -> str | None:
        """Returns the client of a request with these headers."""
        headers = [(header.encode(), value.encode()) for value in values]
        proxies = TrustedProxies([Network("10.0.0.0/8"), Network("fd00::/8")])
        return proxies.client(peer, Head(b"GET", b"/", b"1", headers))

    def test_chain(self) -> None:
        """The client is the last address that is not a trusted proxy's."""
        for values in (
            (CLIENT,),
            (f"1.1.1.1, {CLIENT}",),
            (f"1.1.1.1, {CLIENT}, 10.2.2.2,fd00::1",),
            ("1.1.1.1", f"{CLIENT} , 10.2.2.2"),
            (f"{CLIENT}:4711",),
            (f"::ffff:{CLIENT}",),
            (f"nonsense, {CLIENT}",),
        ):
            self.assertEqual(self.client(*values), CLIENT, values)

    def test_proxies_only(self) -> None:
        """If all addresses are those of proxies, the first one is the client's."""
        self.assertEqual(self.client("10.9.9.9, 10.2.2.2"), "10.9.9.9")

    def test_nonsense(self) -> None:
        """A text that is not an address is not shown, nor is anything before it."""
        for text in ("", "unknown", "a\x1b[31m", "1.1.1.1, x", "1.1.1.1, 999.1.1.1", "1.1.1.1,"):
            self.assertIsNone(self.client(text), text)
        self.assertEqual(self.client("x, 10.2.2.2"), "10.2.2.2")

    def test_zone(self) -> None:
        """Of an address with a zone, which may be any text, only the address is shown."""
        self.assertEqual(self.client("fe80::1%eth0 by way of 1.1.1.1"), "fe80::1")
        self.assertEqual(self.client(CLIENT, peer="fd00::1%eth0"), CLIENT)

    def test_standard_header(self) -> None:
        """The header of RFC 7239 is accepted too, as in its examples."""
        for value, expected in (
            (f"for={CLIENT}", CLIENT),
            (f'For="{CLIENT}:4711"', CLIENT),
            ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
            (f"proto=https;for={CLIENT};by=203.0.113.43", CLIENT),
            (f"for=1.1.1.1, for={CLIENT};host=x", CLIENT),
            (f"for={CLIENT}, for=10.2.2.2", CLIENT),
            ('for="_gazonk"', None),
            ("for=unknown", None),
            (f"xfor={CLIENT}", None),
            ("", None),
        ):
            self.assertEqual(self.client(value, header="forwarded"), expected, value)

    def test_peer(self) -> None:
        """Only trusted proxies' headers count, however their address is written."""
        self.assertEqual(self.client(CLIENT, peer="::ffff:10.0.0.1"), CLIENT)
        for peer in ("11.0.0.1", "::1", "", "None"):
            self.assertIsNone(self.client(CLIENT, peer=peer), peer)
