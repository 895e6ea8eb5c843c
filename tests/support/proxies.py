"""The real nginx and HAProxy with the examples of `deploy/`, and what holds with each of them."""

import json
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import trustme
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.typing import Origin

from tests.support.processes import (
    DEADLINE_SECONDS,
    ROOT,
    Program,
    RedisProcess,
    Server,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import cookie
from tests.support.tls import TlsConnection

HOST = "superset.example.com"
EXAMPLES = ROOT / "deploy"
# Another address of the loopback interface than the proxy's own.
CLIENT_ADDRESS = "127.0.0.9"
SERVER_ADDRESSES = ("10.0.0.11:8080", "10.0.0.12:8080")
SUPERSET_ADDRESS = "10.0.0.10:8088"


class LiveProxy:
    """A proxy of the examples, on ports of the loopback interface.

    Args:
        test: the test that it is for.
        servers: at most two servers behind it.
        changes: what is written instead of what in the example.
        superset: the port of another server behind it.
    """

    name = "?"
    stripping: Mapping[str, str] = {}
    """What is written instead of what so that the prefix of paths is taken away."""
    stripped_path = "/ws"
    """The path of the URL then."""
    with_base_path: Mapping[str, str] = {}
    """What is written instead of what where `basePath` is /ws."""

    def __init__(
        self,
        test: SynchronousTestCase,
        servers: tuple[Server, ...],
        changes: Mapping[str, str],
        superset: int | None = None,
    ) -> None:
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.port = free_port()
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST)
        self._trust = ssl.create_default_context()
        authority.configure_trust(self._trust)
        certificate.private_key_and_cert_chain_pem.write_to_path(self.directory / "both.pem")
        text = self.example()
        for old, new in changes.items():
            text = _replaced(text, old, new)
        lines = []
        for line in text.splitlines():
            for address, server in zip(SERVER_ADDRESSES, servers, strict=False):
                line = line.replace(address, f"127.0.0.1:{server.port}")
            line = line.replace(SUPERSET_ADDRESS, f"127.0.0.1:{superset or free_port()}")
            if "10.0.0." not in line or "#" in line:
                lines.append(line)
        self.program = Program(test, self.command("\n".join(lines) + "\n"))
        self.program.wait_until(lambda: self.status("/ws/health") is not None, "no answer")

    def example(self) -> str:
        """Return the example with ports and files of this test."""
        raise NotImplementedError

    def command(self, text: str) -> list[str | Path]:
        """Write the configuration; return the command that runs it."""
        raise NotImplementedError

    def connect(
        self, path: str = "/ws", last_id: str | None = None, origin: str = f"https://{HOST}"
    ) -> TlsConnection:
        """Open a WebSocket by TLS, as a browser that comes from CLIENT_ADDRESS."""
        query = "" if last_id is None else f"?last_id={last_id}"
        return TlsConnection(
            f"wss://{HOST}:{self.port}{path}{query}",
            host="127.0.0.1",
            local_addr=(CLIENT_ADDRESS, 0),
            ssl=self._trust,
            origin=Origin(origin),
            additional_headers={"Cookie": cookie()},
            open_timeout=DEADLINE_SECONDS,
        )

    def status(self, path: str) -> int | None:
        """Return the status of a request by HTTPS, or None if there is no answer."""
        # The certificate is looked at where WebSockets are opened.
        anything = ssl.create_default_context()
        anything.check_hostname = False
        anything.verify_mode = ssl.CERT_NONE
        request = Request(f"https://127.0.0.1:{self.port}{path}", headers={"Host": HOST})
        try:
            with urlopen(request, timeout=DEADLINE_SECONDS, context=anything) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return None


