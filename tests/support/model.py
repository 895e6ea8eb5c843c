"""A model of Redis and of a server on it, in which every answer comes when a test lets it."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from gaq_twisted.core.hub import Hub
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.streams.backfill import Backfill, ChannelStreams
from gaq_twisted.streams.events import BEGINNING, ChannelEntries, Entry, Event, StreamId, Wanted
from gaq_twisted.streams.firehose import Firehose, GlobalStream
from gaq_twisted.streams.metrics import STREAM_GAP
from gaq_twisted.streams.resumption import Resumption
from gaq_twisted.streams.tail import Tail
from tests.support.samples import job_data, settings, streams_metrics

GLOBAL = ""
"""The key of the global stream; other streams have their channel's name."""
PAGE = 2
READ_COUNT = 3
RECENT_COUNT = 10
RETRY_SECONDS = 0.1


class Stream:
    """A stream: XADD with ids as Redis makes them, trimming at the old end."""

    def __init__(self) -> None:
        """Starts empty."""
        self.entries: list[tuple[StreamId, bytes]] = []
        self.added = 0
        self._last = StreamId(0, 0)

    def add(self, ms: int, data: bytes) -> None:
        """Append an entry."""
        self._last = self._last.after() if ms <= self._last.ms else StreamId(ms, 0)
        self.entries.append((self._last, data))
        self.added += 1

    def copy(self) -> "Stream":
        """Return a stream of its own with the same entries."""
        other = Stream()
        other.entries, other.added, other._last = list(self.entries), self.added, self._last
        return other

    def range(self, first: StreamId, last: StreamId | None = None) -> list[Entry]:
        """Return the entries from one id to another, or to the end."""
        return [
            Entry(bytes(stream_id), data)
            for stream_id, data in self.entries
            if first <= stream_id and (last is None or stream_id <= last)
        ]

    def jobs(self) -> list[str]:
        """Return the jobs of the entries."""
        return [json.loads(data)["job_id"] for _, data in self.entries]


class ModelRedis:
    """Redis, with a replica that may lag."""

    def __init__(self) -> None:
        """Have no streams."""
        self.now_ms = 1_000_000
        self.tells_added = True
        """Whether it counts what was ever added, as Redis does from 7.0 on."""
        self.streams: dict[str, Stream] = {}
        # What it was like before each of the last commands that wrote.
        self._before: list[dict[str, Stream]] = []
        self._connections: list[ModelStreams] = []

    def stream(self, key: str) -> Stream:
        """Return the stream with that key, which is empty if there is none."""
        return self.streams.get(key, Stream())

    def xadd(self, key: str, channel: str, job: str) -> None:
        """Append a job's event; who waits for one is answered."""
        self._remember()
        self.streams.setdefault(key, Stream()).add(self.now_ms, job_data(channel, job))
        for connection in self._connections:
            connection.something_was_added()

    def trim(self, key: str) -> list[str]:
        """Remove the oldest entry, but never the last one; return its job."""
        stream = self.stream(key)
        trimmed = stream.jobs()[:-1][:1]
        if trimmed:
            self._remember()
            del stream.entries[:1]
        return trimmed

    def fail_over(self, lag: int) -> None:
        """Let a replica take over that has not the last commands; all connections end."""
        for _ in range(min(lag, len(self._before))):
            self.streams = self._before.pop()
        for connection in self._connections:
            connection.lose()

    def flush(self) -> None:
        """Lose all."""
        self._remember()
        self.streams = {}

    def connect(self, connection: "ModelStreams") -> None:
        """Have another client."""
        self._connections.append(connection)

    def disconnect(self, connection: "ModelStreams") -> None:
        """Have one client less."""
        self._connections.remove(connection)

    def _remember(self) -> None:
        self._before.append({key: stream.copy() for key, stream in self.streams.items()})
        del self._before[:-6]


class Question(NamedTuple):
    """A command that was sent."""

    execute: Callable[[], Any]
    """Returns the answer as it is at this moment."""
    waits: bool
    """Whether there is no answer while it would be empty."""
    answered: "Deferred[Any]"


