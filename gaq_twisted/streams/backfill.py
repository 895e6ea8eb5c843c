"""Reads the streams of channels for returning clients that the tail cannot serve."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.core.throttle import Throttle
from gaq_twisted.redis.errors import RedisError, RedisReplied
from gaq_twisted.streams.events import (
    ChannelEntries,
    Entry,
    Event,
    InvalidEvent,
    StreamId,
    channel_stream_event,
)
from gaq_twisted.streams.missed import ChannelHistory


class ChannelStreams(Protocol):
    """The commands that are needed here."""

    async def of_channel(self, channel: str, start: StreamId) -> ChannelEntries:
        """As Streams.of_channel."""


class Backfill(Service):
    """Reads streams of channels, a few at a time, for as long as it takes.

    Args:
        streams: the commands.
        clock: for the time between tries.
        retry_delay: returns the seconds to wait after that many failed tries in a row.
        at_a_time: how many readings may be under way, so that a slow answer does not hold
            up all others.
    """

    _log = Logger()

    def __init__(
        self,
        streams: ChannelStreams,
        clock: IReactorTime,
        retry_delay: Callable[[int], float],
        *,
        at_a_time: int,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._retry_delay = retry_delay
        self._at_a_time = at_a_time
        self._places = DeferredSemaphore(at_a_time)
        self._failures = 0
        # Clients can cause such a line as often as they connect.
        self._refusals = Throttle(clock.seconds)
        self._reading: dict[Deferred[ChannelHistory], None] = {}

    def stopService(self) -> "Deferred[Any]":
        """Cancels all readings."""
        super().stopService()
        # Those that wait for a place come first, or each would be given the one before.
        reading = list(reversed(self._reading))
        ended = DeferredList(reading, consumeErrors=True)
        for one in reading:
            one.cancel()
        return ended

    def read(
        self, channel: str, start: StreamId, on_try: Callable[[], None]
    ) -> "Deferred[ChannelHistory]":
        """Reads the stream of a channel.

        While Redis is away this waits. Where Redis answers but refuses to read that stream,
        the history is empty, and what was trimmed from it is unknown.

        Args:
            channel: the channel.
            start: the first id to read.
            on_try: called before each try.

        Returns:
            A Deferred; cancel it when nobody waits for the history any more.
        """
        reading = Deferred.fromCoroutine(self._read(channel, start, on_try))
        if not reading.called:
            self._reading[reading] = None
            reading.addBoth(self._done, reading)
        return reading

    def _done(self, result: Any, reading: "Deferred[ChannelHistory]") -> Any:
        del self._reading[reading]
        return result

    async def _read(
        self, channel: str, start: StreamId, on_try: Callable[[], None]
    ) -> ChannelHistory:
        while True:
            await self._places.acquire()
            try:
                on_try()
                history = await self._history(channel, start)
                self._note_back()
                return history
            except RedisError as error:
                # The place stays taken, so that all together try no more often than one.
                self._note_away(error)
                await deferLater(self._clock, self._next_delay())
            finally:
                # Others take their turn before it is tried again.
                self._places.release()

    async def _history(self, channel: str, start: StreamId) -> ChannelHistory:
        try:
            entries, trimmed = await self._streams.of_channel(channel, start)
        except RedisReplied as error:
            if error.concerns_server:
                raise
            # Whatever is wrong with this channel's stream must not keep its clients waiting, nor
            # take the place of others.
            if self._refusals.admits():
                self._log.error(
                    "a client gets only those of its missed events that are in memory: {error}",
                    event="replay_refused",
                    error=str(error),
                )
            return ChannelHistory([], None)
        return ChannelHistory(self._events(channel, entries), trimmed)

    def _next_delay(self) -> float:
        delay_seconds = self._retry_delay(self._failures // self._at_a_time)
        self._failures += 1
        return delay_seconds

    def _note_away(self, error: RedisError) -> None:
        if not self._failures:
            self._log.warn(
                "clients wait for their missed events: {error}",
                event="replays_wait",
                error=str(error),
            )

    def _note_back(self) -> None:
        if self._failures:
            self._failures = 0
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