class Nginx(LiveProxy):
    """nginx, as in `deploy/nginx/superset.conf`."""

    name = "nginx"
    stripping = {"location /ws {": "location /ws/ {", "http://gaq_ws;": "http://gaq_ws/;"}
    stripped_path = "/ws/"

    def example(self) -> str:
        """Return the example with ports and files of this test."""
        text = (EXAMPLES / "nginx" / "superset.conf").read_text()
        for old, new in {
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "/etc/nginx/tls/chain.pem": f"{self.directory}/both.pem",
            "/etc/nginx/tls/key.pem": f"{self.directory}/both.pem",
        }.items():
            text = _replaced(text, old, new)
        return text

    def command(self, text: str) -> list[str | Path]:
        """Write the configuration; return the command that runs it."""
        (self.directory / "superset.conf").write_text(text)
        temporary = "".join(
            f"{kind}_temp_path {self.directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.directory / "nginx.conf").write_text(
            "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr;\n"
            "events {}\nhttp {\naccess_log off;\n"
            f"{temporary}include superset.conf;\n}}\n"
        )
        return [_program("nginx"), "-e", "stderr", "-p", self.directory, "-c", "nginx.conf"]


class Haproxy(LiveProxy):
    """HAProxy, as in `deploy/haproxy/haproxy.cfg`."""

    name = "haproxy"
    file = "haproxy.cfg"
    certificate = "/etc/haproxy/tls/superset.pem"
    stripping = {"#http-request replace-path": "http-request replace-path"}
    with_base_path = {"GET /ready": "GET /ws/ready"}

    def example(self) -> str:
        """Return the example with ports and files of this test."""
        text = (EXAMPLES / "haproxy" / self.file).read_text()
        for old, new in {
            "bind :443": f"bind 127.0.0.1:{self.port}",
            self.certificate: f"{self.directory}/both.pem",
            "check inter 2s": "check inter 100ms",
        }.items():
            text = _replaced(text, old, new)
        return text

    def command(self, text: str) -> list[str | Path]:
        """Write the configuration; return the command that runs it."""
        (self.directory / "haproxy.cfg").write_text(text)
        return [_program("haproxy"), "-db", "-f", self.directory / "haproxy.cfg"]


class ProxyProtocol(Haproxy):
    """HAProxy, as in `deploy/haproxy/proxy-protocol.cfg`."""

    file = "proxy-protocol.cfg"
    certificate = "/etc/haproxy/tls/ws.superset.pem"


class LiveTestCase(SynchronousTestCase):
    """Has a Redis."""

    kind: type[LiveProxy]

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def server(self, **values: str) -> Server:
        """Return a server that trusts the proxy, and logs who connects."""
        server = Server(
            self,
            environment(self.redis.port, TRUSTED_PROXIES="127.0.0.1", LOG_LEVEL="debug", **values),
        )
        # Where a health check is answered depends on the settings.
        server.wait_for_text("following the global stream")
        return server

    def proxy(
        self,
        *servers: Server,
        changes: Mapping[str, str] | None = None,
        superset: int | None = None,
    ) -> LiveProxy:
        """Return the proxy in front of these servers."""
        return self.kind(self, servers, changes or {}, superset)

    def connect(
        self, proxy: LiveProxy, path: str = "/ws", last_id: str | None = None
    ) -> TlsConnection:
        """Return a connection that ends with the test."""
        connection = proxy.connect(path, last_id)
        self.addCleanup(connection.close)
        return connection

    def check_delivery(self, connection: TlsConnection, job: str = "job") -> str:
        """Publish an event, check that it arrives, and return its id."""
        self.redis.publish(job)
        event = json.loads(connection.recv(DEADLINE_SECONDS))
        self.assertEqual(event["job_id"], job)
        return str(event["id"])


class IdleChecks(LiveTestCase):
    """How long silent connections last."""

    idle_limit: Mapping[str, str]
    """What is written in the example so that a second of silence ends a connection."""

    def test_pings_keep_idle_connections(self) -> None:
        """Pings more often than the proxy's limit keep a connection on which nothing happens.

        That limit is at work: it ends connections to a server which pings less often.
        """
        alive = self.connect(
            self.proxy(self.server(PING_SOCKETS_INTERVAL_MS="250"), changes=self.idle_limit)
        )
        seldom = self.proxy(self.server(), changes=self.idle_limit)
        for _ in range(3):
            with self.assertRaises(ConnectionClosed):
                self.connect(seldom).recv(DEADLINE_SECONDS)
        self.check_delivery(alive)


