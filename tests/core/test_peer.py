"""The spelling of clients' addresses."""

from ipaddress import ip_address

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.peer import Peer, ip_of


class PeerTests(SynchronousTestCase):
    """Addresses of transports, and how they are shown."""

    def test_spelling(self) -> None:
        """An address is a plain host, whichever transport it comes from."""
        for address, expected in (
            (IPv4Address("TCP", "192.0.2.7", 4711), "192.0.2.7"),
            (IPv6Address("TCP", "2001:db8::1", 4711), "2001:db8::1"),
            (IPv6Address("TCP", "::ffff:192.0.2.7", 4711), "192.0.2.7"),
            (IPv6Address("TCP", "fe80::1%eth0", 4711), "fe80::1"),
            (UNIXAddress(None), "local"),
            (UNIXAddress(b""), "local"),
            (UNIXAddress(b"/run/client.sock"), "/run/client.sock"),
            (None, "local"),
        ):
            self.assertEqual(Peer.at(address), Peer(expected), address)

    def test_not_printable(self) -> None:
        """An address that a client can choose cannot forge a log line."""
        for address in (
            UNIXAddress(b"/run/a\nb"),
            UNIXAddress(b"\0abstract"),
            UNIXAddress(b"/run/\xff"),
            IPv4Address("TCP", "\x1b[2J", 1),
            IPv4Address("TCP", "::1%\n", 1),
        ):
            self.assertTrue(str(Peer.at(address)).isprintable(), address)

    def test_text(self) -> None:
        """The text names the proxy where there is one."""
        self.assertEqual(str(Peer("192.0.2.7")), "192.0.2.7")
        self.assertEqual(str(Peer("192.0.2.7", "10.0.0.1")), "192.0.2.7 via 10.0.0.1")

    def test_log_fields(self) -> None:
        """The fields of a log event are the two addresses, separately."""
        direct, forwarded = Peer("192.0.2.7"), Peer("192.0.2.7", "10.0.0.1")
        self.assertEqual(direct.log_fields, {"client": direct, "peer": "192.0.2.7"})
        self.assertEqual(
            forwarded.log_fields,
            {"client": forwarded, "peer": "192.0.2.7", "proxy": "10.0.0.1"},
        )

    def test_networks(self) -> None:
        """A network does not identify the client."""
        for address, network in (
            ("192.0.2.7", "192.0.2.*"),
            ("::ffff:192.0.2.7", "192.0.2.*"),
            ("2001:db8:7:8:9::1", "2001:db8:7:*"),
            ("2001:db8::1", "2001:db8:0:*"),
            ("local", "local"),
            ("/run/client.sock", "local"),
            ("<script>", "local"),
        ):
            self.assertEqual(Peer(address).network, network, address)
        self.assertEqual(Peer("198.51.100.3", "10.0.0.1").network, "198.51.100.*")

    def test_ip(self) -> None:
        """Brackets and zones are removed from an IP address; anything else is not one."""
        for text, expected in (("[::1]", "::1"), ("fe80::1%eth0", "fe80::1"), ("::", "::")):
            self.assertEqual(ip_of(text), ip_address(expected), text)
        for text in ("", "%", "192.0.2", "192.0.2.7:80", "host", "[::1]:80"):
            self.assertIsNone(ip_of(text), text)
