"""The service that reads channel streams, with streams whose replies the test gives."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.redis.errors import RedisError, RedisRefused
from gaq_twisted.redis.remedies import Remedies, Usage
from gaq_twisted.streams.backfill import Backfill
from gaq_twisted.streams.events import Entry, StreamId
from gaq_twisted.streams.missed import ChannelHistory
from tests.support.fakes import FakeStreams
from tests.support.samples import job_data

RED = "red"
AWAY = RedisError("cannot connect")
REMEDIES = Remedies("redis", "gaq", "password", Usage((), (), ""))


def entry(number: int, channel: str = RED) -> Entry:
    """Return a good entry of a channel's stream."""
    return Entry(b"%d-0" % number, job_data(channel, f"job-{number}"))


class Asker:
    """Somebody who waits for a history, and notes how often it was tried."""

    def __init__(self, backfill: Backfill, channel: str = RED) -> None:
        """Ask for the channel's stream from 7-0 on."""
        self.begun = 0
        self.failures: list[Failure] = []
        self.trimmed: int | None = 0
        self.answers: list[list[tuple[bytes, str, bytes]]] = []
        self._reading = backfill.read(channel, StreamId(7, 0), self._begin)
        self._reading.addCallbacks(self._answer, self.failures.append)

    def cancel(self) -> None:
        """Want it no more."""
        self._reading.cancel()

    def _begin(self) -> None:
        self.begun += 1

    def _answer(self, history: ChannelHistory) -> None:
        self.trimmed = history.trimmed
        self.answers.append([(event.id, event.channel, event.data) for event in history.events])


class BackfillTestCase(SynchronousTestCase):
    """Has the service, started; the waits after failures are 1, 2, 4, … seconds."""

    at_a_time = 1

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.streams = FakeStreams()
        self.backfill = Backfill(
            self.streams, self.clock, lambda tries: 2.0**tries, at_a_time=self.at_a_time
        )
        self.backfill.startService()

    def read(self, channel: str = RED) -> Asker:
        """Ask for a reading."""
        return Asker(self.backfill, channel)


