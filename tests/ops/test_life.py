"""What the log says of the life of a server."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import HostName, SentinelAddress
from gaq_twisted.config.sections import Redis
from gaq_twisted.core.metrics import CONNECTED_CLIENT, CORE, FRAMES_SENT, Metrics
from gaq_twisted.core.readiness import Progress, Readiness
from gaq_twisted.ops.life import Identity, Life, redis_of
from tests.support.memory import MemoryServer
from tests.support.samples import settings

IDENTITY = Identity(
    version="1.2",
    redis="redis:6379/0",
    protocol="streams",
    reason="default",
    configuration="ws.json and 3 variables",
)


class LifeTests(SynchronousTestCase):
    """A server from its start to its end."""

    def setUp(self) -> None:
        """Makes a server that is not ready yet."""
        self.clock = Clock()
        self.reasons = ["Redis cannot be read"]
        self.metrics = Metrics(CORE)
        self.readiness = Readiness([lambda: Progress(self.reasons, {})])
        self.life = Life(
            IDENTITY,
            lambda: "WebSocket on tcp:8080",
            self.readiness,
            MemoryServer(self.clock).hub,
            self.metrics,
            self.clock,
        )

    def advance(self, seconds: float) -> list[str]:
        """Lets time pass; returns the messages that are logged meanwhile."""
        with capturedLogs() as logs:
            self.clock.pump([0.05] * round(seconds / 0.05))
        return _messages(logs)

    def test_life(self) -> None:
        """There is one line for the start, for being ready, for the signal, and for the end."""
        with capturedLogs() as logs:
            self.life.startService()
        self.assertEqual(
            _messages(logs),
            [
                "started: gaq-ws 1.2: WebSocket on tcp:8080, Redis redis:6379/0, protocol streams"
                " (default), configured by ws.json and 3 variables"
            ],
        )
        self.assertEqual(self.advance(2), [])
        self.reasons = []
        self.assertEqual(self.advance(0.1), ["ready: ready"])
        self.metrics.increment(CONNECTED_CLIENT, 3)
        self.metrics.increment(FRAMES_SENT, 20)
        with capturedLogs() as logs:
            self.life.stopping("SIGTERM")
            self.life.stopping("no signal")
            self.clock.advance(1)
            self.life.stopService()
            self.life.stopped()
        self.assertEqual(
            _messages(logs),
            [
                "stopping: stopping (SIGTERM): 0 connections",
                "stopped: stopped after 3 s: 3 connections, 20 events sent",
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ready_once(self) -> None:
        """A server that is ready again after an outage has no second line for it."""
        self.life.startService()
        self.reasons = []
        self.assertEqual(self.advance(1), ["ready: ready"])
        self.reasons = ["Redis cannot be read"]
        self.advance(1)
        self.reasons = []
        self.assertEqual(self.advance(1), [])
        self.life.stopService()

    def test_never_ready(self) -> None:
        """A server that stops before it was ready is never called ready."""
        self.life.startService()
        self.readiness.is_draining = True
        self.reasons = []
        self.assertEqual(self.advance(1), [])
        self.life.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RedisTests(SynchronousTestCase):
    """How the place of Redis is named."""

    def test_places(self) -> None:
        """Hosts, sockets and Sentinels are named with the database."""
        for redis, expected in (
            (Redis(), "127.0.0.1:6379/0"),
            (Redis(host=HostName("redis"), port=1, db=2), "redis:1/2"),
            (Redis(host=HostName("fd00::1")), "[fd00::1]:6379/0"),
            (Redis(unix_socket_path="/run/redis.sock", db=3), "/run/redis.sock database 3"),
            (
                Redis(sentinels=(SentinelAddress("a:1"), SentinelAddress("b:2"))),
                "mymaster (Sentinels a:1, b:2) database 0",
            ),
        ):
            self.assertEqual(redis_of(settings(redis=redis)), expected)

    def test_protocols(self) -> None:
        """Only what the protocol uses is named, and a common Redis once."""
        one, two = Redis(host=HostName("one")), Redis(host=HostName("two"))
        for protocol, other, expected in (
            ("streams", two, "one:6379/0"),
            ("realtime", two, "two:6379/0"),
            ("both", two, "one:6379/0 and two:6379/0"),
            ("both", one, "one:6379/0"),
        ):
            values: dict[str, Any] = {"protocol": protocol, "redis": one, "realtime_redis": other}
            self.assertEqual(redis_of(settings(**values)), expected)


def _messages(logs: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{one['event']}: {formatEvent(one)}" for one in logs]
