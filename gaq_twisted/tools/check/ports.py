"""Checks whether the server could listen where its settings say.

Import this module only where a reactor is installed.
"""

import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import readBody
from twisted.web.iweb import IAgent

from gaq_twisted.config.settings import Settings
from gaq_twisted.net.listeners import PROXY_PROTOCOL, captured, default_endpoint
from gaq_twisted.tools.check.findings import Finding, Mark

_ANSWER_SECONDS = 5.0
_ANY = ("", "0.0.0.0", "::")


class Place(NamedTuple):
    """A TCP port that the server would listen on."""

    setting: str
    """The key of the setting that names it."""
    port: int
    interface: str
    """An address; empty for all of IPv4."""
    is_http: bool
    """Whether it speaks plain HTTP, without a PROXY header."""
    path: str
    """The path that a server like this one answers on it."""

    @property
    def shown(self) -> str:
        """Its port, and its address if it has one."""
        if self.interface in _ANY:
            return str(self.port)
        host = f"[{self.interface}]" if ":" in self.interface else self.interface
        return f"{host}:{self.port}"

    def overlaps(self, other: "Place") -> bool:
        """Returns whether both are the same port of an address."""
        is_any = self.interface in _ANY or other.interface in _ANY
        return self.port == other.port and (is_any or self.interface == other.interface)


async def port_findings(
    settings: Settings, agent: IAgent, clock: IReactorTime
) -> AsyncIterator[Finding]:
    """Yields whether each port is free, or served by a server like this one.

    This never listens on a port, so that no client connects to this process.

    Args:
        settings: the settings.
        agent: the HTTP client that asks a server that already runs there.
        clock: limits how long its answer may take.
    """
    places: list[Place] = []
    for setting, text, path in _endpoints(settings):
        place = _place(setting, text, path)
        if place is None:
            yield _socket_finding(setting, text)
            continue
        double = next(filter(place.overlaps, places), None)
        places.append(place)
        if double is not None:
            yield Finding(
                Mark.FAIL,
                setting,
                f"{place.shown} is set twice, also in {double.setting}",
                "remove it from one of them, or set another port",
            )
        else:
            yield await _port_finding(place, settings.reuse_port, agent, clock)


def _endpoints(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yields the setting, the endpoint string and what is served there."""
    if settings.listen:
        for text in settings.listen:
            yield "listen", str(text), f"{settings.base_path}/health"
    else:
        yield "port", default_endpoint(settings.port), f"{settings.base_path}/health"
    for text in settings.internal_listen:
        yield "internalListen", str(text), "/ready"


def _place(setting: str, text: str, path: str) -> Place | None:
    """Returns the TCP port of an endpoint string; None if it is another kind of endpoint."""
    if text.removeprefix(PROXY_PROTOCOL).startswith("systemd:"):
        return None
    capture = captured(text)
    if capture.port is None:
        return None
    is_http = capture.context_factory is None and not text.startswith(PROXY_PROTOCOL)
    return Place(setting, capture.port, capture.interface, is_http, path)


def _socket_finding(setting: str, text: str) -> Finding:
    text = text.removeprefix(PROXY_PROTOCOL)
    if text.startswith("systemd:"):
        return Finding(Mark.NOTE, setting, f"not tried, because systemd opens it: {text}")
    directory = os.path.dirname(captured(text).path) or "."
    if os.access(directory, os.W_OK | os.X_OK):
        return Finding(Mark.OK, setting, f"a socket can be created in {directory}")
    return Finding(
        Mark.FAIL,
        setting,
        f"no socket can be created in {directory}",
        "create that directory, and let the user of this process write to it",
    )


async def _port_finding(
    place: Place, reuse_port: bool, agent: IAgent, clock: IReactorTime
) -> Finding:
    error = _error_of_bind(place, reuse_port)
    if error is None:
        return Finding(Mark.OK, place.setting, f"{place.shown} is free")
    if error.errno != errno.EADDRINUSE:
        remedy = "set another port or address"
        return Finding(
            Mark.FAIL, place.setting, f"cannot listen on {place.shown}: {error.strerror}", remedy
        )
    if not place.is_http:
        return Finding(Mark.WARN, place.setting, f"{place.shown} is in use by an unknown process")
    host = "127.0.0.1" if place.interface in _ANY else place.interface
    url = f"http://{f'[{host}]' if ':' in host else host}:{place.port}{place.path}"
    shown_path = place.path.rpartition("/")[2]
    if await _is_served(url, agent, clock):
        text = f"{place.shown} is in use by a server that answers /{shown_path}"
        return Finding(Mark.OK, place.setting, text)
    return Finding(
        Mark.FAIL,
        place.setting,
        f"{place.shown} is in use by something that does not answer /{shown_path} as this server"
        " does",
        "stop it, or set another port",
    )


def _error_of_bind(place: Place, reuse_port: bool) -> OSError | None:
    family = socket.AF_INET6 if ":" in place.interface else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((place.interface, place.port))
    except OSError as error:
        return error
    return None


async def _is_served(url: str, agent: IAgent, clock: IReactorTime) -> bool:
    asking = agent.request(b"GET", url.encode()).addCallback(readBody)
    try:
        body: bytes = await asking.addTimeout(_ANSWER_SECONDS, clock)
    except CancelledError:
        raise
    except Exception:
        # Any answer but a good one means that it is not our server.
        return False
    return body == b"OK" or body.startswith(b'{"ready": ')
