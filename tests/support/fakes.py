"""Stand-ins for neighbours of what is tested, which note what was asked of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from gaq_twisted.core.close import Close
from gaq_twisted.core.metrics import Kind, Metric, Metrics
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.socket import Socket
from gaq_twisted.streams.backfill import ChannelStreams
from gaq_twisted.streams.events import ChannelEntries, Entry, Event, StreamId
from gaq_twisted.streams.firehose import GlobalStream
from gaq_twisted.streams.missed import ChannelHistory


def finish(steps: Iterator[object]) -> None:
    """Do all steps."""
    for _ in steps:
        pass


class FakeSocket(Socket):
    """A hub.Socket that keeps what it was sent."""

    def __init__(self, channel: str, *more_routes: str, broken: bool = False) -> None:
        """Take its routes, and whether sending fails."""
        self.routes = (channel, *more_routes)
        self.peer = Peer("192.0.2.1")
        self.expires_at: float | None = None
        self.broken = broken
        self.open = True
        self.closed_with: Close | None = None
        self.sent: list[bytes] = []
        self.pings = 0

    def can_send(self) -> bool:
        """Return what the test wants."""
        return self.open

    def send(self, frames: bytes) -> None:
        """Keep the frames, or fail."""
        if self.broken:
            raise OSError("broken pipe")
        self.sent.append(frames)

    def send_missed(self, frames: bytes) -> None:
        """Do as send does."""
        self.send(frames)

    def ping(self) -> None:
        """Count the ping, or fail."""
        if self.broken:
            raise OSError("broken pipe")
        self.pings += 1

    def close(self, close: Close) -> None:
        """Keep how it is closed."""
        self.closed_with = close

    def drop(self) -> None:
        """Note the end."""
        self.open = False


class FakeReading:
    """A reading of a channel's stream that the test answers."""

    def __init__(self, channel: str, read_from: StreamId, on_try: Callable[[], None]) -> None:
        self.channel = channel
        self.read_from = read_from
        self.wanted = True
        """False once it was cancelled."""
        self.history: Deferred[ChannelHistory] = Deferred(self._cancelled)
        on_try()

    def answer(self, events: Sequence[Event], trimmed: int | None) -> None:
        """Gives what the stream holds, if anybody still wants it."""
        if self.wanted:
            self.history.callback(ChannelHistory(events, trimmed))

    def fail(self) -> None:
        """Fails for good."""
        self.history.errback(ValueError("broken"))

    def _cancelled(self, _: object) -> None:
        self.wanted = False


class FakeReader:
    """A resumption.ChannelReader whose readings the test answers."""

    def __init__(self) -> None:
        self.readings: list[FakeReading] = []

    def read(
        self, channel: str, start: StreamId, on_try: Callable[[], None]
    ) -> "Deferred[ChannelHistory]":
        """Keeps the read, and starts its first attempt."""
        self.readings.append(FakeReading(channel, start, on_try))
        return self.readings[-1].history


def counted(metrics: Metrics) -> dict[Metric, float]:
    """Return all counters that are not 0."""
    totals = {
        metric: metrics.total(metric) for metric in metrics.metrics if metric.kind is Kind.COUNTER
    }
    return {metric: total for metric, total in totals.items() if total}


LOST = object()
"""The reply that the last entry is missing."""


class FakeStreams(GlobalStream, ChannelStreams):
    """Redis streams whose replies the test gives, to one question after the other."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._times_connected = 1
        self.trimmed: int | None = 0
        """The number of trimmed entries in the replies for channels."""
        self._open: list[Deferred[Any]] = []

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """Ask for the newest entries."""
        return list(await self._ask("newest", count))

    @property
    def read_count(self) -> int:
        """How many entries a reply has at most, according to its reader."""
        return 5

    async def follow(self, last: Entry, take: Callable[[list[Entry]], Entry | None]) -> None:
        """Ask for the next entries, again and again."""
        place: Entry | None = last
        while place is not None:
            place = take(list(await self._ask("after", place.id)))

    async def following(self, last: Entry) -> list[Entry] | None:
        """Ask for the next entries that exist already."""
        entries = await self._ask("following", last.id)
        return None if entries is LOST else list(entries)

    async def holds(self, entry: Entry) -> bool:
        """Ask for an entry."""
        return bool(await self._ask("holds", entry.id))

    async def up_to(self, last: StreamId) -> list[Entry]:
        """Ask for entries before another."""
        return list(await self._ask("up to", bytes(last)))

    async def is_untrimmed(self) -> bool:
        """Ask whether nothing was trimmed."""
        return bool(await self._ask("is untrimmed"))

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """Ask for a channel's entries."""
        return ChannelEntries(list(await self._ask(channel, start)), self.trimmed)

    @property
    def times_connected(self) -> int:
        """How many times there was a connection."""
        return self._times_connected

    def reconnect(self) -> None:
        """Use another connection from now on."""
        self._times_connected += 1

    @property
    def is_asked(self) -> bool:
        """Whether a question waits for its reply."""
        return bool(self._open)

    def answer(self, *entries: Entry) -> None:
        """Reply with entries to the oldest open question."""
        self._open.pop(0).callback(entries)

    def answer_with(self, answer: object) -> None:
        """Reply with a value such as True or LOST to the oldest open question."""
        self._open.pop(0).callback(answer)

    def fail(self, error: Exception) -> None:
        """Fail the oldest open question, and lose the connection."""
        self.reconnect()
        self._open.pop(0).errback(error)

    async def _ask(self, *question: object) -> Any:
        self.asked.append(question)
        self._open.append(Deferred(self._open.remove))
        return await self._open[-1]


def payloads(frames: bytes) -> Iterator[bytes]:
    """Yields the payloads of text frames that are shorter than 64 KiB."""
    while frames:
        length, start = frames[1], 2
        if length == 126:
            length, start = int.from_bytes(frames[2:4], "big"), 4
        yield frames[start : start + length]
        frames = frames[start + length :]