class HttpChecks(IdleChecks):
    """What holds with each proxy that speaks HTTP."""

    def test_everything_below_one_name(self) -> None:
        """TLS ends at the proxy; what is not /ws is Superset's; the log knows the client."""
        server = self.server()
        other = self.server(BASE_PATH="/superset")
        proxy = self.proxy(server, superset=other.port)
        self.check_delivery(self.connect(proxy))
        server.wait_for_text(f"{CLIENT_ADDRESS} via")
        self.assertEqual(proxy.status("/superset/health"), 200)
        self.assertEqual(proxy.status("/health"), 404)

    def test_last_id(self) -> None:
        """What a browser missed arrives through the proxy, which keeps the query."""
        proxy = self.proxy(self.server())
        with proxy.connect() as connection:
            last_id = self.check_delivery(connection, "first")
        self.redis.publish("missed")
        again = self.connect(proxy, last_id=last_id)
        self.assertEqual(json.loads(again.recv(DEADLINE_SECONDS))["job_id"], "missed")

    def test_prefix_kept(self) -> None:
        """The path arrives as it is, and basePath makes the resources fit."""
        proxy = self.proxy(self.server(BASE_PATH="/ws"), changes=self.kind.with_base_path)
        self.check_delivery(self.connect(proxy))
        self.assertEqual((proxy.status("/ws/health"), proxy.status("/ws/other")), (200, 404))

    def test_prefix_stripped(self) -> None:
        """With the change that the example describes, the path arrives without its prefix."""
        proxy = self.proxy(self.server(), changes=self.kind.stripping)
        self.check_delivery(self.connect(proxy, self.kind.stripped_path))
        self.assertEqual((proxy.status("/ws/health"), proxy.status("/ws/ws/health")), (200, 404))

    def test_refusal(self) -> None:
        """The rejection of an upgrade reaches the browser unchanged."""
        proxy = self.proxy(self.server(ALLOWED_ORIGINS=f"https://{HOST}"))
        self.check_delivery(self.connect(proxy))
        with self.assertRaises(InvalidStatus) as caught:
            proxy.connect(origin="https://other.example.com")
        self.assertEqual(caught.exception.response.status_code, 403)

    def test_one_of_two_stops(self) -> None:
        """Who loses a server comes back on the other one, and has missed nothing."""
        servers = [self.server(), self.server()]
        proxy = self.proxy(*servers)
        tab = self.connect(proxy)
        last_id = self.check_delivery(tab, "first")
        (mine,) = (one for one in servers if CLIENT_ADDRESS in one.text())
        self.assertEqual(mine.stop(), 0)
        with self.assertRaises(ConnectionClosed) as caught:
            tab.recv(DEADLINE_SECONDS)
        assert caught.exception.rcvd is not None
        self.assertEqual(caught.exception.rcvd.code, 1001)
        self.redis.publish("missed")
        again = self.reconnected(proxy, last_id)
        self.assertEqual(json.loads(again.recv(DEADLINE_SECONDS))["job_id"], "missed")
        (other,) = (one for one in servers if one is not mine)
        self.assertIn(CLIENT_ADDRESS, other.text())

    def reconnected(self, proxy: LiveProxy, last_id: str) -> TlsConnection:
        """Return a connection, tried for as often as a browser would until it is open."""
        found: list[TlsConnection] = []

        def try_once() -> bool:
            try:
                found.append(self.connect(proxy, last_id=last_id))
            except (InvalidStatus, InvalidMessage, OSError):
                return False
            return True

        wait_until(try_once, lambda: f"no connection:\n{proxy.program.text()}")
        return found[0]


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise AssertionError(f"{name} is not installed: make test-deploy installs it")
    return found


def _replaced(text: str, old: str, new: str) -> str:
    """Return the text with every `old` replaced; there must be one."""
    if old not in text:
        raise AssertionError(f"{old!r} is not in the example any more")
    return text.replace(old, new)
