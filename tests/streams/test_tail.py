"""The tail, checked by hand and against a plain list."""

import tracemalloc
from collections.abc import Iterable

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import Event, StreamId
from gaq_twisted.streams.tail import Tail
from tests.support.properties import for_any

ROOM = 10**9
CHANNELS = ("a", "b", "c")


def _event(stream_id: str, channel: str = "a", size: int = 10) -> Event:
    return Event(stream_id.encode(), channel, b"x" * size)


def _tail(*events: Event, max_events: int = ROOM, max_bytes: int = ROOM) -> Tail:
    tail = Tail(max_events, max_bytes)
    tail.extend(events)
    return tail


def _cost(event: Event) -> int:
    """Return what a tail counts for that event."""
    return _tail(event).size_bytes


def _ids(events: list[Event] | None) -> list[str] | None:
    return None if events is None else [event.id.decode() for event in events]


@st.composite
def _streams(draw: st.DrawFn) -> list[Event]:
    """Make events as one stream has them, some of the same millisecond."""
    events: list[Event] = []
    ms, seq = 10, 0
    for step in draw(st.lists(st.integers(0, 2), max_size=12)):
        ms, seq = ms + step, 0 if step else seq + 1
        channel, size = draw(st.sampled_from(CHANNELS)), draw(st.integers(2, 300))
        events.append(_event(f"{ms}-{seq}", channel, size))
    return events


def _measured_bytes(max_bytes: int, sizes: Iterable[int], *, one_channel: bool) -> int:
    """Return how much memory a tail takes once it was filled with new events of those sizes."""
    data = {size: b"x" * size for size in set(sizes)}
    tail = Tail(ROOM, max_bytes)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number, size in enumerate(sizes):
            channel = "one" if one_channel else f"0b52a3f5-0000-0000-0000-{number:012}"
            tail.extend([Event(b"1795406438721-%d" % number, channel, data[size] + b"%d" % number)])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


class BoundsTests(SynchronousTestCase):
    """How much a tail keeps."""

    def test_empty(self) -> None:
        """An empty tail holds nothing, and lacks nothing."""
        tail = _tail()
        self.assertEqual((len(tail), tail.size_bytes, tail.newest_id), (0, 0, StreamId(0, 0)))
        self.assertEqual((tail.of_channel("a"), tail.since("a", 0)), ([], []))
        self.assertIsNone(tail.after("a", StreamId(0, 0)))
        self.assertTrue(tail.covers(0))

    def test_memory(self) -> None:
        """However large or many the events are, the memory they take stays within the bound."""
        max_bytes = 4 * 2**20
        for size, count in ((1_000_000, 20), (3000, 3000), (223, 20_000), (0, 30_000)):
            for one_channel in (True, False):
                measured = _measured_bytes(max_bytes, [size] * count, one_channel=one_channel)
                self.assertLess(measured, 1.01 * max_bytes, f"{size=} {one_channel=}")
                self.assertGreater(measured, 0.35 * max_bytes, f"{size=} {one_channel=}")

    def test_by_number(self) -> None:
        """The oldest events are dropped when there are too many, whatever their channels."""
        tail = _tail(_event("1-0"), _event("2-0", "b"), _event("3-0"), max_events=2)
        self.assertEqual(len(tail), 2)
        self.assertEqual(_ids(tail.of_channel("a")), ["3-0"])
        self.assertEqual(_ids(tail.of_channel("b")), ["2-0"])

    def test_by_bytes(self) -> None:
        """Exactly as many of the oldest events are dropped as a large one needs room."""
        events = [_event(f"{n}-0") for n in range(1, 5)]
        large = _event("5-0", "b", size=10 + _cost(events[0]))
        room = 4 * _cost(events[0])
        tail = _tail(*events, max_bytes=room)
        self.assertEqual(len(tail), 4)
        tail.extend([large])
        self.assertEqual(_ids(tail.of_channel("a")), ["3-0", "4-0"])
        self.assertEqual(_ids(tail.of_channel("b")), ["5-0"])
        self.assertEqual(tail.size_bytes, room)

    def test_size_includes_the_objects(self) -> None:
        """An event counts for its data and for what Python needs around it."""
        small, large = _cost(_event("1-0", size=2)), _cost(_event("1-0", size=1002))
        self.assertEqual(large - small, 1000)
        self.assertGreater(small, 100)

    def test_event_larger_than_the_bound(self) -> None:
        """An event larger than the bound empties the tail, which then lacks it."""
        tail = _tail(_event("1-0"), max_bytes=1000)
        tail.extend([_event("2-5", size=2000)])
        self.assertEqual((len(tail), tail.size_bytes, tail.of_channel("a")), (0, 0, []))
        self.assertFalse(tail.covers(2))
        self.assertTrue(tail.covers(3))
        tail.extend([_event("3-0")])
        self.assertEqual(_ids(tail.of_channel("a")), ["3-0"])


