"""The network between the browser and the server, which can be cut."""

import contextlib
import socket
import threading
from collections.abc import Callable


class Proxy:
    """Passes TCP connections on to a port of the loopback interface."""

    def __init__(self, port: int, target: int) -> None:
        """Listen on one port, and pass on to the other."""
        self._target = target
        self._sockets: list[socket.socket] = []
        self._passable = threading.Event()
        self._passable.set()
        self._listener = socket.create_server(("127.0.0.1", port))
        _in_thread(self._accept)

    def hold(self) -> None:
        """Let new connections wait."""
        self._passable.clear()

    def release(self) -> None:
        """Pass on what waits, and what comes."""
        self._passable.set()

    def cut(self) -> None:
        """Cut all connections."""
        for one in self._sockets:
            _cut(one)
        self._sockets.clear()

    def close(self) -> None:
        """Cut all connections and take no more."""
        self.release()
        _cut(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                _in_thread(self._pass_on, self._listener.accept()[0])

    def _pass_on(self, client: socket.socket) -> None:
        self._passable.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            # The server is not there: the browser is to see a connection that failed.
            _cut(client)
            return
        self._sockets += (client, server)
        _in_thread(_carry, client, server)
        _carry(server, client)


def _in_thread(target: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(2**16):
            sink.sendall(chunk)
    _cut(source)
    _cut(sink)


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
