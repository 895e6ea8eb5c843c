"""Follows the global stream and passes on its events."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import NamedTuple, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.slices import Slices
from gaq_twisted.redis.errors import RedisError, RedisTooOld
from gaq_twisted.streams.continuity import Continuity, Reset, Truncated, VerifiedStream
from gaq_twisted.streams.events import BEGINNING, Entry, Event, EventSink, StreamId
from gaq_twisted.streams.metrics import STREAM_GAP
from gaq_twisted.streams.outage import Outage
from gaq_twisted.streams.parsing import EntryParser

# How long events are passed on before the reactor gets a turn.
_SLICE_SECONDS = 0.005
# How many entries are passed on at once.
_PAGE_ENTRIES = 1000
_DONE = object()


class Progress(NamedTuple):
    """How far the stream has been read."""

    is_following: bool
    """Whether the last read succeeded."""
    cursor: str
    """The id of the last entry that was read; empty before the start."""
    lag_seconds: float
    """The age of that entry while more entries can be read; otherwise 0."""
    read_age_seconds: float
    """The time since Redis's last reply; infinite if there was none."""


class GlobalStream(VerifiedStream, Protocol):
    """The part of Streams that is needed to follow the global stream."""

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """See Streams.newest."""

    @property
    def read_count(self) -> int:
        """See Streams.read_count."""

    async def follow(self, last: Entry, take: Callable[[list[Entry]], Entry | None]) -> None:
        """See Streams.follow."""


