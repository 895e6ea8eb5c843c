"""The clients of the load test: each drops when it is told to, and comes back as a browser does.

Import this module only where a reactor is installed.
"""

import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import msgspec
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.types import ConnectingRequest
from OpenSSL import SSL
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
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from gaq_twisted.tools.loadtest.record import Channel, Listener, NumberedEvent, Record

_LONGEST_ABSENCE_SECONDS = 1.0
_HANDSHAKE_SECONDS = 10
# So many handshakes at a time leave the server's queue of new connections short.
_HANDSHAKES_AT_A_TIME = 32
_FIRST_TRIES = 3
_SHOWN_CHARACTERS = 120
_REMEDIES = {
    "HTTP 401": "this test signs its cookies by the settings: give it the server's jwtSecret,"
    " jwtAlgorithms, jwtCookieName and jwtChannelIdKey, as by --config or JWT_SECRET",
    "HTTP 403": "give one of the server's allowedOrigins with --origin",
    "TLS:": "the certificate must be for the host in --url, and of a CA that this machine trusts;"
    " SSL_CERT_FILE may name a file with another CA",
}
"""What to do about the reasons for which a first client is not let in, by how they begin."""
_decode = msgspec.json.Decoder(NumberedEvent).decode


class Target(NamedTuple):
    """Where the server takes upgrades."""

    url: str
    is_secure: bool
    host: str
    port: int
    resource: str
    """The path, perhaps with a query."""


class CannotConnect(Exception):
    """The first client was not let in; its text says why."""


class Crowd:
    """All clients, and what they have in common."""

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
        """Make the clients; none is connected yet.

        Args:
            record: where to count.
            target: the server.
            clients: how many; they share the record's channels evenly.
            cookie_header: returns the Cookie header of a browser of a channel.
            origin: the Origin header of all; None for none.
            reactor: provides IReactorTime and what client endpoints need.
            dice: decide who drops, and for how long.
        """
        self.record = record
        self.dice = dice
        self.reactor = reactor
        self.last_frame_at = 0.0
        """When a frame came, by the reactor's clock."""
        self.is_over = False
        """Whether nobody shall come back any more."""
        self._target = target
        self._origin = origin
        self._factory = WebSocketClientFactory(target.url, reactor=reactor)
        self._factory.protocol = Socket
        self._factory.setProtocolOptions(openHandshakeTimeout=_HANDSHAKE_SECONDS)
        self._endpoint = self._secured(HostnameEndpoint(reactor, target.host, target.port))
        headers = [{"Cookie": cookie_header(channel.name)} for channel in record.channels]
        count = len(record.channels)
        self._clients = [
            Client(self, record.channels[number % count], headers[number % count])
            for number in range(clients)
        ]

    async def connect_first(self) -> None:
        """Connect one client, to see whether the server lets it in.

        Raises:
            CannotConnect: if not.
        """
        first = self._clients[0]
        if not await first.connect():
            (reason,) = self.record.failed_connects
            raise CannotConnect(
                f"cannot connect to {self._target.url}: {reason} ({_remedy(reason)})"
            )
        # The others need not look up the name again.
        peer = first.address()
        kind = TCP6ClientEndpoint if isinstance(peer, IPv6Address) else TCP4ClientEndpoint
        self._endpoint = self._secured(kind(self.reactor, peer.host, peer.port))

    async def connect_others(
        self, progress: Callable[[float], None], wants_end: Callable[[], bool]
    ) -> None:
        """Connect all other clients, each with a few tries.

        Args:
            progress: called with the share that is done.
            wants_end: returns whether to leave the rest.
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
        """Let a client lose its connection, one that has seen an event, if there is one.

        The others would come back without `last_id`, and so without a right to anything.
        """
        for _ in range(len(self._clients)):
            if self.dice.choice(self._clients).drop():
                return

    def close(self) -> None:
        """End all connections; nobody comes back."""
        self.is_over = True
        for client in self._clients:
            client.drop()

    def away(self) -> int:
        """Return how many clients were connected once and are not now."""
        return sum(client.is_away for client in self._clients)

    def absence_seconds(self) -> float:
        """Return how long somebody stays away."""
        return self.dice.uniform(0.0, _LONGEST_ABSENCE_SECONDS)

    def open_socket(self, client: "Client") -> "Deferred[Any]":
        """Begin a connection of a client."""
        socket: Any = self._factory.buildProtocol(None)
        socket.client = client
        connecting: Deferred[Any] = connectProtocol(self._endpoint, socket)
        return connecting

    def request(self, headers: dict[str, str], last_id: str | None) -> ConnectingRequest:
        """Return what a client asks for."""
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
    """A browser's tab."""

    def __init__(self, crowd: Crowd, channel: Channel, headers: dict[str, str]) -> None:
        """Be not connected yet.

        Args:
            crowd: what it is one of.
            channel: its channel.
            headers: for its requests.
        """
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
        """Whether it was connected once, and is not now."""
        return self._listener is not None and self._socket is None

    def address(self) -> Any:
        """Return the server's address; it must be connected."""
        assert self._socket is not None
        return self._socket.transport.getPeer()

    def connect(self) -> "Deferred[bool]":
        """Try to connect; the Deferred fires with whether that has worked."""
        self._attempt = Deferred()
        attempt = self._attempt
        self._crowd.open_socket(self).addErrback(self._unreachable)
        return attempt

    def drop(self) -> bool:
        """Break the connection; return whether there was one that had brought an event.

        Where all is over, any connection will do.
        """
        if self._socket is None or (self._last_id is None and not self._crowd.is_over):
            return False
        socket, self._socket = self._socket, None
        socket.abandon()
        self._come_back_later()
        return True

    # Called by its socket

    def request(self) -> ConnectingRequest:
        """Return what it asks for."""
        return self._crowd.request(self._headers, self._last_id)

    def opened(self, socket: "Socket") -> None:
        """Note that it is connected."""
        self._socket = socket
        self._opened_ns = time.monotonic_ns()
        if self._listener is None:
            self._listener = self._crowd.record.add_listener(self._channel)
        else:
            self._crowd.record.reconnects += 1
        self._answer(True)

    def take(self, payload: bytes) -> None:
        """Take a message."""
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
        """Note that a connection has ended that it did not end itself."""
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


