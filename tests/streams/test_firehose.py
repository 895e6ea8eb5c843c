"""The service that follows the global stream, with a stream whose replies the test gives."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.errors import RedisError, RedisTooOld
from gaq_twisted.streams.events import Entry, Event, EventSink, Wanted
from gaq_twisted.streams.firehose import Firehose
from gaq_twisted.streams.metrics import INVALID_EVENT, STREAM_GAP
from tests.support.fakes import LOST, FakeStreams, counted
from tests.support.samples import job_data, streams_metrics

RECENT = 3
CHECK_SECONDS = 5
AWAY = RedisError("cannot connect")
SECRET_DATA = b'{"channel_id": 7, "guest_token": "hush"}'


def entry(number: int) -> Entry:
    """Return a good entry with an id made of that number."""
    return Entry(b"%d-0" % number, job_data(job=f"job-{number}"))


def at_level(level: Any, logs: Iterable[LogEvent]) -> list[LogEvent]:
    """Return the log events of a level."""
    return [one for one in logs if one["log_level"] is level]


class RecordingSink(EventSink):
    """A sink that keeps the ids of its events, and fails for some."""

    def __init__(self) -> None:
        self.starts: list[tuple[list[bytes], bytes]] = []
        self.delivered: list[bytes] = []
        self.gaps = 0
        self.refused: tuple[bytes, ...] = ()

    @property
    def wanted(self) -> Wanted:
        """Want a few."""
        return Wanted(RECENT, 1000)

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Keep the ids."""
        self.starts.append(([event.id for event in recent], whole_from))

    def deliver(self, events: Sequence[Event]) -> Iterator[None]:
        """Keep the ids, or fail."""
        for event in events:
            if event.id in self.refused:
                raise RuntimeError("refused")
            self.delivered.append(event.id)
            yield

    def gap(self) -> int:
        """Count the gap; pretend that seven channels have listeners."""
        self.gaps += 1
        return 7


class FirehoseTestCase(SynchronousTestCase):
    """Has a firehose that was just started."""

    def setUp(self) -> None:
        """Start it; the waits after failures are 1, 2, 4, … seconds."""
        self.clock = Clock()
        self.streams = FakeStreams()
        self.sink = RecordingSink()
        self.metrics = streams_metrics()
        self.gave_up = 0
        self.firehose = Firehose(
            self.streams,
            self.sink,
            self.metrics,
            self.clock,
            lambda tries: 2.0**tries,
            self.give_up,
        )
        self.firehose.startService()

    def give_up(self) -> None:
        """Count."""
        self.gave_up += 1

    def answer(self, *entries: Entry) -> None:
        """Answer the question and let the next turn begin."""
        self.streams.answer(*entries)
        self.clock.advance(0)

    def fail_once(self, error: Exception, wait: float) -> None:
        """Let the question fail, and check that it is asked again after that many seconds."""
        asked = len(self.streams.asked)
        self.streams.fail(error)
        self.clock.advance(wait - 0.001)
        self.assertEqual(len(self.streams.asked), asked)
        self.clock.advance(0.001)
        self.clock.advance(0)
        self.assertEqual(len(self.streams.asked), asked + 1)

    def asked(self) -> tuple[object, ...]:
        """Return the newest question."""
        self.assertTrue(self.streams.is_asked)
        return self.streams.asked[-1]


