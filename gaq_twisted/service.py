"""Settings turned into a running server: the one place where things are wired."""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from twisted.application.internet import backoffPolicy
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.web.resource import IResource

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core import metrics as names
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.readiness import ReadinessProbe
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.gateway import Capacity, Gateway
from gaq_twisted.net.listeners import Listeners
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.ops.drain import Drain
from gaq_twisted.ops.housekeeping import Housekeeping
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.ops.reload import Reloader
from gaq_twisted.ops.statsd import StatsdReports, StatsdService
from gaq_twisted.ops.systemd import Notifier
from gaq_twisted.redis.connection import ANSWER_SECONDS
from gaq_twisted.streams.backfill import Replays
from gaq_twisted.streams.commands import Streams
from gaq_twisted.streams.firehose import Firehose
from gaq_twisted.streams.tail import Tail
from gaq_twisted.web.prometheus import Exposition
from gaq_twisted.web.site import EventSite, Health, Ready, resource_tree
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.page import StatusPage

_READINGS_AT_A_TIME = 8
# Beside the time that Redis may take to answer.
_MORE_PATIENCE_SECONDS = 1.0


class Server(MultiService):
    """The whole server as one service."""

    _log = Logger()

    def __init__(self, output: "LogOutput | None", notifier: Notifier) -> None:
        """Take whom it talks to.

        Args:
            output: the log observer of the application, or None to leave it twistd's own.
            notifier: is told how far its life is.
        """
        super().__init__()
        self._output = output
        self._notifier = notifier
        self.drain: Drain
        """How it says goodbye; set by whoever wires it."""
        self.reloader: Reloader
        """Reads the settings again; set by whoever wires it."""

    def setServiceParent(self, parent: Any) -> None:
        """Join the application and give it the log observer."""
        if self._output is not None:
            parent.setComponent(ILogObserver, self._output)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Open the ports.

        Raises:
            SystemExit: if one cannot be opened.
        """
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            message = _why_not_listening(error)
            self._log.critical("{reason}", event="cannot_listen", reason=message)
            raise SystemExit(f"gaq-ws: {message}") from None

    def startService(self) -> None:
        """Start all parts; the ports are open by then."""
        super().startService()
        self._notifier.ready("serving")

    def reload(self) -> None:
        """Read the settings and certificates again."""
        self._notifier.reloading()
        try:
            self.reloader.reload()
        finally:
            self._notifier.ready("serving")

    def stopService(self) -> "Deferred[Any]":
        """Say goodbye to the clients, and stop all parts then."""
        self._notifier.stopping("letting the clients go")
        stop_parts = super().stopService
        return Deferred.fromCoroutine(self.drain.drain()).addBoth(lambda _: stop_parts())


def make_server(
    settings: Settings,
    reactor: Any,
    *,
    output: LogOutput | None = None,
    read_settings: Callable[[], Loaded] | None = None,
    notifier: Notifier | None = None,
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
        output: where the application logs; None to leave that to twistd.
        read_settings: reads the settings again, for a reload; raises ConfigError.
        notifier: tells the service manager; nobody is told if None.
        first: services to start before all others.
        resources: further HTTP resources by the first part of their path.
        endpoint: where to listen; where the settings say if None.
        max_files: how many files the process may have open.
        give_up: called when the server cannot work, and has logged why.

    Raises:
        ConfigError: if a key, an endpoint, or a file that the settings name cannot be used.
    """
    metrics = Metrics()
    statsd = StatsdService(settings.statsd, reactor)
    streams = Streams(settings, reactor)
    retry_delay = backoffPolicy(
        initialDelay=0.1, maxDelay=3.0, factor=2.0, jitter=lambda: random.uniform(0.0, 0.2)
    )
    replays = Replays(streams, reactor, retry_delay, at_a_time=_READINGS_AT_A_TIME)
    tail = Tail(settings.tail_max_events, settings.tail_max_bytes)
    hub = Hub(tail, replays, metrics, reactor.seconds, settings)
    firehose = Firehose(
        streams,
        hub,
        metrics,
        reactor,
        retry_delay,
        give_up,
        recent_count=settings.tail_max_events,
        recent_bytes=settings.tail_max_bytes,
    )
    lookout = ReadinessProbe(
        firehose,
        settings.redis_stream_read_block_ms / 1000 + ANSWER_SECONDS + _MORE_PATIENCE_SECONDS,
    )
    refusals = Rejections(metrics, reactor.seconds)
    sockets = EventSocketFactory(hub, settings, refusals, metrics, reactor)

    # Who looks at the server from outside need not be who uses it.
    observing = {b"ready": Ready(lookout, hub), b"metrics": Exposition(metrics)}
    public = {b"health": Health(), **(resources or {})}
    if not settings.internal_listen:
        public |= observing
    door = Gateway(
        EventSite(resource_tree(public, settings.base_path), reactor=reactor),
        sockets,
        refusals,
        reactor.seconds,
        settings,
        Capacity.of_files(max_files),
    )
    listeners = Listeners(
        [endpoint] if endpoint else settings.listen or [f"tcp:{settings.port}"],
        door,
        reactor,
        reuse_port=settings.reuse_port,
    )
    status = StatusFeed(
        metrics,
        refusals,
        lookout,
        {
            "version": version("gaq-twisted"),
            "tailMaxEvents": settings.tail_max_events,
            "tailMaxBytes": settings.tail_max_bytes,
        },
        reactor,
        time.process_time,
    )
    internal_resources = {b"health": Health(), b"status": StatusPage(status), **observing}
    internal = Listeners(
        settings.internal_listen,
        EventSite(resource_tree(internal_resources), reactor=reactor),
        reactor,
        setting="internalListen",
    )
    each_second = [
        door.close_late,
        sockets.begin_second,
        refusals.summarise,
        StatsdReports(metrics, statsd).send,
    ]
    upkeep = Housekeeping(hub, each_second, metrics, settings, reactor)

    notifier = notifier or Notifier({})
    server = Server(output, notifier)
    server.drain = Drain(
        hub, lookout, listeners.services, sockets.when_all_closed, settings, reactor
    )
    server.reloader = Reloader(
        settings,
        read_settings or (lambda: Loaded(settings, [], {})),
        Authenticator,
        [listeners, internal],
        [sockets, door, hub, upkeep, server.drain, *([output] if output else [])],
    )
    _let_gauges_be_read(metrics, hub, tail, streams, sockets, lookout)
    for part in (
        *first,
        statsd,
        streams,
        firehose,
        replays,
        upkeep,
        *([status] if settings.internal_listen else []),
        *notifier.timers(reactor),
        *internal.services,
        *listeners.services,
    ):
        part.setServiceParent(server)
    return server


