"""Whether the global stream is still the one that was read, with replies that the test gives."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.continuity import Continuity, Intact, Reset, Truncated, Verdict
from gaq_twisted.streams.events import BEGINNING, Entry
from tests.support.fakes import LOST, FakeStreams

CHECK_SECONDS = 5
REMEMBERED = 10_000


def entry(number: int, data: bytes | None = b"{}") -> Entry:
    """Return an entry with an id made of that number."""
    return Entry(b"%d-0" % number, data)


class ContinuityTestCase(SynchronousTestCase):
    """Has read the entries 3, 5 and 7, of a stream with older ones, and verified nothing since."""

    def setUp(self) -> None:
        """Begin at entry 3 and read the others later."""
        self.begin(entry(3), is_whole=False)
        self.continuity.remember([entry(5), entry(7)])

    def begin(self, *recent: Entry, is_whole: bool) -> None:
        """Begin with a stream of these entries."""
        self.clock = Clock()
        self.streams = FakeStreams()
        self.continuity = Continuity(self.streams, self.clock.seconds)
        self.continuity.begin(recent, connection=self.streams.times_connected, is_whole=is_whole)

    def verify(self, last: Entry, *replies: object) -> Verdict:
        """Return the verdict after these replies, of which entries are given as a list."""
        verdict = Deferred.fromCoroutine(self.continuity.verify(last))
        for reply in replies:
            self.streams.answer_with(reply)
        return self.successResultOf(verdict)

    def assert_asked(self, *questions: tuple[object, ...]) -> None:
        """Check what was asked so far, and forget it."""
        self.assertEqual(tuple(self.streams.asked), questions)
        self.streams.asked.clear()


class DueTests(ContinuityTestCase):
    """When to verify."""

    def test_time(self) -> None:
        """It is due when the last verification, or the begin, is five seconds ago."""
        replies: tuple[object, ...]
        for replies in (([], True), ([],)):
            self.clock.advance(CHECK_SECONDS - 0.1)
            self.assertFalse(self.continuity.due())
            self.clock.advance(0.1)
            self.assertTrue(self.continuity.due())
            self.verify(entry(7), *replies)
            self.assertFalse(self.continuity.due())

    def test_connection(self) -> None:
        """It is due at once on another connection, and the connection is known afterwards."""
        self.streams.reconnect()
        self.assertTrue(self.continuity.due())
        self.assertTrue(self.continuity.is_reconnected)
        self.verify(entry(7), [], True)
        self.assertFalse(self.continuity.due())
        self.assertFalse(self.continuity.is_reconnected)

    def test_reconnected_while_verifying(self) -> None:
        """A connection that is replaced during a verification is not taken as verified."""
        self.clock.advance(CHECK_SECONDS)
        verdict = Deferred.fromCoroutine(self.continuity.verify(entry(7)))
        self.streams.answer()
        self.streams.reconnect()
        self.streams.answer_with(True)
        self.assertEqual(self.successResultOf(verdict), Intact([]))
        self.assertTrue(self.continuity.is_reconnected)

    def test_reconnected_before_the_begin_ends(self) -> None:
        """The first read counts for the connection that it began on."""
        self.streams.reconnect()
        self.continuity.begin([entry(3)], connection=1, is_whole=False)
        self.assertTrue(self.continuity.is_reconnected)

    def test_failure(self) -> None:
        """A failed verification is passed on, and due again."""
        self.clock.advance(CHECK_SECONDS)
        verdict = Deferred.fromCoroutine(self.continuity.verify(entry(7)))
        self.streams.fail(ZeroDivisionError())
        self.failureResultOf(verdict, ZeroDivisionError)
        self.assertTrue(self.continuity.due())


class IntactTests(ContinuityTestCase):
    """Streams of which nothing is missing."""

    def test_not_due(self) -> None:
        """As long as it is not due, it is enough that the last entry is there."""
        new = [entry(8), entry(9)]
        self.assertEqual(self.verify(entry(7), new), Intact(new))
        self.assert_asked(("following", b"7-0"))

    def test_earlier_entry_is_there(self) -> None:
        """When it is due, the last entry of the last verification must be there as well."""
        self.clock.advance(CHECK_SECONDS)
        new = [entry(8)]
        self.assertEqual(self.verify(entry(7), new, True), Intact(new))
        self.assert_asked(("following", b"7-0"), ("holds", b"3-0"))

    def test_nothing_was_read_since(self) -> None:
        """Without new entries since the last verification there is nothing else to look for."""
        self.begin(entry(3), is_whole=True)
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.verify(entry(3), []), Intact([]))
        self.assert_asked(("following", b"3-0"))

    def test_begun_empty(self) -> None:
        """A stream that was empty at the begin has no earlier entry to look for."""
        self.begin(is_whole=True)
        self.continuity.remember([entry(1)])
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.verify(entry(1), []), Intact([]))
        self.assert_asked(("following", b"1-0"))

    def test_trimmed(self) -> None:
        """An earlier entry may be gone from a stream that Redis has trimmed."""
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.verify(entry(7), [], False, False), Intact([]))
        self.assert_asked(("following", b"7-0"), ("holds", b"3-0"), ("is untrimmed",))


class ResetTests(ContinuityTestCase):
    """Streams that were emptied and hold entries again."""

    def test_reset(self) -> None:
        """An earlier entry is gone from a stream that was never trimmed."""
        self.clock.advance(CHECK_SECONDS)
        new = [entry(8)]
        self.assertEqual(self.verify(entry(7), new, False, True), Reset(new))

    def test_reported_once(self) -> None:
        """The next verification starts from what was there at this one."""
        self.clock.advance(CHECK_SECONDS)
        self.verify(entry(7), [], False, True)
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.verify(entry(7), []), Intact([]))


class TruncatedTests(ContinuityTestCase):
    """Streams without the last entry that was read."""

    def resume_at(self, last: Entry, *pages: Sequence[Entry]) -> Entry:
        """Return where to go on when the last entry is gone and older ones are on those pages."""
        verdict = self.verify(last, LOST, *pages)
        assert isinstance(verdict, Truncated)
        return verdict.resume_at

    def test_newest_that_was_read(self) -> None:
        """It goes on after the newest entry that was read, whatever others there are."""
        self.assertEqual(self.resume_at(entry(7), [entry(6), entry(5), entry(3)]), entry(5))
        self.assert_asked(("following", b"7-0"), ("up to", b"7-0"))

    def test_other_data(self) -> None:
        """An entry with the id of one that was read, but other data, was not read."""
        self.assertEqual(self.resume_at(entry(7), [entry(5, b"x"), entry(3)]), entry(3))

    def test_entry_without_data(self) -> None:
        """Entries that are not events are recognized as well."""
        self.continuity.remember([entry(8, None), entry(9)])
        self.assertEqual(self.resume_at(entry(9), [entry(8, None)]), entry(8, None))

    def test_pages(self) -> None:
        """It is looked for page by page."""
        pages = ([entry(6), entry(5, b"x")], [entry(4), entry(3)])
        self.assertEqual(self.resume_at(entry(7), *pages), entry(3))
        up_to_page = b"4-%d" % (2**64 - 1)
        self.assert_asked(("following", b"7-0"), ("up to", b"7-0"), ("up to", up_to_page))

    def test_older_than_the_begin(self) -> None:
        """What is older than all that is remembered was read before."""
        self.assertEqual(self.resume_at(entry(7), [entry(4), entry(2)]), entry(2))

    def test_whole_stream_was_read(self) -> None:
        """Where the whole stream was read at the begin, no older entry was."""
        self.begin(entry(3), entry(7), is_whole=True)
        self.assertEqual(self.resume_at(entry(7), [entry(4), entry(2)], []), BEGINNING)

    def test_nothing_is_left(self) -> None:
        """Where nothing is left of what was read, it goes on at the beginning."""
        self.assertEqual(self.resume_at(entry(7), [entry(6)], []), BEGINNING)
        self.assertEqual(self.verify(BEGINNING, [entry(6)]), Intact([entry(6)]))

    def test_verified_afterwards(self) -> None:
        """The place to go on from counts as verified, so that a loss is reported once."""
        self.streams.reconnect()
        self.resume_at(entry(7), [entry(5)])
        self.assertFalse(self.continuity.due())
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.verify(entry(5), []), Intact([]))

    def test_forgotten(self) -> None:
        """What had been read after that place is new if it comes again under the same id."""
        self.resume_at(entry(7), [entry(5)])
        self.continuity.remember([entry(6)])
        self.assertEqual(self.resume_at(entry(6), [entry(7), entry(5)]), entry(5))

    def test_memory_is_bounded(self) -> None:
        """Only the last ten thousand entries are remembered; older ones need no recognizing."""
        self.continuity.remember(map(entry, range(8, REMEMBERED + 8)))
        last = entry(REMEMBERED + 7)
        self.assertEqual(self.resume_at(last, [entry(7, b"other")]), entry(7, b"other"))
        self.setUp()
        self.continuity.remember(map(entry, range(8, REMEMBERED + 7)))
        last = entry(REMEMBERED + 6)
        self.assertEqual(self.resume_at(last, [entry(7, b"other")], []), BEGINNING)