class ProgressTests(FirehoseTestCase):
    """How far the stream has been read."""

    def test_before_the_start(self) -> None:
        """Before the first reply nothing is followed, and the age of the reply is infinite."""
        for _ in range(2):
            self.assertEqual(self.firehose.progress(), (False, "", 0, float("inf")))
            self.streams.fail(AWAY)
            self.clock.advance(9)

    def test_caught_up(self) -> None:
        """A firehose that waits for the next event has no lag, however old the last event is."""
        self.clock.advance(60)
        self.answer(entry(1))
        self.clock.advance(4)
        self.assertEqual(self.firehose.progress(), (True, "1-0", 0, 4))

    def test_behind(self) -> None:
        """While there is more to read, the lag is the age of the last entry that was read."""
        self.answer()
        self.clock.advance(60)
        self.answer(*(Entry(b"%d-0" % (50_000 + n), job_data()) for n in range(5)))
        progress = self.firehose.progress()
        self.assertEqual((progress.cursor, progress.read_age_seconds), ("50004-0", 0))
        self.assertAlmostEqual(progress.lag_seconds, 60 - 50.004)

    def test_outage(self) -> None:
        """After a failure the stream is not followed until a read succeeds; the cursor stays."""
        self.answer(entry(1))
        self.streams.fail(AWAY)
        self.assertEqual(self.firehose.progress()[:2], (False, "1-0"))
        self.clock.advance(1)
        self.clock.advance(0)
        self.answer(entry(1))
        self.answer()
        self.assertEqual(self.firehose.progress()[:2], (True, "1-0"))

    def test_backlog_after_outage(self) -> None:
        """A backlog that is read after an outage ends it, however long the backlog lasts."""
        self.answer()
        self.answer(*map(entry, range(1, 6)))
        self.streams.fail(AWAY)
        self.assertFalse(self.firehose.progress().is_following)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(self.asked(), ("following", b"5-0"))
        self.answer(*map(entry, range(6, 11)))
        self.assertEqual(self.asked(), ("following", b"10-0"))
        self.assertEqual(self.firehose.progress()[:2], (True, "10-0"))


class StartTests(FirehoseTestCase):
    """The first read."""

    def test_recent(self) -> None:
        """The sink gets the newest entries there are; fewer than wanted are all of them."""
        self.assertEqual(self.asked(), ("newest", RECENT))
        self.answer(entry(1), entry(2))
        self.assertEqual(self.sink.starts, [([b"1-0", b"2-0"], b"1-0")])
        self.assertEqual(self.sink.delivered, [])
        self.assertEqual(self.asked(), ("after", b"2-0"))

    def test_more_exist(self) -> None:
        """If there are as many as wanted, there may be more."""
        self.answer(entry(1), entry(2), entry(3))
        self.assertEqual(self.sink.starts, [([b"1-0", b"2-0", b"3-0"], b"1-0")])

    def test_empty_stream(self) -> None:
        """An empty stream is followed from its beginning, never from `$`."""
        self.answer()
        self.assertEqual(self.sink.starts, [([], b"0-0")])
        self.assertEqual(self.asked(), ("after", b"0-0"))

    def test_invalid_entries(self) -> None:
        """Invalid entries count as read, and reading continues after them."""
        self.answer(Entry(b"1-0", None), entry(2), Entry(b"3-0", b"{"))
        self.assertEqual(self.sink.starts, [([b"2-0"], b"1-0")])
        self.assertEqual(self.asked(), ("after", b"3-0"))
        self.assertEqual(counted(self.metrics), {INVALID_EVENT: 2})

    def test_redis_is_away(self) -> None:
        """The sink is started once, after the first reply of Redis."""
        self.fail_once(AWAY, 1)
        self.assertEqual((self.asked(), self.sink.starts), (("newest", RECENT), []))
        self.answer(entry(1))
        self.assertEqual(self.sink.starts, [([b"1-0"], b"1-0")])


