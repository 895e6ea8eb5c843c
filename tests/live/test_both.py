"""Superset 6 and 7 in one server, as while Superset is being upgraded."""

import json
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import InvalidStatus

from tests.support.processes import (
    Page,
    RedisProcess,
    Server,
    answer,
    environment,
    wait_until,
)
from tests.support.samples import (
    SECRET,
    cookie,
    envelope,
    realtime_cookie,
    realtime_token,
    token,
)

REALTIME_SECRET = "the other secret, long enough to sign"
NEW_SECRET = "a new secret for realtime, long enough"


class BothTestCase(SynchronousTestCase):
    """Has a Redis for each of the protocols."""

    def setUp(self) -> None:
        """Starts them."""
        self.redis = RedisProcess(self)
        self.realtime_redis = RedisProcess(self)

    def values(self, **values: str) -> dict[str, str]:
        """Returns the environment of a server for both."""
        return environment(
            self.redis.port,
            **{
                "PROTOCOL": "both",
                "REALTIME_JWT_SECRET": REALTIME_SECRET,
                "REALTIME_REDIS_PORT": str(self.realtime_redis.port),
                **values,
            },
        )

    def start(self, **values: str) -> Server:
        """Returns a server that is ready."""
        return self.wait_for(Server(self, self.values(**values)))

    def wait_for(self, server: Server) -> Server:
        """Waits until a server is ready; returns it."""
        server.wait_until_ready()
        server.wait_until_subscribed()
        wait_until(lambda: answer(server.port, "/ready")[0] == 200, server.text)
        return server

    def open(self, server: Server, cookies: str, query: str = "") -> Page:
        """Returns a page that ends with the test."""
        page = Page(server.port, cookies, query)
        self.addCleanup(page.connection.close)
        return page

    def old_page(self, server: Server, query: str = "") -> Page:
        """Returns a page of Superset 6."""
        return self.open(server, cookie(), query)

    def new_page(self, server: Server, query: str = "?tab_id=1", **more: Any) -> Page:
        """Returns a page of Superset 7."""
        return self.open(server, realtime_cookie(**{"secret": REALTIME_SECRET, **more}), query)

    def publish(self, message: bytes) -> int:
        """Publishes a message as Superset 7 does; returns how many servers get it."""
        count: Any = self.realtime_redis.client.publish("realtime", message)
        return int(count)

    def assert_old(self, *pages: Page, job: str = "job") -> None:
        """Checks that a job of Superset 6 is the next that pages hear of, if there are any."""
        self.redis.publish(job)
        for page in pages:
            self.assertEqual(json.loads(page.read())["job_id"], job)

    def assert_new(self, *pages: Page, topic: str = "t") -> None:
        """Checks that a broadcast of Superset 7 is the next that pages hear of."""
        self.assertEqual(self.publish(envelope(topic)), 1)
        for page in pages:
            self.assertEqual(page.read(), f'{{"topic":"{topic}"}}')

    def status(self, server: Server, cookies: str, query: str = "") -> int:
        """Returns the status of the answer to an upgrade that is refused."""
        with self.assertRaises(InvalidStatus) as refused:
            Page(server.port, cookies, query)
        return int(refused.exception.response.status_code)


class ChoiceTests(BothTestCase):
    """Which protocol a socket speaks."""

    def test_55_choice(self) -> None:
        """Parameter and cookie choose the protocol; no socket gets a frame of the other."""
        server = self.start(INITIAL_REPLAY_MS="0")
        both = f"{cookie()}; {realtime_cookie(secret=REALTIME_SECRET)}"
        (last_id,) = self.redis.publish("before")
        old = {
            "old cookie": self.old_page(server),
            "old cookie, last_id": self.old_page(server, f"?last_id={last_id}"),
            "both cookies, last_id": self.open(server, both, f"?last_id={last_id}"),
            "both cookies": self.open(server, both),
        }
        new = {
            "new cookie": self.new_page(server, ""),
            "new cookie, tab_id": self.new_page(server),
            "both cookies, tab_id": self.open(server, both, "?tab_id=1"),
        }
        for number in range(3):
            self.redis.publish(f"job {number}")
            self.publish(envelope("t", "principal", payload=number, routes=["user:5"]))
            self.publish(envelope("all", payload=number))
        for name, page in old.items():
            jobs = [json.loads(page.read())["job_id"] for _ in range(3)]
            self.assertEqual(jobs, [f"job {number}" for number in range(3)], name)
        for name, page in new.items():
            frames = [page.read() for _ in range(6)]
            self.assertEqual(
                frames,
                [
                    f'{{"topic":"{topic}","payload":{number}}}'
                    for number in range(3)
                    for topic in ("t", "all")
                ],
                name,
            )
        self.assert_old(*old.values(), job="last")
        self.assert_new(*new.values(), topic="last")
        self.assertEqual(self.status(server, cookie(), "?tab_id=1"), 401)
        self.assertEqual(
            self.status(server, realtime_cookie(secret=REALTIME_SECRET), "?last_id=1-0"), 401
        )

    def test_token_under_the_other_name(self) -> None:
        """Even with equal secrets a token is good for its own protocol only."""
        server = self.start(REALTIME_JWT_SECRET=SECRET)
        for cookies in (
            f"async-token={realtime_token()}",
            # It holds a channel, and everything else that Superset 6 writes.
            f"async-token={realtime_token(channel='abc')}",
            f"superset-ws-token={token()}",
            f"async-token={realtime_token()}; superset-ws-token={token()}",
        ):
            for query in ("", "?tab_id=1", "?last_id=1-0"):
                self.assertEqual(self.status(server, cookies, query), 401, (cookies, query))
        self.assert_new(self.new_page(server, secret=SECRET))
        self.assert_old(self.old_page(server))

    def test_limits(self) -> None:
        """Sockets of a principal are counted in each protocol, all sockets in both together."""
        server = self.start(MAX_CONNECTIONS_PER_CHANNEL="2", MAX_TOTAL_CONNECTIONS="5")
        # The route of one is the channel of the other.
        olds = [self.open(server, cookie("user:5")) for _ in range(2)]
        news = [self.new_page(server) for _ in range(2)]
        self.assertEqual(self.open(server, cookie("user:5")).close_frame()[0], 1013)
        self.assertEqual(self.new_page(server).close_frame()[0], 1013)
        news.append(self.new_page(server, subject="6"))
        for page in (self.new_page(server, subject="7"), self.old_page(server)):
            self.assertEqual(page.close_frame()[0], 1013)
        self.assert_new(*news)
        self.redis.publish("job", channel="user:5")
        for page in olds:
            self.assertEqual(json.loads(page.read())["job_id"], "job")


