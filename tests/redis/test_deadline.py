"""Deadlines, and when they are extended."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.deadline import in_time


class DeadlineTests(SynchronousTestCase):
    """The result of an answer."""

    def setUp(self) -> None:
        """Makes a clock."""
        self.clock = Clock()

    def test_in_time(self) -> None:
        """An answer in time is passed on, and nothing is left behind."""
        answer: Deferred[Any] = Deferred()
        bounded = in_time(answer, 3, self.clock)
        self.clock.advance(2)
        answer.callback(5)
        self.assertEqual(self.successResultOf(bounded), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """A late answer fails with DeadlineError; one that is cancelled otherwise does not."""
        bounded = in_time(Deferred(), 3, self.clock)
        self.clock.advance(3)
        self.failureResultOf(bounded, DeadlineError)
        bounded = in_time(Deferred(), 3, self.clock)
        bounded.cancel()
        self.failureResultOf(bounded, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_extended(self) -> None:
        """It may take as many seconds more as it is given each time, until it is given none."""
        extensions = [2.0, 0.5, 0.0]
        bounded = in_time(Deferred(), 3, self.clock, lambda: extensions.pop(0))
        self.clock.advance(3)
        self.clock.advance(2)
        self.assertNoResult(bounded)
        self.clock.advance(0.5)
        self.failureResultOf(bounded, DeadlineError)
