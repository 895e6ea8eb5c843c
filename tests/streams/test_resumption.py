"""What each socket gets when it joins, and the events that follow."""

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core import audience
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CLIENT_SEND_ERROR
from gaq_twisted.streams.events import Event, StreamId, channel_stream_event
from gaq_twisted.streams.metrics import (
    EVENTS_DELIVERED,
    EVENTS_READ,
    EVENTS_WITHOUT_LISTENER,
    STREAM_GAP,
)
from gaq_twisted.streams.missed import SKEW_MS
from gaq_twisted.streams.resumption import Resumption
from gaq_twisted.streams.tail import Tail
from tests.support.fakes import FakeReader, FakeSocket, finish
from tests.support.samples import job_data, job_event, settings, streams_metrics

RED = "red"
BLUE = "blue"
NOW_MS = 1_000_000


def event(ms: int, channel: str = RED) -> Event:
    """Return an event of the global stream; those of different times are different."""
    return job_event(f"{ms}-0", channel, job=f"job-{ms}")


def from_channel_stream(ms: int, global_ms: int, channel: str = RED) -> Event:
    """Return that event as its channel's stream has it, under an id of its own."""
    return channel_stream_event(b"%d-0" % ms, job_data(channel, f"job-{global_ms}"))


def frames(*events: Event) -> bytes:
    """Return what is sent for those events in one go."""
    return b"".join(event.frame() for event in events)


class ResumptionTestCase(SynchronousTestCase):
    """Has a resumption that was not started, on a clock that the test sets."""

    initial_replay_ms = 0

    def setUp(self) -> None:
        """Make it."""
        self.now = NOW_MS / 1000
        self.history = FakeReader()
        self.metrics = streams_metrics()
        self.hub = Hub(self.metrics, lambda: self.now, settings())
        self.resumption = Resumption(
            self.hub,
            Tail(10, 2**20),
            self.history,
            self.metrics,
            lambda: self.now,
            self.initial_replay_ms,
        )

    def join(self, channel: str = RED, last_id: str | None = None) -> FakeSocket:
        """Let a socket join."""
        socket = FakeSocket(channel)
        self.resumption.join(socket, last_id)
        return socket

    def deliver(self, *events: Event) -> None:
        """Deliver events one by one."""
        for one in events:
            finish(self.resumption.deliver([one]))


