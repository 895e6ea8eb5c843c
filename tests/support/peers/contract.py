"""The common tests of a server process, as seen by clients."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE_SECONDS, ROOT, RedisProcess, Server, environment
from tests.support.raw import RawClient
from tests.support.recorded import browser_request
from tests.support.samples import CHANNEL, cookie, job_data
from tests.support.sessions import start

PEERS = Path(__file__).parent


class Peer:
    """A client of another maker, in a process of its own; see tests/support/peers.

    Args:
        test: the test that it is for.
        command: the program and its first arguments.
        port: where the server is.
        last_id: what the URL's query names; None for no query.
        cookie_header: the cookie; None for that of a browser that is logged in.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        command: list[str],
        port: int,
        *,
        last_id: str | None = None,
        cookie_header: str | None = None,
    ) -> None:
        query = "" if last_id is None else f"?last_id={last_id}"
        self._process: subprocess.Popen[str] = start(
            test,
            [*command, f"ws://127.0.0.1:{port}/{query}", cookie_header or cookie()],
            cwd=PEERS,
            # Without the settings of a proxy, for instance.
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        test.addCleanup(self._process.stdin.close)
        self._reports: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._reports.put(json.loads(line))
        self._reports.put({"ended": self._process.wait()})

    def tell(self, **what: Any) -> None:
        """Tell it to do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return what it reports next."""
        return self._reports.get(timeout=DEADLINE_SECONDS)

    def jobs(self, count: int) -> list[str]:
        """Return the job ids of the next events."""
        return [json.loads(self.hear()["text"])["job_id"] for _ in range(count)]


class PeerTests(SynchronousTestCase):
    """A subclass names the client; this one stands where trial does not look for tests."""

    def command(self) -> list[str]:
        """Return how the client is started."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a Redis."""
        self._command = self.command()
        self.redis = RedisProcess(self)

    def start(self, **values: str) -> Server:
        """Start a server and wait until it is ready."""
        server = Server(self, environment(self.redis.port, **values))
        server.wait_until_ready()
        return server

    def peer(self, server: Server, *, last_id: str | None = None) -> Peer:
        """Return a client whose WebSocket is open."""
        peer = Peer(self, self._command, server.port, last_id=last_id)
        self.assertEqual(peer.hear(), {"open": True})
        return peer

    def test_events(self) -> None:
        """Missed events come first, then new ones, each once, in order and as they were sent."""
        server = self.start()
        witness = self.peer(server)
        ids = self.redis.publish("1", "2", "3")
        self.assertEqual(witness.jobs(3), ["1", "2", "3"])
        behind, current = self.peer(server, last_id=ids[0]), self.peer(server, last_id=ids[2])
        ids += self.redis.publish("4", "5")
        for peer, first in ((behind, 1), (current, 3)):
            for number in range(first, 5):
                data = job_data(CHANNEL, str(number + 1)).decode()
                self.assertEqual(peer.hear(), {"text": f'{{"id":"{ids[number]}",{data[1:]}'})

    def test_refused(self) -> None:
        """Without a valid cookie it gets 401."""
        server = self.start()
        stranger = Peer(self, self._command, server.port, cookie_header="session=1")
        self.assertEqual(stranger.hear(), {"refused": 401})

    def test_server_pings(self) -> None:
        """It answers the server's pings, and outlives one that does not."""
        server = self.start(PING_SOCKETS_INTERVAL_MS="200", SOCKET_RESPONSE_TIMEOUT_MS="1000")
        peer = self.peer(server)
        with RawClient(server.port, browser_request(CHANNEL)) as silent:
            silent.wait_for_end()
        server.wait_for_text("dropped 1 sockets that did not answer")
        self.redis.publish("1")
        self.assertEqual(peer.jobs(1), ["1"])

    def test_says(self) -> None:
        """Its pings come back, up to the longest; its messages are taken and change nothing."""
        peer = self.peer(self.start())
        peer.tell(fragments=["Hello"])
        for payload in ("Hello", "*" * 125):
            peer.tell(ping=payload)
            self.assertEqual(peer.hear(), {"pong": payload})
        peer.tell(fragments=["Hel", "", "lo"])
        peer.tell(ping="after")
        self.assertEqual(peer.hear(), {"pong": "after"})
        self.redis.publish("1")
        self.assertEqual(peer.jobs(1), ["1"])

    def test_closed_by_client(self) -> None:
        """The code and the reason by which it closes come back."""
        server = self.start()
        for code in (1000, 1001, 3000, 4999):
            peer = self.peer(server)
            peer.tell(close=[code, "goodbye"])
            self.assertEqual(peer.hear(), {"closed": [code, "goodbye"]})
            self.assertEqual(peer.hear(), {"ended": 0})
        self.assertNotIn("Traceback", server.text())

    def test_closed_by_server(self) -> None:
        """A server that stops says so, to each, and does not need to wait for them."""
        server = self.start()
        peers = [self.peer(server) for _ in range(2)]
        self.assertEqual(server.stop(), 0)
        for peer in peers:
            self.assertEqual(peer.hear(), {"closed": [1001, "the server is stopping"]})
            self.assertEqual(peer.hear(), {"ended": 0})
