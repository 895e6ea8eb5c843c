"""Works out what a returning client missed, from its channel's stream and the tail.

The two streams hold the same events in slightly different orders under different ids.
What is sent follows two rules, so that a client loses nothing if it disconnects after any
frame:

- After a frame with an id of the channel stream the client has every entry of that
  stream up to that id.
- After a frame with an id of the global stream the client has every event of its
  channel up to that id.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gaq_twisted.streams.events import Event, LastId, StreamId

SKEW_MS = 5000
"""The longest time between a publisher's two XADDs for which no event is missed."""


class ResumePoint(NamedTuple):
    """Where a client continues."""

    since: LastId
    """The client has the events up to this id."""
    read_from: StreamId
    """The first id of its channel's stream that it may lack."""
    tail_from_ms: int
    """The client has the tail's events from before this time, in milliseconds since 1970."""


class ChannelHistory(NamedTuple):
    """The events in a channel's stream from a given id on."""

    events: Sequence[Event]
    """Its events in stream order."""
    trimmed: int | None
    """How many older entries Redis has trimmed, if some from that id on may be among them; 0 if
    none is; None if unknown."""


class TailSnapshot(NamedTuple):
    """A channel's events in the tail before the stream of the channel was read."""

    events: Sequence[Event]
    """All of the channel's events, oldest first."""
    is_whole: bool
    """Whether they are complete since the resume point's `tail_from_ms`."""


class Gap(NamedTuple):
    """Events that a client missed and that no longer exist."""

    since: LastId
    """The last event before them."""
    at_most: int | None
    """The most that there can be; None if unknown."""


class Missed(NamedTuple):
    """What to send to a returning client."""

    events: list[Event]
    """The events it missed, in the order to send them."""
    early: list[Event]
    """Events among these that the global stream may still deliver."""
    gap: Gap | None
    """Further events that it missed and that no longer exist, if that is known."""


def missed(
    point: ResumePoint, history: ChannelHistory, tail: TailSnapshot, arrived: Sequence[Event]
) -> Missed:
    """Returns what a client missed.

    Args:
        point: where the client continues.
        history: its channel's stream from `point.read_from` on, read after the snapshot.
        tail: the snapshot of the tail.
        arrived: the channel's events that the global stream has delivered since then.
    """
    entries = history.events
    had, unseen = _split(entries, point.since)
    lacks = history.trimmed != 0 and not had and not tail.is_whole
    gap = Gap(point.since, history.trimmed) if lacks else None
    recent = [event for event in tail.events if event.stream_id().ms >= point.tail_from_ms]
    delivered = [*recent, *arrived]
    early = _without(_recent(entries), delivered)
    held = _without(delivered, had)
    unheld = _without(unseen, held)
    if not unheld:
        return Missed(held, early, gap)
    # Events that are not in the tail are older, or the global stream does not have them yet. They
    # are sent first, with all that precede them in their own stream. The report of trimmed events
    # comes before them, under the id that the client has already.
    in_stream = {event.data for event in entries}
    only_delivered = [event for event in _without(recent, had) if event.data not in in_stream]
    cut = unseen.index(unheld[-1]) + 1
    first = [event.with_id(bytes(point.since)) for event in only_delivered] + unseen[:cut]
    return Missed(first + _without(held, first), early, gap)


def _split(entries: Sequence[Event], since: LastId) -> tuple[list[Event], list[Event]]:
    """Returns the entries that the client certainly has, and the others."""
    # Any other id may be one of the global stream, where it names another event.
    if since.of_channel_stream:
        last = bytes(since)
        for index, event in enumerate(entries, 1):
            if event.id == last:
                return list(entries[:index]), list(entries[index:])
    return [], list(entries)


def _recent(events: Sequence[Event]) -> list[Event]:
    """Returns the events of the last `SKEW_MS` before the newest."""
    start = len(events)
    oldest_ms = events[-1].stream_id().ms - SKEW_MS if events else 0
    while start and events[start - 1].stream_id().ms >= oldest_ms:
        start -= 1
    return list(events[start:])


def _without(events: Iterable[Event], others: Iterable[Event]) -> list[Event]:
    """Returns the events left after each of the others has cancelled one with the same data."""
    left = Counter(event.data for event in others)
    kept: list[Event] = []
    for event in events:
        if left[event.data] > 0:
            left[event.data] -= 1
        else:
            kept.append(event)
    return kept