def _let_gauges_be_read(
    metrics: Metrics,
    hub: Hub,
    tail: Tail,
    streams: Streams,
    sockets: EventSocketFactory,
    lookout: ReadinessProbe,
) -> None:
    """Say where the metrics are read that nobody counts."""
    progress = lookout.progress
    build = {version("gaq-twisted"): 1}
    for metric, source in (
        (names.OPEN_SOCKETS, lambda: hub.socket_count),
        (names.OPEN_CHANNELS, lambda: hub.channel_count),
        (names.SLOW_SOCKETS, lambda: len(sockets.slow_sockets)),
        (names.UNSENT_BYTES, sockets.unsent_bytes),
        (names.TAIL_EVENTS, lambda: len(tail)),
        (names.TAIL_BYTES, lambda: tail.size_bytes),
        (names.REDIS_CONNECTIONS, lambda: streams.times_connected),
        (names.REDIS_UP, lambda: progress().is_following),
        (names.CURSOR_LAG_SECONDS, lambda: progress().lag_seconds),
        (names.READ_AGE_SECONDS, lambda: progress().read_age_seconds),
        (names.DRAINING, lambda: lookout.is_draining),
        (names.BUILD_INFO, lambda: build),
    ):
        metrics.read_from(metric, source)


def _why_not_listening(error: CannotListenError | OSError) -> str:
    if isinstance(error, OSError):
        # Of a unix socket's lock file, which is a symbolic link, the second name is the file's.
        file = os.fsdecode(error.filename2 or error.filename)
        return f"cannot listen on {file}: {error.strerror}"
    place = error.port
    if isinstance(place, int):
        place = f"port {place} of {error.interface}" if error.interface else f"port {place}"
    return (
        f"cannot listen on {place} ({error.socketError.strerror}):"
        " stop what uses it, or set another port"
    )
