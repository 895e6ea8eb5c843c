"""Upgrades that wait for the subscription."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.edition import Unavailable
from gaq_twisted.realtime.waiting import WaitingUpgrades


class WaitingUpgradesTests(SynchronousTestCase):
    """Upgrades on a clock."""

    def setUp(self) -> None:
        """Makes room for three, none of which is used."""
        self.clock = Clock()
        self.upgrades = WaitingUpgrades(self.clock, most=3)
        self.released: list[int] = []
        self.is_open = True

    def wait(self, number: int, *, seconds: float = 0.0) -> "Deferred[None]":
        """Makes an upgrade wait whose answer takes some time."""

        def note(_: None) -> None:
            self.clock.rightNow += seconds
            self.released.append(number)

        return self.upgrades.wait().addCallback(note)

    def assert_rests(self) -> None:
        """Checks that nothing waits and no call is pending."""
        self.assertEqual(len(self.upgrades), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_release(self) -> None:
        """They are accepted in the order of their arrival, in slices of 5 ms."""
        for number in range(3):
            self.wait(number, seconds=0.003)
        self.upgrades.release(lambda: True)
        self.assertEqual(self.released, [0, 1])
        self.clock.advance(0)
        self.assertEqual(self.released, [0, 1, 2])
        self.assert_rests()

    def test_loss_during_release(self) -> None:
        """Those not accepted before a further loss keep waiting, with the same deadline."""
        self.wait(0, seconds=0.006)
        late = self.wait(1)
        self.upgrades.release(lambda: self.is_open)
        self.is_open = False
        self.clock.advance(0)
        self.assertEqual(self.released, [0])
        self.clock.advance(10)
        self.failureResultOf(late, Unavailable)
        self.assert_rests()

    def test_expiry(self) -> None:
        """Each waits for 10 s."""
        first = self.wait(0)
        self.clock.advance(4)
        second = self.wait(1)
        self.clock.advance(5.9)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.assertIn("for 10 s", str(self.failureResultOf(first, Unavailable).value))
        self.clock.advance(3.9)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        self.failureResultOf(second, Unavailable)
        self.assert_rests()

    def test_cancelling(self) -> None:
        """One whose client leaves is removed."""
        waiting = self.wait(0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assert_rests()

    def test_bound(self) -> None:
        """One more than may wait is refused at once."""
        waiting = [self.wait(number) for number in range(3)]
        self.assertRaises(Unavailable, self.upgrades.wait)
        self.upgrades.stop()
        for one in waiting:
            self.failureResultOf(one, Unavailable)

    def test_stop(self) -> None:
        """All fail when the server stops, even during a release, and so do later ones."""
        self.wait(0, seconds=0.006)
        late = self.wait(1)
        self.upgrades.release(lambda: True)
        self.upgrades.stop()
        self.failureResultOf(late, Unavailable)
        self.assertRaises(Unavailable, self.upgrades.wait)
        self.assert_rests()
