"""Long work in slices."""

from collections.abc import Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.slices import Slices


class SlicesTests(SynchronousTestCase):
    """How far each slice goes."""

    def setUp(self) -> None:
        """Makes work of five steps of 2 s each, in slices of 3 s."""
        self.clock = Clock()
        self.taken = 0
        self.slices = Slices(self.work(5), self.clock.seconds, 3)

    def work(self, steps: int) -> Iterator[None]:
        """Takes time."""
        for _ in range(steps):
            self.clock.advance(2)
            self.taken += 1
            yield

    def test_advance(self) -> None:
        """A slice ends with the step that makes it too long, and the next one goes on there."""
        for taken, is_done in ((2, False), (4, False), (5, True)):
            self.slices.advance()
            self.assertEqual((self.taken, self.slices.is_done), (taken, is_done))

    def test_done(self) -> None:
        """Work that is done stays done; there may have been nothing to do."""
        slices = Slices(self.work(0), self.clock.seconds, 3)
        for _ in range(2):
            slices.advance()
            self.assertTrue(slices.is_done)

    def test_exception(self) -> None:
        """What a step raises is passed on, and the work is not done."""

        def fail() -> Iterator[None]:
            yield
            raise ZeroDivisionError

        slices = Slices(fail(), self.clock.seconds, 3)
        self.assertRaises(ZeroDivisionError, slices.advance)
        self.assertFalse(slices.is_done)
