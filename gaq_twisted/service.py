"""Settings turned into a running server: the one place where things are wired."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.web.resource import IResource

from gaq_twisted.config.derived import serves_realtime, serves_streams
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.core import metrics as names
from gaq_twisted.core.edition import Edition
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.core.readiness import Readiness
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.gateway import Capacity, Gateway
from gaq_twisted.net.listeners import Listeners, why_not_listening
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.ops.drain import Drain
from gaq_twisted.ops.housekeeping import Housekeeping
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.ops.reload import Reloader
from gaq_twisted.ops.statsd import StatsdReports, StatsdService
from gaq_twisted.ops.systemd import Notifier
from gaq_twisted.realtime.edition import RealtimeEdition
from gaq_twisted.streams.edition import StreamsEdition
from gaq_twisted.web.prometheus import Exposition
from gaq_twisted.web.site import EventSite, Health, Ready, resource_tree
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.page import StatusPage


def _ignore() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Host:
    """The process that a server runs in."""

    output: LogOutput | None = None
    """Where the application logs; None to leave that to twistd."""
    read_settings: Callable[[], Loaded] | None = None
    """Reads the settings again, for a reload; raises ConfigError."""
    notifier: Notifier = field(default_factory=lambda: Notifier({}))
    """Reports to the service manager."""
    max_files: int = 2**31
    """How many files the process may have open."""
    give_up: Callable[[], None] = _ignore
    """Called when the server cannot work, and has logged why."""


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a server has beside what the settings describe."""

    services: Sequence[IService] = ()
    """Services to start before all others."""
    resources: Mapping[bytes, IResource] = field(default_factory=dict)
    """Further HTTP resources by the first part of their path."""
    endpoint: IStreamServerEndpoint | None = None
    """Where to listen; where the settings say if None."""


class Server(MultiService):
    """The whole server as one service.

    Args:
        parts: the services that it consists of, in the order of their start.
        drain: closes the sockets before it stops.
        reloader: reads the settings again.
        host: the process.
    """

    _log = Logger()

    def __init__(
        self, parts: Sequence[IService], drain: Drain, reloader: Reloader, host: Host
    ) -> None:
        super().__init__()
        self._drain = drain
        self._reloader = reloader
        self._output = host.output
        self._notifier = host.notifier
        for part in parts:
            part.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Joins the application, and gives it the log observer."""
        if self._output is not None:
            parent.setComponent(ILogObserver, self._output)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Opens the ports.

        Raises:
            SystemExit: if one cannot be opened.
        """
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            message = why_not_listening(error)
            self._log.critical("{reason}", event="cannot_listen", reason=message)
            raise SystemExit(f"gaq-ws: {message}") from None

    def startService(self) -> None:
        """Starts all parts; the ports are open by then."""
        super().startService()
        self._notifier.ready("serving")

    def reload(self) -> None:
        """Reads the settings and certificates again."""
        self._notifier.reloading()
        try:
            self._reloader.reload()
        finally:
            self._notifier.ready("serving")

    def stopService(self) -> "Deferred[Any]":
        """Closes the sockets, and then stops all parts."""
        self._notifier.stopping("letting the clients go")
        stop_parts = super().stopService
        return Deferred.fromCoroutine(self._drain.drain()).addBoth(lambda _: stop_parts())


def validate(settings: Settings, reactor: Any) -> None:
    """Reads every key, certificate and file that the settings name.

    Raises:
        ConfigError: if one of them, or an endpoint, cannot be used.
    """
    make_server(settings, reactor)


