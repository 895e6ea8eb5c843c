"""The edition of Superset 7: messages with routes on one Redis Pub/Sub channel."""

import re
from collections.abc import Callable, Mapping, Sequence

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from gaq_twisted.access.principals import PrincipalAuthenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.audience import Audience
from gaq_twisted.core.edition import Renewable, Ticket, Upgrade
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import Metric, Metrics
from gaq_twisted.core.readiness import Progress
from gaq_twisted.core.socket import Socket
from gaq_twisted.realtime import metrics as names
from gaq_twisted.realtime.dashboard import realtime_dashboard
from gaq_twisted.realtime.delivery import Delivery
from gaq_twisted.realtime.gap import GapSockets
from gaq_twisted.realtime.subscriber import Subscriber
from gaq_twisted.realtime.waiting import WaitingUpgrades
from gaq_twisted.redis.about import RedisAbout
from gaq_twisted.redis.remedies import Usage
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.redis.subscription import Subscription

# As browsers generate them, and Superset's Node.js server accepts them.
_TAB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHANNEL = "realtime"
_QUIET_SECONDS = 900.0


class RealtimeEdition:
    """Follows the realtime channel, and closes sockets that may have missed a message.

    Args:
        settings: the settings.
        hub: the hub.
        metrics: where messages are counted.
        reactor: connects to Redis, and is the source of time.

    Raises:
        ConfigError: if a secret or a file that the settings name cannot be used.
    """

    _log = Logger()
    name = "realtime"
    query_key = "tab_id"

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        metrics: Metrics,
        reactor: IClientReactor,
    ) -> None:
        metrics.add(names.REALTIME)
        self._reactor = reactor
        self._metrics = metrics
        self._authenticator = PrincipalAuthenticator(settings, reactor.seconds)
        self._channel = channel_of(settings)
        self._waiting = WaitingUpgrades(reactor)
        self._stale = GapSockets(hub, self._note_closed, reactor)
        self._audience = Audience(hub, metrics, reactor.seconds, self._stale.discard)
        server = RedisServer(
            settings.realtime_redis,
            reactor,
            subscriber_usage(self._channel),
            section="redis" if settings.realtime_redis == settings.redis else "realtimeRedis",
        )
        about = RedisAbout(server, settings.realtime_redis, "subscription")
        self.dashboard = realtime_dashboard(settings, about.ask)
        self.certificates: Sequence[Renewable] = [server]
        subscription = Subscription(server.connection(), self._channel, self._receive)
        self._delivery = Delivery(self._audience, subscription, metrics, reactor)
        self._subscriber = Subscriber(subscription, self, reactor)
        self._lost_at: float | None = None
        self._quiet_since = reactor.seconds()
        self.services: Sequence[IService] = (self._subscriber,)

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """Returns the routes of the principal in the cookie, and of the browser's tab."""
        principal = self._authenticator.identify(upgrade.cookies)
        tab_id = upgrade.query.get(self.query_key, "")
        routes: tuple[str, ...] = (principal.route,)
        if _TAB_ID.fullmatch(tab_id):
            routes = (principal.route, f"{principal.route}:{tab_id}")
        return Ticket(routes, principal.expires_at)

    def when_ready(self) -> "Deferred[None] | None":
        """Makes upgrades wait for up to 10 s while there is no subscription."""
        return None if self._subscriber.is_subscribed else self._waiting.wait()

    def fail_waiting(self) -> None:
        """Fails the waiting upgrades."""
        self._waiting.stop()

    def join(self, socket: Socket, ticket: Ticket) -> None:
        """Admits a socket at once; there are no stored messages to send first."""
        if not self._audience.enter(socket):
            return
        self._audience.admit(socket)
        if not self._subscriber.is_subscribed:
            self._stale.add(socket)
            self._stale.close_after_grace()

    # The sink of the subscriber

    def subscribed(self) -> None:
        """Closes the sockets that were open during the gap, and accepts the waiting upgrades."""
        if self._lost_at is not None:
            self._metrics.observe(
                names.SUBSCRIPTION_OUTAGE_SECONDS, self._reactor.seconds() - self._lost_at
            )
            self._lost_at = None
        self._stale.close_now()
        self._waiting.release(lambda: self._subscriber.is_subscribed)

    def lost(self) -> None:
        """Records the sockets that may miss messages, or may have missed some already."""
        self._lost_at = self._reactor.seconds()
        self._metrics.increment(names.SUBSCRIPTION_LOSSES)
        for socket in self._audience.sockets():
            self._stale.add(socket)
        self._stale.stop()
        self._stale.close_after_grace()

    def stopped(self) -> None:
        """Fails the waiting upgrades, and stops closing and sending."""
        self.fail_waiting()
        self._stale.stop()
        self._delivery.stop()

    def _receive(self, messages: Sequence[bytes]) -> None:
        self._delivery.receive(*messages)

    def _note_closed(self, count: int) -> None:
        self._metrics.increment(names.GAP_DISCONNECTS, count)

    # What is reported

    def progress(self) -> Progress:
        """Returns whether the subscription holds, and when the last message arrived."""
        age_seconds = round(self._reactor.seconds() - self._delivery.last_at, 3)
        facts = {
            "channel": self._channel,
            "messageAgeSeconds": age_seconds,
            "waitingUpgrades": len(self._waiting),
        }
        if self._subscriber.is_subscribed:
            return Progress([], facts)
        return Progress(["SUBSCRIBER_UNAVAILABLE: no subscription to the realtime channel"], facts)

    def gauges(self) -> Mapping[Metric, Callable[[], float]]:
        """Returns the functions that read the state of the subscription."""
        return {
            names.SUBSCRIBED: lambda: self._subscriber.is_subscribed,
            names.WAITING_UPGRADES: lambda: len(self._waiting),
            names.ROUTES: lambda: len(self._audience.routes),
            names.MESSAGE_AGE_SECONDS: lambda: self._reactor.seconds() - self._delivery.last_at,
        }

    @property
    def channel_count(self) -> int:
        """The number of principals that have sockets."""
        return self._audience.principal_count

    def sweep(self) -> None:
        """Logs a warning if no message has arrived for a long time while sockets are open."""
        now = self._reactor.seconds()
        has_sockets = next(self._audience.sockets(), None) is not None
        if not has_sockets or not self._subscriber.is_subscribed:
            self._quiet_since = now
        since = max(self._quiet_since, self._delivery.last_at)
        if now - since >= _QUIET_SECONDS:
            self._quiet_since = now
            self._log.warn(
                "no message arrived on the channel {channel} for {minutes} min while sockets are"
                " open: check that realtimeChannelPrefix equals Superset's REALTIME_CHANNEL_PREFIX",
                event="realtime_quiet",
                channel=self._channel,
                minutes=round((now - since) / 60),
            )

    def validate(self, settings: Settings) -> None:
        """Checks that the secrets are keys for their algorithms."""
        PrincipalAuthenticator(settings, self._reactor.seconds)

    def apply(self, settings: Settings) -> None:
        """Uses the secrets of these settings from now on."""
        self._authenticator = PrincipalAuthenticator(settings, self._reactor.seconds)


def channel_of(settings: Settings) -> str:
    """Returns the name of the Pub/Sub channel, as Superset builds it."""
    return f"{settings.realtime_channel_prefix}{_CHANNEL}"


def subscriber_usage(channel: str) -> Usage:
    """Returns the rights that a subscriber of a channel needs."""
    return Usage(
        commands=("+subscribe", "+ping"),
        patterns=(f"&{channel}",),
        unknown_command="SUBSCRIBE must be neither renamed nor disabled",
    )