class ReadTests(BackfillTestCase):
    """Readings that Redis answers."""

    def test_answer(self) -> None:
        """The reading gets the channel's events under ids spelt as those of a channel stream."""
        reading = self.read()
        self.assertEqual((self.streams.asked, reading.begun), ([(RED, StreamId(7, 0))], 1))
        self.streams.answer(entry(8), Entry(b"9-12", entry(9).data))
        self.assertEqual(
            reading.answers,
            [[(b"8-00", RED, entry(8).data), (b"9-012", RED, entry(9).data)]],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_empty_stream(self) -> None:
        """A stream without entries is an answer."""
        reading = self.read()
        self.streams.answer()
        self.assertEqual(reading.answers, [[]])

    def test_skipped(self) -> None:
        """Invalid entries and those of other channels are left out, without their data in logs."""
        reading = self.read()
        with capturedLogs() as logs:
            self.streams.answer(
                Entry(b"8-0", None), entry(9, "blue"), Entry(b"10-0", b'{"hush": 1}'), entry(11)
            )
        self.assertEqual([event[0] for event in reading.answers[0]], [b"11-00"])
        self.assertNotIn("hush", repr(logs))
        self.assertTrue(all(one["log_level"] is LogLevel.debug for one in logs))

    def test_one_after_the_other(self) -> None:
        """The next reading begins when the one before is answered, with its own question."""
        first, second = self.read(), self.read("blue")
        self.assertEqual((len(self.streams.asked), second.begun), (1, 0))
        self.streams.answer(entry(8))
        self.assertEqual((self.streams.asked[1:], second.begun), ([("blue", StreamId(7, 0))], 1))
        self.streams.answer(entry(9, "blue"))
        self.assertEqual([len(reading.answers) for reading in (first, second)], [1, 1])

    def test_trimmed(self) -> None:
        """What Redis has trimmed is passed on."""
        self.streams.trimmed = 3
        reading = self.read()
        self.streams.answer(entry(8))
        self.assertEqual(reading.trimmed, 3)

    def test_unwanted(self) -> None:
        """A reading that is cancelled before its turn comes is skipped."""
        self.read()
        unwanted, wanted = self.read("blue"), self.read("green")
        unwanted.cancel()
        self.streams.answer()
        self.assertEqual((unwanted.begun, unwanted.answers), (0, []))
        self.assertEqual(self.streams.asked[-1], ("green", StreamId(7, 0)))
        self.streams.answer()
        self.assertEqual(wanted.answers, [[]])


class SeveralAtATimeTests(BackfillTestCase):
    """A slow answer does not hold up the others."""

    at_a_time = 2

    def test_so_many(self) -> None:
        """So many questions are asked at a time, and each answer makes room for the next."""
        readings = [self.read(channel) for channel in ("a", "b", "c")]
        self.assertEqual([question[0] for question in self.streams.asked], ["a", "b"])
        self.streams.answer()
        self.assertEqual([question[0] for question in self.streams.asked], ["a", "b", "c"])
        self.streams.answer()
        self.streams.answer()
        self.assertEqual([len(reading.answers) for reading in readings], [1, 1, 1])

    def test_log(self) -> None:
        """An outage that several readings meet is told once."""
        for channel in ("a", "b"):
            self.read(channel)
        with capturedLogs() as logs:
            for _ in range(2):
                self.streams.fail(AWAY)
        self.assertEqual([one["log_level"] for one in logs], [LogLevel.warn])


class OutageTests(BackfillTestCase):
    """Readings while Redis is away."""

    def fail_once(self, wait: float) -> None:
        """Let the question fail, and check that it is asked again after that many seconds."""
        asked = len(self.streams.asked)
        self.streams.fail(AWAY)
        self.clock.advance(wait - 0.001)
        self.assertEqual(len(self.streams.asked), asked)
        self.clock.advance(0.001)
        self.assertEqual(self.streams.asked[asked:], [(RED, StreamId(7, 0))])

    def test_retries(self) -> None:
        """A reading is begun before each try, after longer and longer waits, until one works."""
        reading = self.read()
        with capturedLogs() as logs:
            for tries, wait in enumerate((1, 2, 4), 1):
                self.assertEqual(reading.begun, tries)
                self.fail_once(wait)
        self.assertEqual([one["log_level"] for one in logs], [LogLevel.warn])
        self.assertEqual(logs[0]["error"], str(AWAY))
        with capturedLogs() as logs:
            self.streams.answer(entry(8))
        self.assertEqual([one["log_level"] for one in logs], [LogLevel.info])
        self.assertEqual((reading.begun, len(reading.answers)), (4, 1))

    def test_refused(self) -> None:
        """Where Redis will not read a stream its client goes on without, at once, with a gap."""
        reading, other = self.read(), self.read("blue")
        with capturedLogs() as logs:
            self.streams.fail(RedisRefused("WRONGTYPE"))
        self.assertEqual(reading.answers, [[]])
        self.assertEqual([one["log_level"] for one in logs], [LogLevel.error])
        self.assertIsNone(reading.trimmed)
        self.streams.answer()
        self.assertEqual(other.answers, [[]])

    def test_any_error_reply(self) -> None:
        """So it is with any error reply about a stream, also one that is not known."""
        for reply in ("MOVED 1 h:1", "ASK 1 h:1", "TRYAGAIN x", "CROSSSLOT x", "ERR new trouble"):
            reading = self.read()
            self.streams.fail(REMEDIES.error_reply("Redis", "XRANGE", reply))
            self.assertEqual((reading.answers, reading.trimmed), ([[]], None), reply)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_error_of_the_server(self) -> None:
        """An error reply that any command would get is waited out."""
        for command, reply in (("XRANGE", "LOADING x"), ("SELECT", "NOPERM x")):
            reading = self.read()
            self.streams.fail(REMEDIES.error_reply("Redis", command, reply))
            self.assertEqual(reading.answers, [])
            self.clock.advance(10)
            self.streams.answer(entry(8))
            self.assertEqual(len(reading.answers[0]), 1)

    def test_cancelled_by_another(self) -> None:
        """A read that is cancelled by somebody else fails for its asker, and for nobody else."""
        reading, other = self.read(), self.read("blue")
        self.streams.fail(CancelledError())
        self.assertEqual([one.type for one in reading.failures], [CancelledError])
        self.streams.answer()
        self.assertEqual(other.answers, [[]])

    def test_cancelled_under_way(self) -> None:
        """A client that leaves in mid-reading makes room for the next at once."""
        reading, other = self.read(), self.read("blue")
        reading.cancel()
        self.assertEqual([one.type for one in reading.failures], [CancelledError])
        self.assertEqual((other.begun, self.streams.asked[-1][0]), (1, "blue"))

    def test_others_take_their_turn(self) -> None:
        """Others are served before a failed reading is tried again; the waits start again."""
        first, second = self.read(), self.read()
        self.fail_once(1)
        self.streams.answer()
        self.fail_once(1)
        self.streams.answer()
        self.assertEqual([len(reading.answers) for reading in (first, second)], [1, 1])

    def test_client_leaves(self) -> None:
        """A reading whose client gives up is not tried again."""
        reading, other = self.read(), self.read("blue")
        self.streams.fail(AWAY)
        reading.cancel()
        self.clock.advance(1)
        self.assertEqual(self.streams.asked[1:], [("blue", StreamId(7, 0))])
        self.assertEqual((reading.begun, other.begun), (1, 1))

    def test_fault_of_ours(self) -> None:
        """Any other exception reaches who asked, and later readings are served."""
        reading = self.read()
        self.streams.fail(ZeroDivisionError("oops"))
        self.assertEqual([one.type for one in reading.failures], [ZeroDivisionError])
        later = self.read()
        self.streams.answer()
        self.assertEqual(later.answers, [[]])


class StopTests(BackfillTestCase):
    """The end of the service."""

    def stop(self) -> None:
        """Stop, and check that this is done at once and for good."""
        waiting = self.read("waiting")
        with capturedLogs() as logs:
            stopped = self.backfill.stopService()
            assert isinstance(stopped, Deferred)
            self.successResultOf(stopped)
            self.clock.advance(3600)
        self.assertEqual((self.streams.is_asked, waiting.answers), (False, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((list(logs), self.backfill.running), ([], 0))

    def test_reading(self) -> None:
        """A read under way is cancelled, and what waits behind it is not begun."""
        reading = self.read()
        self.stop()
        self.assertEqual((len(self.streams.asked), reading.answers), (1, []))

    def test_waiting_to_retry(self) -> None:
        """A wait after a failure is cut short."""
        self.read()
        self.streams.fail(AWAY)
        self.stop()
        self.assertEqual(len(self.streams.asked), 1)

    def test_idle(self) -> None:
        """Where nothing is asked the service ends too."""
        stopped = self.backfill.stopService()
        assert isinstance(stopped, Deferred)
        self.successResultOf(stopped)
