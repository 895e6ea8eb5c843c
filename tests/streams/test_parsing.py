"""Entries turned into events, and the report of those that are not."""

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import Entry, Event
from gaq_twisted.streams.metrics import INVALID_EVENT
from gaq_twisted.streams.parsing import EntryParser
from tests.support.samples import job_data, streams_metrics

THROTTLE_SECONDS = 10
STEP_ENTRIES = 16


class ParserTests(SynchronousTestCase):
    """A parser of the global stream's entries."""

    def setUp(self) -> None:
        """Make a parser."""
        self.clock = Clock()
        self.metrics = streams_metrics()
        self.parser = EntryParser(self.metrics, self.clock)

    def parse(self, entries: Sequence[Entry]) -> list[Event]:
        """Return the events of entries."""
        events: list[Event] = []
        for _ in self.parser.parse(entries, events):
            pass
        return events

    def report(self) -> list[LogEvent]:
        """Return what a report logs."""
        with capturedLogs() as logs:
            self.parser.report_skipped()
        return list(logs)

    def test_good(self) -> None:
        """Good entries become events in their order, and there is nothing to report."""
        entries = [Entry(b"%d-0" % number, job_data()) for number in range(40)]
        self.assertEqual([one.id for one in self.parse(entries)], [one.id for one in entries])
        self.assertEqual(self.report(), [])

    def test_steps(self) -> None:
        """A step parses a few entries."""
        events: list[Event] = []
        steps = self.parser.parse([Entry(b"1-0", job_data())] * (STEP_ENTRIES + 1), events)
        next(steps)
        self.assertEqual(len(events), STEP_ENTRIES)
        self.assertRaises(StopIteration, next, steps)
        self.assertEqual(len(events), STEP_ENTRIES + 1)

    def test_report(self) -> None:
        """Skipped entries are counted by reason and logged once, with the first of them."""
        entries = (Entry(b"1-0", job_data()), Entry(b"2-0", None), Entry(b"3-0", b"{"))
        self.assertEqual([one.id for one in self.parse(entries)], [b"1-0"])
        (line,) = self.report()
        facts = (line["event"], line["count"], line["id"], line["reason"])
        self.assertEqual(facts, ("entries_skipped", 2, "2-0", "no field data"))
        self.assertEqual(self.metrics.counts(INVALID_EVENT), {"no field data": 1, "not JSON": 1})
        self.assertEqual(self.report(), [])

    def test_throttle(self) -> None:
        """At most one report in ten seconds is logged; the metric counts all."""
        counts = []
        for seconds in (0, 1, 1, THROTTLE_SECONDS):
            self.clock.advance(seconds)
            self.parse([Entry(b"1-0", None)] * 3)
            counts.append([line["count"] for line in self.report()])
        self.assertEqual(counts, [[3], [], [], [3]])
        self.assertEqual(self.metrics.total(INVALID_EVENT), 12)