class Socket(WebSocketClientProtocol):  # type: ignore[misc]
    """One connection of a client."""

    client: Client
    _refusal: str | None = None
    _is_abandoned = False

    def abandon(self) -> None:
        """Break the connection without telling the client."""
        self._is_abandoned = True
        self.dropConnection(abort=True)

    def onConnecting(self, transport_details: object) -> ConnectingRequest:
        """Ask as the client wants it."""
        return self.client.request()

    def onOpen(self) -> None:
        """Tell the client."""
        self.client.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Hand on a message."""
        self.client.take(payload)

    def failHandshake(self, reason: str) -> None:
        """Keep the answer that refuses the upgrade, of which Autobahn tells only a part."""
        self._refusal = _refusal(bytes(self.data)) or reason
        super().failHandshake(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the client why, unless it was the client itself."""
        was_open = self.state != self.STATE_CONNECTING
        super().connectionLost(reason)
        if not self._is_abandoned:
            self.client.closed(self, self._why(was_open, reason))

    def _why(self, was_open: bool, failure: Failure) -> str:
        if self._refusal is not None:
            return self._refusal
        if self.wasOpenHandshakeTimeout:
            return f"no answer to the upgrade within {_HANDSHAKE_SECONDS} s"
        if self.remoteCloseCode is not None:
            said = f": {_one_line(self.remoteCloseReason)}" if self.remoteCloseReason else ""
            return f"closed with {self.remoteCloseCode}{said}"
        if isinstance(failure.value, SSL.Error):
            return f"TLS: {_tls_reason(failure.value)}"
        if self.droppedByMe:
            return str(self.wasNotCleanReason)
        return "connection lost" if was_open else "connection lost before the upgrade was answered"


def _remedy(reason: str) -> str:
    for beginning, remedy in _REMEDIES.items():
        if reason.startswith(beginning):
            return remedy
    return "see that the server runs and that --url leads to it"


def _refusal(answer: bytes) -> str | None:
    """Return the status and the one line of text of an answer that is no upgrade."""
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    code, _, phrase = status.partition(" ")
    if not code.isdigit() or code == "101":
        return None
    text = body.decode("utf-8", "replace")
    # Proxies answer with a page.
    is_page = text.lstrip().startswith("<")
    return f"HTTP {code}: {_one_line(phrase if is_page or not text.strip() else text)}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    shown = line if line.isprintable() else line.encode("unicode_escape").decode()
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 3] + "..."


def _tls_reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return "the handshake failed"
