"""Whether the server could listen on its port.

Import this module only where a reactor is installed.
"""

import errno
import socket

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import readBody
from twisted.web.iweb import IAgent

from gaq_twisted.tools.check.findings import Finding, Mark

_HEALTH_SECONDS = 5.0


async def check_port(
    port: int, base_path: str, *, reuse_port: bool, agent: IAgent, clock: IReactorTime
) -> Finding:
    """Returns whether a port is free, or served by a server like this one.

    The port is never listened on, so that no client connects to this process.

    Args:
        port: the TCP port.
        base_path: what the path of that server's `/health` begins with.
        reuse_port: whether several processes may share it.
        agent: the HTTP client that asks that server.
        clock: limits how long the answer may take.
    """
    error = _error_of_bind(port, reuse_port)
    if error is None:
        return Finding(Mark.OK, "port", f"{port} is free")
    if error.errno != errno.EADDRINUSE:
        return Finding(Mark.FAIL, "port", f"{port}: {error.strerror}", "set another port")
    if await _is_healthy(f"http://127.0.0.1:{port}{base_path}/health", agent, clock):
        return Finding(Mark.OK, "port", f"{port} is in use, and a server there answers /health")
    return Finding(
        Mark.FAIL,
        "port",
        f"{port} is in use, and what uses it does not answer /health with OK",
        "stop that, or set another port",
    )


def _error_of_bind(port: int, reuse_port: bool) -> OSError | None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            one.bind(("", port))
        except OSError as error:
            return error
    return None


async def _is_healthy(url: str, agent: IAgent, clock: IReactorTime) -> bool:
    asking = agent.request(b"GET", url.encode()).addCallback(readBody)
    try:
        return bool(await asking.addTimeout(_HEALTH_SECONDS, clock) == b"OK")
    except CancelledError:
        raise
    except Exception:
        # Any answer but a good one means that it is not our server.
        return False
