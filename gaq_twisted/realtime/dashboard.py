"""What the status page shows of the realtime edition."""

from gaq_twisted.core.dashboard import (
    ANY,
    Axis,
    Count,
    Dashboard,
    Fault,
    Flag,
    Format,
    Level,
    News,
    Plot,
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

_COLUMNS = (
    Rate("messagesReceivedPerSecond", (metrics.MESSAGES_RECEIVED,)),
    Rate("messagesDeliveredPerSecond", (metrics.MESSAGES_DELIVERED,)),
    Rate("messagesWithoutReceiverPerSecond", (metrics.MESSAGES_WITHOUT_RECEIVER,)),
    Flag("subscribed", metrics.SUBSCRIBED),
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
        Row("last message", "messageAgeSeconds", Format.SECONDS, suffix=" ago"),
        Row("losses", "subscriptionLosses", Format.COUNT),
        Row("sockets closed after a loss", "gapDisconnects", Format.COUNT),
    ),
    states=(State(Level.BAD, "down", ("subscribed",), most=0), State(Level.GOOD, "up")),
)

DASHBOARD = Dashboard(
    columns=_COLUMNS,
    plots=_PLOTS,
    tiles=(_SUBSCRIPTION,),
    faults=(
        Fault("subscription losses", "subscriptionLosses", Level.BAD),
        Fault("messages dropped", "messagesDropped", Level.WARN),
    ),
    rules=(
        Switched("subscribed", on=News(Level.GOOD, "subscribed", "following the realtime channel")),
        # A loss may be over before the next sample.
        Rose(
            "subscriptionLosses",
            News(
                Level.BAD,
                "subscription lost",
                "the realtime channel was not followed for a while ({times})",
            ),
        ),
        Rose(
            "gapDisconnects",
            News(Level.WARN, "closed", "{count:,} sockets that may have missed messages"),
        ),
        Rose("messagesDropped", News(Level.WARN, "dropped", "malformed messages ({times})")),
    ),
    up=("subscribed",),
)
"""This edition's part of the status page."""
