"""What was published, what each client has seen of it, and what that comes to.

The events of a channel are numbered from 1 on.  So it is known of each client,
over all its connections, which it lacks, which it saw twice, and which came late.
"""

import enum
import math
from collections import Counter
from typing import Any, NamedTuple

import msgspec

# So many binary digits of a latency count, which keeps it to 0.8 %.
_LATENCY_BITS = 8


class NumberedEvent(msgspec.Struct, gc=False):
    """What the load test reads of an event: its ids, and the keys that it has added."""

    id: str
    """The stream id that the server put into the frame."""
    channel_id: str
    number: int
    published_ns: int
    """When it was handed to Redis, by the generator's own clock."""


class Sight(enum.Enum):
    """How an event came to a client."""

    IN_ORDER = enum.auto()
    """For the first time, and after all that are older and came."""
    LATE = enum.auto()
    """For the first time, but after a newer one."""
    AGAIN = enum.auto()


class Channel:
    """A channel, and what was published to it."""

    def __init__(self, name: str) -> None:
        """Have that name, and no events."""
        self.name = name
        self.newest = 0
        """The number of the newest event."""
        self.unpublished: set[int] = set()
        """The numbers of those of which it is not certain that Redis has them in both streams."""

    def next_number(self) -> int:
        """Return the number of a new event."""
        self.newest += 1
        return self.newest

    @property
    def published(self) -> int:
        """How many events each listener must see."""
        return self.newest - len(self.unpublished)


class Listener:
    """A client that listens to a channel since before anything was published to it."""

    __slots__ = ("_missing", "_newest", "channel")

    def __init__(self, channel: Channel) -> None:
        """Have seen nothing of that channel."""
        self.channel = channel
        self._newest = 0
        # Those below the newest that it has not seen: memory is needed for what is missing only.
        self._missing: set[int] = set()

    def see(self, number: int) -> Sight:
        """Take the event of that number; return how it came."""
        if number > self._newest:
            self._missing.update(range(self._newest + 1, number))
            self._newest = number
            return Sight.IN_ORDER
        if number in self._missing:
            self._missing.remove(number)
            return Sight.LATE
        return Sight.AGAIN

    def lost(self) -> int:
        """Return how many of the channel's published events it has not seen."""
        unpublished = self.channel.unpublished
        too_new = sum(number > self._newest for number in unpublished)
        return len(self._missing - unpublished) + self.channel.newest - self._newest - too_new


class Latencies:
    """A histogram, whose size does not grow with the number of latencies."""

    def __init__(self) -> None:
        """Have none."""
        self.count = 0
        self.worst_us = 0
        self._counts: Counter[int] = Counter()

    def add(self, latency_us: int) -> None:
        """Take one more."""
        shift = max(0, latency_us.bit_length() - _LATENCY_BITS)
        self._counts[latency_us >> shift << shift] += 1
        self.count += 1
        self.worst_us = max(self.worst_us, latency_us)

    def quantile_ms(self, share: float) -> float | None:
        """Return the latency that this share of all does not exceed, in milliseconds.

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
    """What the generator itself has done in one phase."""

    seconds: float
    core_share: float
    """Its CPU time by the time that passed."""


IDLE = Load(0.0, 0.0)


class Record:
    """Everything that is counted."""

    def __init__(self, channel_names: list[str]) -> None:
        """Have these channels and no listeners."""
        self.channels = [Channel(name) for name in channel_names]
        self.listeners: list[Listener] = []
        self.latencies = Latencies()
        self.never_connected = 0
        self.reconnects = 0
        self.failed_connects: Counter[str] = Counter()
        """Connections that the server refused, or ended, by the reason."""
        self.failed_publications: Counter[str] = Counter()
        self.frames = 0
        self.caught_up = 0
        """Frames of events that were published while their client was away."""
        self.duplicated = 0
        self.out_of_order = 0
        self.misdelivered = 0
        """Frames that are not of the channel of their client, or of none of this test."""
        self.connecting = IDLE
        self.running = IDLE
        self.is_interrupted = False

    def add_listener(self, channel: Channel) -> Listener:
        """Return a new client of a channel, which has just connected for the first time."""
        listener = Listener(channel)
        self.listeners.append(listener)
        return listener

    def take(
        self, listener: Listener, event: NumberedEvent, *, opened_ns: int, now_ns: int
    ) -> bool:
        """Take an event that a client was sent; return whether it is for that client.

        Args:
            listener: the client.
            event: what it was sent.
            opened_ns: when its connection was opened.
            now_ns: when the event came.
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
        # What is only in its channel's stream has no place among those in the global one.
        if sight is Sight.LATE and event.number not in channel.unpublished:
            self.out_of_order += 1
        # How long a client was away is not the server's doing.
        if event.published_ns < opened_ns:
            self.caught_up += 1
        else:
            self.latencies.add((now_ns - event.published_ns) // 1000)
        return True

    def lost(self) -> int:
        """Return how many events the clients have not seen, all together."""
        return sum(listener.lost() for listener in self.listeners)

    def report(self) -> "Report":
        """Return what all this comes to."""
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
        """Whether every client was served, got all that it must see, and nothing of others."""
        return not (self.lost or self.misdelivered or self.never_connected)

    def for_machines(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**self._asdict(), "is_good": self.is_good}


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
