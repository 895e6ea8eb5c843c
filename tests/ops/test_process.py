"""The garbage collector's settings."""

import gc

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.ops.process import connection_limit, tune_gc


class CollectorTests(SynchronousTestCase):
    """A process that was just started."""

    def setUp(self) -> None:
        """Tunes the collector, and restores it for the other tests."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        self.clock = Clock()
        tune_gc(self.clock)

    def full_collections(self) -> int:
        """Returns the number of full collections so far."""
        return int(gc.get_stats()[2]["collections"])

    def test_growth(self) -> None:
        """Many new objects that stay cause no full collection."""
        before = self.full_collections()
        kept: list[list[object]] = [[[]] for _ in range(500_000)]
        self.assertEqual(self.full_collections(), before)
        del kept

    def test_young(self) -> None:
        """Young garbage is collected by itself."""
        before = gc.get_stats()[0]["collections"]
        for _ in range(10_000):
            ring: list[object] = []
            ring.append(ring)
        self.assertGreater(gc.get_stats()[0]["collections"], before)

    def test_daily(self) -> None:
        """Once a day there is a full collection."""
        before = self.full_collections()
        self.clock.advance(24 * 3600 - 1)
        self.assertEqual(self.full_collections(), before)
        self.clock.advance(1)
        self.assertEqual(self.full_collections(), before + 1)


class ConnectionLimitTests(SynchronousTestCase):
    """How many connections a reactor can hold."""

    def test_select(self) -> None:
        """The select reactor holds 1,024 files, and the start says so if there could be more."""
        with capturedLogs() as logs:
            self.assertEqual(connection_limit(20_000, SelectReactor()), 1024)
            self.assertEqual(connection_limit(1000, SelectReactor()), 1000)
            self.assertEqual(connection_limit(20_000, EPollReactor()), 20_000)
        self.assertEqual([one["event"] for one in logs], ["select_reactor"])
