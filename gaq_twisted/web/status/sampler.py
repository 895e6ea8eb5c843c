"""Samples of the metrics: a row of numbers for each second."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import inf, isfinite

from gaq_twisted.core.dashboard import (
    Column,
    Count,
    Downtime,
    Flag,
    Fresh,
    Most,
    Outages,
    Quantile,
    Rate,
    Sum,
    Value,
)
from gaq_twisted.core.metrics import Histogram, Metrics

# More digits would not be visible.
_DIGITS = 4

Sample = Mapping[str, float | None]
"""The activity in one second and the present state, by column; unknown numbers are None."""


class Sampler:
    """Takes samples of metrics.

    A sample has the requested columns and two more: `at`, the time in seconds since 1970, and
    `cpu`, the share of one core that the process used.

    Args:
        metrics: the metrics.
        columns: the columns of a sample, by unique names.
        now_seconds: the time in seconds since 1970.
        cpu_seconds: how much CPU time the process has used.
    """

    def __init__(
        self,
        metrics: Metrics,
        columns: Sequence[Column],
        now_seconds: float,
        cpu_seconds: float,
    ) -> None:
        self.fields = ("at", *(column.name for column in columns), "cpu")
        """The names of a sample's columns, in their order."""
        self._metrics = metrics
        self._at = now_seconds
        self._interval_seconds = 0.0
        self._cpu_seconds = cpu_seconds
        self._values: dict[str, float | None] = {}
        of_histograms = [column for column in columns if isinstance(column, Quantile | Most)]
        self._increases = {
            metric: _Increase(metrics.histograms(metric)[""])
            for metric in dict.fromkeys(column.metric for column in of_histograms)
        }
        self._readers = [(column.name, self._reader(column)) for column in columns]
        # Earlier counts belong to no interval.
        self.sample(now_seconds, cpu_seconds)

    def sample(self, now_seconds: float, cpu_seconds: float) -> Sample:
        """Returns the sample since the last call; arguments as for the constructor."""
        self._interval_seconds, self._at = now_seconds - self._at, now_seconds
        used_seconds, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
        for increase in self._increases.values():
            increase.take()
        values = self._values = {"at": round(now_seconds, 2)}
        for name, read in self._readers:
            values[name] = read()
        values["cpu"] = self._per_second(used_seconds)
        return values

    def _reader(self, column: Column) -> Callable[[], float | None]:
        """Returns the reader of a column, which is called once for each sample, in order."""
        total = self._metrics.total
        match column:
            case Count(metric=metric):
                return lambda: int(total(metric))
            case Sum(metrics=metrics):
                return lambda: int(sum(map(total, metrics)))
            case Value(metric=metric):
                return lambda: _shortened(total(metric))
            case Flag(metric=metric):
                return lambda: bool(total(metric))
            case Fresh(metric=metric, age=age, most_seconds=most_seconds):
                return lambda: bool(total(metric)) and total(age) <= most_seconds
            case Outages(flag=flag):
                return _Falls(lambda: self._values[flag]).take
            case Downtime(flag=flag):
                downtime = _Downtime(lambda: self._values[flag])
                return lambda: downtime.take(self._interval_seconds)
            case Rate(metrics=metrics):
                rise = _Rise(lambda: sum(map(total, metrics)))
                return lambda: self._per_second(rise.take())
            case Quantile(metric=metric, part=part):
                increase = self._increases[metric]
                return lambda: _shortened(quantile(metric.buckets, increase.counts, part))
            case Most(metric=metric):
                increase = self._increases[metric]
                return lambda: _shortened(at_most(metric.buckets, increase.counts, increase.sum))

    def _per_second(self, count: float) -> float | None:
        # The system's clock may have been set back.
        if self._interval_seconds <= 0:
            return None
        return _shortened(count / self._interval_seconds)


class _Rise:
    """The increase of a number."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._before = 0.0

    def take(self) -> float:
        """Returns the increase since the last call."""
        now = self._read()
        rise, self._before = now - self._before, now
        return rise


class _Falls:
    """How often a flag was cleared after it had been set."""

    def __init__(self, read: Callable[[], float | None]) -> None:
        self._read = read
        self._was_set = False
        self._count = 0

    def take(self) -> int:
        """Returns how often it was cleared so far."""
        is_set = bool(self._read())
        self._count += self._was_set and not is_set
        self._was_set = is_set
        return self._count


class _Downtime:
    """How long a flag was not set after it was first set."""

    def __init__(self, read: Callable[[], float | None]) -> None:
        self._read = read
        self._has_been_set = False
        self._seconds = 0.0

    def take(self, seconds: float) -> float:
        """Returns the total time, including the last seconds."""
        is_set = bool(self._read())
        self._has_been_set |= is_set
        if self._has_been_set and not is_set:
            self._seconds += max(0.0, seconds)
        return round(self._seconds, 1)


class _Increase:
    """The new values of a histogram since the last sample."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._none = [0] * len(histogram.counts)
        self._counts_before, self._sum_before = self._none, 0.0
        self.counts = self._none
        """The number of values, by bucket."""
        self.sum = 0.0
        """The sum of the values."""

    def take(self) -> None:
        """Compares the histogram with its state at the last call."""
        counts, before = self._histogram.counts, self._counts_before
        if counts == before:
            self.counts, self.sum = self._none, 0.0
            return
        self.counts = [now - then for now, then in zip(counts, before, strict=True)]
        self.sum = self._histogram.sum - self._sum_before
        self._counts_before, self._sum_before = list(counts), self._histogram.sum


class SampleRing:
    """The last samples as JSON, numbered from 0 on.

    Args:
        most: the maximum number of samples.
    """

    def __init__(self, most: int) -> None:
        self._rows: deque[bytes] = deque(maxlen=most)
        self.end = 0
        """The number of the next sample."""

    def add(self, row: bytes) -> None:
        """Adds a sample; the oldest may be dropped."""
        self._rows.append(row)
        self.end += 1

    def since(self, number: int) -> list[bytes]:
        """Returns the kept samples from that number on."""
        wanted = min(len(self._rows), max(0, self.end - number))
        return list(islice(self._rows, len(self._rows) - wanted, None))


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Returns an approximate quantile of a histogram's values.

    Within a bucket, values are assumed to be spread evenly.

    Args:
        bounds: the upper bounds of the buckets, ascending.
        counts: how many values are in each bucket, and above the last bound.
        part: the quantile, from 0 to 1.

    Returns:
        The quantile; None without values; the last bound if the quantile is above it.
    """
    rank = part * sum(counts)
    below, lower = 0, 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return bounds[-1] if rank else None


def at_most(bounds: Sequence[float], counts: Sequence[int], total: float) -> float:
    """Returns an upper bound of a histogram's values.

    Args:
        bounds: as for `quantile`.
        counts: as for `quantile`.
        total: the sum of the values. As none is negative, no value exceeds it.
    """
    for bound, count in zip(reversed((*bounds, inf)), reversed(counts), strict=True):
        if count:
            return min(bound, total)
    return 0.0


def _shortened(number: float | None) -> float | None:
    """Returns a number without invisible digits; None if it is not finite."""
    if not number:
        return number
    if not isfinite(number):
        return None
    return float(f"{number:.{_DIGITS}g}")
