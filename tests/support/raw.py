"""A client that is no more than a TCP socket."""

import contextlib
import socket
from collections.abc import Callable

from tests.support.processes import DEADLINE_SECONDS
from tests.support.rfc6455 import Frame, parse

_END = b"\r\n\r\n"


class RawClient:
    """A WebSocket whose every byte is the test's; an rfc6455.Line."""

    def __init__(self, port: int, request: bytes) -> None:
        """Send the upgrade request and read the head of the answer."""
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)
        self._received = b""
        self._socket.sendall(request)
        while _END not in self._received and self._read():
            pass
        head, end, self._received = self._received.partition(_END)
        self.head = head + end
        """The answer's status line and headers."""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _read(self) -> bool:
        try:
            data = self._socket.recv(2**16)
        except ConnectionResetError:
            # The server has closed before it has read all.
            return False
        self._received += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send bytes; those for a connection that has ended are lost."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def read(self, count: int) -> bytes:
        """Return the next bytes, so many."""
        while len(self._received) < count:
            assert self._read(), f"the end, after {self._received!r}"
        data, self._received = self._received[:count], self._received[count:]
        return data

    def read_until(self, is_last: Callable[[Frame], bool]) -> list[Frame]:
        """Return all frames so far, once the one that is the last has come."""
        while True:
            frames = list(parse(self._received))
            if any(map(is_last, frames)):
                return frames
            assert self._read(), f"the end, after {frames}"

    def read_to_end(self) -> list[Frame]:
        """Return all frames, once the server has ended the connection; send an end first.

        Without that a server waits some seconds for a client that cannot close.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self.wait_for_end()
        return list(parse(self._received))

    def rest(self) -> bytes:
        """Returns what comes until the server ends the connection."""
        self.wait_for_end()
        return self._received

    def wait_for_end(self) -> None:
        """Wait until the server has ended the connection; answer nothing."""
        while self._read():
            pass
