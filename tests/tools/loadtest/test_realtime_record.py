"""What the load test counts with the realtime protocol."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.loadtest.realtime_record import (
    AWAY,
    CUT_OFF,
    EVERYBODY,
    GAP,
    Payload,
    RealtimeRecord,
    Tab,
)
from gaq_twisted.tools.loadtest.table import remarks, table
from tests.support.properties import for_any

SETTLE_NS = 100
MINE, OTHER = "user:a", "user:b"


class RecordTests(SynchronousTestCase):
    """What is owed, lost, or neither."""

    def setUp(self) -> None:
        """Opens two tabs of one user, and one of another."""
        self.tabs = [Tab(MINE, "1"), Tab(MINE, "2"), Tab(OTHER, "1")]
        self.tab = self.tabs[0]
        self.record = RealtimeRecord(self.tabs, SETTLE_NS)
        for tab in self.tabs:
            self.record.open(tab)

    def publish(self, route: str = f"{MINE}:1", now_ns: int = 0) -> Payload:
        """Publishes a message."""
        return self.record.publish(route, now_ns)

    def take(self, payload: Payload, tab: Tab | None = None, now_ns: int = 0) -> None:
        """Lets a tab get a message, the first one by default."""
        self.record.take(tab or self.tab, payload, now_ns)

    def test_routes(self) -> None:
        """A message is owed to the tabs that have its route, and nobody else may get it."""
        for route, owed in ((f"{MINE}:1", 1), (MINE, 2), (EVERYBODY, 3), ("user:c", 0)):
            self.setUp()
            payload = self.publish(route)
            self.assertEqual(self.record.lost(), owed, route)
            for tab in self.tabs:
                self.take(payload, tab)
            report = self.record.report()
            self.assertEqual((report.lost, report.misdelivered), (0, 3 - owed))
            self.assertEqual(report.frames_expected, owed)

    def test_lost(self) -> None:
        """What does not come on a socket that stays open is lost."""
        first, second = self.publish(), self.publish()
        self.take(second)
        report = self.record.report()
        self.assertEqual((report.lost, report.is_good, report.frames_expected), (1, False, 2))
        self.take(first)
        report = self.record.report()
        self.assertEqual((report.lost, report.is_good, report.out_of_order), (0, True, 1))

    def test_duplicates(self) -> None:
        """A second copy is a duplicate, also of a message that was early."""
        payload = self.publish()
        self.record.close(self.tab, 0)
        self.record.open(self.tab)
        owed = self.publish()
        for each in (payload, payload, owed, owed):
            self.take(each)
        self.assertEqual((self.record.duplicated, self.record.lost()), (2, 0))

    def test_never_published(self) -> None:
        """A message with a number that nobody has given is misdelivered."""
        for number in (0, 1):
            self.take(Payload(number, MINE, 0))
        self.assertEqual(self.record.report().misdelivered, 2)

    def test_away(self) -> None:
        """What is published while a tab has no socket is not owed to it."""
        self.record.close(self.tab, 0)
        self.publish()
        self.record.open(self.tab)
        report = self.record.report()
        self.assertEqual((report.lost, report.not_owed, report.reconnects), (0, {AWAY: 1}, 1))

    def test_never_connected(self) -> None:
        """To a tab that has never had a socket nothing is owed, and it is not away either."""
        record = RealtimeRecord([Tab(MINE, "1")], SETTLE_NS)
        record.publish(MINE, 0)
        self.assertEqual((record.lost(), record.report().not_owed), (0, {}))

    def test_cut_off(self) -> None:
        """What was under way when the socket ended is not owed."""
        self.publish(now_ns=50)
        self.record.close(self.tab, 60)
        self.assertEqual(self.record.report().not_owed, {CUT_OFF: 1})

    def test_lost_before_end(self) -> None:
        """What cannot have been under way any more is lost, although the socket has ended."""
        overtaken, newer = self.publish(now_ns=50), self.publish(now_ns=50)
        self.assertLess(overtaken.number, newer.number)
        self.take(newer)
        self.record.close(self.tab, 60)
        self.record.open(self.tab)
        self.publish(now_ns=100)
        self.record.close(self.tab, 100 + SETTLE_NS + 1)
        report = self.record.report()
        self.assertEqual((report.lost, report.not_owed), (2, {}))

    def test_gap(self) -> None:
        """What the server owns up to by 1012 is not owed, be it overtaken or old."""
        self.publish()
        self.take(self.publish())
        self.publish()
        self.record.close(self.tab, 10 * SETTLE_NS, is_gap=True)
        report = self.record.report()
        self.assertEqual((report.lost, report.not_owed, report.is_good), (0, {GAP: 2}, True))
        lines = [line.strip() for line in table(report).splitlines()]
        self.assertIn(f"2: {GAP}", lines)
        self.assertNotIn("caught up", table(report))

    def test_failed_publication(self) -> None:
        """A message that Redis may not have passed on is owed to nobody, and may come."""
        for times in (0, 1):
            payload = self.publish()
            self.record.fail_publication(payload, "Redis is gone")
            for _ in range(times):
                self.take(payload)
        report = self.record.report()
        self.assertEqual((report.lost, report.duplicated, report.misdelivered), (0, 0, 0))
        self.assertEqual((report.published, report.failed_publications), (0, {"Redis is gone": 2}))

    def test_latency(self) -> None:
        """The latency is from the publication to the frame."""
        self.take(self.publish(now_ns=1_000_000), now_ns=3_000_000)
        self.assertEqual(self.record.report().latency_worst_ms, 2.0)

    def test_remark(self) -> None:
        """If nothing comes at all, the setting that can be wrong is named."""
        self.publish()
        self.assertIn("realtimeChannelPrefix", "".join(remarks(self.record.report())))

    @for_any(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=40))
    def test_any_order(self, steps: list[tuple[bool, int]]) -> None:
        """Each message to an open socket is received once, lost once, or not owed."""
        record, tab = RealtimeRecord([Tab(MINE, "1")], SETTLE_NS), None
        [tab] = record.tabs
        record.open(tab)
        for is_closed_next, copies in steps:
            payload = record.publish(MINE, 0)
            for _ in range(copies):
                record.take(tab, payload, 0)
            if is_closed_next:
                record.close(tab, 0)
                record.open(tab)
        received = sum(copies > 0 for _, copies in steps)
        report = record.report()
        assert report.not_owed is not None
        self.assertEqual(report.duplicated, sum(max(0, copies - 1) for _, copies in steps))
        self.assertEqual(received + report.lost + sum(report.not_owed.values()), len(steps), report)
