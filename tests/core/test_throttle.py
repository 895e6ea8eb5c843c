"""Limits on how often something may happen."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.throttle import Throttle


class ThrottleTests(SynchronousTestCase):
    """Admissions in time."""

    def test_window(self) -> None:
        """The first few of each window are admitted; the others are counted once, after it."""
        clock = Clock()
        throttle = Throttle(clock.seconds, most=2, window_seconds=10)
        self.assertEqual([throttle.admits() for _ in range(5)], [True, True, False, False, False])
        clock.advance(9)
        self.assertEqual((throttle.admits(), throttle.suppressed()), (False, 0))
        clock.advance(1)
        self.assertEqual((throttle.suppressed(), throttle.suppressed()), (4, 0))
        self.assertEqual([throttle.admits() for _ in range(3)], [True, True, False])

    def test_next_window(self) -> None:
        """A new window keeps the number of those suppressed in the one before."""
        clock = Clock()
        throttle = Throttle(clock.seconds, most=1, window_seconds=10)
        self.assertEqual([throttle.admits() for _ in range(3)], [True, False, False])
        clock.advance(10)
        self.assertEqual([throttle.admits() for _ in range(2)], [True, False])
        clock.advance(10)
        self.assertEqual(throttle.suppressed(), 3)
