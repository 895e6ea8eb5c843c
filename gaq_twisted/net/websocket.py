"""WebSockets: passes Autobahn's callbacks to the hub."""

from collections.abc import Sequence
from math import inf
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import LEAST_SOCKET_BUFFER_BYTES
from gaq_twisted.core import direct_write
from gaq_twisted.core.close import (
    INTERNAL_ERROR,
    TOO_MANY_BYTES,
    Close,
    close_label,
    message_too_big,
    try_again_later,
)
from gaq_twisted.core.edition import Edition
from gaq_twisted.core.hub import Hub, NoRoom
from gaq_twisted.core.metrics import CLOSED, Metrics
from gaq_twisted.core.reasons import ConnectionReason
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.handshake import HandshakeSocket
from gaq_twisted.net.slim import SlimFactory

# A whole ping without payload (RFC 6455 section 5.5.2).
_PING = b"\x89\x00"
# More than what can be in transit from a client when it is sent a close frame.
_MOST_CLOSING_BYTES = 1024 * 1024


@implementer(IPushProducer)
class EventSocket(HandshakeSocket):
    """One browser's WebSocket; a hub.Socket.

    What the client sends is discarded as it arrives.
    """

    _log = Logger()

    factory: "EventSocketFactory"
    unsent_bytes: int | None = None
    """Bytes sent since the transport reported that it is full; None while it is not full."""
    _message_bytes = 0
    _write: direct_write.Writer = staticmethod(direct_write.write)

    # Called by Twisted

    def dataReceived(self, data: bytes) -> None:
        """Passes data on, and closes the socket if it exceeds the limit for a second.

        Data after the close frame are still read, up to a limit: the client's own close frame
        follows them, and a connection with unread data would end with a reset.
        """
        is_request = self.state == self.STATE_CONNECTING
        super().dataReceived(data)
        if is_request or self.factory.admits_bytes(self, len(data)):
            return
        if self.state == self.STATE_OPEN:
            self._reject(TOO_MANY_BYTES, ConnectionReason.RATE)
        elif self.factory.inbound_bytes(self) > _MOST_CLOSING_BYTES:
            # The client keeps sending instead of closing; the data now wait in its own system.
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Removes the socket everywhere."""
        super().connectionLost(reason)
        # A closing transport no longer reports that it has room.
        self.factory.slow_sockets.pop(self, None)

    # Called by Autobahn

    def onOpen(self) -> None:
        """Joins the hub, and frees what only the handshake needed."""
        self._write = direct_write.writer_for(self.transport)
        edition, ticket = self.take_ticket()
        self.transport.registerProducer(self, True)
        try:
            edition.join(self, ticket)
        except NoRoom as error:
            # If rejected before the upgrade, a browser would retry a few times and then give up.
            self._reject(try_again_later(str(error)), error.reason)
        except Exception:
            self._log.failure(
                "{client} could not join", event="join_failed", **self.peer.log_fields
            )
            self.close(INTERNAL_ERROR)

    def onPing(self, payload: bytes) -> None:
        """Answers, unless the client does not read; a later pong suffices (RFC 6455, 5.5.3)."""
        if self.unsent_bytes is None:
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Reports to the hub that the client is alive."""
        self.factory.hub.pong(self)

    def onMessageBegin(self, isBinary: bool) -> None:
        """Starts counting the message's bytes."""
        self._message_bytes = 0

    def onMessageFrameBegin(self, length: int) -> None:
        """Closes the socket if the message is too large."""
        self._message_bytes += length
        limit = self.factory.max_message_bytes
        if self._message_bytes > limit:
            self._reject(message_too_big(limit), ConnectionReason.MESSAGE_SIZE)

    def onMessageEnd(self) -> None:
        """Restores the default, which takes no memory."""
        del self._message_bytes

    def sendCloseFrame(self, *args: Any, **kwargs: Any) -> None:
        """Leaves the hub first: no event may follow a close frame (RFC 6455 section 5.5.1)."""
        self.factory.hub.leave(self)
        super().sendCloseFrame(*args, **kwargs)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Leaves the hub."""
        super().onClose(wasClean, code, reason)
        self.factory.hub.leave(self)
        if self.routes:
            self.factory.metrics.increment(CLOSED, label=close_label(code))
        self._log.debug(
            "{client} closed: {code} {reason}", code=code, reason=reason, **self.peer.log_fields
        )

    # Called by the hub

    def can_send(self) -> bool:
        """Returns whether frames can still be sent."""
        return bool(self.state == self.STATE_OPEN)

    def send(self, frames: bytes) -> None:
        """Writes whole frames; Autobahn's own way costs more and adds nothing for a server."""
        was_slow = self.unsent_bytes is not None
        self._write(self.transport, frames)
        # The write that fills the transport does not count: it can be one large event.
        if was_slow and self.unsent_bytes is not None:
            self.unsent_bytes += len(frames)
            if self.unsent_bytes > self.factory.max_buffer_bytes:
                self.factory.rejections.slow_client(self.peer, self.factory.max_buffer_bytes)
                self.factory.hub.leave(self)
                self.drop()

    def send_missed(self, frames: bytes) -> None:
        """Writes whole frames, without a limit."""
        self._write(self.transport, frames)

    def ping(self) -> None:
        """Sends a ping."""
        self._write(self.transport, _PING)

    def close(self, close: Close) -> None:
        """Starts the closing handshake; Autobahn's own sendClose accepts few codes."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(close.code, close.reason.encode())

    def drop(self) -> None:
        """Ends the connection without a closing handshake."""
        self.dropConnection(abort=True)

    # Called by the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """Records that the client reads more slowly than events are sent to it."""
        # Twisted calls this again with each write until there is room.
        if self.unsent_bytes is None:
            self.unsent_bytes = 0
            self.factory.slow_sockets[self] = None

    def resumeProducing(self) -> None:
        """Records that the client has read nearly everything."""
        self.unsent_bytes = None
        self.factory.slow_sockets.pop(self, None)

    def stopProducing(self) -> None:
        """Does nothing, because the connection is lost."""

    def _reject(self, close: Close, reason: ConnectionReason) -> None:
        if self.state == self.STATE_OPEN:
            self.factory.rejections.connection(self.peer, close.code, reason, close.reason)
            self.close(close)


class EventSocketFactory(SlimFactory):
    """Creates an EventSocket for each upgrade; accepts changed settings.

    Args:
        editions: the protocols that are served.
        hub: is notified of pongs and of the end of sockets.
        settings: who may connect, and how much clients may send.
        rejections: records rejected clients.
        metrics: count sockets and messages.
        reactor: provides the time.
    """

    def __init__(
        self,
        editions: Sequence[Edition],
        hub: Hub,
        settings: Settings,
        rejections: Rejections,
        metrics: Metrics,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(EventSocket, reactor)
        self.editions = editions
        self.hub = hub
        self.rejections = rejections
        self.metrics = metrics
        self.slow_sockets: dict[EventSocket, None] = {}
        """Sockets whose clients read more slowly than events are sent to them."""
        # What each socket has sent in this second.
        self._inbound_bytes: dict[EventSocket, int] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on; open sockets stay."""
        self.origins = OriginRules(settings.allowed_origins)
        self.max_message_bytes = settings.max_inbound_message_bytes
        limit = settings.max_socket_buffer_bytes
        self.max_buffer_bytes = max(limit, LEAST_SOCKET_BUFFER_BYTES) if limit else inf
        self._max_bytes_per_second = settings.max_inbound_bytes_per_second

    def unsent_bytes(self) -> int:
        """Returns the approximate number of bytes waiting for slow sockets."""
        return sum(socket.unsent_bytes or 0 for socket in self.slow_sockets)

    def admits_bytes(self, socket: EventSocket, count: int) -> bool:
        """Returns whether a client may send this many more bytes in this second."""
        total = self._inbound_bytes.get(socket, 0) + count
        self._inbound_bytes[socket] = total
        return total <= self._max_bytes_per_second

    def inbound_bytes(self, socket: EventSocket) -> int:
        """Returns how many bytes a client has sent in this second."""
        return self._inbound_bytes.get(socket, 0)

    def begin_second(self) -> None:
        """Resets the count of bytes that clients send; called every second."""
        self._inbound_bytes.clear()
