"""The facts that a story has."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.node.story import Span


class SpanTests(SynchronousTestCase):
    """Times in which something does not run."""

    def test_has(self) -> None:
        """The start belongs to it, the end does not."""
        span = Span(1.0, 2.0)
        self.assertEqual([span.has(at) for at in (0.9, 1.0, 1.9, 2.0)], [False, True, True, False])
