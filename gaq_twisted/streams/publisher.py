"""Publishes events as the workers of Superset 1.2 to 6.1 do."""

from typing import NamedTuple

from gaq_twisted.redis.connection import Connection

COMMANDS = ("+xadd",)
"""The commands that its user needs, for ACL SETUSER."""

# Superset 6.1 lets Redis trim the streams to about these lengths.
_CHANNEL_STREAM_ENTRIES = 1_000
_GLOBAL_STREAM_ENTRIES = 1_000_000


class Published(NamedTuple):
    """The ids of an event in its two streams."""

    channel_id: str
    global_id: str


class Publisher:
    """Writes events to both streams, the channel's first.

    Args:
        redis: a connection to the Redis of the streams.
        prefix: the prefix of the streams' keys.
    """

    def __init__(self, redis: Connection, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def publish(self, channel: str, data: str | bytes) -> Published:
        """Publishes an event; returns its ids.

        Args:
            channel: its channel.
            data: the event, a JSON object with that channel as `channel_id`.

        Raises:
            RedisError: if Redis does not accept it; the channel's stream may still hold it.
        """
        channel_id = await self._add(channel, _CHANNEL_STREAM_ENTRIES, data)
        return Published(channel_id, await self._add("full", _GLOBAL_STREAM_ENTRIES, data))

    async def _add(self, stream: str, length: int, data: str | bytes) -> str:
        stream_id: bytes = await self._redis.ask(
            "XADD", f"{self._prefix}{stream}", "MAXLEN", "~", length, "*", "data", data
        )
        return stream_id.decode()
