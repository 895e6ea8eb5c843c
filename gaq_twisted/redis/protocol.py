"""The protocol of Redis: replies in the order of the commands, and messages of channels.

It imports txredisapi, which imports the global reactor: import this module only where a
reactor is installed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import txredisapi
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

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

    def handshakeCompleted(self) -> None:
        """Notes that TLS is established."""
        self.is_secure = True

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Takes replies, or aborts the connection if the other end is not Redis."""
        self.has_answered = True
        try:
            self._take_replies(data)
        except txredisapi.InvalidData:
            self.lost = Failure()
            self.transport.abortConnection()

    def connectionLost(self, why: Failure) -> None:
        """Keeps the reason, and fails the commands that wait for replies."""
        self.lost = self.lost or why
        super().connectionLost(why)
        self._on_loss(self)

    def connectionMade(self) -> None:
        """Lets the system notice a peer that is gone without a word."""
        super().connectionMade()
        detect_dead_peers(self.transport)

    def _take_replies(self, data: bytes) -> None:
        """Separates the messages of a channel from the replies to commands.

        It does what txredisapi does, but for transactions, and with less for each message.
        """
        read = self._reader.gets
        self._reader.feed(data)
        messages: list[bytes] = []
        while (reply := read()) is not False:
            if type(reply) is list and len(reply) == 3 and reply[0] == b"message":
                messages.append(reply[2])
            else:
                self._pass_on(messages)
                messages = []
                self.replyReceived(reply)
        self._pass_on(messages)

    def _pass_on(self, messages: Sequence[bytes]) -> None:
        if messages:
            self._received(self, messages)

    def pause(self) -> None:
        """Stops reading."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Reads again."""
        if self.connected:
            self.transport.resumeProducing()


class RedisFactory(Factory):
    """Makes connections.

    Args:
        received: called with the messages of a subscribed channel that came together.
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
