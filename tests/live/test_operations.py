"""What the person on call does with the whole server: stop, reload, listen, look at it."""

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import trustme
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

from tests.support.processes import (
    DEADLINE_SECONDS,
    RedisProcess,
    Server,
    Tab,
    environment,
    free_port,
    wait_until,
)
from tests.support.raw import RawClient
from tests.support.rfc6455 import Frame
from tests.support.samples import SECRET, cookie, token, upgrade_request
from tests.support.tls import TlsConnection

# As in /proc/net/tcp.
_ESTABLISHED = "01"
NEW_SECRET = "another secret of the tests, long enough"


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and the text of an HTTP resource."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


class OperationsTestCase(SynchronousTestCase):
    """Has a Redis, and starts servers on it."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def start(self, **values: str) -> Server:
        """Start a server and wait until it follows the stream."""
        server = Server(self, environment(self.redis.port, **values))
        server.wait_for_text("following the global stream")
        return server

    def assert_delivers(self, *connections: ClientConnection | TlsConnection) -> None:
        """Check that an event reaches each of these sockets."""
        job = f"job at {time.monotonic()}"
        self.redis.publish(job)
        for connection in connections:
            while json.loads(connection.recv(DEADLINE_SECONDS))["job_id"] != job:
                pass


class StopTests(OperationsTestCase):
    """The end of a process, and what its clients notice."""

    def test_drain(self) -> None:
        """It is not ready at once, then closes clients evenly; a replacement loses nothing."""
        first = self.start(
            DRAIN_DELAY_MS="500",
            DRAIN_MS="1000",
            INTERNAL_LISTEN=f"tcp:{free_port()}:interface=127.0.0.1",
        )
        internal = int(first.environ["INTERNAL_LISTEN"].split(":")[1])
        tabs = [Tab(first.port) for _ in range(100)]
        self.redis.publish("before")
        last_ids = {tab: tab.events(1)[0]["id"] for tab in tabs}
        self.assertEqual(get(internal, "/ready")[0], 200)
        first.process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(internal, "/ready")[0] == 503, lambda: "ready")
        with Tab(first.port) as late:
            self.redis.publish("while draining")
            self.assertIn("while draining", late.jobs(2))
        wait_until(lambda: "closing" in first.text(), first.text)
        second = Server(self, {**first.environ, "INTERNAL_LISTEN": ""})
        second.wait_for_text("following the global stream")
        self.redis.publish("after")
        for tab in tabs:
            jobs = []
            with self.assertRaises(ConnectionClosed) as closed:
                while True:
                    event = json.loads(tab.connection.recv(DEADLINE_SECONDS))
                    last_ids[tab] = event["id"]
                    jobs.append(event["job_id"])
            self.assertEqual(closed.exception.rcvd and closed.exception.rcvd.code, 1001)
            with Tab(second.port, last_id=last_ids[tab]) as back:
                wanted = [job for job in ("while draining", "after") if job not in jobs]
                self.assertEqual(back.jobs(len(wanted)), wanted)
        self.assertEqual(first.wait(), 0)
        self.assertNotIn("Traceback", first.text())

    def test_many(self) -> None:
        """Each of 5,000 clients gets a close frame, and the replacement sends it what it missed."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count, channels = min(5000, files - 500), 50
        # To open so many can take longer than a client may leave a ping without an answer.
        first = self.start(DRAIN_MS="2000", SOCKET_RESPONSE_TIMEOUT_MS="600000")
        clients = [self.raw_client(first, f"channel {n % channels}") for n in range(count)]
        published = 0

        def publish() -> None:
            nonlocal published
            published += 1
            for n in range(channels):
                self.redis.publish(f"job {published}", channel=f"channel {n}")

        publish()
        sent = f"ws_frames_sent_total {float(count)}"
        wait_until(lambda: sent in get(first.port, "/metrics")[1], lambda: "not sent")
        first.process.send_signal(signal.SIGTERM)
        while first.process.poll() is None:
            publish()
        self.assertEqual(first.process.returncode, 0)
        second = Server(self, first.environ)
        second.wait_for_text("following the global stream")
        publish()
        got_at_first = []
        for number, client in enumerate(clients):
            with client:
                *frames, close = client.read_to_end()
            self.assertEqual((close.opcode, close.payload[:2]), (8, (1001).to_bytes(2, "big")))
            jobs = _events(frames)
            got_at_first.append(len(jobs))
            last_id = jobs[-1]["id"]
            with self.raw_client(second, f"channel {number % channels}", last_id) as back:
                wanted = [f"job {n}" for n in range(len(jobs) + 1, published + 1)]
                frames = back.read_until(partial(_holds, wanted[-1]))
            jobs.extend(_events(frames))
            self.assertEqual(
                [job["job_id"] for job in jobs], [f"job {n}" for n in range(1, published + 1)]
            )
        # They were closed one after the other.
        self.assertLess(min(got_at_first), max(got_at_first))
        self.assertNotIn("Traceback", first.text())

    def raw_client(self, server: Server, channel: str, last_id: str = "") -> RawClient:
        """Return a client of that channel."""
        target = f"/?last_id={last_id}" if last_id else "/"
        return RawClient(server.port, upgrade_request(target=target, channel=channel))

    def test_second_signal(self) -> None:
        """A second signal ends it at once."""
        server = self.start(DRAIN_DELAY_MS="60000")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_text("waiting 60.0 s for load balancers")
        self.assertEqual(server.stop(signal.SIGTERM), 128 + signal.SIGTERM)


