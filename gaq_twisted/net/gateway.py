"""Who serves a new connection: an upgrade goes to an EventSocket, all else to the Site."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.forwarded import TrustedProxies
from gaq_twisted.net.request_head import BadRequest, Head, answer, asks_for_no_body, read_head
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.web.site import EventSite, host_of

# What a process has open beside its clients: Redis, StatsD, logs, ports, the resolver.
_OWN_FILES = 64


class Capacity(NamedTuple):
    """How many connections this process can have."""

    connections: int
    """Of all kinds."""
    sockets: int
    """WebSockets among them; fewer, so that health checks always find a place."""

    @classmethod
    def of_files(cls, count: int) -> "Capacity":
        """Return what a process can have that may open so many files."""
        connections = max(2, count - _OWN_FILES)
        return cls(connections, connections - max(1, min(256, connections // 8)))


class RequestReader(Protocol):
    """Reads the head of a connection's one request, and hands the connection on.

    Requests are read strictly, and a connection without one is not kept for
    long. So what comes behind is spared half requests, bodies and a second
    request, and an EventSocket keeps nothing of HTTP in memory.
    """

    def __init__(self, door: "Gateway", address: IAddress | None) -> None:
        """Take who knows the others, and where the other end is."""
        self._door = door
        self._address = address
        self._received = b""
        self._is_answered = False

    def connectionMade(self) -> None:
        """Wait, but not for ever."""
        self._door.waits(self)

    def dataReceived(self, data: bytes) -> None:
        """Hand over the connection once there is a whole request."""
        if self._is_answered:
            return
        self._received += data
        try:
            found = read_head(self._received, self._door.max_head_bytes)
        except BadRequest as error:
            self._door.refusals.request(self.peer, error.status, error.reason, str(error))
            self._answer(error.status, str(error))
            return
        if found is None:
            return
        head, rest = found
        if not head.asks_for_websocket():
            self._hand_over(self._door.site.buildProtocol(self._address), head)
        elif self._door.has_room_for_socket():
            socket = self._door.sockets.buildProtocol(self._address)
            self._hand_over(socket, head)
            if rest:
                socket.dataReceived(rest)
        else:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, "too many connections for this process"
            self._door.refusals.upgrade(self.peer, status, "files", text)
            self._answer(status, text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait no more."""
        self._door.waits_no_more(self)

    def abort(self) -> None:
        """End the connection."""
        transport: Any = self.transport
        transport.abortConnection()

    @property
    def peer(self) -> str:
        """The address of the other end, or of whom a PROXY header names."""
        transport: Any = self.transport
        return host_of(transport.getPeer())

    def _answer(self, status: HTTPStatus, text: str) -> None:
        self._is_answered = True
        transport: Any = self.transport
        without_body = asks_for_no_body(self._received)
        transport.write(answer(status, text, without_body=without_body))
        transport.loseConnection()

    def _hand_over(self, protocol: Any, head: Head) -> None:
        self._door.waits_no_more(self)
        client = self._door.proxies.client(self.peer, head)
        transport: Any = self.transport
        if isinstance(transport, ProtocolWrapper):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        self.transport = None
        protocol.makeConnection(transport)
        if client is not None:
            protocol.peer = f"{client} by way of {protocol.peer}"
        protocol.dataReceived(bytes(head))


class Rejecter(Protocol):
    """Ends a connection for which there is no room.

    A factory may also return no protocol at all, but those that wrap others,
    for TLS and the PROXY protocol, do not bear that.
    """

    def connectionMade(self) -> None:
        """End it."""
        transport: Any = self.transport
        transport.abortConnection()


class Gateway(Factory):
    """Takes every connection, as long as there is room."""

    _log = Logger()

    noisy = False

    def __init__(
        self,
        site: EventSite,
        sockets: EventSocketFactory,
        refusals: Rejections,
        seconds: Callable[[], float],
        settings: Settings,
        capacity: Capacity,
    ) -> None:
        """Take to whom connections go, and the limits.

        Args:
            site: serves requests.
            sockets: serves upgrades.
            refusals: notes who is turned away.
            seconds: returns the time in seconds.
            settings: name the limits.
            capacity: how many connections there can be.
        """
        self.site = site
        self.sockets = sockets
        self.refusals = refusals
        self._seconds = seconds
        self._capacity = capacity
        # Connections without a request yet, by when they were made, oldest first.
        self._waiting: dict[RequestReader, float] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self.max_head_bytes = settings.max_request_header_bytes
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self._patience_seconds = settings.request_timeout_ms / 1000

    def buildProtocol(self, address: IAddress | None) -> RequestReader | Rejecter:
        """Return who reads the request, or ends the connection if there is no room."""
        if self._connections() >= self._capacity.connections and not self._make_room():
            self.refusals.request(
                *(host_of(address), HTTPStatus.SERVICE_UNAVAILABLE),
                *("files", "too many connections"),
            )
            return Rejecter()
        return RequestReader(self, address)

    def has_room_for_socket(self) -> bool:
        """Return whether there may be one more WebSocket."""
        return int(self.sockets.countConnections) < self._capacity.sockets

    def waits(self, doorman: RequestReader) -> None:
        """Note a connection that has just been made."""
        self._waiting[doorman] = self._seconds()

    def waits_no_more(self, doorman: RequestReader) -> None:
        """Forget a connection."""
        self._waiting.pop(doorman, None)

    def close_late(self) -> None:
        """End the connections on which no whole request came in time."""
        made_before = self._seconds() - self._patience_seconds
        while self._waiting:
            doorman, made_at = next(iter(self._waiting.items()))
            if made_at > made_before:
                break
            self._end(doorman)

    def _connections(self) -> int:
        return len(self._waiting) + int(self.sockets.countConnections) + self.site.channel_count

    def _make_room(self) -> bool:
        """End the connection that has been waiting longest; return whether there is one.

        So a crowd that says nothing cannot keep out those who have something to say.
        """
        if not self._waiting:
            return False
        self._end(next(iter(self._waiting)))
        return True

    def _end(self, doorman: RequestReader) -> None:
        self._log.debug("{peer} did not make a whole request in time", peer=doorman.peer)
        self.waits_no_more(doorman)
        doorman.abort()
