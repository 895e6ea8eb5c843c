"""The bookkeeping of streams: what was published, and what each client has received.

The events of a channel are numbered from 1.  For each client this shows, across all its
connections, which events are missing, duplicated or late.
"""

import enum

import msgspec

from gaq_twisted.tools.loadtest.report import Counts, Report


class NumberedEvent(msgspec.Struct, gc=False):
    """The part of an event that the load test reads: ids, and the keys that it has added."""

    id: str
    """The stream id that the server put into the frame."""
    channel_id: str
    number: int
    published_ns: int
    """When it was sent to Redis, by the generator's own clock."""


class Sight(enum.Enum):
    """How an event arrived at a client."""

    IN_ORDER = enum.auto()
    """For the first time, and after all older ones that have arrived."""
    LATE = enum.auto()
    """For the first time, but after a newer one."""
    AGAIN = enum.auto()


class Channel:
    """A channel, and what was published to it.

    Args:
        name: its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.newest = 0
        """The number of the newest event."""
        self.unpublished: set[int] = set()
        """The numbers of events that may be missing in one or both streams."""

    def next_number(self) -> int:
        """Returns the number of a new event."""
        self.newest += 1
        return self.newest

    @property
    def published(self) -> int:
        """How many events each listener must receive."""
        return self.newest - len(self.unpublished)


class Listener:
    """A client that has been listening to a channel since before its first event.

    Args:
        channel: the channel.
    """

    __slots__ = ("_missing", "_newest", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._newest = 0
        # Only gaps below the newest need memory.
        self._missing: set[int] = set()

    def see(self, number: int) -> Sight:
        """Records an event by its number; returns how it arrived."""
        if number > self._newest:
            self._missing.update(range(self._newest + 1, number))
            self._newest = number
            return Sight.IN_ORDER
        if number in self._missing:
            self._missing.remove(number)
            return Sight.LATE
        return Sight.AGAIN

    def lost(self) -> int:
        """Returns how many of the channel's published events have not arrived."""
        unpublished = self.channel.unpublished
        too_new = sum(number > self._newest for number in unpublished)
        return len(self._missing - unpublished) + self.channel.newest - self._newest - too_new


class Record(Counts):
    """All counts of a load test of streams.

    Args:
        channel_names: the names of its channels.
    """

    def __init__(self, channel_names: list[str]) -> None:
        super().__init__()
        self.channels = [Channel(name) for name in channel_names]
        self.listeners: list[Listener] = []
        self.caught_up = 0
        """Frames of events that were published while the client was away."""

    def add_listener(self, channel: Channel) -> Listener:
        """Returns a new client of a channel, which has connected for the first time."""
        listener = Listener(channel)
        self.listeners.append(listener)
        return listener

    def take(
        self, listener: Listener, event: NumberedEvent, *, opened_ns: int, now_ns: int
    ) -> bool:
        """Records an event that a client has received; returns whether it is the client's.

        Args:
            listener: the client.
            event: the event.
            opened_ns: when the client's connection was opened.
            now_ns: when the event arrived.
        """
        channel = listener.channel
        if event.channel_id != channel.name or not 1 <= event.number <= channel.newest:
            self.misdelivered += 1
            return False
        self.frames += 1
        sight = listener.see(event.number)
        if sight is Sight.AGAIN:
            self.duplicated += 1
            return True
        # An event that is only in the channel's stream has no place in the global order.
        if sight is Sight.LATE and event.number not in channel.unpublished:
            self.out_of_order += 1
        # The time that a client was away is no latency of the server.
        if event.published_ns < opened_ns:
            self.caught_up += 1
        else:
            self.latencies.add((now_ns - event.published_ns) // 1000)
        return True

    def lost(self) -> int:
        """Returns how many events have not arrived, over all clients."""
        return sum(listener.lost() for listener in self.listeners)

    def report(self) -> Report:
        """Returns the result."""
        published = sum(channel.published for channel in self.channels)
        return Report(
            **self.totals(len(self.listeners), published),
            channels=len(self.channels),
            frames_expected=sum(listener.channel.published for listener in self.listeners),
            caught_up=self.caught_up,
            lost=self.lost(),
        )
