"""Reads the request of each new connection, then passes it to a WebSocket or the HTTP site."""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, Protocol

from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import RequestReason, UpgradeReason
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.forwarded import TrustedProxies
from gaq_twisted.net.mismatch import WITHOUT_PROXY_HEADER, mismatch_of_bytes, mismatch_of_tls
from gaq_twisted.net.proxy_header import ProxyHeaderProtocol
from gaq_twisted.net.request_head import BadRequest, Head, answer, asks_for_no_body, read_head
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.web.site import EventSite

# Files that a process opens besides its clients: Redis, StatsD, logs, ports, the resolver.
_OWN_FILES = 64


class Capacity(NamedTuple):
    """The maximum number of connections of this process."""

    connections: int
    """Connections of all kinds."""
    sockets: int
    """WebSockets among them; fewer, so that health checks always find room."""

    @classmethod
    def of_files(cls, count: int) -> "Capacity":
        """Returns the capacity of a process that may open this many files."""
        connections = max(2, count - _OWN_FILES)
        return cls(connections, connections - max(1, min(256, connections // 8)))


class Successor(Protocol):
    """A protocol that takes over a connection whose request has been read."""

    peer: Peer

    def makeConnection(self, transport: ITCPTransport) -> None:
        """See IProtocol.makeConnection."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol.dataReceived; the first call has the whole request."""


class RequestReader(TwistedProtocol):
    """Reads the head of a connection's only request, and hands the connection over.

    Requests are read strictly, and a connection without one is closed soon. So the protocols that
    take over never get half a request, a body or a second request. An EventSocket keeps nothing
    of HTTP in memory.

    Args:
        gateway: has the limits and the protocols that take over.
        address: the address for the protocol that takes over.
    """

    # The common part of TCP, unix and TLS transports, and of their wrappers for the PROXY protocol.
    transport: ITCPTransport

    def __init__(self, gateway: "Gateway", address: IAddress | None) -> None:
        self._gateway = gateway
        self._address = address
        self._received = b""
        self._is_answered = False

    def connectionMade(self) -> None:
        """Starts the request timeout."""
        self._gateway.add_reader(self)

    def dataReceived(self, data: bytes) -> None:
        """Hands the connection over once the request is complete."""
        if self._is_answered:
            return
        self._received += data
        mismatch = mismatch_of_bytes(self._received)
        if mismatch is not None:
            self._gateway.rejections.mismatch(self.peer, *mismatch)
            self._answer(HTTPStatus.BAD_REQUEST, mismatch.text)
            return
        try:
            found = read_head(self._received, self._gateway.max_head_bytes)
        except BadRequest as error:
            self._gateway.rejections.request(self.peer, error.status, error.reason, str(error))
            self._answer(error.status, str(error))
            return
        if found is not None:
            self._serve(*found)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancels the request timeout, and reports a peer that uses another protocol."""
        self._gateway.remove_reader(self)
        if self._received or self._is_answered:
            return
        mismatch = mismatch_of_tls(reason)
        transport: object = self.transport
        if isinstance(transport, ProxyHeaderProtocol) and transport.has_no_header:
            mismatch = WITHOUT_PROXY_HEADER
        if mismatch is not None:
            self._gateway.rejections.mismatch(self.peer, *mismatch)

    def abort(self) -> None:
        """Ends the connection."""
        self._is_answered = True
        self.transport.abortConnection()

    @property
    def peer(self) -> Peer:
        """The other end of the connection, or the client that a PROXY header names."""
        return Peer.at(self.transport.getPeer())

    def _serve(self, head: Head, rest: bytes) -> None:
        peer = self._gateway.client_of(self.peer, head)
        if not head.asks_for_websocket():
            self._hand_over(self._gateway.site.buildProtocol(self._address), peer, head)
        elif self._gateway.has_room_for_socket():
            socket = self._gateway.sockets.buildProtocol(self._address)
            origins = head.values(b"origin")
            socket.origin = b", ".join(origins).decode("latin-1") if origins else None
            self._hand_over(socket, peer, head.without_offers())
            if rest:
                socket.dataReceived(rest)
        else:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, "too many connections for this process"
            self._gateway.rejections.upgrade(peer, status, UpgradeReason.FILES, text)
            self._answer(status, text)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        self._is_answered = True
        without_body = asks_for_no_body(self._received)
        self.transport.write(answer(status, text, without_body=without_body))
        self.transport.loseConnection()

    def _hand_over(self, successor: Successor, peer: Peer, head: Head) -> None:
        self._gateway.remove_reader(self)
        transport = self.transport
        # Twisted has no public way to replace the protocol of a connection.
        place = "wrappedProtocol" if isinstance(transport, ProtocolWrapper) else "protocol"
        setattr(transport, place, successor)
        # A reference back would leave work for the garbage collector.
        del self.transport
        successor.makeConnection(transport)
        # Autobahn formats it differently in makeConnection.
        successor.peer = peer
        successor.dataReceived(bytes(head))


class Rejecter(TwistedProtocol):
    """Ends a connection for which there is no room.

    A factory may also return no protocol. But Twisted's factories that wrap others, for TLS and
    the PROXY protocol, fail in that case.
    """

    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Ends the connection."""
        self.transport.abortConnection()


class Gateway(Factory):
    """Accepts every connection while there is room; accepts changed settings.

    Args:
        site: serves requests.
        sockets: serves upgrades.
        rejections: records rejected clients.
        seconds: returns the time in seconds.
        settings: contain the limits and the trusted proxies.
        capacity: the maximum numbers of connections.
    """

    _log = Logger()

    noisy = False

    def __init__(
        self,
        site: EventSite,
        sockets: EventSocketFactory,
        rejections: Rejections,
        seconds: Callable[[], float],
        settings: Settings,
        capacity: Capacity,
    ) -> None:
        self.site = site
        self.sockets = sockets
        self.rejections = rejections
        self._seconds = seconds
        self._capacity = capacity
        # Connections without a whole request, with the times of their start, oldest first.
        self._readers: dict[RequestReader, float] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on."""
        self.max_head_bytes = settings.max_request_header_bytes
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._timeout_seconds = settings.request_timeout_ms / 1000

    def buildProtocol(self, address: IAddress | None) -> RequestReader | Rejecter:
        """Returns the protocol that reads the request, or one that ends the connection."""
        if self._connections() >= self._capacity.connections and not self._make_room():
            self.rejections.request(
                Peer.at(address),
                HTTPStatus.SERVICE_UNAVAILABLE,
                RequestReason.FILES,
                "too many connections",
            )
            return Rejecter()
        return RequestReader(self, address)

    def client_of(self, peer: Peer, head: Head) -> Peer:
        """Returns the client of a request, and the proxy if it came through a trusted one.

        Args:
            peer: the other end of the connection.
            head: the request.
        """
        client = self._proxies.client(peer.address, head)
        return peer if client is None else Peer(client, peer.address)

    def has_room_for_socket(self) -> bool:
        """Returns whether there may be one more WebSocket."""
        return self.sockets.connection_count < self._capacity.sockets

    def add_reader(self, reader: RequestReader) -> None:
        """Adds a new connection."""
        self._readers[reader] = self._seconds()

    def remove_reader(self, reader: RequestReader) -> None:
        """Removes a connection that has a whole request, or was lost."""
        self._readers.pop(reader, None)

    def close_late(self) -> None:
        """Ends the connections whose request did not arrive in time."""
        made_before = self._seconds() - self._timeout_seconds
        while self._readers:
            reader, made_at = next(iter(self._readers.items()))
            if made_at > made_before:
                break
            self._end(reader)

    def _connections(self) -> int:
        return len(self._readers) + self.sockets.connection_count + self.site.channel_count

    def _make_room(self) -> bool:
        """Ends the connection that has waited longest; returns whether there was one.

        Idle connections must not starve active ones.
        """
        if not self._readers:
            return False
        self._end(next(iter(self._readers)))
        return True

    def _end(self, reader: RequestReader) -> None:
        self._log.debug("{client} did not send a whole request in time", **reader.peer.log_fields)
        self.remove_reader(reader)
        reader.abort()
