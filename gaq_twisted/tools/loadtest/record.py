"""The bookkeeping: what was published, what each client has received, and the result.

The events of a channel are numbered from 1.  For each client this shows, across all its
connections, which events are missing, duplicated or late.
"""

import enum
import math
from collections import Counter
from typing import Any, NamedTuple

import msgspec

# Latencies are cut to their first 8 bits, which keeps them to 0.8 %.
_LATENCY_BITS = 8


class NumberedEvent(msgspec.Struct, gc=False):
    """The part of an event that the load test reads: ids, and the keys that it has added."""

    id: str
    """The stream id that the server put into the frame."""
    channel_id: str
    number: int
    published_ns: int
    """When it was sent to Redis, by the generator's own clock."""


class Sight(enum.Enum):
    """How an event arrived at a client."""

    IN_ORDER = enum.auto()
    """For the first time, and after all older ones that have arrived."""
    LATE = enum.auto()
    """For the first time, but after a newer one."""
    AGAIN = enum.auto()


class Channel:
    """A channel, and what was published to it.

    Args:
        name: its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.newest = 0
        """The number of the newest event."""
        self.unpublished: set[int] = set()
        """The numbers of events that may be missing in one or both streams."""

    def next_number(self) -> int:
        """Returns the number of a new event."""
        self.newest += 1
        return self.newest

    @property
    def published(self) -> int:
        """How many events each listener must receive."""
        return self.newest - len(self.unpublished)


class Listener:
    """A client that has been listening to a channel since before its first event.

    Args:
        channel: the channel.
    """

    __slots__ = ("_missing", "_newest", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._newest = 0
        # Only gaps below the newest need memory.
        self._missing: set[int] = set()

    def see(self, number: int) -> Sight:
        """Records an event by its number; returns how it arrived."""
        if number > self._newest:
            self._missing.update(range(self._newest + 1, number))
            self._newest = number
            return Sight.IN_ORDER
        if number in self._missing:
            self._missing.remove(number)
            return Sight.LATE
        return Sight.AGAIN

    def lost(self) -> int:
        """Returns how many of the channel's published events have not arrived."""
        unpublished = self.channel.unpublished
        too_new = sum(number > self._newest for number in unpublished)
        return len(self._missing - unpublished) + self.channel.newest - self._newest - too_new


class Latencies:
    """A histogram whose size does not depend on the number of latencies."""

    def __init__(self) -> None:
        self.count = 0
        self.worst_us = 0
        self._counts: Counter[int] = Counter()

    def add(self, latency_us: int) -> None:
        """Adds a latency."""
        shift = max(0, latency_us.bit_length() - _LATENCY_BITS)
        self._counts[latency_us >> shift << shift] += 1
        self.count += 1
        self.worst_us = max(self.worst_us, latency_us)

    def quantile_ms(self, share: float) -> float | None:
        """Returns the latency that a share of all does not exceed, in milliseconds.

        It is too low by at most 0.8 %; None if there are no latencies.
        """
        left = math.ceil(share * self.count)
        for latency_us in sorted(self._counts):
            left -= self._counts[latency_us]
            if left <= 0:
                return latency_us / 1000
        return None

    @property
    def worst_ms(self) -> float | None:
        """The highest latency, in milliseconds; None if there are no latencies."""
        return self.worst_us / 1000 if self.count else None


class Load(NamedTuple):
    """The load of the generator itself in one phase."""

    seconds: float
    core_share: float
    """Its CPU time divided by the elapsed time."""


IDLE = Load(0.0, 0.0)


