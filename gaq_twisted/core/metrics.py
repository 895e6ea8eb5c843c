"""Every metric: its name, what it means, and its value.

Whoever counts something does so here, once; StatsD and Prometheus are shown
what is here.  Names without a word on that are this server's own.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

_Numbers = float | Mapping[str, float]


class Kind(Enum):
    """What a metric does."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric, perhaps with a value for each of several labels."""

    name: str
    kind: Kind
    help: str
    label: str = ""
    """What its values are told apart by; empty if it has one only."""
    buckets: tuple[float, ...] = ()
    """Of a histogram: the upper bounds, rising."""

    @property
    def is_seconds(self) -> bool:
        """Whether its values are seconds."""
        return self.name.endswith("_seconds")


class Histogram:
    """How often values fell between bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Take the upper bounds, rising; there is one more bucket for what is above."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket."""
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Take a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

CONNECTED_CLIENT = Metric(
    "ws_connected_client", Kind.COUNTER, "WebSockets opened (as the Node.js server)."
)
CLOSED = Metric("ws_closed", Kind.COUNTER, "WebSockets closed, by close code.", "code")
REQUEST_REJECTED = Metric(
    "ws_request_rejected",
    Kind.COUNTER,
    "Connections ended before it was known what they are for, by reason.",
    "reason",
)
UPGRADE_REJECTED = Metric(
    "ws_upgrade_rejected",
    Kind.COUNTER,
    "Upgrades refused, by reason (as the Node.js server).",
    "reason",
)
CONNECTION_REJECTED = Metric(
    "ws_connection_rejected",
    Kind.COUNTER,
    "WebSockets closed for what the client did or for want of room, by reason (as the Node.js"
    " server).",
    "reason",
)
CLIENT_BACKPRESSURE_DISCONNECT = Metric(
    "ws_client_backpressure_disconnect",
    Kind.COUNTER,
    "Clients dropped because they do not read (as the Node.js server).",
)
CLIENT_SEND_ERROR = Metric(
    "ws_client_send_error",
    Kind.COUNTER,
    "Writes to a WebSocket that failed (as the Node.js server).",
)
EVENTS_READ = Metric("ws_events_read", Kind.COUNTER, "Events read from the global stream.")
EVENTS_DELIVERED = Metric(
    "ws_events_delivered", Kind.COUNTER, "Events of which this server had a listener."
)
EVENTS_WITHOUT_LISTENER = Metric(
    "ws_events_without_listener", Kind.COUNTER, "Events of which this server had none."
)
INVALID_EVENT = Metric(
    "ws_invalid_event",
    Kind.COUNTER,
    "Stream entries skipped because they are no good events, by reason.",
    "reason",
)
FRAMES_SENT = Metric("ws_frames_sent", Kind.COUNTER, "Events sent to sockets.")
FRAME_BYTES_SENT = Metric("ws_frame_bytes_sent", Kind.COUNTER, "Bytes of the frames of events.")
STREAM_GAP = Metric(
    "ws_stream_gap",
    Kind.COUNTER,
    "Times that events were found to be lost in Redis, trimmed, or not readable.",
)
REDIS_CONNECTIONS = Metric(
    "ws_redis_connections", Kind.COUNTER, "Connections to Redis opened to follow the global stream."
)
DELIVERY_SECONDS = Metric(
    "ws_delivery_seconds",
    Kind.HISTOGRAM,
    "From the time in an event's id, by the clock of Redis, until it was written to its sockets;"
    " of a large batch, one channel in sixteen.",
    buckets=_SECONDS,
)
REPLAY_EVENTS = Metric(
    "ws_replay_events",
    Kind.HISTOGRAM,
    "Missed events sent to a client that has connected, by where they were found.",
    "source",
    _COUNTS,
)
REACTOR_STALL_SECONDS = Metric(
    "ws_reactor_stall_seconds",
    Kind.HISTOGRAM,
    "How late a timer was, as one thing kept the process from another.",
    buckets=_SECONDS,
)
OPEN_SOCKETS = Metric("ws_open_sockets", Kind.GAUGE, "Open WebSockets.")
OPEN_CHANNELS = Metric("ws_open_channels", Kind.GAUGE, "Channels of open WebSockets.")
SLOW_SOCKETS = Metric(
    "ws_slow_sockets", Kind.GAUGE, "WebSockets that do not read as fast as is sent to them."
)
UNSENT_BYTES = Metric("ws_unsent_bytes", Kind.GAUGE, "About how many bytes wait for these.")
TAIL_EVENTS = Metric("ws_tail_events", Kind.GAUGE, "Events kept in memory.")
TAIL_BYTES = Metric("ws_tail_bytes", Kind.GAUGE, "About how much memory these take.")
REDIS_UP = Metric(
    "ws_redis_up", Kind.GAUGE, "1 while the global stream is being followed, 0 otherwise."
)
CURSOR_LAG_SECONDS = Metric(
    "ws_cursor_lag_seconds",
    Kind.GAUGE,
    "How old the event read last is, by the clock of Redis, if there are more to read at once;"
    " otherwise 0.",
)
READ_AGE_SECONDS = Metric(
    "ws_read_age_seconds", Kind.GAUGE, "How long ago Redis answered last; infinite if never."
)
DRAINING = Metric("ws_draining", Kind.GAUGE, "1 once the server is about to stop.")
BUILD_INFO = Metric("ws_build_info", Kind.GAUGE, "Always 1.", "version")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All metrics."""


class Metrics:
    """The values of all metrics."""

    def __init__(self) -> None:
        """Have counted nothing."""
        self._counts: dict[Metric, dict[str, float]] = {}
        self._histograms: dict[Metric, dict[str, Histogram]] = {}
        self._sources: dict[Metric, Callable[[], _Numbers]] = {}
        for metric in ALL:
            if metric.kind is Kind.HISTOGRAM:
                self._histograms[metric] = {} if metric.label else {"": Histogram(metric.buckets)}
            elif metric.kind is Kind.COUNTER:
                self._counts[metric] = {} if metric.label else {"": 0}

    def increment(self, metric: Metric, count: float = 1, label: str = "") -> None:
        """Add to a counter."""
        values = self._counts[metric]
        values[label] = values.get(label, 0) + count

    def observe(self, metric: Metric, value: float, label: str = "") -> None:
        """Add a value to a histogram."""
        histograms = self._histograms[metric]
        if label not in histograms:
            histograms[label] = Histogram(metric.buckets)
        histograms[label].observe(value)

    def read_from(self, metric: Metric, source: Callable[[], _Numbers]) -> None:
        """Let a gauge, or a counter that somebody else keeps, be read when it is asked for.

        Args:
            metric: the metric.
            source: returns its value, or its values by label.
        """
        self._sources[metric] = source

    def counts(self, metric: Metric) -> Mapping[str, float]:
        """Return the values of a counter or gauge by label, which is empty if it has none."""
        if metric in self._sources:
            value = self._sources[metric]()
            return value if isinstance(value, Mapping) else {"": value}
        return self._counts.get(metric, {})

    def total(self, metric: Metric) -> float:
        """Return the sum of a counter's or gauge's values."""
        return sum(self.counts(metric).values())

    def histograms(self, metric: Metric) -> Mapping[str, Histogram]:
        """Return a histogram's values by label, which is empty if it has none."""
        return self._histograms[metric]

    def all_histograms(self) -> Iterator[tuple[Metric, str, Histogram]]:
        """Yield all histograms, each as its metric, label and values."""
        for metric, histograms in self._histograms.items():
            for label, histogram in histograms.items():
                yield metric, label, histogram

    def numbers(self, kind: Kind) -> Iterator[tuple[Metric, str, float]]:
        """Yield all counters or all gauges, each as its metric, label and value."""
        for metric in ALL:
            if metric.kind is kind:
                for label, value in self.counts(metric).items():
                    yield metric, label, value