class StartedTestCase(ResumptionTestCase):
    """Has one that was started with all events there ever were, none."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.resumption.start([], whole_from=b"0-0")


class DeliverTests(StartedTestCase):
    """Live events."""

    def test_channels(self) -> None:
        """Every socket of the channel is sent its events in order, and no other socket is."""
        reds, blue = [self.join(RED) for _ in range(3)], self.join(BLUE)
        events = [event(1), event(2), event(3, BLUE), event(4), event(5, "nobody's")]
        self.deliver(*events)
        for red in reds:
            self.assertEqual(red.sent, [events[0].frame(), events[1].frame(), events[3].frame()])
        self.assertEqual(blue.sent, [events[2].frame()])

    def test_frame_is_built_once(self) -> None:
        """All sockets of a channel are sent the same object."""
        one, other = self.join(), self.join()
        self.deliver(event(1))
        self.assertIs(one.sent[0], other.sent[0])

    def test_late_socket(self) -> None:
        """A socket hears nothing of what was delivered before it joined."""
        self.deliver(event(1))
        socket = self.join()
        self.deliver(event(2))
        self.assertEqual(socket.sent, [event(2).frame()])

    def test_broken_socket(self) -> None:
        """A socket that cannot be sent to is dropped and counted; the others get the event."""
        before, broken, after = self.join(), self.join(), self.join()
        broken.broken = True
        self.deliver(event(1), event(2))
        for healthy in (before, after):
            self.assertEqual(healthy.sent, [event(1).frame(), event(2).frame()])
        self.assertEqual((broken.open, list(self.hub.sockets)), (False, [before, after]))
        self.assertEqual(self.metrics.total(CLIENT_SEND_ERROR), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_broken_while_resuming(self) -> None:
        """So is a socket to which what it missed cannot be sent."""
        self.deliver(event(1), event(2))
        broken = FakeSocket(RED, broken=True)
        self.resumption.join(broken, "1-0")
        self.assertEqual((broken.open, self.hub.socket_count), (False, 0))
        self.assertEqual(
            (self.resumption.channel_count, self.metrics.total(CLIENT_SEND_ERROR)), (0, 1)
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class TailResumeTests(StartedTestCase):
    """Clients whose last event the tail has."""

    def test_missed_events(self) -> None:
        """What was missed goes to the asking socket only, at once, before anything newer."""
        other = self.join()
        self.deliver(event(1), event(2), event(3, BLUE), event(4))
        heard = list(other.sent)
        socket = self.join(last_id="1-0")
        self.assertEqual(b"".join(socket.sent), frames(event(2), event(4)))
        self.assertEqual(other.sent, heard)
        self.deliver(event(5))
        self.assertEqual(b"".join(socket.sent), frames(event(2), event(4), event(5)))
        self.assertEqual(self.history.readings, [])

    def test_nothing_missed(self) -> None:
        """A client that has the newest event is sent nothing, and is live."""
        self.deliver(event(1))
        socket = self.join(last_id="1-0")
        self.assertEqual(socket.sent, [])
        self.deliver(event(2))
        self.assertEqual(socket.sent, [event(2).frame()])

    def test_event_of_another_channel(self) -> None:
        """The id of another channel's event says nothing about this channel."""
        self.deliver(event(1, BLUE), event(2))
        socket = self.join(last_id="1-0")
        self.assertEqual(socket.sent, [])
        (reading,) = self.history.readings
        self.assertEqual(reading.channel, RED)

    def test_id_of_a_channel_stream(self) -> None:
        """An id spelt as one of a channel stream is not taken for one of the global stream."""
        self.deliver(event(1), event(2))
        self.assertEqual(self.join(last_id="1-00").sent, [])
        self.assertEqual(len(self.history.readings), 1)