class Record:
    """All counts of a load test.

    Args:
        channel_names: the names of its channels.
    """

    def __init__(self, channel_names: list[str]) -> None:
        self.channels = [Channel(name) for name in channel_names]
        self.listeners: list[Listener] = []
        self.latencies = Latencies()
        self.never_connected = 0
        self.reconnects = 0
        self.failed_connects: Counter[str] = Counter()
        """Connections that the server refused or ended, by reason."""
        self.failed_publications: Counter[str] = Counter()
        self.frames = 0
        self.caught_up = 0
        """Frames of events that were published while the client was away."""
        self.duplicated = 0
        self.out_of_order = 0
        self.misdelivered = 0
        """Frames of another channel than the client's, or of none of this test."""
        self.connecting = IDLE
        self.running = IDLE
        self.is_interrupted = False

    def add_listener(self, channel: Channel) -> Listener:
        """Returns a new client of a channel, which has connected for the first time."""
        listener = Listener(channel)
        self.listeners.append(listener)
        return listener

    def take(
        self, listener: Listener, event: NumberedEvent, *, opened_ns: int, now_ns: int
    ) -> bool:
        """Records an event that a client has received; returns whether it is the client's.

        Args:
            listener: the client.
            event: the event.
            opened_ns: when the client's connection was opened.
            now_ns: when the event arrived.
        """
        channel = listener.channel
        if event.channel_id != channel.name or not 1 <= event.number <= channel.newest:
            self.misdelivered += 1
            return False
        self.frames += 1
        sight = listener.see(event.number)
        if sight is Sight.AGAIN:
            self.duplicated += 1
            return True
        # An event that is only in the channel's stream has no place in the global order.
        if sight is Sight.LATE and event.number not in channel.unpublished:
            self.out_of_order += 1
        # The time that a client was away is no latency of the server.
        if event.published_ns < opened_ns:
            self.caught_up += 1
        else:
            self.latencies.add((now_ns - event.published_ns) // 1000)
        return True

    def lost(self) -> int:
        """Returns how many events have not arrived, over all clients."""
        return sum(listener.lost() for listener in self.listeners)

    def report(self) -> "Report":
        """Returns the result."""
        published = sum(channel.published for channel in self.channels)
        connected = len(self.listeners)
        return Report(
            clients=connected + self.never_connected,
            channels=len(self.channels),
            never_connected=self.never_connected,
            connects_per_second=_rate(connected, self.connecting.seconds),
            reconnects=self.reconnects,
            failed_connects=dict(self.failed_connects.most_common()),
            published=published,
            published_per_second=_rate(published, self.running.seconds),
            failed_publications=dict(self.failed_publications.most_common()),
            frames_expected=sum(listener.channel.published for listener in self.listeners),
            frames_received=self.frames,
            caught_up=self.caught_up,
            lost=self.lost(),
            duplicated=self.duplicated,
            out_of_order=self.out_of_order,
            misdelivered=self.misdelivered,
            latency_median_ms=self.latencies.quantile_ms(0.5),
            latency_99_ms=self.latencies.quantile_ms(0.99),
            latency_999_ms=self.latencies.quantile_ms(0.999),
            latency_worst_ms=self.latencies.worst_ms,
            core_share_connecting=self.connecting.core_share,
            core_share_running=self.running.core_share,
            is_interrupted=self.is_interrupted,
        )


class Report(NamedTuple):
    """The result of a load test."""

    clients: int
    channels: int
    never_connected: int
    connects_per_second: float
    reconnects: int
    failed_connects: dict[str, int]
    published: int
    published_per_second: float
    failed_publications: dict[str, int]
    frames_expected: int
    frames_received: int
    caught_up: int
    lost: int
    duplicated: int
    out_of_order: int
    misdelivered: int
    latency_median_ms: float | None
    latency_99_ms: float | None
    latency_999_ms: float | None
    latency_worst_ms: float | None
    core_share_connecting: float
    core_share_running: float
    is_interrupted: bool

    @property
    def is_good(self) -> bool:
        """Whether every client connected and received all its events and no others."""
        return not (self.lost or self.misdelivered or self.never_connected)

    def for_machines(self) -> dict[str, Any]:
        """Returns the result as JSON object."""
        return {**self._asdict(), "is_good": self.is_good}


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
