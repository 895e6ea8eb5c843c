"""Periodic tasks."""

from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.every import every, guarded

LOG = Logger(namespace="the owner")


class EveryTests(SynchronousTestCase):
    """Intervals and faults."""

    def setUp(self) -> None:
        """Starts at second 0."""
        self.clock = Clock()
        self.called_at: list[float] = []

    def note(self) -> None:
        """The task."""
        self.called_at.append(self.clock.seconds())

    def boom(self) -> None:
        """A task that always raises."""
        self.note()
        raise RuntimeError("boom")

    def test_interval(self) -> None:
        """A task is called at once and then at its interval, until the loop is stopped."""
        loop = every(2, self.note, self.clock, LOG)
        self.clock.pump([1] * 5)
        loop.stop()
        self.clock.pump([1] * 5)
        self.assertEqual(self.called_at, [0, 2, 4])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_now(self) -> None:
        """The first call can wait for the interval."""
        every(2, self.note, self.clock, LOG, now=False)
        self.clock.pump([1] * 3)
        self.assertEqual(self.called_at, [2])

    def test_fault(self) -> None:
        """A task that raises is logged each time, and is called again."""
        with capturedLogs() as logs:
            every(1, self.boom, self.clock, LOG)
            self.clock.pump([1] * 2)
        self.assertEqual(self.called_at, [0, 1, 2])
        self.assertEqual(
            [(one["event"], one["log_namespace"]) for one in logs],
            [("periodic_task_failed", "the owner")] * 3,
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_guarded(self) -> None:
        """One call can be guarded by itself."""
        guarded(self.note, LOG)
        guarded(self.boom, LOG)
        self.assertEqual(len(self.called_at), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
