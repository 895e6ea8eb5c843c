"""The ports of the demo."""

import socket

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.demo.ports import LOOPBACK, free_port, listen, reserve


class ReservationTests(SynchronousTestCase):
    """A port that is kept while nothing listens there."""

    def test_reserved(self) -> None:
        """Connections are refused, and whoever asks for this port by its number can listen."""
        port = free_port()
        with reserve(port):
            self.assertRaises(ConnectionRefusedError, socket.create_connection, (LOOPBACK, port))
            listener = listen([port])
            assert listener is not None
            with listener, socket.create_connection((LOOPBACK, port)):
                pass

    def test_after_connections(self) -> None:
        """A port whose connections have just ended can be reserved."""
        with socket.create_server((LOOPBACK, 0)) as listener:
            port = listener.getsockname()[1]
            with socket.create_connection((LOOPBACK, port)):
                listener.accept()[0].close()
        with reserve(port):
            self.assertRaises(ConnectionRefusedError, socket.create_connection, (LOOPBACK, port))
