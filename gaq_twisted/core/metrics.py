"""Counters, gauges and histograms, and the metrics that belong to no protocol.

Each value is counted once, here, and reported by StatsD and Prometheus. Each edition declares its
own further metrics, and a server has only those of its editions. Metrics not marked otherwise are
specific to this server.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason

_Numbers = float | Mapping[str, float]


class Kind(Enum):
    """The kind of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric, perhaps with a value for each value of a label."""

    name: str
    kind: Kind
    help: str
    label: str = ""
    """The name of its label; empty if it has a single value."""
    buckets: tuple[float, ...] = ()
    """Of a histogram: the upper bounds, ascending."""
    values: type[StrEnum] | None = None
    """All values that its label can have, if they are known in advance."""

    @property
    def is_seconds(self) -> bool:
        """Whether its values are seconds."""
        return self.name.endswith("_seconds")


class Histogram:
    """Counts values by the bucket into which they fall.

    Args:
        bounds: the upper bounds, ascending; one more bucket is for greater values.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """The number of values in each bucket."""
        self.sum = 0.0

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets for short times."""

CONNECTED_CLIENT = Metric(
    "ws_connected_client", Kind.COUNTER, "WebSockets opened (as in the Node.js server)."
)
CLOSED = Metric("ws_closed", Kind.COUNTER, "WebSockets closed, by close code.", "code")
REQUEST_REJECTED = Metric(
    "ws_request_rejected",
    Kind.COUNTER,
    "Connections ended before a whole request was read, by reason.",
    "reason",
    values=RequestReason,
)
UPGRADE_REJECTED = Metric(
    "ws_upgrade_rejected",
    Kind.COUNTER,
    "Upgrades rejected, by reason (as in the Node.js server).",
    "reason",
    values=UpgradeReason,
)
CONNECTION_REJECTED = Metric(
    "ws_connection_rejected",
    Kind.COUNTER,
    "WebSockets closed because of the client's behaviour or a limit, by reason (as in the Node.js"
    " server).",
    "reason",
    values=ConnectionReason,
)
CLIENT_BACKPRESSURE_DISCONNECT = Metric(
    "ws_client_backpressure_disconnect",
    Kind.COUNTER,
    "Clients dropped because they do not read (as in the Node.js server).",
)
TOKEN_EXPIRED_DISCONNECT = Metric(
    "ws_token_expired_disconnect",
    Kind.COUNTER,
    "WebSockets closed because their token has expired (as in the Node.js server).",
)
CLIENT_SEND_ERROR = Metric(
    "ws_client_send_error",
    Kind.COUNTER,
    "Failed writes to a WebSocket (as in the Node.js server).",
)
FRAMES_SENT = Metric("ws_frames_sent", Kind.COUNTER, "Events sent to sockets.")
FRAME_BYTES_SENT = Metric("ws_frame_bytes_sent", Kind.COUNTER, "Bytes of the frames of events.")
REACTOR_STALL_SECONDS = Metric(
    "ws_reactor_stall_seconds",
    Kind.HISTOGRAM,
    "How late a timer fired: how long the reactor was blocked.",
    buckets=SECONDS_BUCKETS,
)
OPEN_SOCKETS = Metric("ws_open_sockets", Kind.GAUGE, "Open WebSockets.")
OPEN_CHANNELS = Metric("ws_open_channels", Kind.GAUGE, "Channels of open WebSockets.")
SLOW_SOCKETS = Metric(
    "ws_slow_sockets", Kind.GAUGE, "WebSockets that read more slowly than events are sent to them."
)
UNSENT_BYTES = Metric(
    "ws_unsent_bytes", Kind.GAUGE, "The approximate number of bytes waiting for these."
)
DRAINING = Metric("ws_draining", Kind.GAUGE, "1 while the server is stopping, otherwise 0.")
BUILD_INFO = Metric("ws_build_info", Kind.GAUGE, "Always 1.", "version")

CORE = (
    CONNECTED_CLIENT,
    CLOSED,
    REQUEST_REJECTED,
    UPGRADE_REJECTED,
    CONNECTION_REJECTED,
    CLIENT_BACKPRESSURE_DISCONNECT,
    TOKEN_EXPIRED_DISCONNECT,
    CLIENT_SEND_ERROR,
    FRAMES_SENT,
    FRAME_BYTES_SENT,
    REACTOR_STALL_SECONDS,
    OPEN_SOCKETS,
    OPEN_CHANNELS,
    SLOW_SOCKETS,
    UNSENT_BYTES,
    DRAINING,
    BUILD_INFO,
)
"""The metrics that every server has."""

DELIVERY_SECONDS = Metric(
    "ws_delivery_seconds",
    Kind.HISTOGRAM,
    "Time from the timestamp in an event's id, by Redis's clock, until it is written to its"
    " sockets; in large batches only every sixteenth channel is sampled.",
    buckets=SECONDS_BUCKETS,
)
"""The audience observes it; only an edition whose protocol has publishing times lists it."""


class Metrics:
    """The values of some metrics; any other metric raises KeyError.

    Args:
        metrics: the metrics, with unique names; editions may share some.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics: tuple[Metric, ...] = ()
        self._counts: dict[Metric, dict[str, float]] = {}
        self._histograms: dict[Metric, dict[str, Histogram]] = {}
        self._sources: dict[Metric, Callable[[], _Numbers]] = {}
        self.add(metrics)

    def add(self, metrics: Iterable[Metric]) -> None:
        """Adds metrics, which start at 0; existing ones keep their values."""
        new = [metric for metric in dict.fromkeys(metrics) if metric not in self.metrics]
        self.metrics += tuple(new)
        for metric in new:
            if metric.kind is Kind.HISTOGRAM:
                self._histograms[metric] = {} if metric.label else {"": Histogram(metric.buckets)}
            else:
                has_zero = metric.kind is Kind.COUNTER and not metric.label
                self._counts[metric] = {"": 0} if has_zero else {}

    def increment(self, metric: Metric, count: float = 1, label: str = "") -> None:
        """Adds to a counter."""
        values = self._counts[metric]
        values[label] = values.get(label, 0) + count

    def observe(self, metric: Metric, value: float, label: str = "") -> None:
        """Adds a value to a histogram."""
        histograms = self._histograms[metric]
        if label not in histograms:
            histograms[label] = Histogram(metric.buckets)
        histograms[label].observe(value)

    def read_from(self, metric: Metric, source: Callable[[], _Numbers]) -> None:
        """Sets the source, read on demand, of a gauge or of a counter that is kept elsewhere.

        Args:
            metric: the metric.
            source: returns its value, or its values by label.
        """
        if metric not in self._counts:
            raise KeyError(metric.name)
        self._sources[metric] = source

    def counts(self, metric: Metric) -> Mapping[str, float]:
        """Returns the values of a counter or gauge by label; the label is empty if it has none."""
        if metric in self._sources:
            value = self._sources[metric]()
            return value if isinstance(value, Mapping) else {"": value}
        return self._counts[metric]

    def total(self, metric: Metric) -> float:
        """Returns the sum of a counter's or gauge's values."""
        return sum(self.counts(metric).values())

    def histograms(self, metric: Metric) -> Mapping[str, Histogram]:
        """Returns a histogram's values by label; the label is empty if it has none."""
        return self._histograms[metric]

    def all_histograms(self) -> Iterator[tuple[Metric, str, Histogram]]:
        """Yields all histograms, each as its metric, label and values."""
        for metric, histograms in self._histograms.items():
            for label, histogram in histograms.items():
                yield metric, label, histogram

    def numbers(self, kind: Kind) -> Iterator[tuple[Metric, str, float]]:
        """Yields all counters or all gauges, each as its metric, label and value."""
        for metric in self.metrics:
            if metric.kind is kind:
                for label, value in self.counts(metric).items():
                    yield metric, label, value