class LookupTests(SynchronousTestCase):
    """What a tail returns."""

    def setUp(self) -> None:
        """Hold some events of two channels."""
        self.tail = _tail(
            _event("5-0"), _event("5-1", "b"), _event("6-0"), _event("6-1"), _event("8-0", "b")
        )

    def test_after(self) -> None:
        """Events after one of the channel are returned; after any other id there is no answer."""
        for channel, ms, seq, expected in (
            ("a", 5, 0, ["6-0", "6-1"]),
            ("a", 6, 0, ["6-1"]),
            ("a", 6, 1, []),
            ("b", 5, 1, ["8-0"]),
            ("a", 5, 1, None),
            ("b", 5, 0, None),
            ("a", 7, 0, None),
            ("c", 5, 0, None),
        ):
            self.assertEqual(_ids(self.tail.after(channel, StreamId(ms, seq))), expected)

    def test_since(self) -> None:
        """The events since a time are those of that millisecond and later."""
        for ms, expected in ((0, ["5-0", "6-0", "6-1"]), (6, ["6-0", "6-1"]), (7, [])):
            self.assertEqual(_ids(self.tail.since("a", ms)), expected)
        self.assertEqual(self.tail.since("c", 0), [])

    def test_answers_are_copies(self) -> None:
        """Changes to a returned list do not change the tail."""
        for answer in (
            self.tail.of_channel("a"),
            self.tail.since("a", 0),
            self.tail.after("a", StreamId(5, 0)) or [],
        ):
            answer.clear()
        self.assertEqual(_ids(self.tail.of_channel("a")), ["5-0", "6-0", "6-1"])

    def test_may_lack(self) -> None:
        """If the stream began before the tail, only later milliseconds are covered."""
        self.tail.mark_incomplete(StreamId(5, 0))
        self.assertFalse(self.tail.covers(5))
        self.assertTrue(self.tail.covers(6))


class PropertyTests(SynchronousTestCase):
    """The tail against a list."""

    @for_any(_streams(), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3000))
    def test_like_a_list(
        self, events: list[Event], at_a_time: int, max_events: int, max_bytes: int
    ) -> None:
        """After every addition the tail returns the same as a list without its oldest events."""
        tail = Tail(max_events, max_bytes)
        held: list[Event] = []
        for count in range(0, len(events), at_a_time):
            added = events[count : count + at_a_time]
            tail.extend(added)
            held.extend(added)
            while len(held) > max_events or sum(map(_cost, held)) > max_bytes:
                del held[0]
            self.check(tail, held, events[: count + len(added)])

    def check(self, tail: Tail, held: list[Event], seen: list[Event]) -> None:
        """Compare all that a tail returns with what follows from those lists."""
        self.assertEqual(len(tail), len(held))
        self.assertEqual(tail.size_bytes, sum(map(_cost, held)))
        self.assertEqual(tail.newest_id, held[-1].stream_id() if held else StreamId(0, 0))
        for channel in CHANNELS:
            own = [event for event in held if event.channel == channel]
            self.assertEqual(tail.of_channel(channel), own)
            for event in seen:
                after = own[own.index(event) + 1 :] if event in own else None
                self.assertEqual(tail.after(channel, event.stream_id()), after)
        for ms in range(9, seen[-1].stream_id().ms + 2):
            recent = [event for event in seen if event.stream_id().ms >= ms]
            self.assertIs(tail.covers(ms), all(event in held for event in recent), ms)
            for channel in CHANNELS:
                since = [e for e in held if e.channel == channel and e.stream_id().ms >= ms]
                self.assertEqual(tail.since(channel, ms), since)
