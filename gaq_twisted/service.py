"""Builds a server from settings: the only place where its parts are connected."""

import time
from collections.abc import Mapping, Sequence
from functools import partial

from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.web.resource import IResource

from gaq_twisted import __version__
from gaq_twisted.config.derived import protocol_reason, serves_realtime, serves_streams
from gaq_twisted.config.load import Loaded
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.sources import configured_by
from gaq_twisted.core import metrics as names
from gaq_twisted.core.edition import Edition
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.core.readiness import Readiness
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.gateway import Capacity, Gateway
from gaq_twisted.net.listeners import Listeners, default_endpoint
from gaq_twisted.net.reactor import Reactor
from gaq_twisted.net.websocket import EventSocketFactory
from gaq_twisted.ops.drain import Drain
from gaq_twisted.ops.housekeeping import Housekeeping
from gaq_twisted.ops.life import Identity, Life, redis_of
from gaq_twisted.ops.reload import Live, Reloader
from gaq_twisted.ops.statsd import StatsdReactor, StatsdReports, StatsdService
from gaq_twisted.realtime.edition import RealtimeEdition
from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.server import Additions, Host, Server
from gaq_twisted.streams.edition import StreamsEdition
from gaq_twisted.web.prometheus import Exposition
from gaq_twisted.web.site import EventSite, Health, NotFound, Ready, Start, resource_tree
from gaq_twisted.web.status.about import About
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.page import StatusJson, StatusPage


class ServerReactor(Reactor, IClientReactor, StatsdReactor):
    """The interfaces of a reactor that a server needs; only for annotations."""


def validate(settings: Settings, reactor: ServerReactor) -> None:
    """Reads every key, certificate and file in the settings.

    Raises:
        ConfigError: if one of them, or an endpoint, cannot be used.
    """
    make_server(settings, reactor)


def make_server(
    settings: Settings,
    reactor: ServerReactor,
    host: Host | None = None,
    additions: Additions | None = None,
) -> Server:
    """Returns the server for the settings, not started.

    Args:
        settings: the settings.
        reactor: the reactor.
        host: the process that it runs in.
        additions: parts of the server that do not come from the settings.

    Raises:
        ConfigError: if a key, an endpoint, or a file that the settings name cannot be used.
    """
    host, additions = host or Host(), additions or Additions()
    metrics = Metrics(CORE)
    hub = Hub(metrics, reactor.seconds, settings)
    editions = _editions(settings, hub, metrics, host, reactor)
    readiness = Readiness([edition.progress for edition in editions])
    rejections = Rejections(metrics, reactor.seconds)
    sockets = EventSocketFactory(editions, hub, settings, rejections, metrics, reactor)
    _connect_gauges(metrics, hub, sockets, readiness, editions)
    statsd = StatsdService(settings.statsd, reactor) if settings.statsd.enabled else None

    observing: dict[bytes, IResource] = {
        b"ready": Ready(readiness, hub),
        b"metrics": Exposition(metrics),
    }
    site = _public_site(settings, observing, additions, reactor)
    capacity = Capacity.of_files(host.max_files)
    gateway = Gateway(site, sockets, rejections, reactor.seconds, settings, capacity)
    listeners = _public_listeners(settings, gateway, additions, reactor)
    about = About(settings, host.max_files, lambda: {**listeners.expiries(), **internal.expiries()})
    status = StatusFeed(
        metrics,
        rejections,
        contents(__version__, [edition.dashboard for edition in editions]),
        about,
        lambda: {"reasons": readiness.now().reasons, **readiness.now().facts},
        reactor,
        time.process_time,
    )
    internal_site = _internal_site(observing, status, reactor)
    internal = Listeners(settings.internal_listen, internal_site, reactor, setting="internalListen")

    housekeeping = Housekeeping(
        hub,
        [edition.sweep for edition in editions],
        [
            gateway.close_late,
            sockets.begin_second,
            rejections.summarise,
            *([StatsdReports(metrics, statsd).send] if statsd else []),
        ],
        metrics,
        settings,
        reactor,
    )
    drain = Drain(
        hub,
        readiness,
        listeners.services,
        [edition.fail_waiting for edition in editions],
        sockets.when_all_closed,
        settings,
        reactor,
    )
    life = Life(
        _identity(settings, host),
        lambda: _listening(listeners, internal),
        readiness,
        hub,
        metrics,
        reactor,
    )
    live: list[Live] = [sockets, gateway, hub, housekeeping, drain, about, *editions]
    reloader = Reloader(
        settings,
        host.read_settings or (lambda: Loaded(settings, [], {})),
        partial(_validate_live, editions),
        [listeners, internal, *(one for edition in editions for one in edition.certificates)],
        [*live, host.output] if host.output else live,
    )
    parts = [
        *additions.services,
        life,
        *([statsd] if statsd else []),
        *(service for edition in editions for service in edition.services),
        housekeeping,
        *([status] if settings.internal_listen else []),
        *host.notifier.timers(reactor),
        *internal.services,
        *listeners.services,
    ]
    return Server(parts, life, drain, reloader, host)


