"""What a returning client missed, worked out from its channel's stream and the tail.

The two streams hold the same events in slightly different orders under
different ids.  Whatever is sent keeps two rules, so that a client may drop
after any frame and still lose nothing:

- After a frame with an id of the channel stream the client has every entry of
  that stream up to that id.
- After a frame with an id of the global stream the client has every event of
  its channel up to that id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from gaq_twisted.streams.events import Event, LastId, StreamId

SKEW_MS = 5000
"""How long a publisher may take between its two XADDs without an event being missed."""


class Gap(NamedTuple):
    """Events that a client missed and that are gone for good."""

    since: LastId
    """They came after this."""
    at_most: int | None
    """How many there can be, or None if that cannot be known."""


class Missed(NamedTuple):
    """What to send to a returning client."""

    events: list[Event]
    """The events it missed, in the order to send them."""
    early: list[Event]
    """Those that it has then and that the global stream may still be about to tell."""
    gap: Gap | None
    """What it missed besides, as far as that can be known."""


class Reading:
    """A client that waits until its channel's stream has been read.

    The events that arrive meanwhile are kept here, so that it does not matter
    how much of the tail is dropped before the answer comes.
    """

    def __init__(
        self,
        channel: str,
        *,
        since: LastId,
        read_from: StreamId,
        tail_from_ms: int,
        tail_now: Callable[[], list[Event]],
        tail_covers: Callable[[int], bool],
        done: "Callable[[Reading, Missed | None], None]",
    ) -> None:
        """Describe what is needed.

        Args:
            channel: whose stream to read.
            since: the client has what came up to this id.
            read_from: the first id of the channel stream to read.
            tail_from_ms: the client has what the tail holds of before that time,
                in milliseconds since 1970.
            tail_now: returns the channel's events in the tail.
            tail_covers: returns whether these are all since a time, in
                milliseconds since 1970.
            done: called with this reading and what the client missed; or None
                if that will never be known.
        """
        self.channel = channel
        self.read_from = read_from
        self.wanted = True
        """False once the client is gone."""
        self._since = since
        self._tail_from_ms = tail_from_ms
        self._tail_now = tail_now
        self._tail_covers = tail_covers
        self._done = done
        self._tail: list[Event] = []
        self._tail_is_whole = False
        self._arrived: list[Event] = []

    def begin(self) -> None:
        """Do this before each try to read the channel stream."""
        self._tail = self._tail_now()
        self._tail_is_whole = self._tail_covers(self._tail_from_ms)
        self._arrived = []

    def deliver(self, events: Sequence[Event]) -> None:
        """Take the channel's next events of the global stream."""
        self._arrived.extend(events)

    def answer(self, entries: Sequence[Event], trimmed: int | None) -> None:
        """Tell the client what it missed, unless it is gone.

        Args:
            entries: as for `missed`.
            trimmed: as for `missed`.
        """
        if self.wanted:
            self._done(self, self.missed(entries, trimmed))

    def fail(self) -> None:
        """Tell that there will be no answer."""
        if self.wanted:
            self._done(self, None)

    def missed(self, entries: Sequence[Event], trimmed: int | None) -> Missed:
        """Return what the client missed.

        Args:
            entries: the channel stream's events from `read_from` on, in stream
                order, read after `begin`.
            trimmed: how many entries were trimmed that came before these, if
                those from `read_from` on can be among them; 0 if none of these
                was; None if that cannot be known.
        """
        had, missed = self._split(entries)
        lacks = trimmed != 0 and not had and not self._tail_is_whole
        gap = Gap(self._since, trimmed) if lacks else None
        tail = [event for event in self._tail if event.stream_id().ms >= self._tail_from_ms]
        told = tail + self._arrived
        early = _without(_recent(entries), told)
        held = _without(told, had)
        unheld = _without(missed, held)
        if not unheld:
            return Missed(held, early, gap)
        # What is not held is older than the tail, or the global stream does not
        # tell it yet.  It goes first, with all that precedes it in its own
        # stream.  What was trimmed from that stream comes even before, under the
        # id that the client has already.
        in_stream = {event.data for event in entries}
        told_only = [event for event in _without(tail, had) if event.data not in in_stream]
        cut = missed.index(unheld[-1]) + 1
        first = [event.with_id(bytes(self._since)) for event in told_only] + missed[:cut]
        return Missed(first + _without(held, first), early, gap)

    def _split(self, entries: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        # Any other id may be of the global stream, and name another event there.
        if self._since.of_channel_stream:
            last = bytes(self._since)
            for index, event in enumerate(entries, 1):
                if event.id == last:
                    return list(entries[:index]), list(entries[index:])
        return [], list(entries)


class History(Protocol):
    """Reads channel streams for clients whose last event is not in the tail."""

    def read(self, reading: Reading) -> None:
        """Answer that reading or let it fail, sooner or later, while it is wanted."""


def _recent(events: Sequence[Event]) -> list[Event]:
    start = len(events)
    oldest_ms = events[-1].stream_id().ms - SKEW_MS if events else 0
    while start and events[start - 1].stream_id().ms >= oldest_ms:
        start -= 1
    return list(events[start:])


def _without(events: Iterable[Event], others: Iterable[Event]) -> list[Event]:
    """Return the events left after each of the others has cancelled one with the same data."""
    left = Counter(event.data for event in others)
    kept: list[Event] = []
    for event in events:
        if left[event.data] > 0:
            left[event.data] -= 1
        else:
            kept.append(event)
    return kept