class FollowTests(FirehoseTestCase):
    """The reads after that."""

    def setUp(self) -> None:
        """Answer the first read."""
        super().setUp()
        self.answer(entry(1))

    def test_batches(self) -> None:
        """Each read continues after the last entry of the previous one."""
        self.answer(entry(2), entry(3))
        self.assertEqual(self.asked(), ("after", b"3-0"))
        self.answer(entry(5))
        self.assertEqual(self.asked(), ("after", b"5-0"))
        self.assertEqual(self.sink.delivered, [b"2-0", b"3-0", b"5-0"])
        self.assertEqual(len(self.sink.starts), 1)

    def test_nothing_new(self) -> None:
        """A read that ends without entries is repeated from the same place."""
        self.answer()
        self.assertEqual(self.asked(), ("after", b"1-0"))
        self.assertEqual(self.sink.delivered, [])

    def test_turns(self) -> None:
        """Between two batches of a backlog the reactor has a turn for other things."""
        order: list[str] = []
        for first in (2, 7, 12):
            self.streams.answer(*map(entry, range(first, first + 5)))
            self.assertFalse(self.streams.is_asked)
            self.clock.callLater(0, lambda: order.append("other"))
            self.clock.advance(0)
            order.append("read")
            self.assertTrue(self.streams.is_asked)
        self.assertEqual(order, ["other", "read"] * 3)

    def test_same_turn(self) -> None:
        """Where there is no backlog, the next read begins in the turn that delivers the events."""
        for number in range(2, 5):
            self.streams.answer(entry(number))
            self.assertEqual(self.asked(), ("after", b"%d-0" % number))
        self.assertEqual(self.sink.delivered, [b"2-0", b"3-0", b"4-0"])

    def test_invalid_entries(self) -> None:
        """They are skipped and counted, with one log line for a batch and none of their data."""
        with capturedLogs() as logs:
            self.answer(entry(2), Entry(b"3-0", SECRET_DATA), Entry(b"4-0", None), entry(5))
        self.assertEqual(self.sink.delivered, [b"2-0", b"5-0"])
        self.assertEqual(counted(self.metrics), {INVALID_EVENT: 2})
        (warning,) = at_level(LogLevel.warn, logs)
        self.assertEqual((warning["count"], warning["id"]), (2, "3-0"))
        self.assertNotIn("hush", repr(logs))

    def test_batch_of_invalid_entries(self) -> None:
        """A batch without one good entry does not hold up the stream."""
        self.answer(Entry(b"2-0", b"[]"))
        self.assertEqual(self.asked(), ("after", b"2-0"))

    def test_sink_fails(self) -> None:
        """A failure of the sink is logged; what comes after is delivered."""
        self.sink.refused = (b"3-0",)
        with capturedLogs() as logs:
            self.answer(entry(2), entry(3))
            self.answer(entry(4))
        self.assertEqual(self.sink.delivered, [b"2-0", b"4-0"])
        self.assertEqual(self.asked(), ("after", b"4-0"))
        (failure,) = at_level(LogLevel.critical, logs)
        self.assertEqual((failure["first"], failure["last"]), ("2-0", "3-0"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(at_level(LogLevel.warn, logs), [])


class OutageTests(FirehoseTestCase):
    """Redis goes away and comes back."""

    def setUp(self) -> None:
        """Read a part of the stream."""
        super().setUp()
        self.answer(entry(5))

    def recover(self, *entries: Entry) -> None:
        """Answer the question that comes first after an outage."""
        self.assertEqual(self.asked(), ("following", b"5-0"))
        self.answer(*entries)

    def test_waits_grow(self) -> None:
        """Each failure in a row has a longer wait; a success resets it."""
        for wait in (1, 2, 4):
            self.fail_once(AWAY, wait)
        self.recover()
        self.answer()
        self.fail_once(AWAY, 1)

    def test_log(self) -> None:
        """An outage has one line when it begins and one when it ends."""
        for _ in range(2):
            with capturedLogs() as logs:
                for wait in (1, 2, 4):
                    self.fail_once(AWAY, wait)
            (warning,) = at_level(LogLevel.warn, logs)
            self.assertEqual(warning["error"], str(AWAY))
            with capturedLogs() as logs:
                self.recover()
                self.assertEqual(list(logs), [])
                self.answer()
            self.assertEqual([one["log_level"] for one in logs], [LogLevel.info])
        with capturedLogs() as logs:
            self.answer()
        self.assertEqual(list(logs), [])

    def test_log_of_a_changing_outage(self) -> None:
        """Each kind of failure in an outage is logged once."""
        refused = RedisError("NOAUTH")
        with capturedLogs() as logs:
            for error, wait in ((AWAY, 1), (refused, 2), (AWAY, 4), (refused, 8)):
                self.fail_once(error, wait)
        errors = [one["error"] for one in at_level(LogLevel.warn, logs)]
        self.assertEqual(errors, [str(AWAY), str(refused)])

    def test_nothing_is_skipped(self) -> None:
        """After an outage, reading continues from the last entry that was read before."""
        self.fail_once(AWAY, 1)
        self.recover(entry(7), entry(9))
        self.assertEqual(self.asked(), ("after", b"9-0"))
        self.assertEqual(self.sink.delivered, [b"7-0", b"9-0"])
        self.assertEqual(counted(self.metrics), {})

    def test_fails_again_while_checking(self) -> None:
        """A failure of the verification is one more failure of the same outage."""
        with capturedLogs() as logs:
            self.fail_once(AWAY, 1)
            self.fail_once(AWAY, 2)
        self.recover()
        self.assertEqual(len(at_level(LogLevel.warn, logs)), 1)

    def test_unexpected_exception(self) -> None:
        """A bug is logged as a failure each time, and does not stop the firehose."""
        with capturedLogs() as logs:
            self.fail_once(ZeroDivisionError("oops"), 1)
            self.fail_once(ZeroDivisionError("oops"), 2)
        self.assertEqual(len(at_level(LogLevel.critical, logs)), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.recover(entry(6))
        self.assertEqual(self.sink.delivered, [b"6-0"])


class LostDataTests(FirehoseTestCase):
    """The stream is not the one that was read."""

    def setUp(self) -> None:
        """Read two entries, and wait until a verification is due."""
        super().setUp()
        self.answer(entry(5))
        self.answer(entry(7))
        self.clock.advance(CHECK_SECONDS)
        self.answer()

    def start_with(self, *recent: Entry) -> None:
        """Read these entries at the start, and wait until a verification is due."""
        FirehoseTestCase.setUp(self)
        self.answer(*recent)
        self.clock.advance(CHECK_SECONDS)
        self.answer()

    def gap(self, *pages: Sequence[Entry]) -> str:
        """Let the last entry be lost, with these older ones left; return what is logged."""
        self.assertEqual(self.asked(), ("following", b"7-0"))
        with capturedLogs() as logs:
            self.streams.answer_with(LOST)
            for page in pages:
                self.streams.answer(*page)
            self.clock.advance(0)
        self.assertEqual((counted(self.metrics), self.sink.gaps), ({STREAM_GAP: 1}, 1))
        (warning,) = at_level(LogLevel.warn, logs)
        self.assertEqual(warning["channels"], 7)
        text = formatEvent(warning)
        self.assertIn("7-0", text)
        return text

    def test_whole(self) -> None:
        """While nothing is missing nothing is logged; the stream is verified now and then."""
        with capturedLogs() as logs:
            self.streams.answer()
            self.assertEqual(self.asked(), ("holds", b"5-0"))
            self.streams.answer_with(True)
            self.clock.advance(0)
            for _ in range(3):
                self.assertEqual(self.asked(), ("after", b"7-0"))
                self.answer()
            self.clock.advance(CHECK_SECONDS)
            self.answer()
            self.assertEqual(self.asked(), ("following", b"7-0"))
            self.answer()
            # Nothing was read since, so there is nothing else to verify.
            self.assertEqual(self.asked(), ("after", b"7-0"))
        self.assertEqual((list(logs), counted(self.metrics)), ([], {}))

    def test_verification_reads(self) -> None:
        """Entries that a verification finds are delivered."""
        self.streams.answer(entry(8), entry(9))
        self.streams.answer_with(True)
        self.assertEqual(self.sink.delivered, [b"7-0", b"8-0", b"9-0"])

    def test_went_back(self) -> None:
        """A stream that lost its end is followed from the newest entry that had been read."""
        self.assertIn("5-0", self.gap([entry(6), entry(5), entry(4)]))
        self.assertEqual(self.asked(), ("after", b"5-0"))
        self.answer(entry(6), entry(8))
        self.assertEqual(self.sink.delivered, [b"7-0", b"6-0", b"8-0"])

    def test_several_pages(self) -> None:
        """The place is searched page by page; entries that are not events count as well."""
        self.gap([entry(6), Entry(b"5-1", None)], [entry(4), entry(5)])
        self.assertEqual(self.streams.asked[-3:-1], [("up to", b"7-0"), ("up to", b"5-0")])
        self.assertEqual(self.asked(), ("after", b"5-0"))

    def test_before_what_is_remembered(self) -> None:
        """Entries older than all that were read at the start count as read."""
        self.start_with(entry(5), entry(6), entry(7))
        self.gap([entry(4), entry(3)])
        self.assertEqual(self.asked(), ("after", b"4-0"))

    def test_nothing_left(self) -> None:
        """If nothing is left of what was read, everything that follows is new."""
        self.assertIn("0-0", self.gap([entry(6)], []))
        self.assertEqual(self.asked(), ("after", b"0-0"))

    def test_reported_once(self) -> None:
        """A stream that stays empty is reported once."""
        self.gap([])
        with capturedLogs() as logs:
            for _ in range(3):
                self.clock.advance(CHECK_SECONDS)
                self.answer()
                self.assertEqual(self.asked(), ("following", b"0-0"))
                self.answer()
                self.assertEqual(self.asked(), ("after", b"0-0"))
        self.assertEqual(list(logs), [])

    def test_another_connection(self) -> None:
        """Entries of another connection are used only after the stream was verified there."""
        self.streams.answer()
        self.streams.answer_with(True)
        self.clock.advance(0)
        self.assertEqual(self.asked(), ("after", b"7-0"))
        self.streams.reconnect()
        self.answer(entry(9))
        self.assertEqual(self.sink.delivered, [b"7-0"])
        self.gap([entry(6), entry(5)])
        self.assertEqual(self.asked(), ("after", b"5-0"))

    def test_begun_anew(self) -> None:
        """A stream that lost old entries, but was never trimmed, has been emptied."""
        self.streams.answer(entry(8))
        self.assertEqual(self.asked(), ("holds", b"5-0"))
        self.streams.answer_with(False)
        self.assertEqual(self.asked(), ("is untrimmed",))
        with capturedLogs() as logs:
            self.streams.answer_with(True)
        self.clock.advance(0)
        self.assertEqual((counted(self.metrics), self.sink.gaps), ({STREAM_GAP: 1}, 1))
        self.assertEqual(len(at_level(LogLevel.warn, logs)), 1)
        self.assertEqual(self.asked(), ("after", b"8-0"))

    def test_trimmed(self) -> None:
        """Old entries that Redis has trimmed are not reported."""
        self.streams.answer()
        self.streams.answer_with(False)
        with capturedLogs() as logs:
            self.streams.answer_with(False)
        self.assertEqual((list(logs), counted(self.metrics), self.sink.gaps), ([], {}, 0))

    def test_empty_at_start(self) -> None:
        """A stream that was empty at the start and has entries later was not emptied."""
        streams = self.streams = FakeStreams()
        Firehose(
            streams, self.sink, self.metrics, self.clock, lambda tries: 1.0, self.give_up
        ).startService()
        self.answer()
        self.answer(entry(1))
        self.clock.advance(CHECK_SECONDS)
        self.answer()
        self.assertEqual(self.asked(), ("following", b"1-0"))
        self.answer()
        self.assertEqual((self.asked(), counted(self.metrics)), (("after", b"1-0"), {}))

    def test_verification_fails(self) -> None:
        """A verification that fails reports nothing, and is repeated."""
        self.streams.answer_with(LOST)
        self.fail_once(AWAY, 1)
        self.gap([])

    def test_behind(self) -> None:
        """While there is more to read, each read verifies that nothing is missing."""
        self.streams.answer(*map(entry, range(8, 13)))
        self.streams.answer_with(True)
        self.clock.advance(0)
        for first in (13, 18):
            self.assertEqual(self.asked(), ("following", b"%d-0" % (first - 1)))
            self.answer(*map(entry, range(first, first + 5)))
        self.answer(entry(23))
        self.assertEqual(self.asked(), ("after", b"23-0"))
        self.assertEqual(len(self.sink.delivered), 17)


class TooOldTests(FirehoseTestCase):
    """A Redis without streams."""

    error = RedisTooOld("unknown command XREVRANGE")

    def test_at_start(self) -> None:
        """The server gives up, logs why, and asks no more."""
        with capturedLogs() as logs:
            self.streams.fail(self.error)
            self.clock.advance(3600)
        self.assertEqual((self.gave_up, len(self.streams.asked)), (1, 1))
        self.assertEqual(
            [one["error"] for one in at_level(LogLevel.critical, logs)], [str(self.error)]
        )
        self.assertEqual(len(logs), 1)
        stopped = self.firehose.stopService()
        assert isinstance(stopped, Deferred)
        self.successResultOf(stopped)

    def test_later(self) -> None:
        """After a good start it is an outage like others."""
        self.answer(entry(1))
        self.fail_once(self.error, 1)
        self.assertEqual(self.gave_up, 0)


class SliceTests(FirehoseTestCase):
    """Large answers."""

    def test_turns(self) -> None:
        """The reactor has turns while the entries of one reply are delivered."""
        self.answer(entry(1))
        delivered: list[bytes] = []

        def deliver(events: Sequence[Event]) -> Iterator[None]:
            for event in events:
                delivered.append(event.id)
                self.clock.rightNow += 0.003
                yield

        self.patch(self.sink, "deliver", deliver)
        self.streams.answer(*map(entry, range(2, 6)))
        self.assertEqual(delivered, [b"2-0", b"3-0", b"4-0"])
        self.clock.advance(0)
        self.assertEqual(delivered, [b"2-0", b"3-0", b"4-0", b"5-0"])
        self.assertEqual(self.asked(), ("after", b"5-0"))

    def test_stop(self) -> None:
        """A stop ends the delivery of a reply."""
        self.answer(entry(1))

        def deliver(events: Sequence[Event]) -> Iterator[None]:
            self.clock.advance(1)
            yield

        self.patch(self.sink, "deliver", deliver)
        self.streams.answer(entry(2), entry(3))
        stopped = self.firehose.stopService()
        assert isinstance(stopped, Deferred)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StopTests(FirehoseTestCase):
    """The end of the service; no test leaves a timer or a question."""

    def stop(self) -> None:
        """Stop, and check that this is done at once and for good."""
        with capturedLogs() as logs:
            stopped = self.firehose.stopService()
            assert isinstance(stopped, Deferred)
            self.successResultOf(stopped)
            asked = len(self.streams.asked)
            self.clock.advance(3600)
        self.assertEqual((len(self.streams.asked), self.streams.is_asked), (asked, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((list(logs), self.firehose.running), ([], 0))

    def test_first_read(self) -> None:
        """The first read is cancelled."""
        self.stop()
        self.assertEqual(self.sink.starts, [])

    def test_pending_read(self) -> None:
        """A later read is cancelled."""
        self.answer(entry(1))
        self.stop()

    def test_waiting_to_retry(self) -> None:
        """A wait after a failure is cut short."""
        self.streams.fail(AWAY)
        self.stop()

    def test_between_reads(self) -> None:
        """Between two reads, the next one does not begin."""
        self.streams.answer(entry(1))
        self.stop()
        self.assertEqual(self.streams.asked, [("newest", RECENT)])