def _identity(settings: Settings, host: Host) -> Identity:
    """Returns the facts that the log shows when the server starts."""
    return Identity(
        version=__version__,
        redis=redis_of(settings),
        protocol=settings.protocol,
        reason=protocol_reason(host.sources),
        configuration=configured_by(host.file, host.sources),
    )


def _listening(public: Listeners, internal: Listeners) -> str:
    """Returns the addresses of the server by purpose."""
    places = f"WebSocket on {public.places()}"
    return f"{places}, internal HTTP on {internal.places()}" if internal.services else places


def _editions(
    settings: Settings, hub: Hub, metrics: Metrics, host: Host, reactor: ServerReactor
) -> list[Edition]:
    """Returns the served protocols; the first is the default for a connection."""
    editions: list[Edition] = []
    if serves_streams(settings):
        editions.append(StreamsEdition(settings, hub, metrics, reactor, host.give_up))
    if serves_realtime(settings):
        editions.append(RealtimeEdition(settings, hub, metrics, reactor))
    return editions


def _validate_live(editions: Sequence[Edition], settings: Settings) -> None:
    for edition in editions:
        edition.validate(settings)


def _public_listeners(
    settings: Settings, gateway: Gateway, additions: Additions, reactor: ServerReactor
) -> Listeners:
    """Returns the public ports."""
    endpoints: Sequence[str | IStreamServerEndpoint] = settings.listen
    if additions.endpoint is not None:
        endpoints = [additions.endpoint]
    elif not endpoints:
        endpoints = [default_endpoint(settings.port)]
    return Listeners(endpoints, gateway, reactor, reuse_port=settings.reuse_port)


def _public_site(
    settings: Settings,
    observing: Mapping[bytes, IResource],
    additions: Additions,
    reactor: ServerReactor,
) -> EventSite:
    """Returns the resources of the public ports."""
    resources: dict[bytes, IResource] = {b"health": Health(), **additions.resources}
    if settings.internal_listen:
        # Monitoring may use other ports than browsers.
        for name in (*observing, b"status"):
            text = f"not found: /{name.decode()} is served on internalListen only"
            resources[name] = NotFound(text)
    else:
        resources |= observing
        resources[b"status"] = NotFound("not found: /status needs internalListen")
    not_found = "not found; WebSocket upgrades are accepted on any path"
    tree = resource_tree(resources, settings.base_path, not_found=not_found)
    return EventSite(tree, reactor=reactor)


def _internal_site(
    observing: Mapping[bytes, IResource], status: StatusFeed, reactor: ServerReactor
) -> EventSite:
    """Returns the resources of the internal ports."""
    resources = {
        b"status": StatusPage(status),
        b"status.json": StatusJson(status),
        **observing,
        b"health": Health(),
    }
    resources[b""] = Start("status", [f"/{name.decode()}" for name in resources])
    tree = resource_tree(resources, not_found="not found; see / for the pages")
    return EventSite(tree, reactor=reactor)


def _connect_gauges(
    metrics: Metrics,
    hub: Hub,
    sockets: EventSocketFactory,
    readiness: Readiness,
    editions: Sequence[Edition],
) -> None:
    """Connects gauges with their sources."""
    build = {__version__: 1.0}
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
