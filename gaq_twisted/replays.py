"""The service that reads channel streams for returning clients that the tail cannot serve."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.events import Event, InvalidEvent, StreamId, channel_stream_event
from gaq_twisted.resume import Reading
from gaq_twisted.streams import Entry, StreamsError


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
        self, streams: ChannelStreams, clock: Any, retry_delay: Callable[[int], float]
    ) -> None:
        """Take where to read.

        Args:
            streams: where to read.
            clock: provides IReactorTime.
            retry_delay: returns the seconds to wait after that many failed tries in a row.
        """
        self._streams = streams
        self._clock = clock
        self._retry_delay = retry_delay
        self._queue: DeferredQueue[Reading] = DeferredQueue()
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
        while True:
            try:
                reading = await self._queue.get()
                await self._serve(reading)
            except CancelledError:
                return
            except Exception:
                self._log.failure("a client's missed events could not be read")
                reading.fail()

    async def _serve(self, reading: Reading) -> None:
        failures = 0
        while reading.wanted:
            reading.begin()
            try:
                entries = await self._streams.of_channel(reading.channel, reading.read_from)
            except StreamsError as error:
                if not failures:
                    self._log.warn(
                        "a client waits for its missed events: {error}", error=str(error)
                    )
                await deferLater(self._clock, self._retry_delay(failures))
                failures += 1
            else:
                reading.answer(self._events(reading.channel, entries))
                return

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