class FailureTests(BothTestCase):
    """One protocol fails, and the other goes on."""

    def readiness(self, server: Server) -> str:
        """Waits until a server is not ready; returns the reasons."""
        wait_until(lambda: answer(server.port, "/ready")[0] == 503, server.text)
        return str(json.loads(answer(server.port, "/ready")[1])["reasons"])

    def test_realtime_away(self) -> None:
        """Sockets of Superset 6 stay open and get events while those of 7 cannot."""
        server = self.start()
        old, new = self.old_page(server), self.new_page(server)
        self.realtime_redis.kill()
        reasons = self.readiness(server)
        self.assertIn("SUBSCRIBER_UNAVAILABLE", reasons)
        self.assertNotIn("stream", reasons)
        self.assertEqual(new.close_frame()[0], 1012)
        self.assert_old(old, self.old_page(server), job="meanwhile")
        self.realtime_redis.start()
        wait_until(lambda: answer(server.port, "/ready")[0] == 200, server.text)
        self.assert_new(self.new_page(server))
        self.assert_old(old, job="afterwards")
        self.assertNotIn("Traceback", server.text())

    def test_streams_away(self) -> None:
        """Sockets of Superset 7 stay open and get messages while Superset 6's Redis is away."""
        server = self.start()
        old, new = self.old_page(server), self.new_page(server)
        self.redis.kill()
        reasons = self.readiness(server)
        self.assertNotIn("SUBSCRIBER_UNAVAILABLE", reasons)
        self.assert_new(new, self.new_page(server), topic="meanwhile")
        self.redis.start()
        wait_until(lambda: answer(server.port, "/ready")[0] == 200, server.text)
        self.assert_old(old)
        self.assert_new(new, topic="afterwards")
        self.assertNotIn("Traceback", server.text())

    def test_one_redis(self) -> None:
        """With one Redis for both, its end closes the sockets of Superset 7 only."""
        server = self.start(REALTIME_REDIS_PORT=str(self.redis.port))
        self.realtime_redis = self.redis
        old, new = self.old_page(server), self.new_page(server)
        self.assert_old(old)
        self.assert_new(new)
        self.redis.kill()
        self.assertIn("SUBSCRIBER_UNAVAILABLE", self.readiness(server))
        self.redis.start()
        self.assertEqual(new.close_frame()[0], 1012)
        self.assert_new(self.new_page(server))
        self.assert_old(old, job="afterwards")


class ReloadTests(BothTestCase):
    """SIGHUP."""

    def test_secret(self) -> None:
        """Realtime's secrets are rotated without a socket closing; those of streams stay."""
        file = Path(self.mktemp()).resolve()
        environ = self.values()
        del environ["REALTIME_JWT_SECRET"]
        file.write_text(json.dumps({"realtimeJwtSecret": REALTIME_SECRET}))
        server = self.wait_for(Server(self, environ, command=("gaq-ws", "--config", str(file))))
        old, new = self.old_page(server), self.new_page(server)
        secrets = {"realtimeJwtSecret": NEW_SECRET, "previousRealtimeJwtSecret": REALTIME_SECRET}
        self.reload(server, file, secrets)
        self.assert_new(new, self.new_page(server), self.new_page(server, secret=NEW_SECRET))
        self.reload(server, file, {"realtimeJwtSecret": NEW_SECRET})
        self.assert_new(new, self.new_page(server, secret=NEW_SECRET))
        self.assertEqual(
            self.status(server, realtime_cookie(secret=REALTIME_SECRET), "?tab_id=1"), 401
        )
        self.reload(server, file, {"realtimeJwtSecret": "short"}, until="no setting has changed")
        self.assert_new(new, self.new_page(server, secret=NEW_SECRET))
        self.assert_old(old, self.old_page(server))

    def reload(
        self, server: Server, file: Path, values: object, until: str = "settings reloaded"
    ) -> None:
        """Changes the file, and lets the server read it."""
        before = len(server.text())
        file.write_text(json.dumps(values))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: until in server.text()[before:], server.text)
