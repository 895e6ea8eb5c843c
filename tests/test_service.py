"""The whole server, wired and started on a reactor in memory, and once on the real one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import txaio
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.testing import FakeDatagramTransport, MemoryReactorClock, StringTransport
from twisted.logger import ILogObserver, LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.static import Data
from websockets.frames import Opcode

from gaq_twisted.config.sections import Statsd
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import OPEN_CHANNELS, OPEN_SOCKETS
from gaq_twisted.net.listeners import default_endpoint
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.server import Additions, Host, Server
from gaq_twisted.service import ServerReactor, make_server
from tests.support.memory import Browser, connected_browser
from tests.support.samples import cookie, settings

PING_SECONDS, TIMEOUT_SECONDS = 20, 60
SLICE_SECONDS = 0.125


class UdpPort(FakeDatagramTransport):
    """A UDP port that notes its end."""

    open = True

    def stopListening(self) -> None:
        """Close."""
        self.open = False


class FakeReactor(MemoryReactorClock):
    """A reactor without a network; connections to Redis wait until a test accepts them."""

    port_is_free = True

    def __init__(self) -> None:
        """Have no ports."""
        super().__init__()
        self.udp = UdpPort()

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> UdpPort:
        """Open the one UDP port."""
        return self.udp

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> Any:
        """Open a port if it is free."""
        if not self.port_is_free:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)

    def accept(self) -> tuple[Any, StringTransport]:
        """Let the oldest connection to Redis be made; return its protocol and transport."""
        _, port, factory, _, _ = self.tcpClients.pop(0)
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", port))
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    @property
    def datagrams(self) -> list[bytes]:
        """What was sent by UDP."""
        return [datagram for datagram, _ in self.udp.written]


class ServerTestCase(SynchronousTestCase):
    """Has a reactor in memory."""

    def setUp(self) -> None:
        """Make the reactor; Autobahn's timers follow txaio's loop."""
        self.reactor = FakeReactor()
        self.patch(txaio.config, "loop", self.reactor)

    def server(self, *, values: dict[str, Any] | None = None, **more: Any) -> Server:
        """Return a server with those settings, and else the default ones."""
        names = ("output", "give_up", "file", "sources")
        host = {name: more.pop(name) for name in names if name in more}
        return make_server(
            settings(**values or {}),
            cast(ServerReactor, self.reactor),
            Host(**host),
            Additions(**more),
        )

    def start(self, **more: Any) -> Server:
        """Return a server that was started as twistd does it."""
        server = self.server(**more)
        server.privilegedStartService()
        server.startService()
        return server

    def stop(self, server: Server, *browsers: Browser) -> None:
        """Stop, and check that every part does so by itself once the clients are gone."""
        stopped: Any = server.stopService()
        for browser in browsers:
            browser.pump.flush()
        self.reactor.pump([0.25] * 25)
        for success, result in self.successResultOf(stopped):
            self.assertTrue(success, result)

    def connect(self, target: str = "/", *, server: int = 0) -> Browser:
        """Return a client that is connected to one of the server's ports."""
        site: Any = self.reactor.tcpServers[server][1]
        return connected_browser(site, self.reactor, target)

    def get(self, path: str, *, server: int = 0) -> tuple[int, str]:
        """Return the status and the text of a resource."""
        browser = self.connect(server=server)
        browser.send(f"GET {path} HTTP/1.1\r\nHost: gaq.test\r\n\r\n".encode())
        head, _, body = browser.received.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def open(self) -> Browser:
        """Return a client with an open WebSocket."""
        browser = self.connect()
        browser.upgrade(cookie())
        self.assertEqual(browser.response.status_code, 101)
        return browser


def levels(logs: Iterable[LogEvent], *, namespace: str = "gaq_twisted") -> list[Any]:
    """Return the levels of our log events, without those for debugging."""
    return [
        one["log_level"]
        for one in logs
        if one["log_namespace"].startswith(namespace) and one["log_level"] > LogLevel.debug
    ]


