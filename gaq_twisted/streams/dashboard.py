"""What the status page shows of the streams edition."""

from gaq_twisted.core.dashboard import (
    Axis,
    Count,
    Dashboard,
    Fault,
    Flag,
    Format,
    Level,
    News,
    Plot,
    Quantile,
    Rate,
    Rose,
    Row,
    Section,
    Series,
    State,
    Switched,
    Tile,
    Value,
)
from gaq_twisted.core.metrics import DELIVERY_SECONDS
from gaq_twisted.streams import metrics

_COLUMNS = (
    Rate("eventsReadPerSecond", (metrics.EVENTS_READ,)),
    Rate("eventsDeliveredPerSecond", (metrics.EVENTS_DELIVERED,)),
    Rate("eventsWithoutListenerPerSecond", (metrics.EVENTS_WITHOUT_LISTENER,)),
    Quantile("deliveryP50Seconds", DELIVERY_SECONDS, 0.5),
    Quantile("deliveryP95Seconds", DELIVERY_SECONDS, 0.95),
    Quantile("deliveryP99Seconds", DELIVERY_SECONDS, 0.99),
    Count("tailEvents", metrics.TAIL_EVENTS),
    Count("tailBytes", metrics.TAIL_BYTES),
    Flag("redisUp", metrics.REDIS_UP),
    Count("redisConnections", metrics.REDIS_CONNECTIONS),
    Value("lagSeconds", metrics.CURSOR_LAG_SECONDS),
    Value("readAgeSeconds", metrics.READ_AGE_SECONDS),
    Count("gaps", metrics.STREAM_GAP),
    Count("invalidEvents", metrics.INVALID_EVENT),
)
_PLOTS = (
    Plot(
        section=Section.EVENTS,
        title="Events",
        format=Format.RATE,
        axis=Axis(least=1),
        series=(
            Series("eventsReadPerSecond", "read"),
            Series("eventsDeliveredPerSecond", "delivered"),
            Series("eventsWithoutListenerPerSecond", "nobody listens"),
        ),
    ),
    Plot(
        section=Section.EVENTS,
        title="Delivery, from Redis to socket",
        format=Format.LATENCY,
        axis=Axis(
            least=DELIVERY_SECONDS.buckets[0],
            most=DELIVERY_SECONDS.buckets[-1],
            is_logarithmic=True,
        ),
        series=(
            Series("deliveryP50Seconds", "50 %"),
            Series("deliveryP95Seconds", "95 %"),
            Series("deliveryP99Seconds", "99 %"),
        ),
        idle="no events",
    ),
    Plot(
        section=Section.REDIS,
        title="Redis",
        format=Format.SECONDS,
        axis=Axis(least=10),
        series=(Series("readAgeSeconds", "last answer"), Series("lagSeconds", "behind by")),
    ),
    Plot(
        section=Section.REDIS,
        title="Tail",
        format=Format.PERCENT,
        axis=Axis(most=1),
        series=(
            Series("tailEvents", "of its events", of="tailMaxEvents"),
            Series("tailBytes", "of its bytes", of="tailMaxBytes"),
        ),
    ),
)
_REDIS = Tile(
    "Redis",
    rows=(
        Row("last answer", "readAgeSeconds", Format.SECONDS, suffix=" ago", none="never"),
        Row("behind by", "lagSeconds", Format.SECONDS, zero="nothing"),
        Row("connections opened", "redisConnections", Format.COUNT),
        Row("cursor", "cursor", Format.TEXT, none="none yet"),
    ),
    states=(
        State(Level.BAD, "down", ("redisUp",), most=0),
        State(Level.WARN, "behind", ("lagSeconds",), least=1),
        State(Level.GOOD, "up"),
    ),
)
_RULES = (
    Switched(
        "redisUp",
        on=News(Level.GOOD, "Redis up", "following the global stream"),
        off=News(Level.BAD, "Redis down", "the global stream cannot be read"),
    ),
    Rose("gaps", News(Level.BAD, "gap", "events may be lost ({times}); the log tells which")),
    Rose(
        "invalidEvents",
        News(Level.WARN, "skipped", "{count:,} stream entries were no good events"),
    ),
)


def streams_dashboard(tail_max_events: int, tail_max_bytes: int) -> Dashboard:
    """Returns this edition's part of the status page.

    Args:
        tail_max_events: the most events that the tail holds.
        tail_max_bytes: the most memory that they take.
    """
    return Dashboard(
        columns=_COLUMNS,
        plots=_PLOTS,
        tiles=(_REDIS,),
        faults=(
            Fault("gaps", "gaps", Level.BAD),
            Fault("entries skipped", "invalidEvents", Level.WARN),
        ),
        process=(
            Row("tail holds", "tailEvents", Format.COUNT, suffix=" events"),
            Row("tail takes", "tailBytes", Format.BYTES),
        ),
        rules=_RULES,
        up=("redisUp",),
        facts={"tailMaxEvents": tail_max_events, "tailMaxBytes": tail_max_bytes},
    )
