"""Bytes written to a socket at once, with the transport's buffer only as a fall-back.

Twisted's own way is to keep what is written until the reactor finds the socket
writable, and costs three system calls: to ask for that, to send, and to ask no
more.  Nearly always the operating system has room for a frame at once.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection


def writer_for(transport: Any) -> Callable[[Any, bytes], None]:
    """Return what writes to that transport: the direct way only where there is one."""
    if isinstance(transport, Connection) and not transport.TLS:
        return write_now
    return write


def write(transport: Any, data: bytes) -> None:
    """Write by way of the transport's buffer, as TLS and tests' transports want it."""
    transport.write(data)


def write_now(transport: Any, data: bytes) -> None:
    """Write to the socket itself, unless bytes wait that must go first.

    What the socket does not take is left to the transport; so is a socket that
    fails, which ends the connection from a turn of the reactor of its own.

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
