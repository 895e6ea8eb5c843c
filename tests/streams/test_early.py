"""Events that sockets were sent before the global stream delivered them."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.early import EarlyEvents
from tests.support.fakes import FakeSocket
from tests.support.samples import job_event


class EarlyEventsTests(SynchronousTestCase):
    """Which events a socket has already."""

    def setUp(self) -> None:
        """Note two events of a socket."""
        self.socket = FakeSocket("red")
        self.early = EarlyEvents()
        self.early.add(
            self.socket, [job_event("1-01", "red", job="a"), job_event("9-01", "red", job="b")]
        )
        self.again = job_event("2-0", "red", job="a")

    def test_left(self) -> None:
        """An event with the same data is left out once, under whatever id it comes."""
        new = job_event("3-0", "red", job="c")
        self.assertEqual(self.early.left_of(self.socket, [self.again, new]), [new])
        self.assertEqual(self.early.left_of(self.socket, [self.again]), [self.again])

    def test_end(self) -> None:
        """Nothing is kept of a socket whose early events all came."""
        self.early.left_of(self.socket, [job_event("4-0", "red", job="b"), self.again])
        self.assertFalse(self.early)
        self.assertNotIn(self.socket, self.early)

    def test_none(self) -> None:
        """A socket without early events takes no memory."""
        other = FakeSocket("red")
        self.early.add(other, [])
        self.assertNotIn(other, self.early)
        self.assertEqual(self.early.left_of(other, [self.again]), [self.again])

    def test_forget(self) -> None:
        """What is old, or of a socket that has left, is forgotten."""
        self.early.forget_before(5)
        self.assertEqual(self.early.left_of(self.socket, [self.again]), [self.again])
        self.early.forget(self.socket)
        self.assertFalse(self.early)
        self.early.forget(self.socket)
