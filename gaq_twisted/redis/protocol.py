"""The protocol of Redis: replies in the order of the commands, and messages of channels.

It imports txredisapi, which imports the global reactor: import this module only where a
reactor is installed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from gaq_twisted.core.direct_write import writer_for
from gaq_twisted.redis.keepalive import detect_dead_peers


@implementer(IHandshakeListener)
class RedisProtocol(txredisapi.HiredisProtocol):  # type: ignore[misc]
    """Returns replies as Redis wrote them, and keeps the reason why the connection was lost."""

    def __init__(
        self,
        received: "Callable[[RedisProtocol, Sequence[bytes]], None]",
        on_loss: "Callable[[RedisProtocol], None]",
    ) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._received = received
        self._on_loss = on_loss
        self.lost: Failure | None = None
        self.is_secure = False
        self.has_answered = False
        # Of a conversation.
        self._next_command: Callable[[Any], bytes | None] | None = None
        self._ended: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        """Notes that TLS is established."""
        self.is_secure = True

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Handles replies; aborts the connection if the other end is not Redis."""
        self.has_answered = True
        try:
            self._take_replies(data)
        except txredisapi.InvalidData:
            self.lost = Failure()
            self.transport.abortConnection()

    def connectionLost(self, why: Failure) -> None:
        """Keeps the reason, and fails the commands that are waiting for replies."""
        self.lost = self.lost or why
        super().connectionLost(why)
        if self._next_command is not None:
            self._end(Failure(txredisapi.ConnectionError("Lost connection")))
        self._on_loss(self)

    def connectionMade(self) -> None:
        """Enables TCP keepalive, which detects a peer that disappeared."""
        super().connectionMade()
        self._write = writer_for(self.transport)
        detect_dead_peers(self.transport)

    def converse(
        self, first: bytes, next_command: Callable[[Any], bytes | None]
    ) -> "Deferred[None]":
        """Sends commands, each once the reply to the previous one has been handled.

        A Deferred and a turn of the reactor for each reply would cost several times as much as
        reading it.

        Args:
            first: the first command, in Redis's protocol.
            next_command: takes a reply that is not an error; returns the next command, or None to
            end.

        Returns:
            A Deferred that fires at the end; it fails as those of execute_command do.
        """
        if not self.connected:
            raise txredisapi.ConnectionError("Not connected")
        self._ended = Deferred(self._stop_conversing)
        self._next_command = next_command
        self._write(self.transport, first)
        return self._ended

    def replyReceived(self, reply: Any) -> None:
        """Passes a reply to the conversation, or to the command that is waiting for it."""
        if self._next_command is None:
            super().replyReceived(reply)
            return
        try:
            if isinstance(reply, Exception):
                raise reply
            command = self._next_command(reply)
        except Exception:
            self._end(Failure())
            return
        if command is None:
            self._end(None)
        elif self._next_command is not None:
            self._write(self.transport, command)

    def _end(self, result: Failure | None) -> None:
        """Ends the conversation, unless it ended while its reply was handled."""
        if self._next_command is not None:
            self._next_command = None
            self._ended.callback(result)

    def _stop_conversing(self, _: object) -> None:
        self._next_command = None

    def _take_replies(self, data: bytes) -> None:
        """Separates the messages of a channel from the replies to commands.

        It does what txredisapi does except for transactions, at a lower cost for each message.
        """
        read = self._reader.gets
        self._reader.feed(data)
        messages: list[bytes] = []
        while (reply := read()) is not False:
            if type(reply) is list and len(reply) == 3 and reply[0] == b"message":
                messages.append(reply[2])
                continue
            if messages:
                self._received(self, messages)
                messages = []
            self.replyReceived(reply)
        if messages:
            self._received(self, messages)

    def pause(self) -> None:
        """Stops reading."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Resumes reading."""
        if self.connected:
            self.transport.resumeProducing()


class RedisFactory(Factory):
    """Creates connections.

    Args:
        received: called with the messages of a subscribed channel that arrived together.
        on_loss: called when a connection is lost.
    """

    noisy = False

    def __init__(
        self,
        received: Callable[[RedisProtocol, Sequence[bytes]], None],
        on_loss: Callable[[RedisProtocol], None],
    ) -> None:
        self._arguments = received, on_loss

    def buildProtocol(self, address: object) -> RedisProtocol:
        """Returns a new protocol."""
        protocol = RedisProtocol(*self._arguments)
        protocol.factory = self
        return protocol


def as_dict(reply: Sequence[Any]) -> dict[bytes, Any]:
    """Returns a reply of alternating keys and values as a dict."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
