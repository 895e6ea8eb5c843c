"""The counts of every protocol, and the result of a load test."""

import math
from collections import Counter
from typing import Any, NamedTuple

# Latencies are cut to their first 8 bits, which keeps them to 0.8 %.
_LATENCY_BITS = 8


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


class Counts:
    """The counts of a load test that do not depend on the protocol."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.never_connected = 0
        self.reconnects = 0
        self.failed_connects: Counter[str] = Counter()
        """Connections that the server rejected or ended, by reason."""
        self.failed_publications: Counter[str] = Counter()
        self.frames = 0
        self.duplicated = 0
        self.out_of_order = 0
        self.misdelivered = 0
        """Frames for other clients, or with data that this test has not published."""
        self.connecting = IDLE
        self.running = IDLE
        self.is_interrupted = False

    def totals(self, connected: int, published: int) -> dict[str, Any]:
        """Returns the fields of the report that do not depend on the protocol.

        Args:
            connected: how many clients have connected.
            published: how many events or messages were published.
        """
        return {
            "clients": connected + self.never_connected,
            "never_connected": self.never_connected,
            "connects_per_second": rate(connected, self.connecting.seconds),
            "reconnects": self.reconnects,
            "failed_connects": dict(self.failed_connects.most_common()),
            "published": published,
            "published_per_second": rate(published, self.running.seconds),
            "failed_publications": dict(self.failed_publications.most_common()),
            "frames_received": self.frames,
            "duplicated": self.duplicated,
            "out_of_order": self.out_of_order,
            "misdelivered": self.misdelivered,
            "latency_median_ms": self.latencies.quantile_ms(0.5),
            "latency_99_ms": self.latencies.quantile_ms(0.99),
            "latency_999_ms": self.latencies.quantile_ms(0.999),
            "latency_worst_ms": self.latencies.worst_ms,
            "core_share_connecting": self.connecting.core_share,
            "core_share_running": self.running.core_share,
            "is_interrupted": self.is_interrupted,
        }


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
    not_owed: dict[str, int] | None = None
    """Messages that a socket did not get and need not, by reason; None for streams."""

    @property
    def is_good(self) -> bool:
        """Whether all events were published, and every client connected and received its events."""
        return not (
            self.failed_publications or self.lost or self.misdelivered or self.never_connected
        )

    def for_machines(self) -> dict[str, Any]:
        """Returns the result as JSON object."""
        return {**self._asdict(), "is_good": self.is_good}


def rate(count: int, seconds: float) -> float:
    """Returns the rate per second; 0 if no time has passed."""
    return count / seconds if seconds else 0.0
