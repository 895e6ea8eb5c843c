"""Settings turned into a running server: the one place where things are wired."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import Any

from twisted.application.internet import TimerService, backoffPolicy
from twisted.application.service import IService, MultiService, Service
from twisted.application.strports import service as listening_service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.web.resource import IResource

from gaq_twisted.door import Capacity, Door
from gaq_twisted.firehose import Firehose
from gaq_twisted.hub import Hub, Limits
from gaq_twisted.metrics import OPEN_CHANNELS, OPEN_SOCKETS, Metrics
from gaq_twisted.protocol import EventSocketFactory
from gaq_twisted.refusals import Refusals
from gaq_twisted.replays import Replays
from gaq_twisted.settings import Settings
from gaq_twisted.site import EventSite, resource_tree
from gaq_twisted.statsd import StatsdService
from gaq_twisted.streams import Streams
from gaq_twisted.tail import Tail

# When a server starts anew, all its clients come back at once. The system has its own limit.
_BACKLOG = 4096
_GAUGES_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0
_PING_SLICE_SECONDS = 0.125
_EXPIRY_SECONDS = 0.25
_EXPIRIES_AT_A_TIME = 1000
_SECOND = 1.0
_READINGS_AT_A_TIME = 8


class Server(MultiService):
    """The whole server as one service."""

    _log = Logger()

    def __init__(self, observer: "ILogObserver | None") -> None:
        """Take the log observer of the application, or None to leave it twistd's own."""
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Join the application and give it the log observer."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Open the port.

        Raises:
            SystemExit: if it cannot be opened.
        """
        try:
            super().privilegedStartService()
        except CannotListenError as error:
            message = (
                f"cannot listen on port {error.port} ({error.socketError.strerror}):"
                " stop what uses it, or set another port"
            )
            self._log.critical("{reason}", reason=message)
            raise SystemExit(f"gaq-ws: {message}") from None


class Goodbye(Service):
    """Closes the sockets when the server stops, so that browsers know at once."""

    def __init__(self, factory: EventSocketFactory, clock: Any) -> None:
        """Take the sockets' factory, and a clock that provides IReactorTime."""
        self._factory = factory
        self._clock = clock

    def stopService(self) -> "Deferred[None]":
        """Close every socket; wait a little for the browsers' answers."""
        super().stopService()
        return self._factory.close_all(within_seconds=_GOODBYE_SECONDS, clock=self._clock)


class Upkeep:
    """What is done every now and then, with its results in the log."""

    _log = Logger()

    def __init__(
        self, hub: Hub, door: Door, refusals: Refusals, metrics: Metrics, settings: Settings
    ) -> None:
        """Take what is looked after, where to count, and the intervals."""
        self._hub = hub
        self._door = door
        self._refusals = refusals
        self._metrics = metrics
        ping_seconds = settings.ping_sockets_interval_ms / 1000
        self._ping_slices = max(1, int(ping_seconds / _PING_SLICE_SECONDS))
        self._ping_slice_seconds = ping_seconds / self._ping_slices
        self._next_ping_slice = 0
        self._round: Iterator[bool] = iter(())
        self._per_slice = 0
        self._ended = 0
        self._sweep_seconds = settings.gc_channels_interval_ms / 1000
        self._silent_rounds = ceil(
            settings.socket_response_timeout_ms / settings.ping_sockets_interval_ms
        )

    def timers(self, clock: Any) -> Iterator[TimerService]:
        """Yield the services that do it, on a clock that provides IReactorTime."""
        for seconds, task in (
            (self._ping_slice_seconds, self._ping),
            (_EXPIRY_SECONDS, self._expire),
            (_SECOND, self._begin_second),
            (self._sweep_seconds, self._sweep),
            (_GAUGES_SECONDS, self._report),
        ):
            timer = TimerService(seconds, self._do, task)
            timer.clock = clock
            yield timer

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:
            # Passed on, it would end the timer for good.
            self._log.failure("a periodic task failed")

    def _ping(self) -> None:
        # All at once, the pings and then the pongs would hold up every event.
        if self._next_ping_slice == 0:
            self._round = self._hub.ping(self._silent_rounds)
            self._per_slice = ceil(self._hub.socket_count / self._ping_slices)
        self._next_ping_slice = (self._next_ping_slice + 1) % self._ping_slices
        self._ended += sum(islice(self._round, self._per_slice))
        if self._next_ping_slice == 0 and self._ended:
            self._log.info(
                "ended {count} sockets that did not answer {rounds} pings",
                count=self._ended,
                rounds=self._silent_rounds,
            )
            self._ended = 0

    def _expire(self) -> None:
        self._hub.expire(_EXPIRIES_AT_A_TIME)

    def _begin_second(self) -> None:
        self._door.close_late()
        self._door.sockets.begin_second()
        self._refusals.summarise()

    def _sweep(self) -> None:
        swept = self._hub.sweep()
        level = self._log.warn if any(swept) else self._log.debug
        level(
            "the sweep dropped {sockets} closed sockets and {channels} empty channels",
            sockets=swept.sockets,
            channels=swept.channels,
        )

    def _report(self) -> None:
        self._metrics.gauge(OPEN_SOCKETS, self._hub.socket_count)
        self._metrics.gauge(OPEN_CHANNELS, self._hub.channel_count)


