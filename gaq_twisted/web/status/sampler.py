"""What the server does, as a row of numbers for each second."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from math import inf, isfinite

from msgspec import Struct
from msgspec.structs import fields

from gaq_twisted.core import metrics as names
from gaq_twisted.core.metrics import Metric, Metrics

# More digits than this cannot be seen.
_DIGITS = 4


class Sample(Struct, frozen=True, kw_only=True, array_like=True, rename="camel"):
    """What the server did since the sample before, and how it is now.

    As JSON it is an array; `FIELDS` names its places.  What cannot be told is None.
    """

    at: float
    """When it was taken, in seconds since 1970."""
    sockets: int
    channels: int
    connects_per_second: float | None
    closes_per_second: float | None
    events_read_per_second: float | None
    events_delivered_per_second: float | None
    events_without_listener_per_second: float | None
    frames_per_second: float | None
    frame_bytes_per_second: float | None
    delivery_p50_seconds: float | None
    delivery_p95_seconds: float | None
    delivery_p99_seconds: float | None
    stall_seconds: float
    """The worst was no longer than this."""
    cpu: float | None
    """The part of one core that the process used."""
    slow_sockets: int
    unsent_bytes: int
    tail_events: int
    tail_bytes: int
    redis_up: bool
    redis_connections: int
    """How many were opened since the start; likewise all that follow, but the last."""
    lag_seconds: float
    read_age_seconds: float | None
    requests_refused_per_second: float | None
    upgrades_refused_per_second: float | None
    sockets_refused_per_second: float | None
    """With the clients that were dropped because they do not read."""
    gaps: int
    invalid_events: int
    send_errors: int
    slow_clients_dropped: int
    is_draining: bool


FIELDS = tuple(field.encode_name for field in fields(Sample))
"""The names of a sample's places."""