class HistoryResumeTests(StartedTestCase):
    """Clients for which the channel's stream is read."""

    def wait(self, last_id: str = "20000-0") -> FakeSocket:
        """Let a socket join that waits for a reading."""
        count = len(self.history.readings)
        socket = self.join(last_id=last_id)
        self.assertEqual(len(self.history.readings), count + 1)
        return socket

    def test_where_to_read(self) -> None:
        """The channel's stream is read from a little before the client's last event."""
        for last_id, read_from in (
            ("20000-7", StreamId(20000 - SKEW_MS, 0)),
            ("20000-07", StreamId(20000 - SKEW_MS, 0)),
            ("17-3", StreamId(0, 0)),
        ):
            self.wait(last_id)
            self.assertEqual(self.history.readings[-1].channel, RED)
            self.assertEqual(self.history.readings[-1].read_from, read_from)

    def test_id_before_the_tail(self) -> None:
        """What precedes the tail may be of the global stream, though no older event is known."""
        self.deliver(event(101_001))
        socket = self.wait("101000-0")
        # The client's last event was told by the global stream under that id.
        last, missed = from_channel_stream(100_000, 101_000), from_channel_stream(100_900, 101_100)
        same_id = from_channel_stream(101_000, 101_200)
        told = from_channel_stream(101_001, 101_001)
        self.history.readings[0].answer([last, missed, same_id, told], 0)
        self.assertEqual(b"".join(socket.sent), frames(last, missed, same_id, event(101_001)))

    def test_id_before_a_gap(self) -> None:
        """After a gap the ids before it prove nothing: an event may come again, none is lost."""
        self.deliver(event(10_000), event(30_000))
        self.resumption.gap()
        self.deliver(event(15_000), event(40_000))
        socket = self.wait("12000-0")
        again, missed = from_channel_stream(12_000, 12_500), from_channel_stream(13_000, 13_500)
        told = [
            from_channel_stream(30_000 + number, global_ms)
            for number, global_ms in enumerate((30_000, 15_000, 40_000))
        ]
        self.history.readings[0].answer([again, missed, *told], 0)
        self.assertEqual(
            b"".join(socket.sent),
            frames(again, missed, event(30_000), event(15_000), event(40_000)),
        )

    def test_answer(self) -> None:
        """A waiting socket hears nothing live; then all that it missed, in order, each once."""
        self.deliver(event(30_000))
        socket = self.wait()
        self.deliver(event(30_001), event(30_002, BLUE))
        self.assertEqual((socket.sent, self.resumption.channel_count), ([], 0))
        (reading,) = self.history.readings
        old = from_channel_stream(20_001, 20_002)
        reading.answer([old, from_channel_stream(29_999, 30_000)], 0)
        self.assertEqual(b"".join(socket.sent), frames(old, event(30_000), event(30_001)))
        self.deliver(event(30_003))
        self.assertEqual(socket.sent[1:], [event(30_003).frame()])

    def test_nothing_missed(self) -> None:
        """An empty answer lets the socket join."""
        socket = self.wait()
        self.history.readings[0].answer([], 0)
        self.assertEqual(socket.sent, [])
        self.deliver(event(30_000))
        self.assertEqual(socket.sent, [event(30_000).frame()])

    def test_events_outlive_the_tail(self) -> None:
        """What arrives during a reading reaches its socket, however little the tail holds."""
        socket = self.wait()
        arrived = [event(30_000 + number) for number in range(30)]
        self.deliver(*arrived)
        self.history.readings[0].answer([], 0)
        self.assertEqual(b"".join(socket.sent), frames(*arrived))

    def test_id_from_the_future(self) -> None:
        """A client that was told what Redis has lost since gets all that its channel has."""
        self.deliver(event(10_000))
        socket = self.wait(f"{10_001 + SKEW_MS}-0")
        (reading,) = self.history.readings
        self.assertEqual(reading.read_from, StreamId(0, 0))
        old = from_channel_stream(1, 2)
        reading.answer([old, from_channel_stream(9_999, 10_000)], 0)
        self.assertEqual(b"".join(socket.sent), frames(old, event(10_000)))

    def test_server_that_lags(self) -> None:
        """An id a little ahead of what was read is that of another server, and taken as it is."""
        self.deliver(event(10_000))
        self.wait(f"{10_000 + SKEW_MS}-0")
        self.assertEqual(self.history.readings[0].read_from, StreamId(10_000, 0))

    def test_gap(self) -> None:
        """What Redis has trimmed is told, with how much it can be, and counted."""
        self.deliver(event(20_006))
        self.resumption.gap()
        for trimmed, shown in ((7, "up to 7"), (None, "some")):
            socket = self.wait("20000-00")
            kept = from_channel_stream(20_005, 20_006)
            with capturedLogs() as logs:
                self.history.readings[-1].answer([kept], trimmed)
            self.assertEqual(b"".join(socket.sent), event(20_006).frame())
            (warning,) = [one for one in logs if one["log_level"] is LogLevel.warn]
            self.assertEqual((warning["count"], warning["since"]), (shown, "20000-00"))
        self.assertEqual(self.metrics.total(STREAM_GAP), 2)

    def test_no_gap(self) -> None:
        """Nothing is lost that the tail has, nor after an event that the stream still holds."""
        self.deliver(event(19_000), event(30_000))
        self.wait("20000-00")
        self.history.readings[0].answer([], 7)
        self.resumption.gap()
        self.wait("20000-00")
        self.history.readings[1].answer([from_channel_stream(20_000, 20_000)], 7)
        self.assertEqual(self.metrics.total(STREAM_GAP), 0)

    def test_socket_leaves(self) -> None:
        """The reading of a socket that left is not wanted; its answer does nothing."""
        socket = self.wait()
        (reading,) = self.history.readings
        self.assertTrue(reading.wanted)
        self.hub.leave(socket)
        self.assertFalse(reading.wanted)
        reading.answer([from_channel_stream(20_001, 20_002)], 0)
        self.deliver(event(30_000))
        self.assertEqual((socket.sent, self.resumption.channel_count), ([], 0))

    def test_reading_fails(self) -> None:
        """A socket whose missed events will never be known is ended, so that it comes back."""
        socket = self.join(RED, "1-1")
        self.history.readings[0].fail()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual((socket.open, self.hub.socket_count), (False, 0))

    def test_one_leaves_of_two_that_wait(self) -> None:
        """Each socket has its own reading, which ends with it alone."""
        gone, stays = self.wait(), self.wait()
        self.hub.leave(gone)
        self.assertEqual([reading.wanted for reading in self.history.readings], [False, True])
        self.deliver(event(30_000))
        self.history.readings[1].answer([], 0)
        self.assertEqual((gone.sent, stays.sent), ([], [event(30_000).frame()]))

    def test_waiting_and_live(self) -> None:
        """A live socket of the channel is not held up by one that waits, nor sent its answer."""
        live, waiting = self.join(), self.wait()
        self.deliver(event(30_000))
        self.assertEqual((live.sent, waiting.sent), ([event(30_000).frame()], []))
        old = from_channel_stream(20_001, 20_002)
        self.history.readings[0].answer([old], 0)
        self.assertEqual(len(live.sent), 1)
        self.assertEqual(b"".join(waiting.sent), frames(old, event(30_000)))
        self.deliver(event(30_001))
        self.assertEqual([socket.sent[-1] for socket in (live, waiting)], [live.sent[1]] * 2)

    def test_leaving_socket_keeps_the_channel(self) -> None:
        """A waiting socket that leaves does not silence a live one of its channel."""
        live, waiting = self.join(), self.wait()
        self.hub.leave(waiting)
        self.deliver(event(30_000))
        self.assertEqual(live.sent, [event(30_000).frame()])


