"""Checks Redis for the streams protocol: reading the global stream and a channel's stream.

Import this module only where a reactor is installed.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisTooOld
from gaq_twisted.redis.protocol import as_dict
from gaq_twisted.streams.events import InvalidEvent, StreamId, parse_event
from gaq_twisted.tools.check.findings import (
    CLOCK_TOLERANCE_SECONDS,
    Finding,
    Mark,
    cut,
    duration,
)

# Superset's channels are UUIDs; this one stands for them if no real one is known.
_NO_CHANNEL = "00000000-0000-0000-0000-000000000000"


class StreamsCheck:
    """Tries the commands with which the server reads streams.

    Args:
        connection: a connection to Redis.
        prefix: what the names of the streams begin with.
        database: the number of the database, for messages.
        channel: a channel whose stream to read; None to read one that does not exist.
        seconds: returns the time in seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        prefix: str,
        database: int,
        channel: str | None,
        seconds: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._database = database
        self._channel = channel
        self._seconds = seconds

    async def findings(self, databases: Sequence[str]) -> AsyncIterator[Finding]:
        """Yields findings about the global stream, then about a channel's stream.

        Args:
            databases: the names of the databases that hold keys.

        Raises:
            RedisError: if the connection fails.
        """
        async for finding in self._global_stream(databases):
            yield finding
        async for finding in self._channel_stream():
            yield finding

    async def _global_stream(self, databases: Sequence[str]) -> AsyncIterator[Finding]:
        key = f"{self._prefix}full"
        trial = _Trial(self._connection, f"stream {key}")
        newest = await trial.ask("XREVRANGE", key, "+", "-", "COUNT", 1) or []
        last = newest[0][0] if newest else b"0-0"
        await trial.ask("XREAD", "COUNT", 1, "BLOCK", 1, "STREAMS", key, last)
        await trial.ask("XRANGE", key, last, last)
        size = await trial.size(key)
        if trial.failed:
            yield trial.failure()
            return
        if newest:
            yield self._readable(trial.topic, newest[0][0], size)
            for finding in about_entry(trial.topic, *newest[0]):
                yield finding
        else:
            yield self._empty(trial.topic, databases)
        for finding in trial.about_size():
            yield finding

    async def _channel_stream(self) -> AsyncIterator[Finding]:
        key = f"{self._prefix}{self._channel or _NO_CHANNEL}"
        topic = "channels' streams"
        if self._channel:
            topic = f"stream {self._prefix}{cut(self._channel)}"
        trial = _Trial(self._connection, topic)
        await trial.ask("XRANGE", key, "-", "+", "COUNT", 1)
        newest = await trial.ask("XREVRANGE", key, "+", "-", "COUNT", 1) or []
        size = await trial.size(key)
        if trial.failed:
            yield trial.failure()
        elif newest:
            yield self._readable(topic, newest[0][0], size)
        elif self._channel:
            yield Finding(Mark.OK, topic, "it can be read, but is empty")
        else:
            yield Finding(Mark.OK, topic, "they can be read (tried with a nonexistent one)")
        for finding in trial.about_size():
            yield finding

    def _readable(self, topic: str, newest_id: bytes, size: str) -> Finding:
        age_seconds = self._seconds() - StreamId.parse(newest_id).ms / 1000
        text = f"it can be read; {size}the newest entry is {newest_id.decode()}"
        if age_seconds >= -CLOCK_TOLERANCE_SECONDS:
            return Finding(Mark.OK, topic, f"{text}, {duration(max(0, age_seconds))} ago")
        return Finding(
            Mark.WARN,
            topic,
            f"{text}, {duration(-age_seconds)} in the future by this machine's clock",
            "synchronise the clocks",
        )

    def _empty(self, topic: str, databases: Sequence[str]) -> Finding:
        where = f"; there are keys in {', '.join(databases)}" if databases else ""
        return Finding(
            Mark.WARN,
            topic,
            f"database {self._database} has no such stream, or it is empty{where}",
            "if Superset has already computed charts in the background, compare redis.db with"
            " CACHE_REDIS_DB, and redisStreamPrefix with"
            " GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX",
        )


class _Trial:
    """Tries commands on one stream, and remembers which were refused.

    Args:
        connection: a connection to Redis.
        topic: what findings call the stream.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self.topic = topic
        self._connection = connection
        self._refused: dict[str, RedisRefused] = {}
        self._size_refused: RedisRefused | None = None

    async def ask(self, *command: object) -> Any:
        """Returns the reply, or None if the command was refused."""
        try:
            return await self._connection.ask(*command)
        except RedisRefused as error:
            self._refused[str(command[0])] = error
            return None

    async def size(self, key: str) -> str:
        """Returns the stream's size as the start of a sentence; empty if it is not known."""
        try:
            reply = await self._connection.ask("XINFO", "STREAM", key)
        except RedisRefused as error:
            self._size_refused = error
            return ""
        except RedisTooOld:
            return ""
        except RedisError as error:
            if "no such key" in error.fact:
                return ""
            raise
        facts = as_dict(reply)
        length = int(facts[b"length"])
        # Redis before 7.0 does not count them.
        trimmed = int(facts.get(b"entries-added", length)) - length
        more = f", {trimmed:,} older ones were trimmed" if trimmed else ""
        return f"{length:,} entries{more}; "

    @property
    def failed(self) -> bool:
        """Whether a command was refused that the server needs."""
        return bool(self._refused)

    def failure(self) -> Finding:
        """Returns which commands were refused, and why the first one was."""
        names = ", ".join(self._refused)
        first = next(iter(self._refused.values()))
        return Finding(Mark.FAIL, self.topic, f"refused: {names}; {first.fact}", first.remedy)

    def about_size(self) -> Iterator[Finding]:
        """Yields a warning if only the size was refused, which the server does not need."""
        if self._size_refused and not self.failed:
            yield Finding(
                Mark.WARN,
                self.topic,
                "XINFO is refused, so the number of trimmed events is not known;"
                f" {self._size_refused.fact}",
                self._size_refused.remedy,
            )


def about_entry(topic: str, entry_id: bytes, fields: Sequence[bytes]) -> Iterator[Finding]:
    """Yields a warning if an entry is not an event.

    Args:
        topic: what the finding calls the stream.
        entry_id: the entry's id.
        fields: its fields, names and values in turn.
    """
    data = as_dict(fields).get(b"data")
    try:
        parse_event(entry_id, data)
    except InvalidEvent as error:
        yield Finding(
            Mark.WARN,
            topic,
            f"its newest entry is not an event: {json.dumps(str(error))}",
            "find out what else writes to this stream; such entries are skipped",
        )
