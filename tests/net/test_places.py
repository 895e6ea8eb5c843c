"""How the log shows where connections are accepted."""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.net.places import Place


class PlaceTests(SynchronousTestCase):
    """The text of a place."""

    def test_texts(self) -> None:
        """It has the address, unless that is any, and the kind where that is of interest."""
        for kind, address, expected in (
            ("tcp", IPv4Address("TCP", "0.0.0.0", 8080), "tcp:8080"),
            ("tcp", IPv6Address("TCP", "::", 8080), "tcp:8080"),
            ("tcp", IPv4Address("TCP", "127.0.0.1", 9090), "127.0.0.1:9090"),
            ("tcp", IPv6Address("TCP", "::1", 9090), "[::1]:9090"),
            ("ssl", IPv6Address("TCP", "::", 8443), "ssl:8443"),
            ("ssl", IPv4Address("TCP", "10.0.0.5", 8443), "ssl:10.0.0.5:8443"),
            ("haproxy", IPv4Address("TCP", "0.0.0.0", 1), "haproxy:1"),
            ("unix", UNIXAddress(b"/run/gaq.sock"), "unix:/run/gaq.sock"),
            ("systemd", UNIXAddress(b"/run/gaq.sock"), "systemd:/run/gaq.sock"),
        ):
            self.assertEqual(str(Place(kind, address)), expected)
