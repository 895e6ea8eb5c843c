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
        """See Streams.of_channel."""


class Backfill(Service):
    """Reads streams of channels, a few at a time, and retries until Redis answers.

    Args:
        streams: the commands.
        clock: provides the time between tries.
        retry_delay: returns the seconds to wait after that many failed tries in a row.
        at_a_time: how many reads may run at once, so that a slow answer does not delay the
        others.
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
        # Each connecting client can cause such a line.
        self._refusals = Throttle(clock.seconds)
        self._reading: dict[Deferred[ChannelHistory], None] = {}

    def stopService(self) -> "Deferred[Any]":
        """Cancels all reads."""
        super().stopService()
        # Waiting reads first: otherwise each cancelled read would start the next one.
        reading = list(reversed(self._reading))
        ended = DeferredList(reading, consumeErrors=True)
        for one in reading:
            one.cancel()
        return ended

    def read(
        self, channel: str, start: StreamId, on_try: Callable[[], None]
    ) -> "Deferred[ChannelHistory]":
        """Reads the stream of a channel.

        This waits while Redis is down. If Redis rejects the read of that stream, the history is
        empty and it is unknown what was trimmed.

        Args:
            channel: the channel.
            start: the first id to read.
            on_try: called before each attempt.

        Returns:
            A Deferred; cancel it when the history is no longer needed.
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
                # The slot stays taken, so that many readers retry no more often than one.
                self._note_away(error)
                await deferLater(self._clock, self._next_delay())
            finally:
                # Other reads run before this one is retried.
                self._places.release()

    async def _history(self, channel: str, start: StreamId) -> ChannelHistory:
        try:
            entries, trimmed = await self._streams.of_channel(channel, start)
        except RedisReplied as error:
            if error.concerns_server:
                raise
            # A fault of this channel's stream must not keep its clients waiting or take up a slot.
            if self._refusals.admits():
                self._log.error(
                    "a client is sent only the missed events that are in memory: {error}",
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