def _events(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    """Return the events among frames; the others are pings."""
    return [json.loads(frame.payload) for frame in frames if frame.opcode == 1]


def _holds(job: str, frame: Frame) -> bool:
    """Return whether a frame is the event of that job."""
    return f'"{job}"'.encode() in frame.payload


class ReloadTests(OperationsTestCase):
    """SIGHUP."""

    def start_with_file(self, **values: object) -> tuple[Server, Path]:
        """Start a server with a configuration file; return both."""
        environ = environment(self.redis.port)
        del environ["JWT_SECRET"]
        file = Path(self.mktemp()).resolve()
        file.write_text(json.dumps({"jwtSecret": SECRET, **values}))
        server = Server(self, environ, command=("gaq-ws", "--config", str(file)))
        server.wait_for_text("following the global stream")
        return server, file

    def reload(self, server: Server, file: Path, text: str, *, until: str) -> str:
        """Change the file, let the server read it, and return what it said to that."""
        before = len(server.text())
        file.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: until in server.text()[before:], server.text)
        return server.text()[before:]

    def test_reload(self) -> None:
        """Settings that can change do, without a socket closing; the others are named."""
        server, file = self.start_with_file(maxConnectionsPerChannel=5)
        with Tab(server.port) as tab:
            changed = {
                "jwtSecret": NEW_SECRET,
                "previousJwtSecret": "",
                "allowedOrigins": ["https://bi.example.com"],
                "maxConnectionsPerChannel": 1,
                "logLevel": "debug",
                "pingSocketsIntervalMs": 100,
                "redisStreamReadCount": 7,
                "statsd": {"enabled": False},
            }
            said = self.reload(server, file, json.dumps(changed), until="need a restart")
            self.assertIn("need a restart: statsd.enabled, redisStreamReadCount", said)
            for key in changed:
                self.assertIn(key, said + "previousJwtSecret")
            self.assert_delivers(tab.connection)
            with self.assertRaises(InvalidStatus) as refused:
                Tab(server.port)
            self.assertEqual(refused.exception.response.status_code, 401)
            with self.assertRaises(InvalidStatus) as refused:
                Tab(server.port, token=token(secret=NEW_SECRET), origin="https://evil.test")
            self.assertEqual(refused.exception.response.status_code, 403)
            full = Tab(server.port, token=token(secret=NEW_SECRET))
            self.addCleanup(full.connection.close)
            with self.assertRaises(ConnectionClosed) as closed:
                full.connection.recv(DEADLINE_SECONDS)
            self.assertEqual(closed.exception.rcvd and closed.exception.rcvd.code, 1013)
            server.wait_for_text("closed:")
        self.assertNotIn(NEW_SECRET, server.text())

    def test_broken(self) -> None:
        """A file that cannot be used changes nothing, and it is said why."""
        server, file = self.start_with_file()
        with Tab(server.port) as tab:
            for text, reason in (
                ("{", "it is not JSON"),
                (json.dumps({"jwtSecret": NEW_SECRET, "logLevel": 0}), "logLevel (in"),
                (json.dumps({"jwtSecret": "short"}), "jwtSecret (in"),
                (
                    json.dumps({"jwtSecret": NEW_SECRET, "jwtAlgorithms": ["RS256"]}),
                    "jwtSecret contains no RS256 key",
                ),
            ):
                said = self.reload(server, file, text, until="no setting has changed")
                self.assertIn(reason, said)
                self.assert_delivers(tab.connection)
                with Tab(server.port) as other:
                    self.assert_delivers(other.connection)
        self.assertNotIn("Traceback", server.text())


