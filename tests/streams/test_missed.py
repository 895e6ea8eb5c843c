"""What a returning client missed, case by case."""

import json

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import Event, LastId, StreamId, channel_stream_event
from gaq_twisted.streams.missed import ChannelHistory, ResumePoint, TailSnapshot, missed
from tests.support.samples import job_data, job_event


class MissedTests(SynchronousTestCase):
    """The two rules, by example."""

    def missed(
        self, since: str, *, tail: list[Event], arrived: list[Event], entries: list[Event]
    ) -> tuple[list[tuple[bytes, str]], list[bytes]]:
        """Return what a client is sent, as ids and jobs, and the ids of what it has early."""
        last_id = LastId.parse(since)
        assert last_id is not None
        found = missed(
            ResumePoint(last_id, StreamId(0, 0), last_id.id.ms),
            ChannelHistory(entries, 0),
            TailSnapshot(tail, is_whole=False),
            arrived,
        )
        events = [(event.id, json.loads(event.data)["job_id"]) for event in found.events]
        return events, [event.id for event in found.early]

    def test_trimmed(self) -> None:
        """What only the tail has still comes first, and leaves the client's place where it was."""
        events, early = self.missed(
            "10-00",
            tail=[job_event("11-0", job="trimmed"), job_event("13-0", job="both")],
            arrived=[job_event("14-0", job="arrived")],
            entries=[_entry("12-0", "both"), _entry("12-1", "not told yet")],
        )
        self.assertEqual(
            events,
            [
                (b"10-00", "trimmed"),
                (b"12-00", "both"),
                (b"12-01", "not told yet"),
                (b"14-0", "arrived"),
            ],
        )
        self.assertEqual(early, [b"12-01"])

    def test_last_event_not_told_yet(self) -> None:
        """What the client had before it dropped is not told again by the global stream."""
        events, early = self.missed("10-00", tail=[], arrived=[], entries=[_entry("10-0", "had")])
        self.assertEqual((events, early), ([], [b"10-00"]))

    def test_same_millisecond(self) -> None:
        """An event of the last one's millisecond is known to the tail, and goes by its id there."""
        events, early = self.missed(
            "10-00",
            tail=[job_event("10-4", job="had"), job_event("10-5", job="missed")],
            arrived=[],
            entries=[_entry("10-0", "had"), _entry("10-1", "missed")],
        )
        self.assertEqual((events, early), ([(b"10-5", "missed")], []))

    def test_same_data_twice(self) -> None:
        """Of two events with the same data, one that the tail holds stands for one only."""
        events, _ = self.missed(
            "10-00",
            tail=[job_event("12-5", job="same")],
            arrived=[],
            entries=[_entry("11-0", "same"), _entry("12-0", "same")],
        )
        self.assertEqual(events, [(b"11-00", "same"), (b"12-00", "same")])


def _entry(stream_id: str, job: str) -> Event:
    return channel_stream_event(stream_id.encode(), job_data(job=job))
