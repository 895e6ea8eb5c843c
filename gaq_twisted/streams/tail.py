"""The recent end of the global stream, kept in memory so that most reconnects need no Redis."""

from collections import deque
from collections.abc import Sequence

from gaq_twisted.streams.events import Event, StreamId

# The memory of an event without its data: the Event, its bytes and str objects, and its entries
# in the deque and in its channel's list. According to tracemalloc on CPython 3.11 that is 223 bytes
# if channels have many events, and 380 if each event is the only one of its channel.
_EVENT_OVERHEAD_BYTES = 380


class Tail:
    """The last events in stream order, bounded in number and bytes, indexed by channel.

    Args:
        max_events: the maximum number of events.
        max_bytes: the approximate maximum memory of the events.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()
        self._channels: dict[str, list[Event]] = {}
        # Events up to these two ids, if set, may be missing from the tail.
        self._missing_until: StreamId | None = None
        self._dropped_until: bytes | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def size_bytes(self) -> int:
        """The approximate memory that the events take."""
        return self._bytes

    @property
    def newest_id(self) -> StreamId:
        """The id of the newest event; 0-0 if there is none."""
        return self._events[-1].stream_id() if self._events else StreamId(0, 0)

    def extend(self, events: Sequence[Event]) -> None:
        """Adds the next events; drops the oldest when there is no room."""
        self._events.extend(events)
        channels = self._channels
        added_bytes = 0
        for event in events:
            of_channel = channels.get(event.channel)
            if of_channel is None:
                channels[event.channel] = [event]
            else:
                of_channel.append(event)
            added_bytes += len(event.data)
        self._bytes += added_bytes + len(events) * _EVENT_OVERHEAD_BYTES
        if len(self._events) > self.max_events or self._bytes > self.max_bytes:
            self._drop_oldest()

    def mark_incomplete(self, until: StreamId) -> None:
        """Records that events up to an id may be missing from the tail."""
        self._missing_until = max(self._missing_until or until, until)

    def covers(self, ms: int) -> bool:
        """Returns whether the tail has every event published at or after a time.

        Args:
            ms: milliseconds since 1970 by the clock of Redis.
        """
        if self._missing_until is not None and self._missing_until.ms >= ms:
            return False
        return self._dropped_until is None or StreamId.parse(self._dropped_until).ms < ms

    def of_channel(self, channel: str) -> list[Event]:
        """Returns the channel's events, oldest first."""
        return list(self._channels.get(channel, ()))

    def after(self, channel: str, last_id: StreamId) -> list[Event] | None:
        """Returns the channel's events that came after the one with an id.

        Returns:
            The events, oldest first; None if the tail has no event of the channel with that id.
        """
        wanted = bytes(last_id)
        newer: list[Event] = []
        for event in reversed(self._channels.get(channel, ())):
            if event.id == wanted:
                newer.reverse()
                return newer
            newer.append(event)
        return None

    def since(self, channel: str, ms: int) -> list[Event]:
        """Returns the channel's events published at or after a time, oldest first.

        Args:
            channel: the channel's id.
            ms: milliseconds since 1970 by the clock of Redis.
        """
        newer: list[Event] = []
        for event in reversed(self._channels.get(channel, ())):
            if event.stream_id().ms < ms:
                break
            newer.append(event)
        newer.reverse()
        return newer

    def _drop_oldest(self) -> None:
        """Drops as many events as there is no room for."""
        events, channels, size_bytes = self._events, self._channels, self._bytes
        surplus = len(events) - self.max_events
        dropped_until = self._dropped_until
        while surplus > 0 or size_bytes > self.max_bytes:
            event = events.popleft()
            surplus -= 1
            of_channel = channels[event.channel]
            if len(of_channel) == 1:
                del channels[event.channel]
            else:
                del of_channel[0]
            size_bytes -= len(event.data) + _EVENT_OVERHEAD_BYTES
            dropped_until = event.id
        self._bytes, self._dropped_until = size_bytes, dropped_until
