"""Bytes written to a socket at once, with the transport's buffer only as a fall-back.

By default Twisted keeps what is written until the reactor finds the socket writable. That costs
three system calls: to wait for it, to send, and to stop waiting. Nearly always the operating
system has room for a frame at once.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection

Writer = Callable[[Any, bytes], None]
"""Writes bytes to a transport of the kind that it was chosen for."""


def writer_for(transport: ITransport) -> Writer:
    """Returns the function that writes to this transport; `write_now` where that is possible."""
    if isinstance(transport, Connection) and not transport.TLS:
        return write_now
    return write


def write(transport: ITransport, data: bytes) -> None:
    """Writes into the transport's buffer, as TLS and the transports of tests need it."""
    transport.write(data)


def write_now(transport: Connection, data: bytes) -> None:
    """Writes to the socket itself, unless earlier bytes are still waiting.

    What the socket does not take goes into the transport's buffer. So does everything if the
    socket fails; the transport then ends the connection in another turn of the reactor.

    Args:
        transport: a TCP or unix transport without TLS.
        data: what to write.
    """
    if transport.connected and not (transport.dataBuffer or transport._tempDataBuffer):
        try:
            sent = transport.socket.send(data)
        except OSError:
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
