"""The service that reads channel streams for returning clients that the tail cannot serve."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredQueue
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.redis.errors import RedisError, RedisRefused
from gaq_twisted.streams.events import (
    ChannelEntries,
    Entry,
    Event,
    InvalidEvent,
    StreamId,
    channel_stream_event,
)
from gaq_twisted.streams.missed import Reading


class ChannelStreams(Protocol):
    """The part of Streams that is read here."""

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """As Streams.of_channel."""


class Replays(Service):
    """Reads channel streams, a few at a time; a History.

    While Redis is away the readings wait, and their sockets stay open.
    """

    _log = Logger()

    def __init__(
        self,
        streams: ChannelStreams,
        clock: Any,
        retry_delay: Callable[[int], float],
        *,
        at_a_time: int,
    ) -> None:
        """Take where to read.

        Args:
            streams: where to read.
            clock: provides IReactorTime.
            retry_delay: returns the seconds to wait after that many failed tries in a row.
            at_a_time: how many readings may be under way, so that a slow answer does
                not hold up all others.
        """
        self._streams = streams
        self._clock = clock
        self._retry_delay = retry_delay
        self._at_a_time = at_a_time
        self._queue: DeferredQueue[Reading] = DeferredQueue()
        self._is_away = False
        self._workers: list[Deferred[None]] = []

    def startService(self) -> None:
        """Begin to read."""
        super().startService()
        self._workers = [Deferred.fromCoroutine(self._work()) for _ in range(self._at_a_time)]

    def stopService(self) -> "Deferred[Any]":
        """Stop reading; what waits is forgotten."""
        super().stopService()
        for worker in self._workers:
            worker.cancel()
        return DeferredList(self._workers)

    def read(self, reading: Reading) -> None:
        """Answer the reading when its turn comes."""
        self._queue.put(reading)

    async def _work(self) -> None:
        failures = 0
        with suppress(CancelledError):
            while True:
                reading = await self._queue.get()
                if not reading.wanted:
                    continue
                try:
                    await self._serve(reading)
                except RedisError as error:
                    # Others take their turn before it is tried again.
                    self._queue.put(reading)
                    self._tell_away(error)
                    await deferLater(self._clock, self._retry_delay(failures))
                    failures += 1
                else:
                    self._tell_back()
                    failures = 0

    async def _serve(self, reading: Reading) -> None:
        reading.begin()
        try:
            entries, trimmed = await self._read(reading)
            reading.answer(self._events(reading.channel, entries), trimmed)
        except RedisError:
            raise
        except Exception as error:
            if isinstance(error, CancelledError) and not self.running:
                raise
            self._log.failure("a client's missed events could not be read", event="replay_failed")
            reading.fail()

    async def _read(self, reading: Reading) -> ChannelEntries:
        try:
            return await self._streams.of_channel(reading.channel, reading.read_from)
        except RedisRefused as error:
            self._log.error(
                "a client gets only those of its missed events that are in memory: {error}",
                event="replay_refused",
                error=str(error),
            )
            return ChannelEntries([], None)

    def _tell_away(self, error: RedisError) -> None:
        if not self._is_away:
            self._is_away = True
            self._log.warn(
                "clients wait for their missed events: {error}",
                event="replays_wait",
                error=str(error),
            )

    def _tell_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._log.info("clients get their missed events again", event="replays_again")

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