class Firehose(Service):
    """Reads the global stream from its recent end on and passes every event to a sink.

    The position is always a concrete id. So no event is skipped that arrives between two reads
    or while Redis is down.

    Args:
        streams: read the global stream.
        sink: receives the events.
        metrics: count events and failures.
        clock: provides the time.
        retry_delay: returns the seconds to wait after that many failures in a row.
        give_up: called if Redis's first reply shows that it is too old.
    """

    _log = Logger()

    def __init__(
        self,
        streams: GlobalStream,
        sink: EventSink,
        metrics: Metrics,
        clock: IReactorTime,
        retry_delay: Callable[[int], float],
        give_up: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._give_up = give_up
        self._outage = Outage(clock, retry_delay)
        self._continuity = Continuity(streams, clock.seconds)
        self._parser = EntryParser(metrics, clock)
        # The last entry that was read; None before the start.
        self._last: Entry | None = None
        # Whether there may be more entries already.
        self._is_behind = False
        self._answered_at = -inf
        # The rest of a delivery that takes longer than a slice.
        self._undelivered: Slices | None = None
        self._loop = LoopingCall(self._begin_turn)
        self._loop.clock = clock
        self._turn: Deferred[None] | None = None
        self._stopped: Deferred[LoopingCall] | None = None

    def progress(self) -> Progress:
        """Returns how far the stream has been read."""
        now, last = self._clock.seconds(), self._last
        return Progress(
            is_following=last is not None and not self._outage,
            cursor=last.id.decode() if last else "",
            lag_seconds=now - StreamId.parse(last.id).ms / 1000 if last and self._is_behind else 0,
            read_age_seconds=now - self._answered_at,
        )

    def startService(self) -> None:
        """Starts reading."""
        super().startService()
        self._stopped = self._loop.start(0)
        self._stopped.addErrback(
            lambda failure: self._log.failure(
                "stopped following the stream", failure, event="following_stopped"
            )
        )

    def stopService(self) -> "Deferred[LoopingCall] | None":
        """Stops reading at once, even during a read."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._turn is not None:
            self._turn.cancel()
        return self._stopped

    def _begin_turn(self) -> "Deferred[None]":
        # The loop starts the next turn only after a turn of the reactor, so that a backlog leaves
        # time for other work. Without a backlog, one turn lasts many reads.
        self._turn = Deferred.fromCoroutine(self._read_once())
        return self._turn

    async def _read_once(self) -> None:
        try:
            await self._read()
            self._answered_at = self._clock.seconds()
        except RedisError as error:
            if isinstance(error, RedisTooOld) and self._last is None:
                self._log.critical(
                    "cannot work with this Redis: {error}", event="redis_too_old", error=str(error)
                )
                self._loop.stop()
                self._give_up()
            else:
                await self._outage.wait_after(error)
        except Exception as error:
            if self.running:
                self._log.failure("following the global stream failed", event="following_failed")
                await self._outage.wait_after(error)

    async def _read(self) -> None:
        if self._last is None:
            self._last = await self._start()
            self._outage.end()
            return
        self._undelivered = None
        entries: list[Entry] = []
        if self._is_behind or self._continuity.due():
            entries = await self._verified(self._last)
        if entries:
            self._begin_delivery(entries)
            if self._is_behind:
                # As long as there is a backlog, nothing else ends the outage.
                self._outage.end()
        else:
            await self._streams.follow(self._last, self._take)
        if self._undelivered is not None:
            await self._finish(self._undelivered)

    def _take(self, entries: list[Entry]) -> Entry | None:
        """Passes on the entries of one read; returns where the next one can begin at once.

        It returns None if there is more to do, which needs other commands or other turns.
        """
        self._answered_at = self._clock.seconds()
        self._outage.end()
        if self._continuity.is_reconnected:
            # The entries may be another server's; they are read again after verification.
            return None
        self._begin_delivery(entries)
        is_overdue = self._continuity.is_overdue(self._answered_at)
        if is_overdue or self._is_behind or self._undelivered is not None:
            return None
        return self._last

    def _begin_delivery(self, entries: Sequence[Entry]) -> None:
        """Passes on entries for one slice, and keeps the rest for later slices."""
        steps = self._deliver(entries)
        self._is_behind = len(entries) >= self._streams.read_count
        # A few entries for a few sockets take one step.
        if next(steps, _DONE) is not _DONE:
            rest = Slices(steps, self._clock.seconds, _SLICE_SECONDS)
            rest.advance()
            if not rest.is_done:
                self._undelivered = rest

    async def _start(self) -> Entry:
        """Passes the recent entries to the sink; returns the position to continue from."""
        connection = self._streams.times_connected
        max_events, max_bytes = self._sink.wanted
        entries = await self._streams.newest(count=max_events, max_bytes=max_bytes)
        # Redis may have trimmed older entries.
        first, last = (entries[0], entries[-1]) if entries else (BEGINNING, BEGINNING)
        events: list[Event] = []
        parsing = Slices(self._parser.parse(entries, events), self._clock.seconds, _SLICE_SECONDS)
        await self._finish(parsing)
        self._parser.report_skipped()
        self._sink.start(events, whole_from=first.id)
        size_bytes = sum(len(entry.data or b"") for entry in entries)
        is_whole = len(entries) < max_events and size_bytes < max_bytes
        self._continuity.begin(entries, connection=connection, is_whole=is_whole)
        self._log.info(
            "following the global stream from {cursor}, with {count} recent entries",
            event="following",
            cursor=last.id.decode(),
            count=len(entries),
        )
        return last

    async def _verified(self, last: Entry) -> list[Entry]:
        """Returns the next existing entries, after a check that none is missing."""
        verdict = await self._continuity.verify(last)
        if isinstance(verdict, Truncated):
            self._last = verdict.resume_at
            self._report_gap(
                "the global stream has lost {last}, which was already read;"
                " continuing after {place}, the newest older entry that is left",
                last=last.id.decode(),
                place=self._last.id.decode(),
            )
            return []
        if isinstance(verdict, Reset):
            self._report_gap("the global stream was emptied and has new entries")
        return verdict.entries

    def _report_gap(self, what: str, **facts: str) -> None:
        channels = self._sink.gap()
        self._log.warn(
            f"events may be lost for {{channels}} channels with listeners: {what}",
            event="stream_gap",
            channels=channels,
            **facts,
        )
        self._metrics.increment(STREAM_GAP)

    def _deliver(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Passes entries to the sink in steps; the reactor may have a turn between them."""
        for start in range(0, len(entries), _PAGE_ENTRIES):
            page = entries[start : start + _PAGE_ENTRIES]
            events: list[Event] = []
            yield from self._parser.parse(page, events)
            try:
                yield from self._sink.deliver(events)
            except Exception:
                self._log.failure(
                    "some of the events from {first} to {last} could not be delivered",
                    event="delivery_failed",
                    first=page[0].id.decode(),
                    last=page[-1].id.decode(),
                )
            self._last = page[-1]
            self._continuity.remember(page)
        self._parser.report_skipped()

    async def _finish(self, work: Slices) -> None:
        """Does the rest of some work, one slice in each turn of the reactor."""
        while not work.is_done:
            await deferLater(self._clock, 0)
            work.advance()
