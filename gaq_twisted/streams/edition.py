"""The edition of Superset 1.2 to 6.1: events in Redis streams, resumed by `last_id`."""

import random
from collections.abc import Callable, Mapping, Sequence

from twisted.application.internet import backoffPolicy
from twisted.application.service import IService

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.edition import Renewable, Ticket, Upgrade
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import Metric, Metrics
from gaq_twisted.core.readiness import Progress
from gaq_twisted.core.socket import Socket
from gaq_twisted.redis.about import RedisAbout
from gaq_twisted.redis.connection import ANSWER_SECONDS
from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.streams import metrics as names
from gaq_twisted.streams.backfill import Backfill
from gaq_twisted.streams.commands import Streams
from gaq_twisted.streams.dashboard import streams_dashboard
from gaq_twisted.streams.firehose import Firehose
from gaq_twisted.streams.firehose import Progress as Position
from gaq_twisted.streams.resumption import Resumption
from gaq_twisted.streams.tail import Tail

_READINGS_AT_A_TIME = 8
# In addition to the time that Redis may take to answer.
_PATIENCE_SECONDS = 1.0


class StreamsEdition:
    """Follows the global stream, and reads streams of channels for returning browsers.

    Args:
        settings: the settings.
        hub: the hub.
        metrics: count events.
        reactor: provides IReactorTime and the interfaces that client endpoints need.
        give_up: called when Redis is too old, which has been logged.

    Raises:
        ConfigError: if a secret, or a file named in the settings, cannot be used.
    """

    name = "streams"
    query_key = "last_id"

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        metrics: Metrics,
        reactor: IClientReactor,
        give_up: Callable[[], None],
    ) -> None:
        metrics.add(names.STREAMS)
        self._authenticator = Authenticator(settings)
        self._streams = Streams(settings, reactor)
        retry_delay = backoffPolicy(
            initialDelay=0.1, maxDelay=3.0, factor=2.0, jitter=lambda: random.uniform(0.0, 0.2)
        )
        backfill = Backfill(self._streams, reactor, retry_delay, at_a_time=_READINGS_AT_A_TIME)
        self._tail = Tail(settings.tail_max_events, settings.tail_max_bytes)
        self._resumption = Resumption(
            hub, self._tail, backfill, metrics, reactor.seconds, settings.initial_replay_ms
        )
        self._firehose = Firehose(
            self._streams,
            self._resumption,
            metrics,
            reactor,
            retry_delay,
            give_up,
        )
        about = RedisAbout(self._streams.server, settings.redis, "redis")
        self.dashboard = streams_dashboard(settings, about.ask)
        self._patience_seconds = (
            settings.redis_stream_read_block_ms / 1000 + ANSWER_SECONDS + _PATIENCE_SECONDS
        )
        self.certificates: Sequence[Renewable] = [self._streams.server]
        self.services: Sequence[IService] = (self._streams, self._firehose, backfill)

    def ticket(self, upgrade: Upgrade) -> Ticket:
        """Returns the channel that the cookie names; the client continues after `last_id`."""
        identity = self._authenticator.identify(upgrade.cookies)
        return Ticket((identity.channel,), identity.expires_at, upgrade.query.get(self.query_key))

    def when_ready(self) -> None:
        """Never delays an upgrade: open sockets wait until Redis can be read."""

    def fail_waiting(self) -> None:
        """Does nothing, because no upgrade waits."""

    def join(self, socket: Socket, ticket: Ticket) -> None:
        """Sends a socket its missed events, at once or when its channel's stream has been read."""
        self._resumption.join(socket, ticket.resume_from)

    def progress(self) -> Progress:
        """Returns whether the global stream is being followed, and up to where."""
        position = self._firehose.progress()
        age_seconds = round(position.read_age_seconds, 3) if position.cursor else None
        facts = {
            "cursor": position.cursor,
            "lagSeconds": round(position.lag_seconds, 3),
            "readAgeSeconds": age_seconds,
            "channels": self._resumption.channel_count,
        }
        return Progress(reasons(position, self._patience_seconds), facts)

    def gauges(self) -> Mapping[Metric, Callable[[], float]]:
        """Returns the sources of the gauges for the tail and the firehose."""
        position = self._firehose.progress
        return {
            names.TAIL_EVENTS: lambda: len(self._tail),
            names.TAIL_BYTES: lambda: self._tail.size_bytes,
            names.REDIS_CONNECTIONS: lambda: self._streams.times_connected,
            names.REDIS_UP: lambda: position().is_following,
            names.CURSOR_LAG_SECONDS: lambda: position().lag_seconds,
            names.READ_AGE_SECONDS: lambda: position().read_age_seconds,
        }

    @property
    def channel_count(self) -> int:
        """The number of channels whose sockets are sent new events."""
        return self._resumption.channel_count

    def sweep(self) -> None:
        """Forgets early events that have been delivered."""
        self._resumption.sweep()

    def validate(self, settings: Settings) -> None:
        """Checks that the secrets are valid keys for their algorithms."""
        Authenticator(settings)

    def apply(self, settings: Settings) -> None:
        """Uses the secrets and the replay time of these settings from now on."""
        self._authenticator = Authenticator(settings)
        self._resumption.initial_replay_ms = settings.initial_replay_ms


def reasons(position: Position, patience_seconds: float) -> Sequence[str]:
    """Returns why browsers cannot be served now.

    Args:
        position: how far the global stream has been read.
        patience_seconds: how old Redis's last answer may be.
    """
    if not position.cursor:
        return ["the global stream has not been read yet"]
    if not position.is_following:
        return ["Redis cannot be read"]
    if position.read_age_seconds > patience_seconds:
        return [f"Redis has not answered for {position.read_age_seconds:.0f} s"]
    return []