class WiringTests(ServerTestCase):
    """The parts and their order."""

    def test_parts(self) -> None:
        """What others need is started before them; the port comes last."""
        first = Service()
        parts = list(self.server(services=[first]))
        self.assertIs(parts[0], first)
        names = [type(part).__name__ for part in parts]
        self.assertLess(names.index("StatsdService"), names.index("Firehose"))
        self.assertLess(names.index("StatsdService"), names.index("Backfill"))
        self.assertEqual(names[-2:], ["Housekeeping", "StreamServerEndpointService"])

    def test_nothing_before_the_start(self) -> None:
        """A server that was made but not started has touched nothing."""
        self.server()
        self.assertEqual((self.reactor.tcpServers, self.reactor.tcpClients), ([], []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_port(self) -> None:
        """The port of the settings is opened, or the endpoint that is given instead."""
        for endpoint in (None, TCP4ServerEndpoint(self.reactor, 81, interface="127.0.0.1")):
            self.stop(self.start(endpoint=endpoint))
        ports = [(port, address) for port, _, _, address in self.reactor.tcpServers]
        everywhere = "::" if "interface" in default_endpoint(8080) else ""
        self.assertEqual(ports, [(8080, everywhere), (81, "127.0.0.1")])

    def test_resources(self) -> None:
        """Further resources are served beside the health check."""
        page: Resource = Data(b"hello", "text/plain")
        server = self.start(resources={b"demo": page})
        for path, body in ((b"/demo", b"hello"), (b"/health", b"OK")):
            browser = self.connect()
            browser.send(b"GET " + path + b" HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
            self.assertTrue(browser.received.endswith(b"\r\n\r\n" + body))
            browser.lose()
        self.stop(server)

    def test_no_internal_port(self) -> None:
        """Without internal ports the public one has all but the status page, and says so."""
        self.start()
        self.assertEqual(self.get("/metrics")[0], 200)
        self.assertEqual(self.get("/ready")[0], 503)
        self.assertEqual(self.get("/status"), (404, "not found: /status needs internalListen\n"))
        not_found = "not found; WebSocket upgrades are accepted on any path\n"
        for path in ("/", "/other", "/status/events"):
            self.assertEqual(self.get(path)[0], 404, path)
        self.assertEqual(self.get("/")[1], not_found)

    def test_internal_port(self) -> None:
        """With one, the public port says of what is there that it is there, and not where."""
        self.start(
            values={"internal_listen": ("tcp:9090:interface=127.0.0.1",), "base_path": "/ws"}
        )
        internal, public = 0, 1
        for name in ("ready", "metrics", "status"):
            status, text = self.get(f"/ws/{name}", server=public)
            self.assertEqual(status, 404)
            self.assertEqual(text, f"not found: /{name} is served on internalListen only\n")
        self.assertEqual(self.get("/ws/health", server=public), (200, "OK"))
        status, text = self.get("/", server=internal)
        self.assertEqual(status, 302)
        paths = text.split()
        self.assertEqual(paths, ["/status", "/status.json", "/ready", "/metrics", "/health"])
        for path in paths:
            self.assertIn(self.get(path, server=internal)[0], (200, 503), path)
        self.assertEqual(
            self.get("/other", server=internal), (404, "not found; see / for the pages\n")
        )

    def test_observer(self) -> None:
        """The application gets the log observer if there is one, and else keeps its own."""
        given = LogOutput(settings(), {"nodaemon": True})

        def before(event: LogEvent) -> None:
            """Be the application's own."""

        for observer, expected in ((None, before), (given, given)):
            application: Any = Application("gaq-ws")
            application.setComponent(ILogObserver, before)
            self.server(output=observer).setServiceParent(application)
            self.assertIs(application.getComponent(ILogObserver), expected)


class StartAndStopTests(ServerTestCase):
    """The server's life without and with Redis."""

    def test_without_redis(self) -> None:
        """The server runs and stops cleanly while Redis does not answer."""
        with capturedLogs() as logs:
            server = self.start()
            self.reactor.advance(0.5)
            self.stop(server)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.reactor.udp.open)
        self.assertEqual([one for one in levels(logs) if one >= LogLevel.error], [])

    def test_lines(self) -> None:
        """The log tells the start with what it is and where, and the end; nothing in between."""
        file = Path("ws.json")
        sources = {"jwtSecret": f"in {file}", "port": "PORT in the environment"}
        with capturedLogs() as logs:
            server = self.start(file=file, sources=sources)
            server.announce_stop("SIGTERM")
            self.stop(server)
        lines = [formatEvent(one) for one in logs if one["log_level"] is LogLevel.info]
        start, stopping, stopped = lines
        self.assertIn(": WebSocket on tcp:8080, Redis 127.0.0.1:6379/0, protocol streams", start)
        self.assertIn("(default), configured by ws.json and 1 variable", start)
        self.assertEqual(stopping, "stopping (SIGTERM): 0 connections")
        self.assertRegex(stopped, "^stopped after [0-9]+ s: 0 connections, 0 events sent$")

    def test_no_statsd(self) -> None:
        """With StatsD turned off, no UDP port is opened and nothing is sent."""
        self.patch(self.reactor, "listenUDP", None)
        server = self.start(values={"statsd": Statsd(enabled=False)})
        self.reactor.pump([0.25] * 8)
        self.assertEqual(self.reactor.datagrams, [])
        self.stop(server)

    def test_clients_without_redis(self) -> None:
        """A client that comes while Redis is away is let in, and told when the server stops."""
        server = self.start()
        browser = self.open()
        self.assertFalse(browser.lost)
        self.stop(server, browser)
        (close,) = browser.frames(Opcode.CLOSE)
        self.assertEqual(bytes(close.data[:2]), (1001).to_bytes(2, "big"))
        self.reactor.advance(1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_closes_redis(self) -> None:
        """Stopping leaves no connection to Redis open, be it busy or idle."""
        server = self.start()
        following, following_transport = self.reactor.accept()
        self.assertIn(b"XREVRANGE", following_transport.value())
        for _ in range(2):
            following.dataReceived(b"*0\r\n")
            self.reactor.advance(0)
        self.assertIn(b"XREAD", following_transport.value())
        browser = self.connect("/?last_id=1-00")
        browser.upgrade(cookie())
        reading, reading_transport = self.reactor.accept()
        self.assertIn(b"XRANGE", reading_transport.value())
        reading.dataReceived(b"*0\r\n")
        browser.lose()
        self.stop(server)
        self.assertTrue(following_transport.disconnecting, "the connection that follows")
        self.assertTrue(reading_transport.disconnecting, "the connection that reads channels")

    def test_port_is_taken(self) -> None:
        """A port that cannot be opened ends the process with one line that names it."""
        self.reactor.port_is_free = False
        with capturedLogs() as logs, self.assertRaises(SystemExit) as caught:
            self.server().privilegedStartService()
        (event,) = [one for one in logs if one["log_level"] is LogLevel.critical]
        self.assertIn("port 8080 (Address already in use)", formatEvent(event))
        self.assertEqual(caught.exception.code, 1)


class TimerTests(ServerTestCase):
    """What is done every now and then."""

    def calls(self, name: str, seconds: int, result: object) -> tuple[list[float], list[Any]]:
        """Return when that method of the hub is called in a time, and the log levels."""
        times: list[float] = []

        def method(*_: object) -> Any:
            times.append(round(self.reactor.seconds(), 3))
            if isinstance(result, Exception):
                raise result
            return iter(result) if result == () else result

        self.patch(Hub, name, method)
        server = self.start()
        with capturedLogs() as logs:
            self.reactor.pump([SLICE_SECONDS] * int(seconds / SLICE_SECONDS))
        self.stop(server)
        return times, levels(logs, namespace="gaq_twisted.ops.housekeeping")

    def test_intervals(self) -> None:
        """Pings and sweeps keep the intervals of the settings, and a quiet log."""
        times, logged = self.calls("ping", 60, ())
        self.assertEqual((times, logged), ([0, 20, 40, 60], []))

    def test_faults(self) -> None:
        """A task that raises is logged, and done again at the next interval."""
        times, logged = self.calls("sweep", 240, ZeroDivisionError("oops"))
        self.assertEqual((times, logged), ([0, 120, 240], [LogLevel.critical] * 2))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_sweep_is_quiet(self) -> None:
        """A sweep that found nothing is not worth a line."""
        times, logged = self.calls("sweep", 120, 0)
        self.assertEqual((times, logged), ([0, 120], []))

    def test_sweep_warns(self) -> None:
        """A sweep that found something warns."""
        self.assertEqual(self.calls("sweep", 120, 1)[1], [LogLevel.warn])

    def test_silent_clients(self) -> None:
        """A client that answers no ping is ended after the timeout, with one line for all."""
        server = self.start()
        alive, *silent = [self.open() for _ in range(3)]
        with capturedLogs() as logs:
            for _ in range(int((TIMEOUT_SECONDS + 2 * PING_SECONDS) / SLICE_SECONDS)):
                self.reactor.advance(SLICE_SECONDS)
                for browser in (alive, *silent):
                    browser.pump.flush()
                alive.answer()
        self.assertEqual([browser.lost for browser in (alive, *silent)], [False, True, True])
        (line,) = [
            one for one in logs if one["log_namespace"].startswith("gaq_twisted.ops.housekeeping")
        ]
        self.assertEqual((line["log_level"], line["count"]), (LogLevel.info, 2))
        alive.lose()
        self.stop(server)

    def test_pings_are_spread(self) -> None:
        """A round of pings is spread over its interval, and reaches everybody in it."""
        server = self.start()
        browsers = [self.open() for _ in range(64)]
        self.reactor.pump([SLICE_SECONDS] * round(PING_SECONDS / SLICE_SECONDS))
        counts = []
        for _ in range(8):
            for browser in browsers:
                browser.pump.flush()
            counts.append(sum(len(list(one.frames(Opcode.PING))) for one in browsers))
            self.reactor.pump([SLICE_SECONDS] * round(PING_SECONDS / 8 / SLICE_SECONDS))
        self.assertEqual(counts, [8, 16, 24, 32, 40, 48, 56, 64])
        for browser in browsers:
            browser.lose()
        self.stop(server)

    def test_gauges(self) -> None:
        """The gauges go out every 10 s, with what is true then."""
        server = self.start()
        self.reactor.advance(0)
        browsers = [self.open(), self.open()]
        self.reactor.advance(0)
        self.reactor.udp.written.clear()
        self.reactor.pump([0.1] * 3)
        self.reactor.udp.written.clear()
        for count in (2, 1, 0):
            self.reactor.pump([0.1] * 94)
            self.assertNotIn(b"|g", b"".join(self.reactor.datagrams))
            self.reactor.pump([0.1] * 6)
            sent = b"\n".join(self.reactor.datagrams).decode().split("\n")
            self.assertIn(f"{OPEN_SOCKETS.name}:{count}|g", sent)
            # Channels are those that hear events, and nobody does before Redis has answered.
            self.assertIn(f"{OPEN_CHANNELS.name}:0|g", sent)
            self.reactor.udp.written.clear()
            if browsers:
                browsers.pop().lose()
        self.stop(server)


class RealTests(TestCase):
    """The server on the real reactor."""

    def test_port_is_taken(self) -> None:
        """The operating system's own word about a taken port is understood."""
        net: Any = reactor
        taken = net.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(taken.stopListening)
        port = taken.getHost().port
        endpoint = TCP4ServerEndpoint(net, port, interface="127.0.0.1")
        server = make_server(settings(), net, additions=Additions(endpoint=endpoint))
        with capturedLogs() as logs, self.assertRaises(SystemExit):
            server.privilegedStartService()
        (event,) = logs
        self.assertIn(f"port {port} of 127.0.0.1 (", formatEvent(event))
