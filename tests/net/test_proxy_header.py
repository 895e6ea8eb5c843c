"""The PROXY protocol, in the forms that load balancers send."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.net.proxy_header import ProxyHeaderFactory, ProxyHeaderProtocol

V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4000 8080\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x01\x0f\xa0\x1f\x90"
REQUEST = b"GET / HTTP/1.1\r\n"


class Behind(Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keeps the data."""
        self.received += data


class HeaderTests(SynchronousTestCase):
    """Headers, whole and in pieces."""

    def connect(self) -> tuple[ProxyHeaderProtocol, Behind]:
        """Returns a connection."""
        behind = Behind()
        factory = Factory.forProtocol(lambda: behind)
        protocol = ProxyHeaderFactory(factory).buildProtocol(IPv4Address("TCP", "10.0.0.9", 1))
        protocol.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.9", 1)))
        assert isinstance(protocol, ProxyHeaderProtocol)
        return protocol, behind

    def test_headers(self) -> None:
        """Each header gives the client, or none, and is not passed on, however it is split."""
        for header, host in (
            (V1, "203.0.113.7"),
            (V2, "203.0.113.7"),
            (b"PROXY UNKNOWN\r\n", "10.0.0.9"),
            (b"PROXY UNKNOWN 1.1.1.1 2.2.2.2 1 2\r\n", "10.0.0.9"),
        ):
            for size in (1, 7, 11, 1000):
                protocol, behind = self.connect()
                data = header + REQUEST
                for start in range(0, len(data), size):
                    protocol.dataReceived(data[start : start + size])
                peer: Any = protocol.getPeer()
                self.assertEqual((behind.received, peer.host), (REQUEST, host))
                self.assertFalse(protocol.has_no_header)

    def test_none(self) -> None:
        """Anything else ends the connection, and is recognised as a missing header."""
        for data in (REQUEST, b"\x16\x03\x01", b"PROXX", b"PROXY TCP9 x y 1 2\r\n", b"\r\n\r\nGET"):
            protocol, behind = self.connect()
            protocol.dataReceived(data)
            self.assertEqual((protocol.has_no_header, behind.received), (True, b""), data)

    def test_unfinished(self) -> None:
        """The beginning of a header is waited for."""
        for data in (b"P", b"PROXY TCP4", V2[:14]):
            protocol, _ = self.connect()
            protocol.dataReceived(data)
            self.assertFalse(protocol.has_no_header)