class ListenTests(OperationsTestCase):
    """Where a server can be reached."""

    def test_tls(self) -> None:
        """TLS certificates can be replaced while the server runs; broken ones are not taken."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        key, chain = directory / "key.pem", directory / "chain.pem"

        def issue() -> trustme.CA:
            authority = trustme.CA()
            issued = authority.issue_cert("localhost")
            issued.private_key_pem.write_to_path(str(key))
            chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
            return authority

        first = issue()
        port, internal = free_port(), free_port()
        files = f"privateKey={key}:certKey={chain}:interface=127.0.0.1"
        server = self.start(LISTEN=f"ssl:{port}:{files}", INTERNAL_LISTEN=f"ssl:{internal}:{files}")

        def open_tab(authority: trustme.CA) -> TlsConnection:
            context = ssl.create_default_context()
            authority.configure_trust(context)
            return TlsConnection(
                f"wss://localhost:{port}/",
                ssl=context,
                additional_headers={"Cookie": cookie()},
                open_timeout=DEADLINE_SECONDS,
            )

        def chosen(authority: trustme.CA, one: int, *offered: str) -> str | None:
            """Return the protocol that is chosen of those offered, after a health check by it."""
            context = ssl.create_default_context()
            authority.configure_trust(context)
            if offered:
                context.set_alpn_protocols(list(offered))
            with (
                socket.create_connection(("127.0.0.1", one), DEADLINE_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secret,
            ):
                secret.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertTrue(secret.recv(100).startswith(b"HTTP/1.1 200"))
                return secret.selected_alpn_protocol()

        def assert_protocols(authority: trustme.CA) -> None:
            for one in (port, internal):
                for offered, expected in (
                    (("h2", "http/1.1"), "http/1.1"),
                    (("http/1.1",), "http/1.1"),
                    (("h2",), None),
                    ((), None),
                ):
                    self.assertEqual(chosen(authority, one, *offered), expected, offered)

        assert_protocols(first)
        with open_tab(first) as tab:
            self.assert_delivers(tab)
            second = issue()
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_text("settings reloaded")
            with open_tab(second) as other:
                self.assert_delivers(tab, other)
            assert_protocols(second)
            with self.assertRaises(ssl.SSLCertVerificationError):
                open_tab(first)
            key.write_text("broken")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_text("no setting has changed: listen: ssl:")
            with open_tab(second) as other:
                self.assert_delivers(tab, other)
        self.assertNotIn("Traceback", server.text())

    def test_several(self) -> None:
        """A server can listen at several places, a unix socket among them."""
        path = Path(self.mktemp()).resolve()
        ports = [free_port(), free_port()]
        server = self.start(
            LISTEN=",".join(
                [*(f"tcp:{port}:interface=127.0.0.1" for port in ports), f"unix:{path}"]
            )
        )
        with (
            Tab(ports[0]) as one,
            Tab(ports[1]) as two,
            unix_connect(
                str(path), "ws://localhost/", additional_headers={"Cookie": cookie()}
            ) as three,
        ):
            self.assert_delivers(one.connection, two.connection, three)
        server.stop()
        self.assertNotIn("Traceback", server.text())

    def test_haproxy(self) -> None:
        """With the PROXY protocol the log knows where a client is."""
        port = free_port()
        server = self.start(LISTEN=f"haproxy:tcp:{port}:interface=127.0.0.1", LOG_LEVEL="debug")
        with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as connection:
            proxy_header = b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n"
            connection.sendall(proxy_header + upgrade_request())
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 101"))
            server.wait_for_text("198.51.100.7 joined")
        with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as connection:
            connection.sendall(b"PROXY TCP4 198.51.100.8 127.0.0.1 4711 80\r\nnonsense\r\n\r\n")
            server.wait_for_text("rejected a request from 198.51.100.8 with 400")

    def test_systemd(self) -> None:
        """A socket that systemd has opened is used."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            os.set_inheritable(listening.fileno(), True)
            server = Server(
                self,
                environment(self.redis.port, LISTEN="systemd:domain=INET:index=0"),
                inherited=listening,
            )
            server.wait_for_text("following the global stream")
        with Tab(port) as tab:
            self.assert_delivers(tab.connection)

    def test_shared_port(self) -> None:
        """Two processes can share a port; both get clients and deliver to them."""
        port = str(free_port())
        servers = [self.start(PORT=port, REUSE_PORT="true") for _ in range(2)]
        with contextlib.ExitStack() as stack:
            tabs = [stack.enter_context(Tab(int(port))) for _ in range(40)]
            self.assert_delivers(*(tab.connection for tab in tabs))
            lines = [server.text() for server in servers]
            for server in servers:
                self.assertGreater(_connections(server, int(port)), 5, lines)

    def test_both_families(self) -> None:
        """By default clients connect by IPv4 and by IPv6, and are shown by their plain address."""
        if not socket.has_dualstack_ipv6():
            raise SkipTest("this machine has no IPv6")
        server = self.start(LOG_LEVEL="debug")
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, server.port)) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"200 OK", client.recv(4096))
            server.wait_for_text(f"{host} GET /health: 200")

    def test_shared_port_in_use(self) -> None:
        """A port that another uses without sharing it cannot be shared."""
        with socket.create_server(("0.0.0.0", 0)) as taken:
            port = taken.getsockname()[1]
            environ = environment(self.redis.port, PORT=str(port), REUSE_PORT="true")
            server = Server(self, environ)
            self.assertEqual(server.wait(), 1)
        self.assertIn(f"cannot listen on port {port} (Address already in use)", server.text())
        self.assertNotIn("Traceback", server.text())

    def test_bad_endpoints(self) -> None:
        """What is no endpoint, or cannot be used, stops the start with a reason."""
        for text, reason in (
            ("tcp:x", "listen: tcp:x cannot be used: it is not an endpoint string"),
            ("8081", "it must be a list of endpoint strings such as tcp:8081"),
            ("nonsense:1", "listen: nonsense:1 cannot be used"),
            ("ssl:1:privateKey=/no/such/file", "/no/such/file: No such file"),
            ("tcp:1:interface=192.0.2.1", "cannot listen on port 1 of 192.0.2.1"),
            ("unix:/no/such/directory/x", "cannot listen on /no/such/directory/x"),
            ("haproxy:ssl:1:privateKey=a", "cannot be used: terminate TLS at the proxy"),
        ):
            server = Server(self, environment(self.redis.port, LISTEN=text))
            self.assertEqual(server.wait(), 1, text)
            self.assertIn(reason, server.text())
            self.assertNotIn("Traceback", server.text())
        server = Server(self, environment(self.redis.port, INTERNAL_LISTEN="nonsense:1"))
        self.assertEqual(server.wait(), 1)
        self.assertIn("internalListen: nonsense:1 cannot be used", server.text())


