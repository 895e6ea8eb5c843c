"""Sends messages from the subscription to the sockets, in order and in slices."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from gaq_twisted.core.audience import Audience, Dispatch
from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.realtime.envelope import InvalidMessage, parse
from gaq_twisted.realtime.metrics import (
    MESSAGES_DELIVERED,
    MESSAGES_DROPPED,
    MESSAGES_RECEIVED,
    MESSAGES_WITHOUT_RECEIVER,
)

# How long messages are sent before the reactor does other work. Some answers, such as pongs, take
# two turns of the reactor: one to read the ping, and one to write the pong.
_SLICE_SECONDS = 0.003
_MESSAGES_PER_BATCH = 32
# Messages closer together than this arrived in one turn of the reactor.
_BURST_SECONDS = 0.0005
# Redis has its own limit for what it buffers for a subscriber that does not read.
_MOST_QUEUED_BYTES = 16 * 2**20


class Source(Protocol):
    """Where messages come from."""

    def pause(self) -> None:
        """Pauses messages."""

    def resume(self) -> None:
        """Resumes messages."""


class Delivery:
    """Parses messages, and sends each to the sockets of its routes.

    A message for many sockets is sent in slices of 3 ms. Messages that arrive meanwhile wait, so
    that each socket gets them in the order of their publication.

    Args:
        audience: the sockets.
        source: paused while too many bytes wait.
        metrics: where messages are counted.
        clock: times the slices.
    """

    _log = Logger()

    def __init__(
        self, audience: Audience, source: Source, metrics: Metrics, clock: IReactorTime
    ) -> None:
        self._audience = audience
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_paused = False
        self._sending: Iterator[None] | None = None
        self._call: IDelayedCall | None = None
        self._pause_at = 0.0
        # When the queue was last empty.
        self._idle_at = 0.0
        self._invalid = Throttle(clock.seconds, most=1)
        self.last_at = clock.seconds()
        """When the last message arrived, in seconds since 1970; at first, when this was created."""

    def receive(self, *published: bytes) -> None:
        """Queues and sends published messages that arrived together."""
        now = self.last_at = self._clock.seconds()
        # The clock may have been set back.
        if not self._idle_at <= now <= self._idle_at + _BURST_SECONDS:
            self._pause_at = now + _SLICE_SECONDS
        self._queue.extend(published)
        self._queued_bytes += sum(map(len, published))
        if self._call is None and not self._is_slice_over():
            self._send()
        if self._queued_bytes > _MOST_QUEUED_BYTES and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def stop(self) -> None:
        """Sends nothing more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._queue.clear()
        self._queued_bytes = 0
        self._sending = None

    def _send_slice(self) -> None:
        self._call = None
        self._pause_at = self._clock.seconds() + _SLICE_SECONDS
        self._send()

    def _send(self) -> None:
        """Sends queued messages until the slice is over."""
        while self._queue or self._sending is not None:
            if self._sending is None:
                self._sending = self._next()
            for _ in self._sending:
                if self._is_slice_over():
                    return
            self._sending = None
            if self._queue and self._is_slice_over():
                return
        self._idle_at = self._clock.seconds()
        if self._is_paused:
            self._is_paused = False
            self._source.resume()

    def _is_slice_over(self) -> bool:
        """Returns whether the slice is over; if so, schedules the next one."""
        if self._clock.seconds() < self._pause_at:
            return False
        self._call = self._clock.callLater(0, self._send_slice)
        return True

    def _next(self) -> Iterator[None]:
        """Returns the steps that send the next few messages."""
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), _MESSAGES_PER_BATCH))]
        self._queued_bytes -= sum(map(len, batch))
        dispatches = []
        unheard = 0
        for published in batch:
            try:
                message = parse(published)
            except InvalidMessage as error:
                self._note_dropped(error)
                continue
            if self._audience.has_any(message.routes):
                dispatches.append(Dispatch(message.routes, message.frame, 1, None))
            else:
                unheard += 1
        heard, steps = self._audience.dispatch(dispatches)
        self._metrics.increment(MESSAGES_RECEIVED, len(batch))
        self._metrics.increment(MESSAGES_DELIVERED, heard)
        self._metrics.increment(MESSAGES_WITHOUT_RECEIVER, unheard + len(dispatches) - heard)
        return steps

    def _note_dropped(self, error: InvalidMessage) -> None:
        self._metrics.increment(MESSAGES_DROPPED, label=error.reason)
        # This must come first, because `admits` starts the next window.
        count = 1 + self._invalid.suppressed()
        if self._invalid.admits():
            self._log.warn(
                "dropped {count} messages from the realtime channel, the last one because {reason}",
                event="messages_dropped",
                count=count,
                reason=str(error),
            )
