"""A subscription and its connection."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisError, RedisReplied
from gaq_twisted.redis.subscription import Subscription


class FakeConnection:
    """Records the calls, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.has_a_new_master = False
        self.error: RedisError | None = None
        self.on_messages: Callable[[Sequence[bytes]], None] = lambda _: None
        self.on_loss: Callable[[], None] = lambda: None

    async def ask(self, command: str, *_: str, within_seconds: float, **more: Any) -> None:
        """Records the command."""
        self.asked.append(command)
        if self.error is not None:
            raise self.error

    ask_same = ask

    async def has_moved(self) -> bool:
        """Returns what the test has set."""
        return self.has_a_new_master

    def close(self) -> None:
        """Records the call."""
        self.asked.append("close")

    def pause(self) -> None:
        """Records the call."""
        self.asked.append("pause")

    def resume(self) -> None:
        """Records the call."""
        self.asked.append("resume")


class SubscriptionTests(SynchronousTestCase):
    """Opening, probing and pausing."""

    def setUp(self) -> None:
        """Makes a subscription."""
        self.connection = FakeConnection()
        connection = cast(Connection, self.connection)
        self.subscription = Subscription(connection, "realtime", lambda _: None)

    def run_all(self, *steps: Any) -> None:
        """Runs coroutines one after the other."""
        for step in steps:
            self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(step)))

    def test_new_connection(self) -> None:
        """Each subscription is on a connection of its own."""
        self.run_all(self.subscription.open(), self.subscription.probe(), self.subscription.open())
        self.assertEqual(
            self.connection.asked, ["close", "SUBSCRIBE", "PING", "close", "SUBSCRIBE"]
        )

    def test_pause(self) -> None:
        """While it is paused there is no probe; the reply would come after waiting messages."""
        self.subscription.pause()
        self.run_all(self.subscription.probe())
        self.subscription.resume()
        self.run_all(self.subscription.probe())
        self.assertEqual(self.connection.asked, ["pause", "resume", "PING"])

    def test_pause_outlives_the_connection(self) -> None:
        """A new connection is paused if the old one was, so that the backlog stays bounded."""
        self.subscription.pause()
        self.run_all(self.subscription.open())
        self.assertEqual(self.connection.asked, ["pause", "close", "SUBSCRIBE", "pause"])

    def test_error_is_a_reply(self) -> None:
        """An error reply to PING, as while Redis loads its data, is not a loss."""
        self.connection.error = RedisReplied("LOADING Redis is loading the dataset in memory")
        self.run_all(self.subscription.probe())
        self.connection.error = RedisError("the connection was lost")
        probe = Deferred.fromCoroutine(self.subscription.probe())
        self.failureResultOf(probe, RedisError)

    def test_another_master(self) -> None:
        """A subscription to a server that is no longer the master does not hold."""
        self.connection.has_a_new_master = True
        probe = Deferred.fromCoroutine(self.subscription.probe())
        self.assertIn("master", str(self.failureResultOf(probe, RedisError).value))
