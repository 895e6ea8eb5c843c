"""TCP options for peers that silently disappear."""

import socket

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.keepalive import detect_dead_peers


class SocketTransport:
    """A transport over a real socket, as Twisted's are."""

    def __init__(self, family: int) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)

    def getHandle(self) -> socket.socket:
        """Returns the socket."""
        return self.socket


class TlsTransport:
    """A transport on top of another one."""

    def __init__(self, transport: SocketTransport) -> None:
        self.transport = transport


class KeepaliveTests(SynchronousTestCase):
    """Which sockets get the options."""

    def make(self, family: int) -> SocketTransport:
        """Returns a transport, which is closed at the end."""
        transport = SocketTransport(family)
        self.addCleanup(transport.socket.close)
        return transport

    def keeps_alive(self, transport: SocketTransport) -> bool:
        """Returns whether keepalive is on."""
        return bool(transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_tcp(self) -> None:
        """TCP sockets, also below TLS, are probed after 5 s of silence."""
        for is_tls in (False, True):
            below = self.make(socket.AF_INET)
            detect_dead_peers(TlsTransport(below) if is_tls else below)  # type: ignore[arg-type]
            self.assertTrue(self.keeps_alive(below))
            if hasattr(socket, "TCP_KEEPIDLE"):
                idle = below.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                self.assertEqual(idle, 5)

    def test_others(self) -> None:
        """Unix sockets, and transports without a socket, are not changed."""
        below = self.make(socket.AF_UNIX)
        detect_dead_peers(below)  # type: ignore[arg-type]
        self.assertFalse(self.keeps_alive(below))
        detect_dead_peers(object())  # type: ignore[arg-type]
