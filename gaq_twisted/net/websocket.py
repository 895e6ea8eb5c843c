"""The WebSocket side: Autobahn's callbacks turned into calls of the hub."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Edition, Ticket, Unauthorized, Upgrade, choose
from gaq_twisted.core.hub import Hub, NoRoom
from gaq_twisted.core.metrics import CLOSED, Metrics
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net import direct_write, request_head
from gaq_twisted.text import printable, shortened

# How long a closing connection may take to send what was written and to be closed by the client.
_LINGER_SECONDS = 5.0
_SHOWN_CHARACTERS = 200
# A whole ping without payload (RFC 6455 section 5.5.2).
_PING = b"\x89\x00"
_TRY_AGAIN_LATER = 1013


@implementer(IPushProducer)
class EventSocket(WebSocketServerProtocol):  # type: ignore[misc]
    """One browser's WebSocket; a hub.Socket.

    What the client sends is thrown away as it arrives.
    """

    # Autobahn logs each refused or dropped client twice, and without fields.
    log = txaio.make_logger(level="error")

    _log = Logger()

    factory: "EventSocketFactory"
    routes: tuple[str, ...] = ()
    expires_at: float | None = None
    _edition: Edition
    _ticket: Ticket
    _end_call: Any = None
    # Why an upgrade is refused, if it is not for what is wrong with its HTTP.
    _refusal = "bad_handshake"
    unsent_bytes: int | None = None
    """How much was sent since the transport told that too much waits; None before."""
    _message_bytes = 0
    _write: "Callable[[Any, bytes], None]" = staticmethod(direct_write.write)

    # Called by Twisted

    def dataReceived(self, data: bytes) -> None:
        """Pass on, if it is not too much; Autobahn's own way makes coloured text first."""
        if self.state == self.STATE_CONNECTING or self.factory.admits_bytes(self, len(data)):
            self._dataReceived(data)
            if self.state == self.STATE_CLOSED:
                # Autobahn keeps what nobody will read any more.
                self.data = b""
        else:
            self._refuse(self.CLOSE_STATUS_CODE_POLICY_VIOLATION, "rate", "too many bytes a second")
            # It may go on sending; that waits in its own system now.
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on likewise, and leave nothing that only the garbage collector could remove."""
        self._connectionLost(reason)
        self.transport.unregisterProducer()
        # A transport that was to end has told no more whether it is full.
        self.factory.slow_sockets.pop(self, None)
        # Its result is this socket.
        del self.is_closed
        self.factory.note_end()
        self._end_call = None

    # Called by Autobahn

    def onConnect(self, request: ConnectionRequest) -> None:
        """Accept the upgrade if the page may connect and the cookie names a channel.

        Raises:
            ConnectionDeny: 403 or 401 if not.
        """
        headers = request.headers
        if not self.factory.origins.allow(headers.get("origin"), headers.get("host", "")):
            self._refusal = "origin"
            raise ConnectionDeny(
                HTTPStatus.FORBIDDEN.value,
                f"the origin {headers['origin']} is not among allowedOrigins",
            )
        try:
            self._edition, self._ticket = choose(
                self.factory.editions, Upgrade(headers.get("cookie", ""), _first(request.params))
            )
        except Unauthorized as error:
            self._refusal = error.reason
            raise ConnectionDeny(HTTPStatus.UNAUTHORIZED.value, str(error)) from None
        except Exception:
            self._log.failure("upgrade of {peer} failed", event="upgrade_failed", peer=self.peer)
            self._refusal = "internal_error"
            raise ConnectionDeny(ConnectionDeny.INTERNAL_SERVER_ERROR, "internal error") from None
        self.routes = self._ticket.routes
        if self._ticket.expires_at is not None:
            self.expires_at = self._ticket.expires_at

    def failHandshake(
        self,
        reason: str,
        code: int = HTTPStatus.BAD_REQUEST,
        responseHeaders: list[tuple[str, str]] | None = None,
    ) -> None:
        """Refuse the upgrade with the reason as the answer's one line of text."""
        reason = shortened(printable(reason), _SHOWN_CHARACTERS)
        status = HTTPStatus(code)
        if responseHeaders:
            # Autobahn gives headers only where they name the versions of the protocol that
            # it knows, and then there is a better status (RFC 6455 section 4.2.2), which
            # must say to what to upgrade (RFC 9110 section 15.5.22).
            status = HTTPStatus.UPGRADE_REQUIRED
            responseHeaders = [
                *responseHeaders,
                *(("Upgrade", "websocket"), ("Connection", "Upgrade")),
            ]
        self.factory.refusals.upgrade(self.peer, status, self._refusal, reason)
        self.wasNotCleanReason = reason
        self.transport.write(request_head.answer(status, reason, responseHeaders or ()))
        self.dropConnection(abort=False)

    def onOpen(self) -> None:
        """Join the hub, and let go of what only the handshake needed."""
        self._write = direct_write.writer_for(self.transport)
        self.__dict__ = self.factory.kept(self.__dict__)
        self.transport.registerProducer(self, True)
        try:
            edition, ticket = self.__dict__.pop("_edition"), self.__dict__.pop("_ticket")
            edition.join(self, ticket)
        except NoRoom as error:
            # Refused before the upgrade it would try a few times only, and never again.
            self._refuse(_TRY_AGAIN_LATER, error.reason, str(error))
        except Exception:
            self._log.failure("{peer} could not join", event="join_failed", peer=self.peer)
            self.close(self.CLOSE_STATUS_CODE_INTERNAL_ERROR, "internal error")

    def onPing(self, payload: bytes) -> None:
        """Answer, unless the client does not read; then the latest will do (RFC 6455, 5.5.3)."""
        if self.unsent_bytes is None:
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Tell the hub that the client lives."""
        self.factory.hub.pong(self)

    def onMessageBegin(self, isBinary: bool) -> None:
        """Expect nothing."""
        self._message_bytes = 0

    def onMessageFrameBegin(self, length: int) -> None:
        """Refuse what is too large."""
        self._message_bytes += length
        limit = self.factory.max_message_bytes
        if self._message_bytes > limit:
            self._refuse(
                *(self.CLOSE_STATUS_CODE_MESSAGE_TOO_BIG, "message_size"),
                f"a message of more than {limit} bytes",
            )

    def onMessageFrameData(self, payload: bytes) -> None:
        """Keep nothing."""

    def onMessageFrameEnd(self) -> None:
        """Do nothing."""

    def onMessageEnd(self) -> None:
        """Do nothing."""
        del self._message_bytes

    def _refuse(self, code: int, reason: str, text: str) -> None:
        if self.state == self.STATE_OPEN:
            self.factory.refusals.connection(self.peer, code, reason, text)
            self.close(code, text)

    def sendCloseFrame(self, *args: Any, **kwargs: Any) -> None:
        """Leave the hub first: no event may follow a close frame (RFC 6455 section 5.5.1)."""
        self.factory.hub.leave(self)
        super().sendCloseFrame(*args, **kwargs)
        self._end_soon()

    def dropConnection(self, abort: bool = False) -> None:
        """End the connection at once, or when what was written is sent, within a bounded time."""
        # After a client's fault the close frame that names it is to be sent yet; and browsers
        # call a close unclean, even after both close frames, if the connection is reset.
        abort = abort and not self.failedByMe and not self.wasClean
        # A transport that waits for its producer would not end.
        self.transport.unregisterProducer()
        super().dropConnection(abort)
        if abort:
            self._cancel_end()
        else:
            self._end_soon()

    def _end_soon(self) -> None:
        if self._end_call is None:
            self._end_call = self.factory.reactor.callLater(
                _LINGER_SECONDS, self.transport.abortConnection
            )

    def _cancel_end(self) -> None:
        if self._end_call is not None and self._end_call.active():
            self._end_call.cancel()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Leave the hub."""
        self.factory.hub.leave(self)
        self._cancel_end()
        if self.routes:
            self.factory.note_close(code)
        self._log.debug("{peer} closed: {code} {reason}", peer=self.peer, code=code, reason=reason)

    # Called by the hub

    def can_send(self) -> bool:
        """Return whether frames can still be sent."""
        return bool(self.state == self.STATE_OPEN)

    def send(self, frames: bytes) -> None:
        """Write whole frames; Autobahn's own way costs more and adds nothing for a server."""
        was_slow = self.unsent_bytes is not None
        self._write(self.transport, frames)
        # What fills the transport is not held against the client: it can be one large event.
        if was_slow and self.unsent_bytes is not None:
            self.unsent_bytes += len(frames)
            if self.unsent_bytes > self.factory.max_buffer_bytes:
                self.factory.refusals.slow_client(self.peer, self.factory.max_buffer_bytes)
                self.factory.hub.leave(self)
                self.drop()

    def send_missed(self, frames: bytes) -> None:
        """Write whole frames."""
        self._write(self.transport, frames)

    def ping(self) -> None:
        """Send a ping."""
        self._write(self.transport, _PING)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; Autobahn's own sendClose takes few codes."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code, reason.encode())

    def drop(self) -> None:
        """End the connection without a closing handshake."""
        self.dropConnection(abort=True)

    # Called by the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """Note that the client does not read as fast as it is sent to."""
        self.unsent_bytes = 0
        self.factory.slow_sockets[self] = None

    def resumeProducing(self) -> None:
        """Note that it has read nearly all."""
        self.unsent_bytes = None
        self.factory.slow_sockets.pop(self, None)

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost."""


_NEVER = object()

# What Autobahn keeps of a handshake, and its queue for frames that are sent in pieces.
_DONE_WITH = frozenset(
    (
        "http_request_data",
        "http_response_data",
        "http_status_line",
        "http_headers",
        "http_request_uri",
        "http_request_path",
        "http_request_params",
        "http_request_host",
        "websocket_origin",
        "websocket_protocols",
        "websocket_extensions",
        "websocket_extensions_in_use",
        "_wskey",
        "_transport_details",
        "send_queue",
    )
)


class EventSocketFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Makes an EventSocket for each browser that asks for an upgrade."""

    protocol = EventSocket

    def __init__(
        self,
        editions: Sequence[Edition],
        hub: Hub,
        settings: Settings,
        refusals: Rejections,
        metrics: Metrics,
        reactor: Any,
    ) -> None:
        """Take what sockets need.

        Args:
            editions: the protocols that are served.
            hub: is told of pongs and ends.
            settings: who may connect, and how much they may send.
            refusals: notes who may not.
            metrics: where to count.
            reactor: provides IReactorTime.

        Raises:
            ConfigError: if the settings' secrets are no keys for their algorithms.
        """
        super().__init__(server="gaq-twisted", reactor=reactor)
        self.editions = editions
        self.hub = hub
        self.refusals = refusals
        self._metrics = metrics
        self.slow_sockets: dict[EventSocket, None] = {}
        """Those that do not read as fast as is sent to them."""
        self.apply(settings)
        self._waiting_for_end: list[Deferred[None]] = []
        # What each socket has sent in this second.
        self._inbound_bytes: dict[EventSocket, int] = {}
        self.setProtocolOptions(
            allowNullOrigin=True,
            # Autobahn would also take version 8, a draft with another header for the origin.
            versions=[13],
            failByDrop=False,
            echoCloseCodeReason=True,
            # A request reaches Autobahn whole, so there is nothing to wait for.
            openHandshakeTimeout=0,
            # EventSocket sees to that itself; Autobahn's timer runs up to a second early.
            closeHandshakeTimeout=0,
            tcpNoDelay=True,
        )
        self.protocol = self._protocol_with_defaults()

    def _protocol_with_defaults(self) -> type[EventSocket]:
        """Return an EventSocket that has as class attributes what is equal for all sockets.

        Autobahn gives each socket a copy of every option and of every first
        value, some 80 attributes, and formats the options for its log.
        """
        options: dict[str, Any] = {}
        for name in EventSocket.CONFIG_ATTRS:
            value = getattr(self, name)
            # A function would become a method.
            options[name] = staticmethod(value) if callable(value) else value
        protocol = type(
            "EventSocket", (EventSocket,), {**options, "CONFIG_ATTRS": (), "send_queue": ()}
        )
        new: Any = protocol()
        new.factory = self
        new._connectionMade()
        self.countConnections -= 1
        for name, value in vars(new).items():
            if value is None or isinstance(value, bool | int):
                setattr(protocol, name, value)
        return protocol

    def kept(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return those of a socket's attributes that it needs once it is open."""
        return {
            name: value
            for name, value in attributes.items()
            if name not in _DONE_WITH and getattr(self.protocol, name, _NEVER) is not value
        }

    def apply(self, settings: Settings) -> None:
        """Go by these settings from now on; sockets that are open stay.

        Raises:
            ConfigError: if the settings' secrets are no keys for their algorithms; then nothing
                has changed.
        """
        self.origins = OriginRules(settings.allowed_origins)
        self.max_message_bytes = settings.max_inbound_message_bytes
        self.max_buffer_bytes = settings.max_socket_buffer_bytes
        self._max_bytes_per_second = settings.max_inbound_bytes_per_second

    def note_close(self, code: int | None) -> None:
        """Count a WebSocket that has closed, with that code if it is one of the standard's."""
        known = code is not None and 1000 <= code <= 1015
        self._metrics.increment(CLOSED, label=str(code) if known else "other")

    def unsent_bytes(self) -> int:
        """Return about how many bytes wait for slow sockets."""
        return sum(socket.unsent_bytes or 0 for socket in self.slow_sockets)

    def admits_bytes(self, socket: EventSocket, count: int) -> bool:
        """Return whether a client may send so many bytes more in this second."""
        total = self._inbound_bytes.get(socket, 0) + count
        self._inbound_bytes[socket] = total
        return total <= self._max_bytes_per_second

    def begin_second(self) -> None:
        """Forget what clients have sent; to be called every second."""
        self._inbound_bytes.clear()

    def when_all_closed(self) -> "Deferred[None]":
        """Return a Deferred that fires when no connection is left."""
        closed: Deferred[None] = Deferred()
        self._waiting_for_end.append(closed)
        self.note_end()
        return closed

    def note_end(self) -> None:
        """Tell those who wait for it, if no connection is left."""
        if self.countConnections == 0:
            waiting, self._waiting_for_end = self._waiting_for_end, []
            for closed in waiting:
                closed.callback(None)


def _first(params: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[0] for name, values in params.items()}
