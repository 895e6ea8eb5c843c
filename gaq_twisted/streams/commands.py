"""The commands that read the event streams."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.application.service import Service

from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.connection import ANSWER_SECONDS, Connection, RedisRefused, RedisTooOld
from gaq_twisted.redis.server import RedisServer
from gaq_twisted.streams.events import StreamId

_PAGE_ENTRIES = 100
# Each read costs as much CPU as some 50 events, so a backlog is read in larger pieces.
_BEHIND_ENTRIES = 1000
# How many entries Superset leaves in a channel's stream at least, if not told otherwise
# (GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT).
_UNTRIMMED_ENTRIES = 1000


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry of a stream; a Struct, since one is made for each, and a tuple costs four times."""

    id: bytes
    data: bytes | None
    """The value of the field `data`, or None if it has no such field."""


BEGINNING = Entry(b"0-0", None)
"""Stands for what comes before all entries of a stream."""


class ChannelEntries(NamedTuple):
    """The entries of a channel's stream from some id on."""

    entries: list[Entry]
    """What Redis holds, oldest first."""
    trimmed: int | None
    """How many older entries Redis has trimmed, if those from that id on can be among
    them; 0 if none of them is; None if that cannot be known."""


class Streams(Service):
    """The event streams of one Superset; a service, so that its connections are closed.

    The global stream is followed on a connection of its own, because a blocking
    read holds up whatever comes after it.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        """Take where the streams are; nothing is connected yet.

        Args:
            settings: the Redis server, the streams' prefix, and count and block time of a read.
            reactor: provides IReactorTime and what client endpoints need.

        Raises:
            ConfigError: if a file for TLS cannot be used.
        """
        server = RedisServer(settings, reactor)
        self._following = server.connection()
        self._reading = server.connection()
        self._prefix = settings.redis_stream_prefix
        self._global = f"{settings.redis_stream_prefix}full"
        self.read_count = settings.redis_stream_read_count
        """How many entries a read that waits for them returns at most."""
        self._behind_count = max(self.read_count, _BEHIND_ENTRIES)
        self._block_ms = settings.redis_stream_read_block_ms

    @property
    def times_connected(self) -> int:
        """How many times the connection that follows the global stream was opened."""
        return self._following.times_opened

    def stopService(self) -> None:
        """Close the connections; reads under way fail."""
        super().stopService()
        self._following.close()
        self._reading.close()

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """Return the newest entries of the global stream, oldest first.

        Args:
            count: how many at most.
            max_bytes: no more pages are read once their data are so large together.

        Raises:
            RedisError: if Redis does not give them.
        """
        newest_first: list[Entry] = []
        end = "+"
        size_bytes = 0
        while len(newest_first) < count and size_bytes < max_bytes:
            wanted = min(_PAGE_ENTRIES, count - len(newest_first))
            page = _entries(
                await self._following.ask("XREVRANGE", self._global, end, "-", "COUNT", wanted)
            )
            newest_first.extend(page)
            size_bytes += sum(len(entry.data or b"") for entry in page)
            if len(page) < wanted:
                break
            end = str(StreamId.parse(page[-1].id).before())
        newest_first.reverse()
        return newest_first

    async def after(self, last: Entry) -> list[Entry]:
        """Return the next entries of the global stream; wait for one for at most the block time.

        Args:
            last: the last entry that was read; Redis looks at its id only.

        Raises:
            RedisError: if Redis does not give them.
        """
        reply = await self._following.ask(
            *("XREAD", "COUNT", self.read_count, "BLOCK", self._block_ms),
            *("STREAMS", self._global, last.id),
            within_seconds=self._block_ms / 1000 + ANSWER_SECONDS,
        )
        return _entries(reply[0][1]) if reply else []

    async def following(self, last: Entry) -> list[Entry] | None:
        """Return the next entries of the global stream that are there already.

        They can be more than read_count, as whoever asks is behind.

        Args:
            last: the last entry that was read.

        Returns:
            The entries, or None if the stream does not hold that last one, so that
            others between it and the next may be missing.

        Raises:
            RedisError: if Redis does not give them.
        """
        entries = _entries(
            await self._following.ask(
                *("XRANGE", self._global, last.id, "+", "COUNT", self._behind_count + 1)
            )
        )
        if last == BEGINNING:
            return entries[: self._behind_count]
        return entries[1:] if entries and entries[0] == last else None

    async def holds(self, entry: Entry) -> bool:
        """Return whether the global stream holds that entry.

        Raises:
            RedisError: if Redis does not tell.
        """
        return entry in _entries(
            await self._following.ask("XRANGE", self._global, entry.id, entry.id)
        )

    async def up_to(self, last: StreamId) -> list[Entry]:
        """Return a page of the global stream's entries, newest first.

        Args:
            last: the greatest id to return.

        Raises:
            RedisError: if Redis does not give them.
        """
        return _entries(
            await self._following.ask(
                *("XREVRANGE", self._global, last, "-", "COUNT", _PAGE_ENTRIES)
            )
        )

    async def is_untrimmed(self) -> bool:
        """Return whether it is certain that the global stream has all entries since its first.

        Raises:
            RedisError: if Redis does not tell, or there is no such stream.
        """
        return await _trimmed(self._following, self._global) == 0

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """Return the entries of a channel's stream.

        Args:
            channel: the channel's id.
            start: the first id to return.

        Raises:
            RedisError: if Redis does not give them.
        """
        key = f"{self._prefix}{channel}"
        entries: list[Entry] = []
        first: StreamId | None = start
        while first is not None:
            page = _entries(
                await self._reading.ask("XRANGE", key, first, "+", "COUNT", _PAGE_ENTRIES)
            )
            entries.extend(page)
            first = StreamId.parse(page[-1].id).after() if len(page) == _PAGE_ENTRIES else None
        if not entries or await self._holds_older(key, start):
            return ChannelEntries(entries, 0)
        return ChannelEntries(entries, await _trimmed(self._reading, key))

    async def _holds_older(self, key: str, start: StreamId) -> bool:
        # Trimming removes the oldest first: what is left proves that all after it was left.
        if start == StreamId(0, 0):
            return False
        return bool(await self._reading.ask("XREVRANGE", key, start.before(), "-", "COUNT", 1))


async def _trimmed(connection: Connection, key: str) -> int | None:
    """Return how many entries were trimmed from a stream that exists, or None if unknown."""
    try:
        reply = await connection.ask("XINFO", "STREAM", key)
    except (RedisRefused, RedisTooOld):
        # All else works without this command.
        return None
    facts = as_mapping(reply)
    if b"entries-added" in facts:
        return int(facts[b"entries-added"] - facts[b"length"])
    # Redis before 7.0 does not count them.
    return 0 if facts[b"length"] < _UNTRIMMED_ENTRIES else None


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [
        # Nearly always the one field that there is.
        Entry(entry_id, fields[1] if fields[0] == b"data" else _data(fields))
        for entry_id, fields in reply
    ]


def _data(fields: Sequence[bytes]) -> bytes | None:
    return as_mapping(fields).get(b"data")


def as_mapping(reply: Sequence[Any]) -> dict[bytes, Any]:
    """Returns a reply of names and values in turn as a mapping."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
