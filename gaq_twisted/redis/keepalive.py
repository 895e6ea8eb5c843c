"""TCP options with which the operating system detects a peer that has silently disappeared."""

import socket
from contextlib import suppress

from twisted.internet.interfaces import ITransport

_IDLE_SECONDS = 5
_INTERVAL_SECONDS = 2
_PROBES = 3
_USER_TIMEOUT_MS = 10_000


def detect_dead_peers(transport: ITransport) -> None:
    """Turns on keepalive, and a timeout for unacknowledged data (RFC 5482).

    By default Linux takes two hours to notice that an idle connection was dropped by a
    firewall.

    Args:
        transport: a transport; one without a TCP socket is not changed.
    """
    # TLS wraps another transport.
    handle = getattr(getattr(transport, "transport", transport), "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket) or handle.family == socket.AF_UNIX:
        return
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), _IDLE_SECONDS),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), _INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), _PROBES),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", None), _USER_TIMEOUT_MS),
    )
    for level, option, value in options:
        if option is not None:
            # Not every system supports all of them.
            with suppress(OSError):
                handle.setsockopt(level, option, value)
