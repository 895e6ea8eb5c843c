"""The metrics of the realtime edition."""

from gaq_twisted.core.metrics import Kind, Metric
from gaq_twisted.realtime.envelope import InvalidReason

_OUTAGE_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

MESSAGES_RECEIVED = Metric(
    "ws_realtime_messages_received", Kind.COUNTER, "Messages received from the realtime channel."
)
MESSAGES_DELIVERED = Metric(
    "ws_realtime_messages_delivered",
    Kind.COUNTER,
    "Messages with at least one receiver on this server.",
)
MESSAGES_WITHOUT_RECEIVER = Metric(
    "ws_realtime_messages_without_receiver",
    Kind.COUNTER,
    "Messages without a receiver on this server.",
)
MESSAGES_DROPPED = Metric(
    "ws_realtime_messages_dropped",
    Kind.COUNTER,
    "Messages dropped because they are malformed, by reason.",
    "reason",
    values=InvalidReason,
)
SUBSCRIPTION_LOSSES = Metric(
    "ws_realtime_subscription_losses", Kind.COUNTER, "Losses of the subscription."
)
SUBSCRIPTION_OUTAGE_SECONDS = Metric(
    "ws_realtime_subscription_outage_seconds",
    Kind.HISTOGRAM,
    "How long the subscription was lost.",
    buckets=_OUTAGE_BUCKETS,
)
GAP_DISCONNECTS = Metric(
    "ws_realtime_gap_disconnects",
    Kind.COUNTER,
    "WebSockets closed with 1012 because messages may have been missed.",
)
SUBSCRIBED = Metric(
    "ws_realtime_subscribed", Kind.GAUGE, "1 while the subscription holds, 0 otherwise."
)
WAITING_UPGRADES = Metric(
    "ws_realtime_waiting_upgrades", Kind.GAUGE, "Upgrades waiting for the subscription."
)
ROUTES = Metric("ws_realtime_routes", Kind.GAUGE, "Routes with at least one socket.")
MESSAGE_AGE_SECONDS = Metric(
    "ws_realtime_message_age_seconds",
    Kind.GAUGE,
    "Time since the last message, or since the start of this server.",
)

REALTIME = (
    MESSAGES_RECEIVED,
    MESSAGES_DELIVERED,
    MESSAGES_WITHOUT_RECEIVER,
    MESSAGES_DROPPED,
    SUBSCRIPTION_LOSSES,
    SUBSCRIPTION_OUTAGE_SECONDS,
    GAP_DISCONNECTS,
    SUBSCRIBED,
    WAITING_UPGRADES,
    ROUTES,
    MESSAGE_AGE_SECONDS,
)
"""The metrics of this edition."""
