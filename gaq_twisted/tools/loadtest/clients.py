"""The clients of the load test, which lose connections and reconnect as browsers do.

Import this module only where a reactor is installed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory
from autobahn.websocket.types import ConnectingRequest
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.tools.loadtest.report import Counts
from gaq_twisted.tools.loadtest.sockets import HANDSHAKE_SECONDS, Socket, Target, remedy

_LONGEST_ABSENCE_SECONDS = 1.0
# Keeps the server's queue of new connections short.
_HANDSHAKES_AT_A_TIME = 32
_FIRST_TRIES = 3


class CannotConnect(Exception):
    """Raised if the first client is rejected; the text says why."""


class Crowd:
    """All clients, none of which is connected at first.

    Args:
        counts: count connections.
        target: the server.
        origin: the Origin header of all; None for none.
        reactor: provides IReactorTime and the interfaces that client endpoints need.
        dice: decide which clients drop, and for how long.
    """

    def __init__(
        self,
        counts: Counts,
        target: Target,
        *,
        origin: str | None,
        reactor: IClientReactor,
        dice: Random,
    ) -> None:
        self.counts = counts
        self.dice = dice
        self.reactor = reactor
        self.last_frame_at = 0.0
        """When the last frame came, by the reactor's clock."""
        self.is_over = False
        """Whether clients stay away once their connection has ended."""
        self._target = target
        self._origin = origin
        self._factory = WebSocketClientFactory(target.url, reactor=reactor)
        self._factory.protocol = Socket
        self._factory.setProtocolOptions(openHandshakeTimeout=HANDSHAKE_SECONDS)
        self._endpoint = self._secured(HostnameEndpoint(reactor, target.host, target.port))
        self._clients: list[Client] = []

    def add(self, client: "Client") -> None:
        """Adds a client."""
        self._clients.append(client)

    async def connect_first(self) -> None:
        """Connects one client as a test.

        Raises:
            CannotConnect: if the server rejects it.
        """
        first = self._clients[0]
        if not await first.connect():
            (reason,) = self.counts.failed_connects
            raise CannotConnect(
                f"cannot connect to {self._target.url}: {reason} ({remedy(reason)})"
            )
        # The other clients need not resolve the name again.
        peer = first.address()
        kind = TCP6ClientEndpoint if isinstance(peer, IPv6Address) else TCP4ClientEndpoint
        self._endpoint = self._secured(kind(self.reactor, peer.host, peer.port))

    async def connect_others(
        self, progress: Callable[[int], None], wants_end: Callable[[], bool]
    ) -> None:
        """Connects all other clients, with a few retries each.

        Args:
            progress: called with how many clients are done.
            wants_end: returns whether to skip the rest.
        """
        waiting = iter(self._clients[1:])
        done = 1

        async def connect_some() -> None:
            nonlocal done
            for client in waiting:
                if wants_end() or not await self._connect_with_tries(client):
                    self.counts.never_connected += 1
                done += 1
                progress(done)

        await gatherResults(
            [Deferred.fromCoroutine(connect_some()) for _ in range(_HANDSHAKES_AT_A_TIME)]
        )

    async def _connect_with_tries(self, client: "Client") -> bool:
        for _ in range(_FIRST_TRIES - 1):
            if await client.connect():
                return True
            await deferLater(self.reactor, self.absence_seconds())
        return await client.connect()

    def drop_one(self) -> None:
        """Breaks the connection of a client that may be dropped, if there is one."""
        for _ in range(len(self._clients)):
            if self.dice.choice(self._clients).drop():
                return

    def close(self) -> None:
        """Ends all connections for good."""
        self.is_over = True
        for client in self._clients:
            client.drop()

    def note_frame(self) -> None:
        """Records that one of its clients has just received a frame."""
        self.last_frame_at = self.reactor.seconds()

    def away(self) -> int:
        """Returns how many clients have lost their connection."""
        return sum(client.is_away for client in self._clients)

    def absence_seconds(self) -> float:
        """Returns a random time to stay away."""
        return self.dice.uniform(0.0, _LONGEST_ABSENCE_SECONDS)

    def open_socket(self, client: "Client") -> "Deferred[Any]":
        """Opens a connection of a client."""
        socket: Any = self._factory.buildProtocol(None)
        socket.owner = client
        connecting: Deferred[Any] = connectProtocol(self._endpoint, socket)
        return connecting

    def request(self, headers: dict[str, str], query: str) -> ConnectingRequest:
        """Returns the upgrade that a client sends, with an optional further parameter."""
        target = self._target
        resource = target.resource
        if query:
            resource += f"{'&' if '?' in resource else '?'}{query}"
        return ConnectingRequest(
            host=f"[{target.host}]" if ":" in target.host else target.host,
            port=target.port,
            resource=resource,
            headers=headers,
            useragent="gaq-ws-load",
            origin=self._origin,
            protocols=[],
        )

    def _secured(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        if not self._target.is_secure:
            return endpoint
        return wrapClientTLS(optionsForClientTLS(self._target.host), endpoint)


class Client(ABC):
    """A browser's tab.

    Args:
        crowd: the crowd that it belongs to.
        headers: the headers of its requests.
    """

    def __init__(self, crowd: Crowd, headers: dict[str, str]) -> None:
        self.crowd = crowd
        self._headers = headers
        self._has_connected = False
        self._socket: Socket | None = None
        self._attempt: Deferred[bool] | None = None

    @abstractmethod
    def query(self) -> str:
        """Returns the parameter that its next upgrade adds to the query; may be empty."""

    @abstractmethod
    def may_drop(self) -> bool:
        """Returns whether its connection may be broken while the test runs."""

    @abstractmethod
    def note_open(self) -> None:
        """Notes that it is connected."""

    @abstractmethod
    def note_end(self, close_code: int | None) -> None:
        """Notes that an open connection has ended; with the server's close code if it sent one."""

    @abstractmethod
    def take(self, payload: bytes) -> None:
        """Notes a message."""

    @property
    def is_away(self) -> bool:
        """Whether it has lost its connection."""
        return self._has_connected and self._socket is None

    def address(self) -> Any:
        """Returns the server's address; it must be connected."""
        assert self._socket is not None
        return self._socket.transport.getPeer()

    def connect(self) -> "Deferred[bool]":
        """Tries to connect; the Deferred fires with whether it succeeded."""
        self._attempt = Deferred()
        attempt = self._attempt
        self.crowd.open_socket(self).addErrback(self._unreachable)
        return attempt

    def drop(self) -> bool:
        """Breaks the connection if that is allowed; returns whether it did.

        Once the test is over, any connection is broken.
        """
        if self._socket is None or not (self.crowd.is_over or self.may_drop()):
            return False
        socket, self._socket = self._socket, None
        if not self.crowd.is_over:
            self.note_end(None)
        socket.abandon()
        self._come_back_later()
        return True

    # Called by its socket.

    def request(self) -> ConnectingRequest:
        """Returns the upgrade to send."""
        return self.crowd.request(self._headers, self.query())

    def opened(self, socket: "Socket") -> None:
        """Records that it is connected."""
        self._socket = socket
        self._has_connected = True
        self.note_open()
        self._answer(True)

    def closed(self, socket: "Socket", reason: str) -> None:
        """Records that a connection has ended, and reconnects later."""
        if self._socket is socket:
            self._socket = None
            self.note_end(socket.remoteCloseCode)
        self._failed(reason)

    def _unreachable(self, failure: Failure) -> None:
        error: Any = failure.value
        is_plain = isinstance(error, ConnectError) and error.args[0]
        self._failed(str(error.args[0]) if is_plain else failure.getErrorMessage())

    def _failed(self, reason: str) -> None:
        if self.crowd.is_over:
            self._answer(False)
            return
        self.crowd.counts.failed_connects[reason] += 1
        if self._has_connected:
            self._come_back_later()
        self._answer(False)

    def _answer(self, is_connected: bool) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.callback(is_connected)

    def _come_back_later(self) -> None:
        if not self.crowd.is_over:
            self.crowd.reactor.callLater(self.crowd.absence_seconds(), self._come_back)

    def _come_back(self) -> None:
        if not self.crowd.is_over:
            self.connect()
