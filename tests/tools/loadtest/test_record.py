"""What the load test counts."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.loadtest.record import Channel, Listener, NumberedEvent, Record, Sight
from gaq_twisted.tools.loadtest.report import Load, Report
from gaq_twisted.tools.loadtest.table import remarks, table
from tests.support.properties import for_any


def event(channel: Channel, number: int, published_ns: int = 0) -> NumberedEvent:
    """Returns an event as a frame holds it."""
    return NumberedEvent("1-0", channel.name, number, published_ns)


class RecordTests(SynchronousTestCase):
    """What is counted."""

    def setUp(self) -> None:
        """Have a channel with a client, and another channel."""
        self.record = Record(["a", "b"])
        self.channel, self.other = self.record.channels
        self.client = self.record.add_listener(self.channel)

    def publish(self, count: int) -> None:
        """Publishes to both channels."""
        for _ in range(count):
            self.channel.next_number()
            self.other.next_number()

    def take(self, *numbers: int, **times: int) -> None:
        """Lets the client get events of its channel."""
        for number in numbers:
            self.record.take(
                self.client,
                event(self.channel, number, times.get("published_ns", 0)),
                opened_ns=times.get("opened_ns", 0),
                now_ns=times.get("now_ns", 0),
            )

    def report(self) -> Report:
        """Returns the result."""
        return self.record.report()

    def test_counts(self) -> None:
        """Lost, duplicated and late events are counted apart; the other channel has no listener."""
        self.publish(6)
        self.take(1, 2, 2, 4, 3, 3)
        report = self.report()
        self.assertEqual(report.published, 12)
        self.assertEqual((report.frames_expected, report.frames_received), (6, 6))
        self.assertEqual((report.lost, report.duplicated, report.out_of_order), (2, 2, 1))
        self.assertFalse(report.is_good)
        self.take(5, 6)
        self.assertTrue(self.report().is_good)

    def test_uncertain(self) -> None:
        """An event that Redis has perhaps may come, late or never."""
        self.publish(3)
        self.channel.unpublished = {1, 3}
        self.take(2)
        for numbers in ((), (1, 3)):
            self.take(*numbers)
            report = self.report()
            self.assertEqual((report.frames_expected, report.lost), (1, 0))
            self.assertEqual(report.out_of_order, 0)

    def test_reasons(self) -> None:
        """Reasons are shown with their counts, the most frequent first."""
        self.record.failed_connects.update({"HTTP 503: busy": 2, "closed with 1013: full": 1200})
        self.record.failed_publications["Redis is gone"] = 3
        lines = [line.strip() for line in table(self.report()).splitlines()]
        self.assertFalse(self.report().is_good)
        self.assertIn("3 events could not be published", "".join(remarks(self.report())))
        at = lines.index("1,200: closed with 1013: full")
        self.assertRegex(lines[at - 1], "failed connects +1,202")
        self.assertEqual(lines[at + 1], "2: HTTP 503: busy")
        self.assertIn("3 not published: Redis is gone", lines)

    def test_strangers(self) -> None:
        """An event of another channel, or that was never published, is bad."""
        self.publish(1)
        self.take(1)
        for number, channel in ((1, self.other), (0, self.channel), (2, self.channel)):
            is_its = self.record.take(self.client, event(channel, number), opened_ns=0, now_ns=0)
            self.assertFalse(is_its)
        report = self.report()
        self.assertEqual((report.misdelivered, report.lost, report.is_good), (3, 0, False))

    def test_never_connected(self) -> None:
        """A client that was not served is no loss that can be counted, but not good either."""
        self.record.never_connected = 3
        report = self.report()
        self.assertEqual((report.clients, report.lost, report.is_good), (4, 0, False))
        self.assertIn("1 of 4", table(report))

    def test_latency(self) -> None:
        """What was published while the client was away is caught up, and has no latency."""
        self.publish(2)
        self.take(1, published_ns=1_000_000, opened_ns=2_000_000, now_ns=900_000_000)
        self.take(2, published_ns=3_000_000, opened_ns=2_000_000, now_ns=5_000_000)
        report = self.report()
        self.assertEqual(report.caught_up, 1)
        self.assertEqual(report.latency_worst_ms, 2.0)

    def test_remarks(self) -> None:
        """It says when its own speed was the limit."""
        self.assertEqual(list(remarks(self.report())), [])
        self.record.connecting = Load(1.0, 0.9)
        self.assertIn("while it connected", "".join(remarks(self.report())))
        self.record.running = Load(1.0, 0.81)
        self.assertIn("latencies and rates", "".join(remarks(self.report())))

    @for_any(
        st.integers(0, 12),
        st.sets(st.integers(1, 12)),
        st.lists(st.integers(1, 12), max_size=30),
    )
    def test_any_order(self, newest: int, uncertain: set[int], seen: list[int]) -> None:
        """Whatever comes in whatever order, the counts are those of sets and lists."""
        channel = Channel("a")
        channel.newest = newest
        published = set(range(1, newest + 1)) - uncertain
        channel.unpublished = set(range(1, newest + 1)) & uncertain
        seen = [number for number in seen if number <= newest]
        listener = Listener(channel)
        sights = [listener.see(number) for number in seen]
        self.assertEqual(channel.published, len(published))
        self.assertEqual(listener.lost(), len(published - set(seen)))
        self.assertEqual(sights.count(Sight.AGAIN), len(seen) - len(set(seen)))
        firsts = list(dict.fromkeys(seen))
        late = sum(number < max(firsts[:index], default=0) for index, number in enumerate(firsts))
        self.assertEqual(sights.count(Sight.LATE), late)
