"""The realtime edition as a whole, on the model of Redis."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.realtime.metrics import (
    GAP_DISCONNECTS,
    SUBSCRIPTION_LOSSES,
    SUBSCRIPTION_OUTAGE_SECONDS,
)
from tests.support.realtime_model import ModelRedis, ModelServer


class EditionTests(SynchronousTestCase):
    """A server on the model."""

    def setUp(self) -> None:
        """Starts it."""
        self.clock = Clock()
        self.redis = ModelRedis()
        self.server = ModelServer(self.redis, self.clock, 0.0)
        self.addCleanup(self.server.stop)
        self.clock.advance(0)

    def outage(self, seconds: float) -> None:
        """Makes Redis unavailable for some time."""
        self.redis.is_away = True
        self.server.subscription.lose(silently=False)
        self.server.note_exposed()
        self.clock.advance(0)
        self.clock.pump([0.05] * round(seconds / 0.05))
        self.redis.is_away = False
        self.clock.pump([0.05] * 30)

    def test_counts_each_outage(self) -> None:
        """The duration of an outage is observed, even without sockets, but not the start."""
        metrics = self.server.metrics
        [histogram] = metrics.histograms(SUBSCRIPTION_OUTAGE_SECONDS).values()
        self.assertEqual(histogram.count, 0)
        self.outage(1)
        self.assertEqual(histogram.count, 1)
        self.assertEqual(self.server.metrics.total(SUBSCRIPTION_LOSSES), 1)
        self.assertEqual(self.server.metrics.total(GAP_DISCONNECTS), 0)

    def test_outage(self) -> None:
        """A socket is closed after an outage, and a new one waits and is admitted."""
        old = self.server.connect("user:1")
        self.redis.is_away = True
        self.server.subscription.lose(silently=False)
        self.server.note_exposed()
        new = self.server.connect("user:1")
        self.assertFalse(new.has_joined)
        self.redis.is_away = False
        self.clock.advance(0.25)
        self.assertEqual(len(old.closes), 1)
        self.assertTrue(new.is_open)
        self.assertEqual(self.server.errors, [])

    def test_further_loss_while_closing(self) -> None:
        """The grace starts again with a further loss; sockets are closed in the end."""
        sockets = [self.server.connect(f"user:{number}") for number in range(200)]
        self.server.subscription.lose(silently=False)
        self.server.note_exposed()
        self.clock.advance(0)
        closed = sum(1 for socket in sockets if socket.closes)
        self.assertTrue(0 < closed < 200, closed)
        self.redis.is_away = True
        self.server.subscription.lose(silently=False)
        self.clock.pump([0.05] * 30)
        self.assertEqual(sum(1 for socket in sockets if socket.closes), closed)
        self.clock.pump([0.05] * 30)
        self.assertTrue(all(socket.closes for socket in sockets))
        self.assertEqual(self.server.errors, [])
