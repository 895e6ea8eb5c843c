"""The service that follows the global stream and passes on its events."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from gaq_twisted.events import Event, EventSink, InvalidEvent, StreamId, parse_event
from gaq_twisted.metrics import INVALID_EVENT, STREAM_GAP, Metrics
from gaq_twisted.streams import Entry, StreamsError

_BEGINNING = b"0-0"


class GlobalStream(Protocol):
    """The part of Streams that is followed."""

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """As Streams.newest."""

    async def after(self, cursor: bytes) -> list[Entry]:
        """As Streams.after."""


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
            recent_count: how many events the sink wants to have from before the start.
            recent_bytes: how large their data may be together, about.
        """
        self._streams = streams
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._retry_delay = retry_delay
        self._recent_count = recent_count
        self._recent_bytes = recent_bytes
        # The id of the last entry that was read; None before the first.
        self._cursor: bytes | None = None
        self._failures = 0
        # What was logged of this outage.
        self._told: set[str] = set()
        self._loop = LoopingCall(self._begin_turn)
        self._loop.clock = clock
        self._turn: Deferred[None] | None = None
        self._stopped: Deferred[Any] | None = None

    def startService(self) -> None:
        """Begin to read."""
        super().startService()
        self._stopped = self._loop.start(0)
        self._stopped.addErrback(
            lambda failure: self._log.failure("stopped following the stream", failure)
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
        except StreamsError as error:
            await self._wait_after(error)
        except Exception as error:
            if self.running:
                self._log.failure("following the global stream failed")
                await self._wait_after(error)
        else:
            self._recovered()

    async def _read(self) -> None:
        if self._cursor is None:
            entries = await self._streams.newest(
                count=self._recent_count, max_bytes=self._recent_bytes
            )
            # There may have been older ones that Redis has trimmed.
            first_id = entries[0].id if entries else _BEGINNING
            self._sink.start(self._events(entries), whole_from=first_id)
            self._cursor = entries[-1].id if entries else _BEGINNING
            self._log.info(
                "following the global stream from {cursor}, with {count} recent entries",
                cursor=self._cursor.decode(),
                count=len(entries),
            )
            return
        if self._failures:
            self._check_cursor(self._cursor, await self._streams.newest(count=1, max_bytes=1))
        entries = await self._streams.after(self._cursor)
        if entries:
            self._cursor = entries[-1].id
        for event in self._events(entries):
            try:
                self._sink.deliver(event)
            except Exception:
                self._log.failure("event {id} could not be delivered", id=event.id.decode())

    def _check_cursor(self, cursor: bytes, newest: Sequence[Entry]) -> None:
        # A replica that took over, or a restored backup, may end before the
        # cursor; the next entries could then get ids that the cursor hides.
        newest_id = newest[-1].id if newest else _BEGINNING
        if StreamId.parse(newest_id) < StreamId.parse(cursor):
            self._log.warn(
                "events may be lost in Redis: the global stream ends at {newest_id},"
                " before {cursor}, which had been read",
                newest_id=newest_id.decode(),
                cursor=cursor.decode(),
            )
            self._metrics.increment(STREAM_GAP)
            self._cursor = newest_id
            self._sink.gap()

    def _events(self, entries: Iterable[Entry]) -> list[Event]:
        events: list[Event] = []
        skipped: list[tuple[bytes, str]] = []
        for entry in entries:
            try:
                events.append(parse_event(entry.id, entry.data))
            except InvalidEvent as error:
                skipped.append((entry.id, str(error)))
        if skipped:
            first_id, reason = skipped[0]
            self._log.warn(
                "skipped {count} entries that are not events; the first is {id}: {reason}",
                count=len(skipped),
                id=first_id.decode(),
                reason=reason,
            )
            self._metrics.increment(INVALID_EVENT, len(skipped))
        return events

    def _recovered(self) -> None:
        if self._failures:
            self._failures = 0
            self._told.clear()
            self._log.info("following the global stream again")

    async def _wait_after(self, error: Exception) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self._log.warn(
                "cannot follow the global stream, will try until it works: {error}",
                error=str(error),
            )
        delay_seconds = self._retry_delay(self._failures)
        self._failures += 1
        with suppress(CancelledError):
            await deferLater(self._clock, delay_seconds)
