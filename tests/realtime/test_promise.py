"""The promise of the realtime edition, checked against a model of all participants."""

from unittest import mock

import hypothesis.strategies as st
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core import audience
from tests.support.realtime_model import ModelRedis, ModelServer, ModelSocket

ROUTES = (
    None,
    (),
    ("user:1",),
    ("user:1:1",),
    ("user:1", "user:1:1"),
    ("user:1:1", "user:2", "user:1:2", "user:1:1"),
)
PRINCIPALS = ("user:1", "user:2")
SECONDS = (0.0, 0.01, 0.3, 1.0, 2.5, 7.0)
STEP_SECONDS = 0.05
# Until a silent death is noticed, for the grace, for the spread, and for a slow reactor.
MOST_SECONDS_TO_CLOSE = 6 + 2 + 2 + 1
ACTIONS = (
    "publish",
    "publish",
    "publish",
    "publish many",
    "connect",
    "connect",
    "connect",
    "connect",
    "leave",
    "time passes",
    "time passes",
    "lose",
    "lose silently",
    "Redis goes",
    "Redis swallows",
    "Redis returns",
    "Redis returns",
)


class Promise(RuleBasedStateMachine):
    """Any order of publishing, losing, connecting and leaving that is possible."""

    @initialize(send_seconds=st.sampled_from((0.0, 0.003)), reply_seconds=st.sampled_from((0, 0.2)))
    def begin(self, send_seconds: float, reply_seconds: float) -> None:
        """Makes two servers."""
        self.clock = Clock()
        self.redis = ModelRedis()
        self.redis.reply_seconds = reply_seconds
        self.published_at: list[float] = []
        self.servers = [ModelServer(self.redis, self.clock, send_seconds) for _ in range(2)]

    # Hypothesis leaves out some of the rules in each run; here only all together are of use.
    @rule(action=st.sampled_from(ACTIONS), which=st.integers(0, 1), amount=st.integers(0, 5))
    def step(self, action: str, which: int, amount: int) -> None:
        """Does one of the actions."""
        server = self.servers[which]
        match action:
            case "publish":
                self.publish(amount)
            case "publish many":
                for number in range(6):
                    self.publish(number * amount % 6)
            case "connect":
                principal = PRINCIPALS[amount % 2]
                tabs = [f"{principal}:{amount // 2}"] if amount > 1 else []
                server.connect(principal, *tabs)
            case "leave":
                self.leave(server, amount)
            case "time passes":
                self.time_passes(SECONDS[amount])
            case "lose":
                server.subscription.lose(silently=False)
            case "lose silently":
                server.subscription.lose(silently=True)
            case "Redis goes" | "Redis swallows":
                self.redis.is_away = action == "Redis goes"
                self.redis.swallows = not self.redis.is_away
                for one in self.servers:
                    one.subscription.lose(silently=self.redis.swallows)
            case "Redis returns":
                self.redis.is_away = self.redis.swallows = False
        self.look()

    def publish(self, kind: int) -> None:
        """Publishes a message with some routes."""
        number = len(self.published_at)
        self.published_at.append(self.clock.seconds())
        for server in self.servers:
            server.publish(number, ROUTES[kind])
            self.look()

    def leave(self, server: ModelServer, which: int) -> None:
        """Lets a client leave, whether it waits or is connected."""
        present = [socket for socket in server.sockets if not socket.has_left and not socket.closes]
        if present:
            server.leave(present[which % len(present)])

    def time_passes(self, seconds: float) -> None:
        """Advances the time in steps."""
        end = self.clock.seconds() + seconds
        while True:
            self.clock.advance(min(STEP_SECONDS, max(0.0, end - self.clock.seconds())))
            self.look()
            if self.clock.seconds() >= end:
                break

    def look(self) -> None:
        """Checks the invariants."""
        for server in self.servers:
            server.note_exposed()
            assert not server.errors, server.errors
            latest = self.clock.seconds() - MOST_SECONDS_TO_CLOSE
            for socket in server.sockets:
                if socket.is_open and socket.exposed_at is not None:
                    # A further loss begins the grace again.
                    since = max(socket.exposed_at, server.lost_at)
                    assert since >= latest, "not closed in time"

    def teardown(self) -> None:
        """Lets everything come to rest, and checks whether the promise was kept."""
        if not hasattr(self, "redis"):
            return
        self.redis.is_away = self.redis.swallows = False
        self.time_passes(8)
        self.publish(0)
        self.time_passes(4)
        for server in self.servers:
            for socket in server.sockets:
                self._check(socket)
            server.stop()
        assert not self.clock.getDelayedCalls(), "something goes on after the end"

    def _check(self, socket: ModelSocket) -> None:
        received = socket.received
        assert len(set(received)) == len(received), f"twice: {received}"
        assert received == sorted(received), f"not in order: {received}"
        owed = [number for number in received if number in set(socket.owed)]
        assert owed == socket.owed[: len(owed)], f"{socket.owed} became {received}"
        assert socket.open, "dropped"
        if socket.is_open:
            assert socket.exposed_at is None, "not closed, though it may have missed messages"
            assert owed == socket.owed, f"{socket.owed} became {received}"
        else:
            assert socket.has_left or socket.closes, "neither admitted nor refused"


class PromiseTests(SynchronousTestCase):
    """The promise to browsers of Superset 7."""

    def test_promise(self) -> None:
        """No socket stays open after a missed message, gets one twice, or is closed needlessly."""
        with mock.patch.object(audience, "_SOCKETS_PER_STEP", 1):
            run_state_machine_as_test(
                Promise,
                settings=hypothesis_settings(
                    max_examples=400, stateful_step_count=50, deadline=None, derandomize=True
                ),
            )
