"""The commands that read the event streams."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.application.service import Service

from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.connection import ANSWER_SECONDS, Connection
from gaq_twisted.redis.errors import RedisRefused, RedisReplied, RedisTooOld
from gaq_twisted.redis.protocol import as_dict
from gaq_twisted.redis.remedies import Usage
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.streams.events import BEGINNING, ChannelEntries, Entry, StreamId

READING_COMMANDS = ("+xread", "+xrange", "+xrevrange", "+xinfo")
"""The permissions that a user who only reads the streams needs, for ACL SETUSER."""

_PAGE_ENTRIES = 100
# A read costs as much CPU time as about 50 events, so a backlog is read in larger pieces.
_BEHIND_ENTRIES = 1000
# The minimum length that Superset leaves a channel's stream by default
# (GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT).
_UNTRIMMED_ENTRIES = 1000


def stream_usage(prefix: str, commands: Sequence[str] = READING_COMMANDS) -> Usage:
    """Returns the permissions that a client of the streams needs.

    Args:
        prefix: the prefix of the streams' names.
        commands: the commands that it uses, for ACL SETUSER.
    """
    return Usage(
        commands=tuple(commands),
        patterns=(f"~{prefix}*",),
        unknown_command="Redis 5.0 or newer is needed, with this command neither renamed"
        " nor disabled",
        wrong_type="the key does not hold a stream: delete it",
        cluster="this is a Redis Cluster: put a hash tag into redisStreamPrefix,"
        " and let redis.host be the node that has its slot",
    )


class Streams(Service):
    """The event streams of one Superset; a service, so that its connections are closed.

    The global stream is followed on its own connection, because a blocking read delays all
    later commands.

    Args:
        settings: the Redis server, the streams' prefix, and count and block time of a read.
        reactor: connects, and is the source of time.

    Raises:
        ConfigError: if a file for TLS cannot be used.
    """

    def __init__(self, settings: Settings, reactor: IClientReactor) -> None:
        self._prefix = settings.redis_stream_prefix
        self.server = RedisServer(settings.redis, reactor, stream_usage(self._prefix))
        """The address of the streams' server."""
        self._following = self.server.connection()
        self._reading = self.server.connection()
        self._global = f"{self._prefix}full"
        self.read_count = settings.redis_stream_read_count
        """The most entries that a waiting read returns."""
        self._behind_count = max(self.read_count, _BEHIND_ENTRIES)
        self._block_ms = settings.redis_stream_read_block_ms
        # Commands without their last word, which is different for each read.
        what, where = ("XREAD", "COUNT", self.read_count), ("STREAMS", self._global)
        self._read_at_once = _encoded([*what, *where], more_words=1)
        self._wait_and_read = _encoded([*what, "BLOCK", self._block_ms, *where], more_words=1)

    @property
    def times_connected(self) -> int:
        """How many times the connection that follows the global stream was opened."""
        return self._following.times_opened

    def stopService(self) -> None:
        """Closes the connections; running reads fail."""
        super().stopService()
        self._following.close()
        self._reading.close()

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """Returns the newest entries of the global stream, oldest first.

        Args:
            count: the most entries to return.
            max_bytes: reading stops after the page with which the data reach this size.

        Raises:
            RedisError: if they cannot be read.
        """
        newest_first: list[Entry] = []
        end = "+"
        size_bytes = 0
        while len(newest_first) < count and size_bytes < max_bytes:
            wanted = min(_PAGE_ENTRIES, count - len(newest_first))
            page = _entries(
                await self._ask_global("XREVRANGE", self._global, end, "-", "COUNT", wanted)
            )
            newest_first.extend(page)
            size_bytes += sum(len(entry.data or b"") for entry in page)
            if len(page) < wanted:
                break
            end = str(StreamId.parse(page[-1].id).before())
        newest_first.reverse()
        return newest_first

    async def follow(self, last: Entry, take: Callable[[list[Entry]], Entry | None]) -> None:
        """Waits for the next entries of the global stream and reads them, repeatedly.

        The first read does not wait: after an outage it is known at once that reading works.

        Args:
            last: the last entry that was read; Redis uses only its id.
            take: called with the entries of each read, an empty list if there were none; returns
                the entry to continue after, or None to stop.

        Raises:
            RedisError: if they cannot be read.
        """

        def next_command(reply: Any) -> bytes | None:
            read = take(_entries(reply[0][1]) if reply else [])
            return None if read is None else _completed(self._wait_and_read, read.id)

        with self._noting_moves():
            await self._following.converse(
                _completed(self._read_at_once, last.id),
                next_command,
                name="XREAD",
                within_seconds=self._block_ms / 1000 + ANSWER_SECONDS,
            )

    async def following(self, last: Entry) -> list[Entry] | None:
        """Returns the next entries of the global stream, without waiting for any.

        They can be more than read_count, because the reader may be behind.

        Args:
            last: the last entry that was read.

        Returns:
            The entries, or None if the stream does not hold the last one, so that
            entries between it and the next may be missing.

        Raises:
            RedisError: if they cannot be read.
        """
        count = self._behind_count + 1
        entries = _entries(
            await self._ask_global("XRANGE", self._global, last.id, "+", "COUNT", count)
        )
        if last == BEGINNING:
            return entries[: self._behind_count]
        return entries[1:] if entries and entries[0] == last else None

    async def holds(self, entry: Entry) -> bool:
        """Returns whether the global stream holds an entry.

        Raises:
            RedisError: if it cannot be read.
        """
        return entry in _entries(await self._ask_global("XRANGE", self._global, entry.id, entry.id))

    async def up_to(self, last: StreamId) -> list[Entry]:
        """Returns a page of the global stream's entries, newest first.

        Args:
            last: the greatest id to return.

        Raises:
            RedisError: if they cannot be read.
        """
        return _entries(
            await self._ask_global("XREVRANGE", self._global, last, "-", "COUNT", _PAGE_ENTRIES)
        )

    async def is_untrimmed(self) -> bool:
        """Returns whether it is certain that the global stream has all entries since its first.

        Raises:
            RedisError: if it cannot be read, or does not exist.
        """
        return await _trimmed(self._following, self._global) == 0

    async def _ask_global(self, *command: object) -> Any:
        with self._noting_moves():
            return await self._following.ask(*command)

    @contextmanager
    def _noting_moves(self) -> Iterator[None]:
        """Closes the connections if Redis replies that the stream is on another node."""
        try:
            yield
        except RedisReplied as error:
            if error.is_elsewhere:
                # The name may resolve to the right node by now, but only for a new connection.
                self._following.close()
                self._reading.close()
            raise

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """Returns the entries of a channel's stream.

        Args:
            channel: the channel's id.
            start: the first id to return.

        Raises:
            RedisError: if they cannot be read.
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
        # Trimming removes the oldest entries first: if an older one is left, all later ones are.
        if start == StreamId(0, 0):
            return False
        return bool(await self._reading.ask("XREVRANGE", key, start.before(), "-", "COUNT", 1))


async def _trimmed(connection: Connection, key: str) -> int | None:
    """Returns how many entries were trimmed from a stream that exists, or None if unknown."""
    try:
        reply = await connection.ask("XINFO", "STREAM", key)
    except (RedisRefused, RedisTooOld):
        # Everything else works without this command.
        return None
    facts = as_dict(reply)
    if b"entries-added" in facts:
        return int(facts[b"entries-added"] - facts[b"length"])
    # Redis before 7.0 does not count them.
    return 0 if facts[b"length"] < _UNTRIMMED_ENTRIES else None


def _encoded(words: Sequence[object], *, more_words: int) -> bytes:
    """Returns the beginning of a command in Redis's protocol.

    Args:
        words: the first words.
        more_words: how many words will follow.
    """
    count = b"*%d\r\n" % (len(words) + more_words)
    return count + b"".join(_completed(b"", str(word).encode()) for word in words)


def _completed(beginning: bytes, word: bytes) -> bytes:
    """Returns the beginning of a command with one more word."""
    return b"%b$%d\r\n%b\r\n" % (beginning, len(word), word)


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [
        # It is nearly always the only field.
        Entry(entry_id, fields[1] if fields[0] == b"data" else as_dict(fields).get(b"data"))
        for entry_id, fields in reply
    ]
