"""Writes bytes to a socket at once, with the transport's buffer only as a fallback.

By default Twisted buffers what is written until the reactor finds the socket writable. That costs
three system calls: to wait for it, to send, and to stop waiting. The operating system nearly always
has room for a frame at once.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection

Writer = Callable[[Any, bytes], None]
"""Writes bytes to the kind of transport that it was chosen for."""


def writer_for(transport: ITransport) -> Writer:
    """Returns the function that writes to this transport: `write_now` where possible."""
    if isinstance(transport, Connection) and not transport.TLS:
        return write_now
    return write


def write(transport: ITransport, data: bytes) -> None:
    """Writes into the transport's buffer, as TLS and the transports of tests require."""
    transport.write(data)


def write_now(transport: Connection, data: bytes) -> None:
    """Writes to the socket itself, unless earlier bytes are still waiting.

    What the socket does not accept goes into the transport's buffer. If the socket fails,
    everything does; the transport then ends the connection in another turn of the reactor.

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
