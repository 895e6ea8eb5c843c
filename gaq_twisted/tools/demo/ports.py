"""Where the demo listens."""

import errno
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gaq_twisted.net.listeners import Captured, captured

LOOPBACK = "127.0.0.1"
_PORTS = range(8080, 8180)
_INTERNAL_OFFSET = 1010
_ANY_PORT = 0


class Places(NamedTuple):
    """Where the server of the demo listens."""

    public: socket.socket
    """The listening socket of the public port, which is reserved thereby."""
    internal: Sequence[str]
    """The internal ports, as endpoint strings."""

    @property
    def port(self) -> int:
        """The public port."""
        port: int = self.public.getsockname()[1]
        return port

    @property
    def internal_url(self) -> str:
        """The URL of the first internal port, without a path.

        Raises:
            SystemExit: if it is no TCP port.
        """
        try:
            place = captured(self.internal[0])
        except ValueError:
            place = Captured()
        if place.port is None or place.context_factory is not None:
            raise SystemExit(
                "gaq-ws: the demo shows its status page by HTTP: INTERNAL_LISTEN must begin with"
                f" something like tcp:9090:interface={LOOPBACK}, not {self.internal[0]}"
            )
        return f"http://{_host(place.interface)}:{place.port}"


def choose_places(port: int | None, internal: Sequence[str]) -> Places:
    """Returns where to listen: on the loopback interface by default.

    Args:
        port: the public port; None for any.
        internal: the internal ports, as endpoint strings; empty for any.

    Raises:
        SystemExit: if no port is free.
    """
    for candidate in _PORTS if port is None else [port]:
        listener = listen([candidate])
        if listener is None:
            continue
        # A second demo takes another public port, and therefore another internal one.
        chosen = internal or _internal(listener.getsockname()[1] + _INTERNAL_OFFSET)
        if chosen or port is not None:
            return Places(listener, chosen or _any_internal())
        listener.close()
    wanted = f"none of the ports from {_PORTS[0]} to {_PORTS[-1]} is"
    if port is not None:
        wanted = f"port {port} of {LOOPBACK} is not"
    raise SystemExit(f"gaq-ws: {wanted} free: set PORT to one that is")


def free_port() -> int:
    """Returns a free port of the loopback interface."""
    with socket.create_server((LOOPBACK, _ANY_PORT)) as listener:
        port: int = listener.getsockname()[1]
        return port


def reserve(port: int) -> socket.socket:
    """Returns a socket that reserves a port without listening.

    Connections to it are refused, and a server that asks for this port by its number gets it.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((LOOPBACK, port))
    return reservation


def listen(candidates: Iterable[int]) -> socket.socket | None:
    """Returns a listening socket on the first port that is free; None if none is."""
    for port in candidates:
        try:
            return socket.create_server((LOOPBACK, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    return None


def _internal(port: int) -> Sequence[str]:
    if port > 65535 or (listener := listen([port])) is None:
        return ()
    listener.close()
    return [f"tcp:{port}:interface={LOOPBACK}"]


def _any_internal() -> Sequence[str]:
    return [f"tcp:{free_port()}:interface={LOOPBACK}"]


def _host(interface: str) -> str:
    if interface in ("", "::", "0.0.0.0", LOOPBACK):
        return "localhost"
    return f"[{interface}]" if ":" in interface else interface
