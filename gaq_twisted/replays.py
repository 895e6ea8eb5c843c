"""The service that reads channel streams for returning clients that the tail cannot serve."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.events import Event, InvalidEvent, StreamId, channel_stream_event
from gaq_twisted.metrics import STREAM_GAP, Metrics
from gaq_twisted.resume import Reading
from gaq_twisted.streams import Entry, StreamRefused, StreamsError


class ChannelStreams(Protocol):
    """The part of Streams that is read here."""

    async def of_channel(self, channel: str, start: StreamId) -> list[Entry]:
        """As Streams.of_channel."""


class Replays(Service):
    """Reads channel streams, one after the other; a History.

    While Redis is away the readings wait, and their sockets stay open.
    """

    _log = Logger()

    def __init__(
        self,
        streams: ChannelStreams,
        metrics: Metrics,
        clock: Any,
        retry_delay: Callable[[int], float],
    ) -> None:
        """Take where to read.

        Args:
            streams: where to read.
            metrics: where to count.
            clock: provides IReactorTime.
            retry_delay: returns the seconds to wait after that many failed tries in a row.
        """
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self._retry_delay = retry_delay
        self._queue: DeferredQueue[Reading] = DeferredQueue()
        self._failures = 0
        self._worker: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin to read."""
        super().startService()
        self._worker = Deferred.fromCoroutine(self._work())

    def stopService(self) -> "Deferred[None] | None":
        """Stop reading; what waits is forgotten."""
        super().stopService()
        if self._worker is not None:
            self._worker.cancel()
        return self._worker

    def read(self, reading: Reading) -> None:
        """Answer the reading when its turn comes."""
        self._queue.put(reading)

    async def _work(self) -> None:
        with suppress(CancelledError):
            while True:
                await self._serve(await self._queue.get())

    async def _serve(self, reading: Reading) -> None:
        if not reading.wanted:
            return
        reading.begin()
        try:
            try:
                entries = await self._streams.of_channel(reading.channel, reading.read_from)
            except StreamRefused as error:
                self._log.error(
                    "a client gets only those of its missed events that are in memory: {error}",
                    error=str(error),
                )
                self._metrics.increment(STREAM_GAP)
                entries = []
            reading.answer(self._events(reading.channel, entries))
        except StreamsError as error:
            # Others take their turn before it is tried again.
            self._queue.put(reading)
            await self._wait_after(error)
        except Exception as error:
            if isinstance(error, CancelledError) and not self.running:
                raise
            self._log.failure("a client's missed events could not be read")
            reading.fail()
        else:
            self._failures = 0

    async def _wait_after(self, error: StreamsError) -> None:
        if not self._failures:
            self._log.warn("clients wait for their missed events: {error}", error=str(error))
        delay_seconds = self._retry_delay(self._failures)
        self._failures += 1
        await deferLater(self._clock, delay_seconds)

    def _events(self, channel: str, entries: list[Entry]) -> list[Event]:
        events: list[Event] = []
        for entry in entries:
            try:
                event = channel_stream_event(entry.id, entry.data)
            except InvalidEvent as error:
                self._log.debug(
                    "skipped entry {id}: {reason}", id=entry.id.decode(), reason=str(error)
                )
                continue
            if event.channel == channel:
                events.append(event)
        return events
