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
    values=InvalidReason,
)
STREAM_GAP = Metric(
    "ws_stream_gap",
    Kind.COUNTER,
    "Times that events were found to be lost in Redis, trimmed, or not readable.",
)
REDIS_CONNECTIONS = Metric(
    "ws_redis_connections", Kind.COUNTER, "Connections to Redis opened to follow the global stream."
)
REPLAY_EVENTS = Metric(
    "ws_replay_events",
    Kind.HISTOGRAM,
    "Missed events sent to a client that has connected, by where they were found.",
    "source",
    _EVENT_COUNT_BUCKETS,
    ReplaySource,
)
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
"""The metrics that a server has because of this edition."""
