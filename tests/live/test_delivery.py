"""The whole server against a real Redis, an independent publisher and an independent client."""

import os
import signal
import socket
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.processes import (
    DEADLINE_SECONDS,
    PREFIX,
    RedisProcess,
    Server,
    Tab,
    environment,
    health,
    wait_until,
)
from tests.support.samples import CHANNEL, job_data, token, upgrade_request

OTHER_CHANNEL = "121a0484-17a2-480e-a50b-ed5f95c34312"


class LiveTests(SynchronousTestCase):
    """Events on their way from Redis to browsers."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def start(self, **values: str) -> Server:
        """Start a server and wait until it is ready."""
        server = Server(self, environment(self.redis.port, **values))
        server.wait_until_ready()
        return server

    def test_live(self) -> None:
        """Each event reaches every tab of its channel and no other, in order, with its id."""
        port = self.start().port
        with Tab(port) as tab, Tab(port, path="/ws") as twin, Tab(port, channel=OTHER_CHANNEL) as b:
            ids = self.redis.publish("1", "2")
            self.redis.publish("other", channel=OTHER_CHANNEL)
            self.redis.publish("3")
            for client in (tab, twin):
                events = client.events(3)
                self.assertEqual([event["job_id"] for event in events], ["1", "2", "3"])
                self.assertEqual([event["id"] for event in events[:2]], ids)
            self.assertEqual(b.jobs(1), ["other"])

    def test_frame_is_exact(self) -> None:
        """A frame is the publisher's text with the id as first key."""
        port = self.start().port
        with Tab(port) as tab:
            (stream_id,) = self.redis.publish("1")
            expected = b'{"id":"' + stream_id.encode() + b'",' + job_data(job="1")[1:]
            self.assertEqual(tab.connection.recv(DEADLINE_SECONDS), expected.decode())

    def test_resume_from_the_tail(self) -> None:
        """A client that returns gets what it missed, once, in order, on its own socket only."""
        port = self.start().port
        with Tab(port) as other_tab:
            with Tab(port) as tab:
                self.redis.publish("1")
                last_id = tab.events(1)[0]["id"]
            missed = self.redis.publish("2", "3")
            with Tab(port, last_id=last_id) as tab:
                self.redis.publish("4")
                events = tab.events(3)
                self.assertEqual([event["job_id"] for event in events], ["2", "3", "4"])
                self.assertEqual([event["id"] for event in events[:2]], missed)
                self.assertEqual(other_tab.jobs(4), ["1", "2", "3", "4"])

    def test_resume_from_the_channel_stream(self) -> None:
        """A client whose last event the tail has forgotten loses nothing either."""
        port = self.start(TAIL_MAX_EVENTS="2").port
        with Tab(port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
        with Tab(port, channel=OTHER_CHANNEL) as witness:
            self.redis.publish("2", "3", "4")
            self.redis.publish("other", channel=OTHER_CHANNEL)
            witness.jobs(1)
        with Tab(port, last_id=last_id) as tab:
            # An old id of the global stream: what came shortly before may come again.
            events = tab.events(4)
            self.assertEqual([event["job_id"] for event in events], ["1", "2", "3", "4"])
        # The ids of a replay are those of the channel stream, and exact.
        with Tab(port, last_id=events[1]["id"]) as tab:
            self.redis.publish("5")
            self.assertEqual(tab.jobs(3), ["3", "4", "5"])

    def test_initial_replay(self) -> None:
        """A job that ends before its page's first connection is sent."""
        port = self.start().port
        self.redis.publish("early")
        with Tab(port) as tab:
            self.assertEqual(tab.jobs(1), ["early"])

    def test_started_after_the_events(self) -> None:
        """A server that starts later resumes clients of the one before."""
        first = self.start()
        with Tab(first.port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
        first.stop()
        self.redis.publish("2")
        with Tab(self.start().port, last_id=last_id) as tab:
            self.assertEqual(tab.jobs(1), ["2"])

    def test_bad_entries_are_skipped(self) -> None:
        """What is not an event harms nobody."""
        server = self.start()
        with Tab(server.port) as tab:
            for data in (b"", b"not JSON", b"[1]", b'{"channel_id": 1}', b"\xff\xfe", b"{}{}"):
                self.redis.client.xadd(f"{PREFIX}full", {"data": data})
            self.redis.client.xadd(f"{PREFIX}full", {"other": "field"})
            self.redis.publish("good")
            self.assertEqual(tab.jobs(1), ["good"])
        server.wait_for_text("entries that are not valid events")

    def test_redis_restarted(self) -> None:
        """Sockets outlive a kill of Redis, and nothing that it holds is lost."""
        server = self.start()
        with Tab(server.port) as tab:
            self.redis.publish("1")
            last_id = tab.events(1)[0]["id"]
            self.redis.kill()
            server.wait_for_text("cannot follow the global stream")
            self.assertEqual(health(server.port), 200)
            with (
                Tab(server.port, last_id=last_id) as newcomer,
                Tab(server.port, last_id="1-1") as old,
            ):
                self.redis.start()
                self.redis.publish("2")
                self.assertEqual(tab.jobs(1), ["2"])
                self.assertEqual(newcomer.jobs(1), ["2"])
                self.assertEqual(old.jobs(2), ["1", "2"])

    def test_unreadable_channel(self) -> None:
        """A channel that Redis will not read harms nobody but itself, and hears new events."""
        server = self.start()
        self.redis.client.set(f"{PREFIX}{OTHER_CHANNEL}", "not a stream")
        with (
            Tab(server.port, channel=OTHER_CHANNEL, last_id="1-1") as bad,
            Tab(server.port, last_id="1-1") as good,
        ):
            self.redis.publish("1")
            self.assertEqual(good.jobs(1), ["1"])
            data: Any = {"data": job_data(OTHER_CHANNEL, "2")}
            self.redis.client.xadd(f"{PREFIX}full", data)
            self.assertEqual(bad.jobs(1), ["2"])
        server.wait_for_text("WRONGTYPE")

    def test_standstill(self) -> None:
        """A server that stood still for longer than the timeout blames nobody for it."""
        server = self.start(PING_SOCKETS_INTERVAL_MS="100", SOCKET_RESPONSE_TIMEOUT_MS="200")
        with Tab(server.port) as tab:
            os.kill(server.process.pid, signal.SIGSTOP)
            self.redis.publish("1")
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() > begun + 0.5, lambda: "")
            os.kill(server.process.pid, signal.SIGCONT)
            self.assertEqual(tab.jobs(1), ["1"])
            self.redis.publish("2")
            self.assertEqual(tab.jobs(1), ["2"])

    def test_redis_absent_at_start(self) -> None:
        """The server starts without Redis and serves the clients that came before it."""
        self.redis.publish("1")
        self.redis.kill()
        server = Server(self, environment(self.redis.port))
        server.wait_until_healthy()
        with Tab(server.port) as tab:
            self.redis.start()
            self.assertEqual(tab.jobs(1), ["1"])

    def test_refusals(self) -> None:
        """A client without a valid cookie gets the reason; the log shows it without the token."""
        server = self.start()
        forged = token(secret="another secret, as long as the first")
        for cookie, reason in (
            ("session=1", "no cookie named async-token"),
            (f"async-token={forged}", "bad signature"),
            (f"async-token={token(exp=1)}", "expired"),
            (f"async-token={token(channel=None)}", "no channel"),
        ):
            with self.assertRaises(InvalidStatus) as caught:
                connecting = connect(
                    f"ws://127.0.0.1:{server.port}/", additional_headers={"Cookie": cookie}
                )
                with connecting:
                    pass
            response = caught.exception.response
            self.assertEqual(response.status_code, 401)
            self.assertIn(reason.encode(), response.body or b"")
            self.assertEqual((response.body or b"").count(b"\n"), 1)
            server.wait_for_text(reason)
        self.assertNotIn("eyJ", server.text())
        self.assertIn("127.0.0.1", server.text())

    def test_client_messages_are_ignored(self) -> None:
        """Whatever a client says changes nothing."""
        with Tab(self.start().port) as tab:
            tab.connection.send("hello")
            tab.connection.send(b"\0" * 4000)
            tab.connection.send(["frag", "mented"])
            self.assertTrue(tab.connection.ping().wait(DEADLINE_SECONDS))
            self.redis.publish("1")
            self.assertEqual(tab.jobs(1), ["1"])

    def test_silent_socket_is_ended(self) -> None:
        """A client that answers no ping is dropped; one that answers stays."""
        server = self.start(PING_SOCKETS_INTERVAL_MS="100", SOCKET_RESPONSE_TIMEOUT_MS="500")
        with (
            Tab(server.port) as tab,
            socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as silent,
        ):
            silent.sendall(upgrade_request())
            received = b""
            try:
                while chunk := silent.recv(1000):
                    received += chunk
            except ConnectionResetError:
                pass
            self.assertIn(b"\x89\x00", received, "no ping")
            self.redis.publish("1")
            self.assertEqual(tab.jobs(1), ["1"])
        server.wait_for_text("dropped 1 sockets that did not answer")

    def test_statsd(self) -> None:
        """Connects are counted at a StatsD server, with the tags."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
            statsd.bind(("127.0.0.1", 0))
            statsd.settimeout(DEADLINE_SECONDS)
            server = self.start(
                STATSD_PORT=str(statsd.getsockname()[1]), STATSD_GLOBAL_TAGS="env:test,team:bi"
            )
            with Tab(server.port):
                lines: list[str] = []
                while "ws_connected_client:1|c|#env:test,team:bi" not in lines:
                    lines.extend(statsd.recv(2000).decode().splitlines())

    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it cleanly while it waits for Redis, and close its sockets."""
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start(REDIS_STREAM_READ_BLOCK_MS="60000")
            tab = Tab(server.port)
            self.assertEqual(server.stop(number), 0)
            with self.assertRaises(ConnectionClosed) as caught:
                tab.connection.recv(DEADLINE_SECONDS)
            close = caught.exception.rcvd
            self.assertEqual(close and close.code, 1001)
            self.assertNotIn("Traceback", server.text())

    def test_backlog(self) -> None:
        """Events that arrive faster than they are read all arrive, in order."""
        port = self.start(REDIS_STREAM_READ_COUNT="10").port
        jobs = [str(number) for number in range(2000)]
        with Tab(port) as tab, self.redis.client.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.xadd(f"{PREFIX}full", {"data": job_data(CHANNEL, job)})
            pipeline.execute()
            self.assertEqual(tab.jobs(len(jobs)), jobs)
