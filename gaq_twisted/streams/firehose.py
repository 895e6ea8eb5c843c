"""The service that follows the global stream and passes on its events."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.redis.connection import RedisError, RedisTooOld
from gaq_twisted.streams.commands import BEGINNING, Entry
from gaq_twisted.streams.events import Event, EventSink, InvalidEvent, StreamId, parse_event
from gaq_twisted.streams.metrics import INVALID_EVENT, STREAM_GAP

# How often it is looked whether the stream still is what was read; and how long
# events may be handed on before others get a turn of the reactor, and how many are
# handed on as one.
_LOOK_SECONDS = 5.0
_SLICE_SECONDS = 0.005
_PAGE_ENTRIES = 1000
# How many entries are read as one step; the largest take a millisecond each.
_STEP_ENTRIES = 16
# More than a replica lacks that takes over.
_REMEMBERED_ENTRIES = 10_000


class Progress(NamedTuple):
    """How far the reading is."""

    is_following: bool
    """Whether the last try to read succeeded."""
    cursor: str
    """The id of the last entry that was read; empty before the start."""
    lag_seconds: float
    """How old that entry is, if there are more to read at once; otherwise 0."""
    read_age_seconds: float
    """How long ago Redis answered last; infinite if never."""


class GlobalStream(Protocol):
    """The part of Streams that is followed."""

    @property
    def times_connected(self) -> int:
        """As Streams.times_connected."""

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """As Streams.newest."""

    @property
    def read_count(self) -> int:
        """As Streams.read_count."""

    async def after(self, last: Entry) -> list[Entry]:
        """As Streams.after."""

    async def following(self, last: Entry) -> list[Entry] | None:
        """As Streams.following."""

    async def holds(self, entry: Entry) -> bool:
        """As Streams.holds."""

    async def up_to(self, last: StreamId) -> list[Entry]:
        """As Streams.up_to."""

    async def is_untrimmed(self) -> bool:
        """As Streams.is_untrimmed."""


class Firehose(Service):
    """Reads the global stream from its recent end on and hands every event to a sink.

    The place that was reached is always a concrete id, so nothing that arrives
    between two reads, or while Redis is away, is skipped.
    """

    _log = Logger()

    def __init__(
        self,
        streams: GlobalStream,
        sink: EventSink,
        metrics: Metrics,
        clock: Any,
        retry_delay: Callable[[int], float],
        give_up: Callable[[], None],
        *,
        recent_count: int,
        recent_bytes: int,
    ) -> None:
        """Take the stream and the sink.

        Args:
            streams: where to read.
            sink: where the events go.
            metrics: where to count.
            clock: provides IReactorTime.
            retry_delay: returns the seconds to wait after that many failed tries in a row.
            give_up: called if the first answer of Redis tells that it is too old.
            recent_count: how many events the sink wants to have from before the start.
            recent_bytes: how large their data may be together, about.
        """
        self._streams = streams
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._retry_delay = retry_delay
        self._give_up = give_up
        self._recent_count = recent_count
        self._recent_bytes = recent_bytes
        # The last entry that was read; None before the start.
        self._last: Entry | None = None
        # When it was last made sure that the stream still is what was read: what was the
        # last entry then, on which connection, and at what time.
        self._last_looked = BEGINNING
        self._looked_connection = 0
        self._looked_at = 0.0
        # The last entries that were read, to know them again; older ones than the first
        # of these were read before.
        self._remembered: deque[tuple[bytes, int]] = deque(maxlen=_REMEMBERED_ENTRIES)
        # Whether there may be more to read that is there already.
        self._is_behind = False
        self._skipped: list[tuple[bytes, str]] = []
        self._complaints = Throttle(clock.seconds, most=1)
        self._failures = 0
        self._answered_at = -inf
        # The states of Redis that were logged in this outage.
        self._told: set[str] = set()
        self._loop = LoopingCall(self._begin_turn)
        self._loop.clock = clock
        self._turn: Deferred[None] | None = None
        self._stopped: Deferred[Any] | None = None

    def progress(self) -> Progress:
        """Return how far the reading is."""
        now, last = self._clock.seconds(), self._last
        return Progress(
            is_following=last is not None and not self._failures,
            cursor=last.id.decode() if last else "",
            lag_seconds=now - StreamId.parse(last.id).ms / 1000 if last and self._is_behind else 0,
            read_age_seconds=now - self._answered_at,
        )

    def startService(self) -> None:
        """Begin to read."""
        super().startService()
        self._stopped = self._loop.start(0)
        self._stopped.addErrback(
            lambda failure: self._log.failure(
                "stopped following the stream", failure, event="following_stopped"
            )
        )

    def stopService(self) -> "Deferred[Any] | None":
        """Stop reading, at once even though a read is under way."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._turn is not None:
            self._turn.cancel()
        return self._stopped

    def _begin_turn(self) -> "Deferred[None]":
        # The loop starts the next turn only after a turn of the reactor, so that
        # a backlog leaves time for everything else.
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
                await self._wait_after(error, error.state)
        except Exception as error:
            if self.running:
                self._log.failure("following the global stream failed", event="following_failed")
                await self._wait_after(error, str(error))

    async def _read(self) -> None:
        if self._last is None:
            self._last = await self._start()
            self._recovered()
            return
        entries: list[Entry] = []
        if self._is_behind or self._is_look_due():
            entries = await self._looked(self._last)
        if not entries:
            entries = await self._streams.after(self._last)
            self._recovered()
            if self._streams.times_connected != self._looked_connection:
                # Nobody has looked yet whether this server has the same stream.
                return
        await self._in_slices(self._deliver(entries))
        self._is_behind = len(entries) >= self._streams.read_count

    async def _start(self) -> Entry:
        connection = self._streams.times_connected
        entries = await self._streams.newest(count=self._recent_count, max_bytes=self._recent_bytes)
        # There may have been older ones that Redis has trimmed.
        first, last = (entries[0], entries[-1]) if entries else (BEGINNING, BEGINNING)
        events: list[Event] = []
        await self._in_slices(self._parse(entries, events))
        self._tell_skipped()
        self._sink.start(events, whole_from=first.id)
        if self._are_all(entries):
            self._remembered.append(_remembered(BEGINNING))
        self._remembered.extend(map(_remembered, entries))
        self._note_look(connection, last)
        self._log.info(
            "following the global stream from {cursor}, with {count} recent entries",
            event="following",
            cursor=last.id.decode(),
            count=len(entries),
        )
        return last

    def _are_all(self, entries: Sequence[Entry]) -> bool:
        """Return whether there was no reason to read less than the whole stream."""
        size_bytes = sum(len(entry.data or b"") for entry in entries)
        return len(entries) < self._recent_count and size_bytes < self._recent_bytes

    def _deliver(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Hand entries to the sink, in steps between which others may have a turn."""
        for start in range(0, len(entries), _PAGE_ENTRIES):
            page = entries[start : start + _PAGE_ENTRIES]
            events: list[Event] = []
            yield from self._parse(page, events)
            try:
                yield from self._sink.deliver(events)
            except Exception:
                self._log.failure(
                    "events could not be delivered, of those from {first} to {last}",
                    event="delivery_failed",
                    first=page[0].id.decode(),
                    last=page[-1].id.decode(),
                )
            self._last = page[-1]
            self._remembered.extend(map(_remembered, page))
        self._tell_skipped()

    def _parse(self, entries: Sequence[Entry], events: list[Event]) -> Iterator[None]:
        for start in range(0, len(entries), _STEP_ENTRIES):
            for entry in entries[start : start + _STEP_ENTRIES]:
                try:
                    events.append(parse_event(entry.id, entry.data))
                except InvalidEvent as error:
                    self._skipped.append((entry.id, str(error)))
            yield

    def _is_look_due(self) -> bool:
        if self._streams.times_connected != self._looked_connection:
            return True
        return bool(self._clock.seconds() >= self._looked_at + _LOOK_SECONDS)

    async def _looked(self, last: Entry) -> list[Entry]:
        """Return the next entries, having looked whether the stream is still what was read.

        A replica that took over, or a restored backup, may lack what was read
        and hold other entries in its place, with ids that a read after the last
        one would never return.  And while the reading is behind, Redis may trim
        what was not read yet.
        """
        connection = self._streams.times_connected
        entries = await self._streams.following(last)
        if entries is None:
            self._last = await self._newest_known(last)
            self._tell_gap(
                "the global stream has lost {last}, which had been read;"
                " going on after {place}, the newest before it that is left",
                last=last.id.decode(),
                place=self._last.id.decode(),
            )
            self._forget_after(self._last)
            self._note_look(connection, self._last)
        elif self._is_look_due():
            if await self._has_begun_anew(last):
                self._tell_gap("the global stream was emptied and has begun anew")
            self._note_look(connection, last)
        return entries or []

    async def _has_begun_anew(self, last: Entry) -> bool:
        """Return whether entries are gone, though Redis has not trimmed any."""
        if self._last_looked in (last, BEGINNING) or await self._streams.holds(self._last_looked):
            return False
        return await self._streams.is_untrimmed()

    def _note_look(self, connection: int, last: Entry) -> None:
        self._looked_connection, self._last_looked = connection, last
        self._looked_at = self._clock.seconds()

    async def _newest_known(self, last: Entry) -> Entry:
        """Return the newest entry up to that id that had been read, or the beginning."""
        known, oldest = set(self._remembered), StreamId.parse(self._remembered[0][0])
        page = await self._streams.up_to(StreamId.parse(last.id))
        while page:
            for entry in page:
                if _remembered(entry) in known or StreamId.parse(entry.id) < oldest:
                    return entry
            page = await self._streams.up_to(StreamId.parse(page[-1].id).before())
        return BEGINNING

    def _forget_after(self, place: Entry) -> None:
        """Remember what was read before a place and no more, so that ids go up again."""
        last = _remembered(place)
        while self._remembered and self._remembered[-1] != last:
            self._remembered.pop()
        if not self._remembered:
            self._remembered.append(last)

    def _tell_gap(self, what: str, **facts: str) -> None:
        channels = self._sink.gap()
        self._log.warn(
            f"events may be lost, {{channels}} channels are listening: {what}",
            event="stream_gap",
            channels=channels,
            **facts,
        )
        self._metrics.increment(STREAM_GAP)

    def _tell_skipped(self) -> None:
        for reason, count in Counter(reason for _, reason in self._skipped).items():
            self._metrics.increment(INVALID_EVENT, count, reason)
        if self._skipped and self._complaints.admits():
            first_id, reason = self._skipped[0]
            self._log.warn(
                "skipped {count} entries that are not events; the first is {id}: {reason}",
                event="entries_skipped",
                count=len(self._skipped) + self._complaints.suppressed(),
                id=first_id.decode(),
                reason=reason,
            )
        self._skipped.clear()

    async def _in_slices(self, steps: Iterator[None]) -> None:
        """Take all steps, and let the reactor do other things every now and then."""
        pause_at = self._clock.seconds() + _SLICE_SECONDS
        for _ in steps:
            if self._clock.seconds() >= pause_at:
                await deferLater(self._clock, 0)
                pause_at = self._clock.seconds() + _SLICE_SECONDS

    def _recovered(self) -> None:
        if self._failures:
            self._failures = 0
            self._told.clear()
            self._log.info("following the global stream again", event="following_again")

    async def _wait_after(self, error: Exception, state: str) -> None:
        if state not in self._told:
            self._told.add(state)
            self._log.warn(
                "cannot follow the global stream, will try until it works: {error}",
                event="cannot_follow",
                error=str(error),
            )
        delay_seconds = self._retry_delay(self._failures)
        self._failures += 1
        with suppress(CancelledError):
            await deferLater(self._clock, delay_seconds)


def _remembered(entry: Entry) -> tuple[bytes, int]:
    """Return what is kept of an entry to know it again."""
    return entry.id, hash(entry.data)
