"""The metrics of the streams edition."""

from enum import StrEnum

from gaq_twisted.core.metrics import DELIVERY_SECONDS, Kind, Metric
from gaq_twisted.streams.events import InvalidReason

_EVENT_COUNT_BUCKETS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class ReplaySource(StrEnum):
    """Where the events that a client missed were found."""

    TAIL = "tail"
    CHANNEL_STREAM = "channel stream"
    INITIAL = "initial"
    """In the tail, for a client that sent no `last_id`."""


EVENTS_READ = Metric("ws_events_read", Kind.COUNTER, "Events read from the global stream.")
EVENTS_DELIVERED = Metric(
    "ws_events_delivered", Kind.COUNTER, "Events with at least one listener on this server."
)
EVENTS_WITHOUT_LISTENER = Metric(
    "ws_events_without_listener", Kind.COUNTER, "Events without a listener on this server."
)
INVALID_EVENT = Metric(
    "ws_invalid_event",
    Kind.COUNTER,
    "Stream entries skipped because they are not valid events, by reason.",
    "reason",
    values=InvalidReason,
)
STREAM_GAP = Metric(
    "ws_stream_gap",
    Kind.COUNTER,
    "Times that events were lost in Redis, were trimmed, or could not be read.",
)
REDIS_CONNECTIONS = Metric(
    "ws_redis_connections", Kind.COUNTER, "Connections to Redis opened to follow the global stream."
)
REPLAY_EVENTS = Metric(
    "ws_replay_events",
    Kind.HISTOGRAM,
    "Missed events sent to a client when it connects, by source.",
    "source",
    _EVENT_COUNT_BUCKETS,
    ReplaySource,
)
TAIL_EVENTS = Metric("ws_tail_events", Kind.GAUGE, "Events kept in memory.")
TAIL_BYTES = Metric("ws_tail_bytes", Kind.GAUGE, "Approximate memory that these events take.")
REDIS_UP = Metric(
    "ws_redis_up", Kind.GAUGE, "1 while the global stream is being followed, 0 otherwise."
)
CURSOR_LAG_SECONDS = Metric(
    "ws_cursor_lag_seconds",
    Kind.GAUGE,
    "Age of the last event read, by Redis's clock, while there are more to read; otherwise 0.",
)
READ_AGE_SECONDS = Metric(
    "ws_read_age_seconds", Kind.GAUGE, "Time since Redis's last answer; infinite if there was none."
)

STREAMS = (
    EVENTS_READ,
    EVENTS_DELIVERED,
    EVENTS_WITHOUT_LISTENER,
    INVALID_EVENT,
    STREAM_GAP,
    REDIS_CONNECTIONS,
    DELIVERY_SECONDS,
    REPLAY_EVENTS,
    TAIL_EVENTS,
    TAIL_BYTES,
    REDIS_UP,
    CURSOR_LAG_SECONDS,
    READ_AGE_SECONDS,
)
"""The metrics of this edition."""
