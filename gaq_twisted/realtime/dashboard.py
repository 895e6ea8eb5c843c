"""What the status page shows of the realtime edition."""

from collections.abc import Awaitable, Callable, Mapping

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.dashboard import (
    ANY,
    Axis,
    Count,
    Dashboard,
    Downtime,
    Fault,
    Flag,
    Format,
    Level,
    News,
    Plot,
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
from gaq_twisted.realtime import metrics
from gaq_twisted.redis.about import database

_COLUMNS = (
    Rate("messagesReceivedPerSecond", (metrics.MESSAGES_RECEIVED,)),
    Rate("messagesDeliveredPerSecond", (metrics.MESSAGES_DELIVERED,)),
    Rate("messagesWithoutReceiverPerSecond", (metrics.MESSAGES_WITHOUT_RECEIVER,)),
    Flag("subscribed", metrics.SUBSCRIBED),
    Downtime("unsubscribedSeconds", "subscribed"),
    Count("subscriptionLosses", metrics.SUBSCRIPTION_LOSSES),
    Count("messagesDropped", metrics.MESSAGES_DROPPED),
    Count("gapDisconnects", metrics.GAP_DISCONNECTS),
    Count("waitingUpgrades", metrics.WAITING_UPGRADES),
    Value("messageAgeSeconds", metrics.MESSAGE_AGE_SECONDS),
)
_PLOTS = (
    Plot(
        section=Section.EVENTS,
        title="Realtime messages",
        format=Format.RATE,
        axis=Axis(least=1),
        series=(
            Series("messagesReceivedPerSecond", "received"),
            Series("messagesDeliveredPerSecond", "delivered"),
            Series("messagesWithoutReceiverPerSecond", "no receiver"),
        ),
    ),
    Plot(
        section=Section.REDIS,
        title="Waiting upgrades",
        format=Format.COUNT,
        axis=Axis(least=10),
        series=(Series("waitingUpgrades", "wait for Redis"),),
        states=(State(Level.WARN, "waiting", ("waitingUpgrades",), least=ANY),),
    ),
)
_SUBSCRIPTION = Tile(
    "Subscription",
    rows=(
        Row("server", "subscriptionServer", Format.TEXT),
        Row("version", "subscriptionVersion", Format.TEXT, none="not known"),
        Row("last message", "messageAgeSeconds", Format.SECONDS, suffix=" ago"),
        Row("sockets closed after a loss", "gapDisconnects", Format.COUNT),
    ),
    states=(State(Level.BAD, "down", ("subscribed",), most=0), State(Level.GOOD, "up")),
)

_RULES = (
    Switched("subscribed", on=News(Level.GOOD, "subscribed", "following the realtime channel")),
    # A loss may be over before the next sample.
    Rose(
        "subscriptionLosses",
        News(
            Level.BAD,
            "subscription lost",
            "the realtime channel was not followed ({times})",
        ),
    ),
    Rose(
        "gapDisconnects",
        News(Level.WARN, "closed", "{count:,} sockets that may have missed messages"),
    ),
    Rose("messagesDropped", News(Level.WARN, "dropped", "malformed messages ({times})")),
)


def realtime_dashboard(
    settings: Settings, ask_redis: Callable[[], Awaitable[Mapping[str, str]]]
) -> Dashboard:
    """Returns this edition's part of the status page.

    Args:
        settings: the Redis server.
        ask_redis: returns what is known of it as `subscriptionServer` and `subscriptionVersion`.
    """
    return Dashboard(
        columns=_COLUMNS,
        plots=_PLOTS,
        tiles=(_SUBSCRIPTION,),
        faults=(
            Fault("subscription losses", "subscriptionLosses", Level.BAD),
            Fault("no subscription for", "unsubscribedSeconds", Level.BAD, Format.SPAN),
            Fault("messages dropped", "messagesDropped", Level.WARN),
        ),
        rules=_RULES,
        routes="users",
        questions=(Question("subscriptionLosses", "subscribed", ask_redis),),
        up=("subscribed",),
        facts={"subscriptionServer": database(settings.realtime_redis)},
    )