class ModelStreams(GlobalStream, ChannelStreams):
    """The interface of Streams, on a model of Redis."""

    def __init__(self, redis: ModelRedis) -> None:
        """Starts connected."""
        self._redis = redis
        self._times_connected = 1
        # Each with its answer, once it was executed.
        self._questions: list[tuple[Question, list[Any]]] = []
        redis.connect(self)

    @property
    def times_connected(self) -> int:
        """How many times there was a connection."""
        return self._times_connected

    @property
    def read_count(self) -> int:
        """How many entries a read returns at most."""
        return READ_COUNT

    @property
    def is_busy(self) -> bool:
        """Whether there is more to do than to wait for new entries."""
        return any(answer or not question.waits for question, answer in self._questions)

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """Return the newest entries, as they are at one moment."""
        return list(await self._ask(lambda: self._global().range(StreamId(0, 0))[-count:]))

    async def follow(self, last: Entry, take: Callable[[list[Entry]], Entry | None]) -> None:
        """Read the next entries again and again; wait for them if there are none."""
        place: Entry | None = last
        while place is not None:
            first = StreamId.parse(place.id).after()
            found = await self._ask(partial(self._read_from, first), waits=True)
            place = take(list(found))

    def _read_from(self, first: StreamId) -> list[Entry]:
        return self._global().range(first)[:READ_COUNT]

    async def following(self, last: Entry) -> list[Entry] | None:
        """Return the next entries if the last one is there."""
        entries = await self._ask(lambda: self._global().range(StreamId.parse(last.id)))
        if last == BEGINNING:
            return list(entries[:READ_COUNT])
        return list(entries[1 : READ_COUNT + 1]) if entries and entries[0] == last else None

    async def holds(self, entry: Entry) -> bool:
        """Return whether an entry is there."""
        return bool(await self._ask(lambda: entry in self._global().range(StreamId(0, 0))))

    async def up_to(self, last: StreamId) -> list[Entry]:
        """Return a page of entries, newest first."""
        return list(
            await self._ask(lambda: self._global().range(StreamId(0, 0), last)[::-1][:PAGE])
        )

    async def is_untrimmed(self) -> bool:
        """Return whether it is certain that nothing was trimmed."""
        return await self._trimmed(GLOBAL) == 0

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """Return a channel's entries, a page after the other, each as it is at its moment."""
        entries: list[Entry] = []
        first: StreamId | None = start
        while first is not None:
            page = await self._ask(partial(self._page, channel, first))
            entries.extend(page)
            first = StreamId.parse(page[-1].id).after() if len(page) == PAGE else None
        if not entries:
            return ChannelEntries(entries, 0)
        if start > StreamId(0, 0) and await self._ask(
            lambda: self._redis.stream(channel).range(StreamId(0, 0), start.before())
        ):
            return ChannelEntries(entries, 0)
        return ChannelEntries(entries, await self._trimmed(channel))

    def _page(self, channel: str, first: StreamId) -> list[Entry]:
        return self._redis.stream(channel).range(first)[:PAGE]

    async def _trimmed(self, key: str) -> int | None:
        def trimmed() -> int | None:
            stream = self._redis.stream(key)
            count = stream.added - len(stream.entries)
            return count if self._redis.tells_added or not count else None

        answer: int | None = await self._ask(trimmed)
        return answer

    async def _ask(self, execute: Callable[[], Any], *, waits: bool = False) -> Any:
        question = Question(execute, waits, Deferred(self._forget))
        self._questions.append((question, []))
        if waits:
            self.something_was_added()
        return await question.answered

    def _forget(self, cancelled: object) -> None:
        self._questions = [
            (question, answer)
            for question, answer in self._questions
            if question.answered is not cancelled
        ]

    def _global(self) -> Stream:
        return self._redis.stream(GLOBAL)

    # What the test lets happen

    def something_was_added(self) -> None:
        """Execute what waits for an entry, if there is one for it."""
        for question, answer in self._questions:
            if question.waits and not answer and (entries := question.execute()):
                answer.append(entries)

    def execute(self, which: int) -> None:
        """Let Redis execute one of the commands that have not been executed."""
        waiting = [
            (question, answer)
            for question, answer in self._questions
            if not answer and not question.waits
        ]
        if waiting:
            question, answer = waiting[which % len(waiting)]
            answer.append(question.execute())

    def tell(self, which: int) -> None:
        """Let one of the answers arrive."""
        answered = [pair for pair in self._questions if pair[1]]
        if answered:
            pair = answered[which % len(answered)]
            self._questions.remove(pair)
            pair[0].answered.callback(pair[1][0])

    def time_out(self) -> None:
        """Let the time be over of who waits for an entry."""
        for question, answer in self._questions:
            if question.waits and not answer:
                answer.append([])

    def lose(self) -> None:
        """Lose the connection, and with it all answers under way."""
        self._times_connected += 1
        questions, self._questions = self._questions, []
        for question, _ in questions:
            question.answered.errback(RedisError("lost"))

    def end(self) -> None:
        """Ask no more."""
        self._redis.disconnect(self)


class RecordingResumption(Resumption):
    """A resumption that knows what had been published when it began."""

    def __init__(self, published: Sequence[str], *arguments: Any) -> None:
        """Take the list that is going to hold all jobs that are published."""
        super().__init__(*arguments)
        self._published = published
        self.has_started = False
        self.before_start: set[str] = set()

    @property
    def wanted(self) -> Wanted:
        """More than a small tail can hold."""
        max_events, max_bytes = super().wanted
        return Wanted(max(max_events, RECENT_COUNT), max_bytes)

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Records the older events, and starts."""
        self.has_started = True
        self.before_start = set(self._published)
        super().start(recent, whole_from=whole_from)


class ModelServer:
    """A server: all but its sockets and its Redis is real."""

    def __init__(self, redis: ModelRedis, tail_size: int, published: Sequence[str]) -> None:
        """Start."""
        self.tail_size = tail_size
        self.clock = Clock()
        self.metrics = streams_metrics()
        self.streams = ModelStreams(redis)
        self.backfill = Backfill(self.streams, self.clock, lambda tries: RETRY_SECONDS, at_a_time=2)
        tail = Tail(tail_size, 2**20)
        self.hub = Hub(self.metrics, self.clock.seconds, settings())
        self.resumption = RecordingResumption(
            published, self.hub, tail, self.backfill, self.metrics, self.clock.seconds, 0
        )
        self.firehose = Firehose(
            self.streams,
            self.resumption,
            self.metrics,
            self.clock,
            lambda tries: RETRY_SECONDS,
            lambda: None,
        )
        self.firehose.startService()
        self.backfill.startService()

    @property
    def gaps(self) -> int:
        """How many gaps it has reported."""
        return int(self.metrics.total(STREAM_GAP))

    def stop(self) -> None:
        """End."""
        self.firehose.stopService()
        self.backfill.stopService()
        self.streams.end()

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass and the reactor have its turn."""
        self.clock.advance(seconds)

    def rest(self) -> None:
        """Let it come to rest, with all that Redis has read."""
        for _ in range(4):
            self.turn(10)
            self.streams.time_out()
            self.catch_up()

    def catch_up(self) -> None:
        """Let it read all that it asks for."""
        while self.streams.is_busy:
            self.streams.execute(0)
            self.streams.tell(0)
            self.turn()