class GapTests(StartedTestCase):
    """What the source of events tells when Redis has lost some."""

    def test_gap(self) -> None:
        """A gap concerns the channels that have listeners."""
        for channel in (RED, RED, BLUE):
            self.join(channel)
        self.assertEqual(self.resumption.gap(), 2)


class EarlyTests(StartedTestCase):
    """Events that the channel's stream tells before the global stream does."""

    def setUp(self) -> None:
        """Let a socket be told such an event, and one be live."""
        super().setUp()
        self.deliver(event(20_000))
        self.live = self.join()
        self.socket = self.join(last_id="20000-00")
        self.early = from_channel_stream(20_001, 20_002)
        self.history.readings[0].answer([from_channel_stream(20_000, 20_000), self.early], 0)
        self.assertEqual(self.socket.sent, [self.early.frame()])

    def test_not_sent_twice(self) -> None:
        """When the global stream tells it too, only the others are sent it."""
        self.deliver(event(20_002))
        self.assertEqual(self.socket.sent, [self.early.frame()])
        self.assertEqual(self.live.sent, [event(20_002).frame()])
        self.deliver(event(20_003))
        self.assertEqual(self.socket.sent[1:], [event(20_003).frame()])

    def test_cancels_once(self) -> None:
        """A later event with the same data is an event of its own."""
        again = job_event("20004-0", RED, job="job-20002")
        self.deliver(event(20_002), again)
        self.assertEqual(self.socket.sent[1:], [again.frame()])

    def sweep_then_deliver(self, newest_ms: int) -> list[bytes]:
        """Sweep when that event is the newest, then deliver the early one; return what is sent."""
        self.deliver(event(newest_ms, BLUE))
        self.resumption.sweep()
        self.deliver(job_event(f"{newest_ms + 1}-0", RED, job="job-20002"))
        return self.socket.sent[1:]

    def test_sweep_keeps_the_new(self) -> None:
        """A sweep forgets nothing that the global stream may still tell."""
        self.assertEqual(self.sweep_then_deliver(20_001 + SKEW_MS), [])

    def test_sweep_lets_go_of_the_old(self) -> None:
        """A sweep lets go of what the global stream has long told, or never will."""
        self.assertEqual(len(self.sweep_then_deliver(20_002 + SKEW_MS)), 1)

    def test_memory(self) -> None:
        """Nothing is left of it once it is told, old, or its socket gone."""
        self.assertTrue(self.resumption._early)
        self.hub.leave(self.socket)
        self.assertFalse(self.resumption._early)