class Sampler:
    """Makes samples of the metrics."""

    def __init__(self, metrics: Metrics, now_seconds: float, cpu_seconds: float) -> None:
        """Begin.

        Args:
            metrics: the metrics.
            now_seconds: the time in seconds since 1970.
            cpu_seconds: how much CPU time the process has used.
        """
        self._metrics = metrics
        self._at = now_seconds
        self._interval_seconds = 0.0
        self._cpu_seconds = cpu_seconds
        self._totals: dict[Metric, float] = {}
        self._buckets: dict[Metric, tuple[list[int], float]] = {}
        # What was counted before this began belongs to no interval.
        self.sample(now_seconds, cpu_seconds)

    def sample(self, now_seconds: float, cpu_seconds: float) -> Sample:
        """Return what was since the last call; arguments as of the constructor."""
        self._interval_seconds, self._at = now_seconds - self._at, now_seconds
        used_seconds, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
        latencies, _ = self._observed(names.DELIVERY_SECONDS)
        p50, p95, p99 = (
            _shortened(quantile(names.DELIVERY_SECONDS.buckets, latencies, part))
            for part in (0.5, 0.95, 0.99)
        )
        stalls, stalled_seconds = self._observed(names.REACTOR_STALL_SECONDS)
        dropped = self._counted(names.CLIENT_BACKPRESSURE_DISCONNECT)
        refused = self._counted(names.CONNECTION_REJECTED)
        return Sample(
            at=round(now_seconds, 2),
            sockets=self._total(names.OPEN_SOCKETS),
            channels=self._total(names.OPEN_CHANNELS),
            connects_per_second=self._rate(names.CONNECTED_CLIENT),
            closes_per_second=self._rate(names.CLOSED),
            events_read_per_second=self._rate(names.EVENTS_READ),
            events_delivered_per_second=self._rate(names.EVENTS_DELIVERED),
            events_without_listener_per_second=self._rate(names.EVENTS_WITHOUT_LISTENER),
            frames_per_second=self._rate(names.FRAMES_SENT),
            frame_bytes_per_second=self._rate(names.FRAME_BYTES_SENT),
            delivery_p50_seconds=p50,
            delivery_p95_seconds=p95,
            delivery_p99_seconds=p99,
            stall_seconds=_shortened(
                at_most(names.REACTOR_STALL_SECONDS.buckets, stalls, stalled_seconds)
            )
            or 0.0,
            cpu=self._per_second(used_seconds),
            slow_sockets=self._total(names.SLOW_SOCKETS),
            unsent_bytes=self._total(names.UNSENT_BYTES),
            tail_events=self._total(names.TAIL_EVENTS),
            tail_bytes=self._total(names.TAIL_BYTES),
            redis_up=bool(self._total(names.REDIS_UP)),
            redis_connections=self._total(names.REDIS_CONNECTIONS),
            lag_seconds=_shortened(self._metrics.total(names.CURSOR_LAG_SECONDS)) or 0.0,
            read_age_seconds=_shortened(self._metrics.total(names.READ_AGE_SECONDS)),
            requests_refused_per_second=self._rate(names.REQUEST_REJECTED),
            upgrades_refused_per_second=self._rate(names.UPGRADE_REJECTED),
            sockets_refused_per_second=self._per_second(refused + dropped),
            gaps=self._total(names.STREAM_GAP),
            invalid_events=self._total(names.INVALID_EVENT),
            send_errors=self._total(names.CLIENT_SEND_ERROR),
            slow_clients_dropped=self._total(names.CLIENT_BACKPRESSURE_DISCONNECT),
            is_draining=bool(self._total(names.DRAINING)),
        )

    def _total(self, metric: Metric) -> int:
        return int(self._metrics.total(metric))

    def _counted(self, metric: Metric) -> float:
        """Return by how much a counter has risen."""
        before, now = self._totals.get(metric, 0.0), self._metrics.total(metric)
        self._totals[metric] = now
        return now - before

    def _rate(self, metric: Metric) -> float | None:
        return self._per_second(self._counted(metric))

    def _per_second(self, count: float) -> float | None:
        # The system's clock may have been set back.
        if self._interval_seconds <= 0:
            return None
        return _shortened(count / self._interval_seconds)

    def _observed(self, metric: Metric) -> tuple[list[int], float]:
        """Return what came to a histogram: how many values by bucket, and their sum."""
        histogram = self._metrics.histograms(metric)[""]
        counts, total = self._buckets.get(metric, ([0] * len(histogram.counts), 0.0))
        self._buckets[metric] = (list(histogram.counts), histogram.sum)
        new = [now - before for now, before in zip(histogram.counts, counts, strict=True)]
        return new, histogram.sum - total


class History:
    """The last rows, numbered from 0 on."""

    def __init__(self, most: int) -> None:
        """Have none, and keep so many at most."""
        self._rows: deque[bytes] = deque(maxlen=most)
        self.end = 0
        """The number of the row to come."""

    def add(self, row: bytes) -> None:
        """Take one more; the oldest may go."""
        self._rows.append(row)
        self.end += 1

    def since(self, number: int) -> list[bytes]:
        """Return the rows from that number on, as far as they are kept."""
        wanted = min(len(self._rows), max(0, self.end - number))
        return list(islice(self._rows, len(self._rows) - wanted, None))


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Return about the value that so many of a histogram's values do not exceed.

    Within a bucket, values are taken to be spread evenly.

    Args:
        bounds: the upper bounds of the buckets, rising.
        counts: how many values are in each, and above the last.
        part: how many, from 0 to 1.

    Returns:
        The value; None if there are none; the last bound if it is above that.
    """
    rank = part * sum(counts)
    below, lower = 0, 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return bounds[-1] if rank else None


def at_most(bounds: Sequence[float], counts: Sequence[int], total: float) -> float:
    """Return what none of a histogram's values exceeds; arguments as of `quantile`, and their sum.

    The values must not be negative, so that none exceeds the sum of all.
    """
    for bound, count in zip(reversed((*bounds, inf)), reversed(counts), strict=True):
        if count:
            return min(bound, total)
    return 0.0


def _shortened(number: float | None) -> float | None:
    """Return a number with the digits that matter, or None if it is not finite."""
    if number is None or not isfinite(number):
        return None
    return float(f"{number:.{_DIGITS}g}")