def _connections(server: Server, port: int) -> int:
    """Return how many TCP connections to that port a process holds."""
    inodes = set()
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(file)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    tables = "".join(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6"))
    lines = [line.split() for line in tables.splitlines()]
    of_port = [line for line in lines if line[1].endswith(f":{port:04X}")]
    return sum(1 for line in of_port if line[3] == _ESTABLISHED and line[9] in inodes)


class LookTests(OperationsTestCase):
    """What is seen from outside."""

    def metrics(self, port: int) -> dict[str, float]:
        """Return all metrics without labels, and the sums of the others."""
        values: dict[str, float] = {}
        families: Any = text_string_to_metric_families(get(port, "/metrics")[1])
        for family in families:
            for sample in family.samples:
                values[sample.name] = values.get(sample.name, 0) + sample.value
        return values

    def test_metrics(self) -> None:
        """The metrics show what has happened."""
        server = self.start(MAX_CONNECTIONS_PER_CHANNEL="2")
        with Tab(server.port) as tab, Tab(server.port) as twin:
            ids = self.redis.publish("1", "2", "3")
            tab.events(3), twin.events(3)
            self.redis.publish("other", channel="somebody else's")
            full = Tab(server.port)
            self.addCleanup(full.connection.close)
            with self.assertRaises(ConnectionClosed):
                full.connection.recv(DEADLINE_SECONDS)
            with self.assertRaises(InvalidStatus):
                Tab(server.port, token="x")
            wait_until(lambda: self.metrics(server.port)["ws_events_read_total"] == 4, lambda: "")
            values = self.metrics(server.port)
            for name, value in {
                "ws_connected_client_total": 2,
                "ws_open_sockets": 2,
                "ws_open_channels": 1,
                "ws_events_delivered_total": 3,
                "ws_events_without_listener_total": 1,
                "ws_frames_sent_total": 6,
                "ws_upgrade_rejected_total": 1,
                "ws_connection_rejected_total": 1,
                "ws_closed_total": 1,
                "ws_tail_events": 4,
                "ws_redis_up": 1,
                "ws_redis_connections_total": 1,
                "ws_stream_gap_total": 0,
                "ws_build_info": 1,
            }.items():
                self.assertEqual(values[name], value, name)
            self.assertGreaterEqual(values["ws_delivery_seconds_count"], 1)
            self.assertGreater(values["ws_frame_bytes_sent_total"], 6 * len(ids[0]))
            self.redis.kill()
            wait_until(lambda: self.metrics(server.port)["ws_redis_up"] == 0, lambda: "up")
            code, text = get(server.port, "/ready")
            self.assertEqual((code, json.loads(text)["reasons"]), (503, ["Redis cannot be read"]))
            self.redis.start()
            wait_until(lambda: get(server.port, "/ready")[0] == 200, lambda: "not ready")

    def test_places(self) -> None:
        """Who looks from outside can have a port of his own, and all can have a base path."""
        internal = free_port()
        server = self.start(
            INTERNAL_LISTEN=f"tcp:{internal}:interface=127.0.0.1", BASE_PATH="/superset/ws"
        )
        for port, path, code in (
            (server.port, "/superset/ws/health", 200),
            (server.port, "/health", 404),
            (server.port, "/superset/ws/ready", 404),
            (server.port, "/superset/ws/metrics", 404),
            (internal, "/ready", 200),
            (internal, "/metrics", 200),
            (internal, "/health", 200),
        ):
            self.assertEqual(get(port, path)[0], code, path)
        self.assertIn("served on internalListen", get(server.port, "/superset/ws/ready")[1])
        # The redirect is followed.
        self.assertIn("<title>", get(internal, "/")[1])
        with Tab(server.port, path="/superset/ws") as tab:
            self.assert_delivers(tab.connection)

    def test_json_log(self) -> None:
        """Every line is a JSON object of this server, from the start to the end of the process."""
        server = self.start(LOG_FORMAT="json", ALLOWED_ORIGINS="*")
        server.wait_until_ready()
        server.wait_for_text('"ready"')
        with self.assertRaises(InvalidStatus):
            Tab(server.port, token="x")
        server.stop()
        lines = [json.loads(line) for line in server.text().splitlines()]
        self.assertEqual(
            [line["event"] for line in lines],
            ["started", "following", "ready", "upgrade_refused", "stopping", "stopped"],
        )
        refusal = lines[3]
        self.assertEqual(refusal["code"], 401)
