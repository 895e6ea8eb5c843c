"""The streams edition's part of the status page."""

from collections.abc import Awaitable, Callable, Mapping

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.dashboard import (
    Axis,
    Count,
    Dashboard,
    Downtime,
    Fault,
    Format,
    Fresh,
    Level,
    News,
    Outages,
    Plot,
    Quantile,
    Question,
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
from gaq_twisted.redis.about import database
from gaq_twisted.streams import metrics

# How long the answer to a waiting read may take to arrive.
_LATE_SECONDS = 1.0

_COLUMNS = (
    Rate("eventsReadPerSecond", (metrics.EVENTS_READ,)),
    Rate("eventsDeliveredPerSecond", (metrics.EVENTS_DELIVERED,)),
    Rate("eventsWithoutListenerPerSecond", (metrics.EVENTS_WITHOUT_LISTENER,)),
    Quantile("deliveryP50Seconds", DELIVERY_SECONDS, 0.5),
    Quantile("deliveryP95Seconds", DELIVERY_SECONDS, 0.95),
    Quantile("deliveryP99Seconds", DELIVERY_SECONDS, 0.99),
    Count("tailEvents", metrics.TAIL_EVENTS),
    Count("tailBytes", metrics.TAIL_BYTES),
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
            Series("eventsWithoutListenerPerSecond", "no listener"),
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
_ROWS = (
    Row("server", "redisServer", Format.TEXT),
    Row("version", "redisVersion", Format.TEXT, none="not known"),
    Row("last answer", "readAgeSeconds", Format.SECONDS, suffix=" ago", none="never"),
    Row("behind by", "lagSeconds", Format.SECONDS, zero="nothing"),
    Row("connections opened", "redisConnections", Format.COUNT),
    Row("cursor", "cursor", Format.TEXT, none="none yet"),
)
_RULES = (
    Switched(
        "redisUp",
        on=News(Level.GOOD, "Redis up", "following the global stream"),
        off=News(Level.BAD, "Redis down", "the global stream cannot be read"),
    ),
    Rose("gaps", News(Level.BAD, "gap", "events may be lost ({times}); the log has more")),
    Rose(
        "invalidEvents",
        News(Level.WARN, "skipped", "{count:,} stream entries that are no valid events"),
    ),
)


def streams_dashboard(
    settings: Settings, ask_redis: Callable[[], Awaitable[Mapping[str, str]]]
) -> Dashboard:
    """Returns this edition's part of the status page.

    Args:
        settings: contain the limits of the tail, the wait of a read, and the Redis server.
        ask_redis: returns what is known of this server as `redisServer` and `redisVersion`.
    """
    late_seconds = settings.redis_stream_read_block_ms / 1000 + _LATE_SECONDS
    return Dashboard(
        columns=(
            *_COLUMNS,
            # A server that hangs is noticed before the read fails.
            Fresh("redisUp", metrics.REDIS_UP, metrics.READ_AGE_SECONDS, late_seconds),
            Outages("redisOutages", "redisUp"),
            Downtime("redisDownSeconds", "redisUp"),
        ),
        plots=_PLOTS,
        tiles=(
            Tile(
                "Redis",
                rows=_ROWS,
                states=(
                    State(Level.BAD, "no answer", ("readAgeSeconds",), least=late_seconds),
                    State(Level.BAD, "down", ("redisUp",), most=0),
                    State(Level.WARN, "behind", ("lagSeconds",), least=1),
                    State(Level.GOOD, "up"),
                ),
            ),
        ),
        faults=(
            Fault("Redis outages", "redisOutages", Level.BAD),
            Fault("Redis down for", "redisDownSeconds", Level.BAD, Format.SPAN),
            Fault("gaps", "gaps", Level.BAD),
            Fault("entries skipped", "invalidEvents", Level.WARN),
        ),
        process=(
            Row("tail holds", "tailEvents", Format.COUNT, suffix=" events"),
            Row("tail memory", "tailBytes", Format.BYTES),
        ),
        rules=_RULES,
        routes="channels",
        questions=(Question("redisConnections", "redisUp", ask_redis),),
        up=("redisUp",),
        facts={
            "tailMaxEvents": settings.tail_max_events,
            "tailMaxBytes": settings.tail_max_bytes,
            "redisServer": database(settings.redis),
        },
    )
