"""The life of the subscription."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.realtime.subscriber import Subscriber
from gaq_twisted.redis.errors import RedisError


class FakeSubscription:
    """A subscription whose probes the test answers."""

    def __init__(self) -> None:
        self.on_loss: Callable[[], None] = lambda: None
        self.opened = 0
        self.probes: list[Deferred[None]] = []

    async def open(self) -> None:
        """Counts."""
        self.opened += 1

    async def probe(self) -> None:
        """Waits for the test."""
        self.probes.append(Deferred())
        await self.probes[-1]

    def close(self) -> None:
        """Does nothing."""


class FakeSink:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def subscribed(self) -> None:
        """Notes it."""
        self.heard.append("subscribed")

    def lost(self) -> None:
        """Notes it."""
        self.heard.append("lost")


class ProbeTests(SynchronousTestCase):
    """How a loss is noticed."""

    def setUp(self) -> None:
        """Subscribes."""
        self.clock = Clock()
        self.subscription = FakeSubscription()
        self.sink = FakeSink()
        self.subscriber = Subscriber(self.subscription, self.sink, self.clock)
        self.subscriber.startService()
        self.addCleanup(self.subscriber.stopService)

    def test_every_3_seconds(self) -> None:
        """A probe comes every 3 s; one that fails is a loss."""
        for number in range(3):
            self.assertEqual(len(self.subscription.probes), number)
            self.clock.advance(3)
            self.subscription.probes[-1].callback(None)
        self.clock.advance(3)
        self.subscription.probes[-1].errback(RedisError("no answer"))
        self.assertEqual(self.sink.heard, ["subscribed", "lost"])
        self.clock.advance(0)
        self.assertEqual(self.sink.heard, ["subscribed", "lost", "subscribed"])

    def test_connection_lost(self) -> None:
        """When the connection is lost, a probe comes at once."""
        self.subscription.on_loss()
        self.assertEqual(len(self.subscription.probes), 1)

    def test_connection_lost_in_a_probe(self) -> None:
        """A loss of which a probe under way does not hear is noticed as soon as it has ended."""
        self.clock.advance(3)
        self.subscription.on_loss()
        self.subscription.probes[-1].callback(None)
        self.assertEqual(len(self.subscription.probes), 2)
