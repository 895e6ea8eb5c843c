"""Checks Redis for the realtime protocol: whether its channel can be followed.

Import this module only where a reactor is installed.
"""

from collections.abc import AsyncIterator, Sequence

from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisRefused, RedisTooOld
from gaq_twisted.tools.check.findings import Finding, Mark, shown_name

_MOST_NAMED = 3


class RealtimeCheck:
    """Subscribes to the channel as the server does, and asks who else subscribes.

    Args:
        connection: a connection to Redis, which nothing else uses after this.
        channel: the name of the channel, its prefix included.
        name: the channel's name without the prefix.
    """

    def __init__(self, connection: Connection, *, channel: str, name: str) -> None:
        self._connection = connection
        self._channel = channel
        self._name = name
        self._topic = f"channel {channel}"

    async def findings(self, _databases: Sequence[str]) -> AsyncIterator[Finding]:
        """Yields findings about other subscribers, then about a subscription of our own.

        Raises:
            RedisError: if the connection fails.
        """
        try:
            yield await self._subscribers()
            async for finding in self._other_channels():
                yield finding
        except (RedisRefused, RedisTooOld):
            if not self._connection.times_opened:
                # The login was rejected, not this command.
                raise
            yield Finding(
                Mark.NOTE,
                self._topic,
                "other subscribers are not known (no permission for PUBSUB; not required). A"
                " wrong prefix causes no error anywhere: check that realtimeChannelPrefix,"
                f" which is {self._prefix(self._channel)}, equals Superset's"
                " REALTIME_CHANNEL_PREFIX",
            )
        yield await self._subscription()

    async def _subscribers(self) -> Finding:
        _, count = await self._connection.ask("PUBSUB", "NUMSUB", self._channel)
        others = {0: "no client is subscribed", 1: "one client is subscribed"}
        text = others.get(int(count), f"{int(count):,} clients are subscribed")
        return Finding(Mark.NOTE, self._topic, f"{text} to it at the moment")

    async def _other_channels(self) -> AsyncIterator[Finding]:
        """Yields a warning if there are subscribers to a channel with another prefix."""
        reply = await self._connection.ask("PUBSUB", "CHANNELS", f"*{self._name}")
        names = sorted(name.decode("utf-8", "replace") for name in reply)
        others = [name for name in names if name != self._channel]
        if not others:
            return
        shown = ", ".join(map(shown_name, others[:_MOST_NAMED]))
        more = f" and {len(others) - _MOST_NAMED:,} more" if len(others) > _MOST_NAMED else ""
        yield Finding(
            Mark.WARN,
            self._topic,
            f"other clients are subscribed to {shown}{more}, with another prefix: a server whose"
            " prefix differs from Superset's gets no messages and no error",
            "unless they belong to another Superset, make realtimeChannelPrefix, which is"
            f" {self._prefix(self._channel)}, equal to Superset's REALTIME_CHANNEL_PREFIX,"
            " including its separator",
        )

    async def _subscription(self) -> Finding:
        """Returns whether the user may subscribe, and then ask whether the subscription holds."""
        command = "SUBSCRIBE"
        try:
            await self._connection.ask(command, self._channel)
            command = "PING"
            await self._connection.ask_same(command)
        except RedisRefused as error:
            if not self._connection.times_opened:
                raise
            return Finding(
                Mark.FAIL, self._topic, f"refused: {command}; {error.fact}", error.remedy
            )
        return Finding(Mark.OK, self._topic, "it can be followed (SUBSCRIBE and PING are allowed)")

    def _prefix(self, channel: str) -> str:
        prefix = channel.removesuffix(self._name)
        return shown_name(prefix) if prefix else "empty"
