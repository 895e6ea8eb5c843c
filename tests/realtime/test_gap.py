"""When and how fast sockets are closed that were open during a gap."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience
from gaq_twisted.core.close import REALTIME_GAP, Close
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.gap import GapSockets
from tests.support.fakes import FakeSocket
from tests.support.samples import settings


class UnclosableSocket(FakeSocket):
    """A socket whose close fails."""

    def close(self, close: Close) -> None:
        """Fails."""
        raise OSError


class GapSocketsTests(SynchronousTestCase):
    """Sockets in a hub, on a clock."""

    def setUp(self) -> None:
        """Makes a hub without sockets."""
        self.clock = Clock()
        metrics = Metrics(CORE)
        self.hub = Hub(metrics, self.clock.seconds, settings())
        self.counts: list[int] = []
        self.gap = GapSockets(self.hub, self.counts.append, self.clock)
        self.audience = Audience(self.hub, metrics, self.clock.seconds, self.gap.discard)

    def add(self, *sockets: FakeSocket) -> None:
        """Adds sockets that may miss messages."""
        for socket in sockets:
            self.audience.enter(socket)
            self.gap.add(socket)

    def add_some(self, count: int) -> list[FakeSocket]:
        """Adds and returns new sockets."""
        sockets = [FakeSocket("user:1") for _ in range(count)]
        self.add(*sockets)
        return sockets

    def seconds_to_close(self, step_seconds: float = 0.01) -> float:
        """Returns how long it takes until all are closed."""
        start = self.clock.seconds()
        while self.gap:
            self.clock.advance(step_seconds)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return self.clock.seconds() - start

    def test_grace(self) -> None:
        """They are closed after 2 s, counted from the first call."""
        [socket] = self.add_some(1)
        self.gap.close_after_grace()
        self.clock.advance(1.9)
        self.gap.close_after_grace()
        self.assertIsNone(socket.closed_with)
        self.clock.advance(0.1)
        self.assertEqual(socket.closed_with, REALTIME_GAP)
        self.assertEqual(self.counts, [1])
        self.assertEqual(self.hub.socket_count, 0)

    def test_spread(self) -> None:
        """One is closed at once, 100 within 0.1 s, 10,000 within 2 s and evenly."""
        for count, least, most in ((1, 0, 0.0), (100, 0.04, 0.1), (10_000, 1.7, 2.0)):
            self.counts.clear()
            self.add_some(count)
            self.gap.close_now()
            seconds = self.seconds_to_close()
            self.assertTrue(least <= seconds <= most, (count, seconds))
            self.assertEqual(sum(self.counts), count)
            self.assertLessEqual(max(self.counts), 1 + count // 37 if count > 100 else 50)

    def test_late_reactor(self) -> None:
        """A reactor that is late closes more at a time."""
        self.add_some(10_000)
        self.gap.close_now()
        self.assertLessEqual(self.seconds_to_close(0.3), 2.2)

    def test_order_and_leaving(self) -> None:
        """The oldest are closed first; those that leave are not closed."""
        sockets = self.add_some(100)
        self.gap.close_now()
        self.assertIsNotNone(sockets[49].closed_with)
        self.assertIsNone(sockets[50].closed_with)
        self.hub.leave(sockets[99])
        self.clock.advance(0.05)
        self.assertIsNotNone(sockets[98].closed_with)
        self.assertIsNone(sockets[99].closed_with)

    def test_closes_once_subscribed(self) -> None:
        """A subscription within the grace starts the closes, once."""
        [socket] = self.add_some(1)
        self.gap.close_after_grace()
        self.gap.close_now()
        self.assertEqual(socket.closed_with, REALTIME_GAP)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failing_close(self) -> None:
        """A socket whose close fails is dropped, and the others are closed."""
        broken, fine = UnclosableSocket("user:1"), FakeSocket("user:1")
        self.add(broken, fine)
        self.gap.close_now()
        self.assertFalse(broken.open)
        self.assertEqual(fine.closed_with, REALTIME_GAP)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_stop(self) -> None:
        """Nothing happens after the stop."""
        self.add_some(100)
        self.gap.close_now()
        self.gap.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
