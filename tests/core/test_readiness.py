"""Whether the server can serve browsers, by the progress of its editions."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.readiness import Progress, Readiness


class ReadinessTests(SynchronousTestCase):
    """Several editions together."""

    def setUp(self) -> None:
        """Makes two editions that follow Redis."""
        self.first, self.second = Progress([], {"cursor": "5-1"}), Progress([], {"messages": 3})
        self.readiness = Readiness([lambda: self.first, lambda: self.second])

    def test_ready(self) -> None:
        """Without a reason it is ready, and has the facts of all."""
        self.assertEqual(self.readiness.now(), Progress([], {"cursor": "5-1", "messages": 3}))

    def test_reasons(self) -> None:
        """The reasons of all editions count, and are read each time."""
        self.second = Progress(["no subscription"], {})
        self.assertEqual(self.readiness.now().reasons, ["no subscription"])
        self.first = Progress(["Redis cannot be read"], {})
        self.assertEqual(len(self.readiness.now().reasons), 2)

    def test_draining(self) -> None:
        """A server that is stopping is not ready, even if it follows Redis."""
        self.readiness.is_draining = True
        self.assertEqual(self.readiness.now().reasons, ["draining"])
