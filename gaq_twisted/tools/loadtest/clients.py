"""The clients of the load test, which lose connections and reconnect as browsers do.

Import this module only where a reactor is installed.
"""

import time
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
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

from gaq_twisted.tools.loadtest.record import Channel, Listener, NumberedEvent, Record
from gaq_twisted.tools.loadtest.sockets import HANDSHAKE_SECONDS, Socket, Target, remedy

_LONGEST_ABSENCE_SECONDS = 1.0
# Keeps the server's queue of new connections short.
_HANDSHAKES_AT_A_TIME = 32
_FIRST_TRIES = 3
_decode = msgspec.json.Decoder(NumberedEvent).decode


class CannotConnect(Exception):
    """Raised if the first client is refused; the text says why."""


class Crowd:
    """All clients, none of which is connected at first.

    Args:
        record: what counts their events.
        target: the server.
        clients: how many; they share the record's channels evenly.
        cookie_header: returns the Cookie header of a browser of a channel.
        origin: the Origin header of all; None for none.
        reactor: provides IReactorTime and what client endpoints need.
        dice: decide who drops, and for how long.
    """

    def __init__(
        self,
        record: Record,
        target: Target,
        *,
        clients: int,
        cookie_header: Callable[[str], str],
        origin: str | None,
        reactor: Any,
        dice: Random,
    ) -> None:
        self.record = record
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
        headers = [{"Cookie": cookie_header(channel.name)} for channel in record.channels]
        count = len(record.channels)
        self._clients = [
            Client(self, record.channels[number % count], headers[number % count])
            for number in range(clients)
        ]

    async def connect_first(self) -> None:
        """Connects one client, as a trial.

        Raises:
            CannotConnect: if the server refuses it.
        """
        first = self._clients[0]
        if not await first.connect():
            (reason,) = self.record.failed_connects
            raise CannotConnect(
                f"cannot connect to {self._target.url}: {reason} ({remedy(reason)})"
            )
        # Saves the others from resolving the name again.
        peer = first.address()
        kind = TCP6ClientEndpoint if isinstance(peer, IPv6Address) else TCP4ClientEndpoint
        self._endpoint = self._secured(kind(self.reactor, peer.host, peer.port))

    async def connect_others(
        self, progress: Callable[[float], None], wants_end: Callable[[], bool]
    ) -> None:
        """Connects all other clients, with a few retries each.

        Args:
            progress: called with the share that is done, from 0 to 1.
            wants_end: returns whether to skip the rest.
        """
        waiting = iter(self._clients[1:])
        done = 1

        async def connect_some() -> None:
            nonlocal done
            for client in waiting:
                if wants_end() or not await self._connect_with_tries(client):
                    self.record.never_connected += 1
                done += 1
                progress(done / len(self._clients))

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
        """Breaks the connection of a client that has received an event, if there is one.

        Others would reconnect without `last_id`, and so without a claim to what they missed.
        """
        for _ in range(len(self._clients)):
            if self.dice.choice(self._clients).drop():
                return

    def close(self) -> None:
        """Ends all connections for good."""
        self.is_over = True
        for client in self._clients:
            client.drop()

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

    def request(self, headers: dict[str, str], last_id: str | None) -> ConnectingRequest:
        """Returns the upgrade that a client sends."""
        target = self._target
        resource = target.resource
        if last_id is not None:
            resource += f"{'&' if '?' in resource else '?'}last_id={last_id}"
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


class Client:
    """A browser's tab.

    Args:
        crowd: the crowd that it belongs to.
        channel: its channel.
        headers: the headers of its requests.
    """

    def __init__(self, crowd: Crowd, channel: Channel, headers: dict[str, str]) -> None:
        self._crowd = crowd
        self._channel = channel
        self._headers = headers
        self._listener: Listener | None = None
        self._last_id: str | None = None
        self._socket: Socket | None = None
        self._opened_ns = 0
        self._attempt: Deferred[bool] | None = None

    @property
    def is_away(self) -> bool:
        """Whether it has lost its connection."""
        return self._listener is not None and self._socket is None

    def address(self) -> Any:
        """Returns the server's address; it must be connected."""
        assert self._socket is not None
        return self._socket.transport.getPeer()

    def connect(self) -> "Deferred[bool]":
        """Tries to connect; the Deferred fires with whether it succeeded."""
        self._attempt = Deferred()
        attempt = self._attempt
        self._crowd.open_socket(self).addErrback(self._unreachable)
        return attempt

    def drop(self) -> bool:
        """Breaks the connection if it has brought an event; returns whether it did so.

        Once the test is over, any connection is broken.
        """
        if self._socket is None or (self._last_id is None and not self._crowd.is_over):
            return False
        socket, self._socket = self._socket, None
        socket.abandon()
        self._come_back_later()
        return True

    # Called by its socket.

    def request(self) -> ConnectingRequest:
        """Returns the upgrade to send."""
        return self._crowd.request(self._headers, self._last_id)

    def opened(self, socket: "Socket") -> None:
        """Records that it is connected."""
        self._socket = socket
        self._opened_ns = time.monotonic_ns()
        if self._listener is None:
            self._listener = self._crowd.record.add_listener(self._channel)
        else:
            self._crowd.record.reconnects += 1
        self._answer(True)

    def take(self, payload: bytes) -> None:
        """Records a message."""
        now_ns = time.monotonic_ns()
        assert self._listener is not None
        record = self._crowd.record
        try:
            event = _decode(payload)
        except msgspec.DecodeError:
            record.misdelivered += 1
            return
        self._crowd.last_frame_at = self._crowd.reactor.seconds()
        if record.take(self._listener, event, opened_ns=self._opened_ns, now_ns=now_ns):
            self._last_id = event.id

    def closed(self, socket: "Socket", reason: str) -> None:
        """Records that a connection has ended, and reconnects later."""
        if self._socket is socket:
            self._socket = None
        self._failed(reason)

    def _unreachable(self, failure: Failure) -> None:
        error: Any = failure.value
        is_plain = isinstance(error, ConnectError) and error.args[0]
        self._failed(str(error.args[0]) if is_plain else failure.getErrorMessage())

    def _failed(self, reason: str) -> None:
        if self._crowd.is_over:
            self._answer(False)
            return
        self._crowd.record.failed_connects[reason] += 1
        if self._listener is not None:
            self._come_back_later()
        self._answer(False)

    def _answer(self, is_connected: bool) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.callback(is_connected)

    def _come_back_later(self) -> None:
        if not self._crowd.is_over:
            self._crowd.reactor.callLater(self._crowd.absence_seconds(), self._come_back)

    def _come_back(self) -> None:
        if not self._crowd.is_over:
            self.connect()