def make_server(
    settings: Settings,
    reactor: Any,
    *,
    observer: "ILogObserver | None" = None,
    first: Sequence[IService] = (),
    resources: Mapping[bytes, IResource] | None = None,
    endpoint: IStreamServerEndpoint | None = None,
    max_files: int = 2**31,
    give_up: Callable[[], None] = lambda: None,
) -> Server:
    """Return the server that the settings describe, not started.

    Args:
        settings: the settings.
        reactor: the reactor.
        observer: as for Server.
        first: services to start before all others.
        resources: further HTTP resources by the first part of their path.
        endpoint: where to listen; on the settings' port of all IPv4 addresses if None.
        max_files: how many files the process may have open.
        give_up: called when the server cannot work, and has logged why.

    Raises:
        ConfigError: if a key, or a file that the settings name, cannot be used.
    """
    statsd = StatsdService(settings.statsd, reactor)
    streams = Streams(settings, reactor)
    retry_delay = backoffPolicy(
        initialDelay=0.1, maxDelay=3.0, factor=2.0, jitter=lambda: random.uniform(0.0, 0.2)
    )
    replays = Replays(streams, reactor, retry_delay, at_a_time=_READINGS_AT_A_TIME)
    hub = Hub(
        Tail(settings.tail_max_events, settings.tail_max_bytes),
        replays,
        statsd,
        reactor.seconds,
        settings.initial_replay_ms,
        Limits(settings.max_total_connections, settings.max_connections_per_channel),
    )
    firehose = Firehose(
        streams,
        hub,
        statsd,
        reactor,
        retry_delay,
        give_up,
        recent_count=settings.tail_max_events,
        recent_bytes=settings.tail_max_bytes,
    )
    refusals = Refusals(statsd, reactor.seconds)
    factory = EventSocketFactory(hub, settings, refusals, reactor)
    door = Door(
        EventSite(resource_tree(resources or {}), reactor=reactor),
        factory,
        refusals,
        reactor.seconds,
        settings,
        Capacity.of_files(max_files),
    )
    listening = listening_service(f"tcp:{settings.port}:backlog={_BACKLOG}", door, reactor)
    if endpoint is not None:
        listening.endpoint = endpoint

    server = Server(observer)
    parts: tuple[IService, ...] = (
        *first,
        statsd,
        streams,
        firehose,
        replays,
        *Upkeep(hub, door, refusals, statsd, settings).timers(reactor),
        Goodbye(factory, reactor),
        listening,
    )
    for part in parts:
        part.setServiceParent(server)
    return server