def make_server(
    settings: Settings,
    reactor: Any,
    host: Host | None = None,
    additions: Additions | None = None,
) -> Server:
    """Returns the server that the settings describe, not started.

    Args:
        settings: the settings.
        reactor: the reactor.
        host: the process that it runs in.
        additions: what it has beside what the settings describe.

    Raises:
        ConfigError: if a key, an endpoint, or a file that the settings name cannot be used.
    """
    host, additions = host or Host(), additions or Additions()
    metrics = Metrics(CORE)
    hub = Hub(metrics, reactor.seconds, settings)
    # Where nothing in an upgrade decides between them, the first one counts.
    editions: list[Edition] = []
    if serves_streams(settings):
        editions.append(StreamsEdition(settings, hub, metrics, reactor, host.give_up))
    if serves_realtime(settings):
        editions.append(RealtimeEdition(settings, hub, metrics, reactor))
    readiness = Readiness([edition.progress for edition in editions])
    rejections = Rejections(metrics, reactor.seconds)
    sockets = EventSocketFactory(editions, hub, settings, rejections, metrics, reactor)
    statsd = StatsdService(settings.statsd, reactor)

    observing: dict[bytes, IResource] = {
        b"ready": Ready(readiness, hub),
        b"metrics": Exposition(metrics),
    }
    gateway = Gateway(
        _public_site(settings, observing, additions, reactor),
        sockets,
        rejections,
        reactor.seconds,
        settings,
        Capacity.of_files(host.max_files),
    )
    listeners = Listeners(
        [additions.endpoint] if additions.endpoint else settings.listen or [f"tcp:{settings.port}"],
        gateway,
        reactor,
        reuse_port=settings.reuse_port,
    )
    status = StatusFeed(
        metrics,
        rejections,
        contents(version("gaq-twisted"), [edition.dashboard for edition in editions]),
        lambda: {"reasons": readiness.now().reasons, **readiness.now().facts},
        reactor,
        time.process_time,
    )
    internal = Listeners(
        settings.internal_listen,
        _internal_site(observing, status, reactor),
        reactor,
        setting="internalListen",
    )
    housekeeping = Housekeeping(
        hub,
        [edition.sweep for edition in editions],
        [
            gateway.close_late,
            sockets.begin_second,
            rejections.summarise,
            StatsdReports(metrics, statsd).send,
        ],
        metrics,
        settings,
        reactor,
    )
    drain = Drain(hub, readiness, listeners.services, sockets.when_all_closed, settings, reactor)

    def validate_live(new: Settings) -> None:
        for edition in editions:
            edition.validate(new)

    reloader = Reloader(
        settings,
        host.read_settings or (lambda: Loaded(settings, [], {})),
        validate_live,
        [listeners, internal],
        [
            sockets,
            gateway,
            hub,
            housekeeping,
            drain,
            *editions,
            *([host.output] if host.output else []),
        ],
    )
    _connect_gauges(metrics, hub, sockets, readiness, editions)
    parts = [
        *additions.services,
        statsd,
        *(service for edition in editions for service in edition.services),
        housekeeping,
        *([status] if settings.internal_listen else []),
        *host.notifier.timers(reactor),
        *internal.services,
        *listeners.services,
    ]
    return Server(parts, drain, reloader, host)


def _public_site(
    settings: Settings,
    observing: Mapping[bytes, IResource],
    additions: Additions,
    reactor: Any,
) -> EventSite:
    """Returns the resources of the public ports."""
    resources: dict[bytes, IResource] = {b"health": Health(), **additions.resources}
    if not settings.internal_listen:
        # Who monitors the server need not be who uses it.
        resources |= observing
    return EventSite(resource_tree(resources, settings.base_path), reactor=reactor)


def _internal_site(
    observing: Mapping[bytes, IResource], status: StatusFeed, reactor: Any
) -> EventSite:
    """Returns the resources of the internal ports."""
    resources = {b"health": Health(), b"status": StatusPage(status), **observing}
    return EventSite(resource_tree(resources), reactor=reactor)


def _connect_gauges(
    metrics: Metrics,
    hub: Hub,
    sockets: EventSocketFactory,
    readiness: Readiness,
    editions: Sequence[Edition],
) -> None:
    """Connects the metrics that nobody counts with where they are read."""
    build = {version("gaq-twisted"): 1.0}
    metrics.read_from(names.OPEN_SOCKETS, lambda: hub.socket_count)
    metrics.read_from(
        names.OPEN_CHANNELS, lambda: sum(edition.channel_count for edition in editions)
    )
    metrics.read_from(names.SLOW_SOCKETS, lambda: len(sockets.slow_sockets))
    metrics.read_from(names.UNSENT_BYTES, sockets.unsent_bytes)
    metrics.read_from(names.DRAINING, lambda: readiness.is_draining)
    metrics.read_from(names.BUILD_INFO, lambda: build)
    for edition in editions:
        for metric, source in edition.gauges().items():
            metrics.read_from(metric, source)
