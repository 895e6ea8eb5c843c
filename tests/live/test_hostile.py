"""The whole server on a hostile network: clients that are slow, many, silent, or not done."""

import contextlib
import socket
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.processes import (
    DEADLINE_SECONDS,
    RedisProcess,
    Server,
    Tab,
    environment,
    wait_until,
)
from tests.support.samples import CHANNEL, job_data, token, upgrade_request

OTHER_CHANNEL = "121a0484-17a2-480e-a50b-ed5f95c34312"
HEALTH = b"GET /health HTTP/1.0\r\n\r\n"


class HostileTestCase(SynchronousTestCase):
    """Has a Redis, and starts servers."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def start(self, *, files: int | None = None, **values: str) -> Server:
        """Start a server and wait until it is ready."""
        server = Server(self, environment(self.redis.port, **values), files=files)
        server.wait_until_ready()
        return server

    def connect(self, server: Server, data: bytes = b"") -> socket.socket:
        """Return a raw connection that has sent that; the test closes it."""
        connection = socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS)
        self.addCleanup(connection.close)
        if data:
            connection.sendall(data)
        return connection

    def upgrade(self, server: Server, channel: str = CHANNEL) -> socket.socket:
        """Return a raw connection with a WebSocket of that channel, with a small buffer."""
        connection = socket.socket()
        self.addCleanup(connection.close)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(upgrade_request(channel=channel))
        self.assertTrue(connection.recv(12).startswith(b"HTTP/1.1 101"))
        return connection

    def assert_serves(self, server: Server, tab: Tab) -> None:
        """Check that an event reaches a tab."""
        job = f"job at {time.monotonic()}"
        self.redis.publish(job)
        self.assertEqual(tab.jobs(1), [job])


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other end has ended a connection; what it sent is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(2**16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def cpu_seconds(server: Server) -> float:
    """Return the CPU time that a server has used."""
    text = Path(f"/proc/{server.process.pid}/schedstat").read_text()
    return int(text.split()[0]) / 1e9


class SlowClientTests(HostileTestCase):
    """Clients that do not read."""

    def test_dropped(self) -> None:
        """A client that does not read is dropped at the limit; others get all, and at once."""
        server = self.start(MAX_SOCKET_BUFFER_BYTES="65536")
        slow = self.upgrade(server, OTHER_CHANNEL)
        with Tab(server.port) as tab, Tab(server.port, channel=OTHER_CHANNEL) as reader:
            data = job_data(OTHER_CHANNEL, "x" * 100_000)
            count = 0
            deadline = time.monotonic() + DEADLINE_SECONDS
            while "which does not read" not in server.text():
                self.assertLess(time.monotonic(), deadline)
                self.redis.client.xadd("async-events-full", {"data": data})
                reader.events(1)
                count += 1
                self.assert_serves(server, tab)
            # The system's own buffers take some, and the limit is no whole event.
            self.assertLess(count, 100)
        wait_until(lambda: is_closed(slow), lambda: "still open")
        self.assertNotIn("Traceback", server.text())

    def test_replay_larger_than_the_limit(self) -> None:
        """However much a client missed, it gets it all if it reads, be it slowly."""
        server = self.start(MAX_SOCKET_BUFFER_BYTES="65536", TAIL_MAX_EVENTS="1000")
        (last_id,) = self.redis.publish("first")
        for number in range(100):
            self.redis.publish(f"{number} {'x' * 50_000}")
        with Tab(server.port, last_id=last_id) as tab:
            jobs = [job.split()[0] for job in tab.jobs(100)]
            self.assertEqual(jobs, [str(number) for number in range(100)])
            self.assert_serves(server, tab)


class ManyClientsTests(HostileTestCase):
    """More connections than are of use."""

    def test_half_open(self) -> None:
        """2,000 connections without a request do no harm, and are ended in time."""
        server = self.start(REQUEST_TIMEOUT_MS="1500")
        with Tab(server.port) as before:
            crowd = [self.connect(server, b"GET / HT" if n % 2 else b"") for n in range(2000)]
            self.assert_serves(server, before)
            with Tab(server.port) as tab:
                self.redis.publish("job")
                self.assertIn("job", tab.jobs(2))
            server.wait_until_healthy()
            wait_until(lambda: all(map(is_closed, crowd)), lambda: "some are open")
        self.assertNotIn("Traceback", server.text())

    def test_few_files(self) -> None:
        """A process that may open few files refuses sockets with 503, and all else goes on."""
        server = self.start(files=128)
        tabs = [self.tab(server)]
        with self.assertRaises(InvalidStatus) as refused:
            while len(tabs) < 128:
                tabs.append(self.tab(server))
        self.assertEqual(refused.exception.response.status_code, 503)
        self.assertEqual(len(tabs), 56)
        # A crowd that asks for nothing takes all that is left, and more.
        crowd = [self.connect(server) for _ in range(200)]
        server.wait_until_healthy()
        self.redis.client.client_kill_filter(_type="normal", skipme=True)
        self.assert_serves(server, tabs[0])
        tabs[1].events(1)
        before = cpu_seconds(server)
        began = time.monotonic()
        self.assert_serves(server, tabs[1])
        wait_until(lambda: time.monotonic() > began + 0.5, lambda: "unreachable")
        self.assertLess(cpu_seconds(server) - before, 0.25)
        for connection in crowd:
            connection.close()
        tabs.pop().connection.close()
        with contextlib.ExitStack() as stack:
            wait_until(lambda: self._opens(server, stack), lambda: "no place was given back")
        self.assertNotIn("Traceback", server.text())

    def tab(self, server: Server) -> Tab:
        """Return an open tab, which the test closes."""
        tab = Tab(server.port, channel=CHANNEL)
        self.addCleanup(tab.connection.close)
        return tab

    def _opens(self, server: Server, stack: contextlib.ExitStack) -> bool:
        try:
            stack.enter_context(Tab(server.port))
        except InvalidStatus:
            return False
        return True

    def test_limits(self) -> None:
        """A socket too many is closed with 1013, and a closed one frees its place at once."""
        server = self.start(MAX_CONNECTIONS_PER_CHANNEL="1", MAX_TOTAL_CONNECTIONS="2")
        with Tab(server.port):
            for channel in (CHANNEL, OTHER_CHANNEL, "third"):
                tab = Tab(server.port, channel=channel)
                self.addCleanup(tab.connection.close)
                if channel != OTHER_CHANNEL:
                    self.assertEqual(self.close_code(tab), 1013)
        with Tab(server.port) as tab:
            self.assert_serves(server, tab)

    def close_code(self, tab: Tab) -> int | None:
        """Return the code with which a tab is closed."""
        with self.assertRaises(ConnectionClosed) as closed:
            tab.connection.recv(DEADLINE_SECONDS)
        return closed.exception.rcvd.code if closed.exception.rcvd else None


class TokenTests(HostileTestCase):
    """Tokens that are good for a while, or for one of two secrets."""

    def test_expiry(self) -> None:
        """A socket is closed with 1008 when its token expires, not before and not much later."""
        server = self.start()
        expires_at = int(time.time()) + 2
        with Tab(server.port, token=token(exp=expires_at)) as tab:
            self.redis.publish("job")
            tab.jobs(1)
            with self.assertRaises(ConnectionClosed) as closed:
                tab.connection.recv(DEADLINE_SECONDS)
            self.assertGreaterEqual(time.time(), expires_at)
        frame = closed.exception.rcvd
        assert frame is not None
        self.assertEqual((frame.code, frame.reason), (1008, "token expired"))

    def test_rotation(self) -> None:
        """While the secret changes, tokens of both are good; the file of a secret will do."""
        old = "the secret that was there before this"
        file = Path(self.mktemp()).resolve()
        file.write_text(old + "\n")
        server = self.start(PREVIOUS_JWT_SECRET_FILE=str(file))
        for secret in (None, old):
            good = token() if secret is None else token(secret=secret)
            with Tab(server.port, token=good) as tab:
                self.redis.publish("job")
                self.assertIn("job", tab.jobs(1))
        self.assertNotIn(old, server.text())


class OriginTests(HostileTestCase):
    """Pages of other sites."""

    def test_origins(self) -> None:
        """Pages of other origins are refused with 403; that none is refused is warned of."""
        for allowed, origin, is_good in (
            ("https://*.example.com,same-host", "https://bi.example.com", True),
            ("https://*.example.com,same-host", "http://127.0.0.1:8088", True),
            ("https://*.example.com,same-host", "https://example.com.evil.test", False),
            ("", "https://evil.test", True),
        ):
            server = self.start(ALLOWED_ORIGINS=allowed)
            self.assertEqual("allowedOrigins is empty" in server.text(), not allowed)
            try:
                with Tab(server.port, origin=origin):
                    self.assertTrue(is_good, origin)
            except InvalidStatus as error:
                self.assertEqual((error.response.status_code, is_good), (403, False), origin)
            server.stop()


class FloodTests(HostileTestCase):
    """Clients that send more than they have to say."""

    def flood(self, server: Server, frames: bytes) -> socket.socket:
        """Return a WebSocket on which frames were sent until the server took no more."""
        connection = self.upgrade(server, OTHER_CHANNEL)
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(frames)
        return connection

    def test_floods(self) -> None:
        """A flood of frames ends its own socket, and no other is hindered."""
        server = self.start()
        connections = []
        with Tab(server.port) as tab:
            for frames in (
                b"\x8a\x80\x00\x00\x00\x00" * 10_000,
                b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125,
                b"\x01\x80\x00\x00\x00\x00" + b"\x00\x80\x00\x00\x00\x00" * 10_000,
                b"\x82\xff" + (2**62).to_bytes(8, "big") + b"\x00" * 60_000,
            ):
                connections.append(self.flood(server, frames))
                self.assert_serves(server, tab)
            for connection in connections:
                wait_until(partial(is_closed, connection), lambda: "still open")
            self.assert_serves(server, tab)
        self.assertNotIn("Traceback", server.text())