class BeforeStartTests(ResumptionTestCase):
    """Sockets that come before the tail is filled."""

    def test_sockets_wait(self) -> None:
        """They are counted but sent nothing; start serves each by its last_id."""
        resuming, new, unknown = self.join(last_id="1-0"), self.join(), self.join(last_id="3-00")
        self.assertEqual(list(list(self.hub.sockets)), [resuming, new, unknown])
        self.assertEqual((self.resumption.channel_count, self.history.readings), (0, []))
        self.resumption.start([event(1), event(2), event(3, BLUE)], whole_from=b"0-0")
        self.assertEqual(resuming.sent, [event(2).frame()])
        self.assertEqual((new.sent, unknown.sent, len(self.history.readings)), ([], [], 1))
        self.deliver(event(4))
        self.assertEqual([s.sent[-1:] for s in (resuming, new)], [[event(4).frame()]] * 2)

    def test_leave(self) -> None:
        """A socket that leaves before the start is not served."""
        socket = self.join(last_id="1-0")
        self.assertTrue(self.hub.leave(socket))
        self.resumption.start([event(1), event(2)], whole_from=b"0-0")
        self.assertEqual((socket.sent, self.resumption.channel_count), ([], 0))

    def test_broken(self) -> None:
        """One that cannot be sent to does not stop the others."""
        broken, healthy = self.join(last_id="1-0"), self.join(last_id="1-0")
        broken.broken = True
        self.resumption.start([event(1), event(2)], whole_from=b"0-0")
        self.assertEqual((healthy.sent, list(self.hub.sockets)), ([event(2).frame()], [healthy]))
        self.flushLoggedErrors(OSError)


class InitialReplayTests(ResumptionTestCase):
    """Clients without a last_id."""

    initial_replay_ms = 1000
    old = event(NOW_MS - 1001)
    first = event(NOW_MS - 1000)
    last = event(NOW_MS - 1)

    def test_tail_covers_the_time(self) -> None:
        """They are sent their channel's events of the last time, from the tail."""
        other = event(NOW_MS - 500, BLUE)
        self.resumption.start([self.old, self.first, other, self.last], whole_from=self.old.id)
        socket = self.join()
        self.assertEqual(b"".join(socket.sent), frames(self.first, self.last))
        self.assertEqual(self.history.readings, [])

    def test_complete_tail(self) -> None:
        """A tail with all events there are covers any time, even with none."""
        self.resumption.start([self.last], whole_from=b"0-0")
        self.assertEqual(self.join().sent, [self.last.frame()])
        self.assertEqual(self.join(BLUE).sent, [])
        self.assertEqual(self.history.readings, [])

    def test_tail_is_too_short(self) -> None:
        """Where the tail does not reach back so far, the channel's stream is read."""
        self.resumption.start([self.first, self.last], whole_from=self.first.id)
        socket = self.join()
        self.assertEqual(socket.sent, [])
        (reading,) = self.history.readings
        self.assertEqual(reading.read_from, StreamId(NOW_MS - 1000, 0))
        reading.answer([from_channel_stream(NOW_MS - 1000, NOW_MS - 1000)], 0)
        self.assertEqual(b"".join(socket.sent), frames(self.first, self.last))

    def test_malformed_last_id(self) -> None:
        """A last_id that is none is treated as none, with a log line that does not repeat it."""
        self.resumption.start([self.last], whole_from=b"0-0")
        for last_id in ("", "x", "1", "1-2-3", "-1-0", " 1-0", "18446744073709551616-0"):
            with capturedLogs() as logs:
                socket = self.join(last_id=last_id)
            self.assertEqual(socket.sent, [self.last.frame()], last_id)
            (warning,) = [one for one in logs if one["log_level"] is LogLevel.warn]
            self.assertEqual(warning["peer"], socket.peer.address)
            self.assertNotIn(last_id, [value for value in warning.values() if value])

    def test_many_malformed_last_ids(self) -> None:
        """Clients that send such over and over do not fill the log."""
        self.resumption.start([], whole_from=b"0-0")
        with capturedLogs() as logs:
            for _ in range(100):
                self.join(last_id="x")
        self.assertEqual(len([one for one in logs if one["log_level"] is LogLevel.warn]), 10)

    def test_time_before_the_epoch(self) -> None:
        """A clock near its beginning is no fault."""
        self.now = 0.5
        self.resumption.start([event(1)], whole_from=event(1).id)
        self.join()
        self.assertEqual(self.history.readings[0].read_from, StreamId(0, 0))


