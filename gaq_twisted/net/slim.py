"""Autobahn's WebSockets, small in memory; the only module that uses Autobahn's internals.

`tests/net/test_internals.py` lists them, and says what breaks without each.
"""

from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

# Autobahn's data from a handshake, and its queue for frames that are sent in pieces.
HANDSHAKE_ATTRIBUTES = frozenset(
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
_MISSING = object()
# How long a closing connection may take to send what was written and to be closed by the client.
_LINGER_SECONDS = 5.0
# An empty pong, a browser's answer to an empty ping: these two bytes, then four of a mask that
# has nothing to mask (RFC 6455 section 5.2).
_EMPTY_PONG = b"\x8a\x80"
_EMPTY_PONG_BYTES = 6
# Autobahn waits only for the rest of headers and control frames (RFC 6455 section 5.5).
_MOST_BYTES_BETWEEN_FRAMES = 1024


class SlimSocket(WebSocketServerProtocol):  # type: ignore[misc]
    """A WebSocket that is small, closes within a bounded time, and leaves no reference cycles."""

    # Autobahn logs each rejected or dropped client twice, and without fields.
    log = txaio.make_logger(level="error")

    factory: "SlimFactory"
    data: bytes
    """The bytes that Autobahn has not parsed yet."""
    _end_call: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        """Passes data to Autobahn, without the log text that its own method formats first.

        Most of what clients send is empty pongs. On an idle server, Autobahn's parser would take
        much of the CPU time for them.
        """
        if len(data) == _EMPTY_PONG_BYTES and data.startswith(_EMPTY_PONG) and self._is_between():
            self.onPong(b"")
            return
        self._dataReceived(data)
        is_out_of_sync = (
            self.state == self.STATE_CLOSING and len(self.data) > _MOST_BYTES_BETWEEN_FRAMES
        )
        if self.state == self.STATE_CLOSED or is_out_of_sync:
            # Autobahn keeps data that it will never parse.
            self.data = b""

    def _is_between(self) -> bool:
        """Returns whether the next byte begins a frame of an open WebSocket."""
        return bool(self.state == self.STATE_OPEN and not self.data and self.current_frame is None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Passes the loss to Autobahn, and breaks the reference cycles."""
        self._connectionLost(reason)
        self.transport.unregisterProducer()
        # Its result is this socket.
        del self.is_closed
        self._end_call = None
        self.factory.note_end()

    def onMessageFrameData(self, payload: bytes) -> None:
        """Discards the data, which Autobahn would collect."""

    def onMessageFrameEnd(self) -> None:
        """Does nothing, because there is nothing to join."""

    def sendCloseFrame(self, *args: Any, **kwargs: Any) -> None:
        """Sends a close frame, and limits the time until the connection ends."""
        super().sendCloseFrame(*args, **kwargs)
        self._end_soon()

    def dropConnection(self, abort: bool = False) -> None:
        """Ends the connection at once, or within a bounded time after pending writes."""
        # After a client's protocol violation, the close frame with the reason must still be sent.
        # If the connection is reset, browsers also report a close as unclean, even after both close
        # frames.
        abort = abort and not self.failedByMe and not self.wasClean
        # A transport that waits for its producer would not close.
        self.transport.unregisterProducer()
        super().dropConnection(abort)
        if abort:
            self._cancel_end()
        else:
            self._end_soon()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Stops the timer that ends the connection; Autobahn calls this once, on its loss."""
        self._cancel_end()

    def forget_handshake(self) -> None:
        """Removes attributes that only the handshake needed or that equal their defaults."""
        self.__dict__ = self.factory.kept(self.__dict__)

    def _end_soon(self) -> None:
        if self._end_call is None:
            self._end_call = self.factory.reactor.callLater(
                _LINGER_SECONDS, self.transport.abortConnection
            )

    def _cancel_end(self) -> None:
        if self._end_call is not None and self._end_call.active():
            self._end_call.cancel()


class SlimFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Creates SlimSockets.

    Args:
        protocol: the class of the sockets.
        reactor: provides the time.
    """

    def __init__(self, protocol: type[SlimSocket], reactor: IReactorTime) -> None:
        super().__init__(server="gaq-twisted", reactor=reactor)
        self.setProtocolOptions(
            allowNullOrigin=True,
            # Autobahn would also accept version 8, a draft with a different origin header.
            versions=[13],
            failByDrop=False,
            echoCloseCodeReason=True,
            # Autobahn always gets a whole request, so there is nothing to wait for.
            openHandshakeTimeout=0,
            # EventSocket has its own timer; Autobahn's runs up to a second early.
            closeHandshakeTimeout=0,
            tcpNoDelay=True,
        )
        self._waiting_for_end: list[Deferred[None]] = []
        self.protocol = self._with_defaults(protocol)

    @property
    def connection_count(self) -> int:
        """The number of connections, including those in a handshake."""
        return int(self.countConnections)

    def when_all_closed(self) -> "Deferred[None]":
        """Returns a Deferred that fires when no connection is left."""
        closed: Deferred[None] = Deferred()
        self._waiting_for_end.append(closed)
        self.note_end()
        return closed

    def note_end(self) -> None:
        """Fires the Deferreds of `when_all_closed` if no connection is left."""
        if self.connection_count == 0:
            waiting, self._waiting_for_end = self._waiting_for_end, []
            for closed in waiting:
                closed.callback(None)

    def kept(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Returns the attributes that a socket needs once it is open."""
        return {
            name: value
            for name, value in attributes.items()
            if name not in HANDSHAKE_ATTRIBUTES
            and getattr(self.protocol, name, _MISSING) is not value
        }

    def _with_defaults(self, protocol: type[SlimSocket]) -> type[SlimSocket]:
        """Returns a class of sockets with all common values as class attributes.

        Autobahn gives each socket a copy of every option and of every initial value, about 80
        attributes, and formats the options for its log.
        """
        options: dict[str, Any] = {}
        for name in protocol.CONFIG_ATTRS:
            value = getattr(self, name)
            # A function would become a method.
            options[name] = staticmethod(value) if callable(value) else value
        slim = type(
            protocol.__name__, (protocol,), {**options, "CONFIG_ATTRS": (), "send_queue": ()}
        )
        probe: Any = slim()
        probe.factory = self
        probe._connectionMade()
        self.countConnections -= 1
        for name, value in vars(probe).items():
            if value is None or isinstance(value, bool | int):
                setattr(slim, name, value)
        return slim
