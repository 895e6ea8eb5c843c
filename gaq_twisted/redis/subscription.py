"""A subscription on a connection of its own."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisError, RedisReplied, RedisTooOld

_ANSWER_SECONDS = 3.0


class Subscription:
    """A subscription to one Pub/Sub channel.

    Args:
        connection: a connection that nothing else uses, not yet open.
        channel: the channel.
        on_messages: called with messages that arrived together.
    """

    def __init__(
        self,
        connection: Connection,
        channel: str,
        on_messages: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._connection.on_messages = on_messages
        self._is_paused = False
        # Whether it was paused since the last probe.
        self._was_paused = False

    @property
    def on_loss(self) -> Callable[[], None]:
        """Called when the connection is lost."""
        return self._connection.on_loss

    @on_loss.setter
    def on_loss(self, on_loss: Callable[[], None]) -> None:
        self._connection.on_loss = on_loss

    async def open(self) -> None:
        """Subscribes on a new connection; ends an earlier subscription.

        Raises:
            RedisError: if there is no connection, or Redis refuses.
        """
        self._connection.close()
        await self._connection.ask("SUBSCRIBE", self._channel, within_seconds=_ANSWER_SECONDS)
        if self._is_paused:
            # Messages of the earlier connection still wait to be sent.
            self._connection.pause()

    async def probe(self) -> None:
        """Checks that the subscription still holds.

        PING is one of the commands that Redis accepts while subscribed. An error is also a reply:
        for example, Redis delivers messages but refuses PING while it loads its data. With
        Sentinels, this also checks that the server is still the master.

        Raises:
            RedisError: if it does not hold.
        """
        if self._is_paused:
            # Its reply would come after messages that this server has not read yet.
            return
        self._was_paused = False
        with suppress(RedisReplied, RedisTooOld):
            await self._connection.ask_same(
                "PING", within_seconds=_ANSWER_SECONDS, extension=self._take_pause
            )
        if await self._connection.has_moved():
            raise RedisError("another server has become the master")

    def pause(self) -> None:
        """Stops reading messages for a while; Redis buffers them up to its own limit."""
        self._is_paused = self._was_paused = True
        self._connection.pause()

    def resume(self) -> None:
        """Reads messages again."""
        self._is_paused = False
        self._connection.resume()

    def _take_pause(self) -> float:
        """Returns how much later a reply may be because of a pause; each pause counts once."""
        was_paused, self._was_paused = self._was_paused, self._is_paused
        return _ANSWER_SECONDS if was_paused else 0.0

    def close(self) -> None:
        """Ends the subscription."""
        self._connection.close()
