"""What the server does, as a row of numbers for each second."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from math import inf, isfinite

from gaq_twisted.core.dashboard import Column, Count, Flag, Most, Quantile, Rate, Value
from gaq_twisted.core.metrics import Metric, Metrics

# More digits than this cannot be seen.
_DIGITS = 4

Sample = Mapping[str, float | None]
"""What the server did in a second, and how it is now, by column; unknown numbers are None."""


class Sampler:
    """Makes samples of metrics.

    A sample has the columns that are asked for, and two of its own: `at`, the time
    in seconds since 1970, and `cpu`, the part of one core that the process used.

    Args:
        metrics: the metrics.
        columns: what a sample has, each under a name of its own.
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
        self._columns = columns
        self._at = now_seconds
        self._interval_seconds = 0.0
        self._cpu_seconds = cpu_seconds
        self._totals: dict[Column, float] = {}
        self._buckets: dict[Column, tuple[list[int], float]] = {}
        # What was counted before this began belongs to no interval.
        self.sample(now_seconds, cpu_seconds)

    def sample(self, now_seconds: float, cpu_seconds: float) -> Sample:
        """Returns what happened since the last call; arguments as of the constructor."""
        self._interval_seconds, self._at = now_seconds - self._at, now_seconds
        used_seconds, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
        return {
            "at": round(now_seconds, 2),
            **{column.name: self._read(column) for column in self._columns},
            "cpu": self._per_second(used_seconds),
        }

    def _read(self, column: Column) -> float | None:
        match column:
            case Count():
                return int(self._metrics.total(column.metric))
            case Value():
                return _shortened(self._metrics.total(column.metric))
            case Flag():
                return bool(self._metrics.total(column.metric))
            case Rate():
                return self._per_second(self._rise(column))
            case Quantile():
                counts, _ = self._new_values(column, column.metric)
                return _shortened(quantile(column.metric.buckets, counts, column.part))
            case Most():
                counts, total = self._new_values(column, column.metric)
                return _shortened(at_most(column.metric.buckets, counts, total))

    def _rise(self, column: Rate) -> float:
        """Returns by how much the counters of a column have risen."""
        now = sum(self._metrics.total(metric) for metric in column.metrics)
        before, self._totals[column] = self._totals.get(column, 0.0), now
        return now - before

    def _per_second(self, count: float) -> float | None:
        # The system's clock may have been set back.
        if self._interval_seconds <= 0:
            return None
        return _shortened(count / self._interval_seconds)

    def _new_values(self, column: Column, metric: Metric) -> tuple[list[int], float]:
        """Returns what a histogram got: the number of values by bucket, and their sum."""
        histogram = self._metrics.histograms(metric)[""]
        counts, total = self._buckets.get(column, ([0] * len(histogram.counts), 0.0))
        self._buckets[column] = (list(histogram.counts), histogram.sum)
        new = [now - before for now, before in zip(histogram.counts, counts, strict=True)]
        return new, histogram.sum - total


class SampleRing:
    """The last samples as JSON, numbered from 0 on.

    Args:
        most: how many it keeps.
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
        """Returns the samples from that number on, as far as they are kept."""
        wanted = min(len(self._rows), max(0, self.end - number))
        return list(islice(self._rows, len(self._rows) - wanted, None))


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Returns about the value that a part of a histogram's values does not exceed.

    Within a bucket, values are assumed to be spread evenly.

    Args:
        bounds: the upper bounds of the buckets, ascending.
        counts: how many values are in each, and above the last.
        part: the part, from 0 to 1.

    Returns:
        The value; None without values; the last bound if it is above that.
    """
    rank = part * sum(counts)
    below, lower = 0, 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return bounds[-1] if rank else None


def at_most(bounds: Sequence[float], counts: Sequence[int], total: float) -> float:
    """Returns what none of a histogram's values exceeds.

    Args:
        bounds: as of `quantile`.
        counts: as of `quantile`.
        total: the sum of the values, none of which is negative; so none exceeds the sum.
    """
    for bound, count in zip(reversed((*bounds, inf)), reversed(counts), strict=True):
        if count:
            return min(bound, total)
    return 0.0


def _shortened(number: float | None) -> float | None:
    """Returns a number with the digits that can be seen, or None if it is not finite."""
    if number is None or not isfinite(number):
        return None
    return float(f"{number:.{_DIGITS}g}")