class NoInitialReplayTests(ResumptionTestCase):
    """Clients without a last_id, where the operator wants no replay."""

    def test_none(self) -> None:
        """They are live at once, with nothing read and nothing sent."""
        self.resumption.start([event(NOW_MS)], whole_from=event(NOW_MS).id)
        socket = self.join()
        self.assertEqual((socket.sent, self.history.readings), ([], []))
        self.deliver(event(NOW_MS + 1))
        self.assertEqual(len(socket.sent), 1)


class StepTests(StartedTestCase):
    """What may happen between two steps of a delivery."""

    def setUp(self) -> None:
        """Has a pause after each socket."""
        super().setUp()
        self.patch(audience, "_SOCKETS_PER_STEP", 1)

    def test_one_write(self) -> None:
        """The events of a delivery reach a socket in one write, in order."""
        socket, other = self.join(), self.join(BLUE)
        finish(self.resumption.deliver([event(1), event(2, BLUE), event(3)]))
        self.assertEqual(socket.sent, [event(1).frame() + event(3).frame()])
        self.assertEqual(other.sent, [event(2, BLUE).frame()])

    def test_join_between(self) -> None:
        """A socket that joins in mid-delivery is sent everything once."""
        self.join(), self.join()
        finish(self.resumption.deliver([event(1)]))
        steps = self.resumption.deliver([event(2), event(3)])
        next(steps)
        late = self.join(last_id=event(1).id.decode())
        finish(steps)
        self.assertEqual(late.sent, [event(2).frame() + event(3).frame()])

    def test_leave_between(self) -> None:
        """A socket that leaves in mid-delivery is sent nothing more; the others are."""
        first, second, third = self.join(), self.join(), self.join()
        steps = self.resumption.deliver([event(1)])
        next(steps)
        self.hub.leave(second)
        finish(steps)
        self.assertEqual([len(one.sent) for one in (first, second, third)], [1, 0, 1])


class CountTests(StartedTestCase):
    """What is counted."""

    def test_events(self) -> None:
        """Events are counted by whether anybody listens; a socket that waits does not yet."""
        self.join(RED)
        self.join(BLUE, last_id="20000-0")
        finish(self.resumption.deliver([event(1), event(2), event(3, BLUE), event(4, "none")]))
        totals = [
            self.metrics.total(one)
            for one in (EVENTS_READ, EVENTS_DELIVERED, EVENTS_WITHOUT_LISTENER)
        ]
        self.assertEqual(totals, [4, 2, 2])
