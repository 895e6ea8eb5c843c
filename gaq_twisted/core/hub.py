"""Which sockets listen on which channel, and what each of them is sent.

Everything here happens between two turns of the reactor, so each call is
atomic: a socket is sent what it missed and joins its channel in one step, and
no event can slip in between.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from math import ceil
from typing import Any, NamedTuple, Protocol

from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.close import TOKEN_EXPIRED, Close
from gaq_twisted.core.deadlines import Deadlines
from gaq_twisted.core.metrics import (
    CLIENT_SEND_ERROR,
    CONNECTED_CLIENT,
    DELIVERY_SECONDS,
    EVENTS_DELIVERED,
    EVENTS_READ,
    EVENTS_WITHOUT_LISTENER,
    FRAME_BYTES_SENT,
    FRAMES_SENT,
    REPLAY_EVENTS,
    STREAM_GAP,
    Metrics,
)
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import ConnectionReason
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.streams.events import Event, LastId, StreamId
from gaq_twisted.streams.missed import SKEW_MS, Gap, History, Missed, Reading
from gaq_twisted.streams.tail import Tail

# To note when each event is written would cost as much as a tenth of writing it.
_CHANNELS_PER_NOTE = 16
# Where missed events were found.
_IN_TAIL, _IN_STREAM, _OF_LATE = "tail", "channel stream", "initial"


class Socket(Protocol):
    """An open WebSocket as the hub sees it; each is equal only to itself."""

    channel: str
    peer: Peer
    """The client, for the log."""
    expires_at: float | None
    """When it must be gone, in seconds since 1970; None for never."""

    def can_send(self) -> bool:
        """Return whether frames can still be sent."""

    def send(self, frames: bytes) -> None:
        """Send one or more whole frames, or drop the client if too many wait for it."""

    def send_missed(self, frames: bytes) -> None:
        """Send what it missed, however much; a limit would keep it from ever getting that."""

    def ping(self) -> None:
        """Send a ping."""

    def close(self, close: Close) -> None:
        """Begin the closing handshake (RFC 6455 section 7.4)."""

    def drop(self) -> None:
        """End the connection without a closing handshake."""


class NoRoom(Exception):
    """There are as many sockets as there may be; its text is one line that says which."""

    def __init__(self, reason: ConnectionReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Swept(NamedTuple):
    """What a sweep found that should not have been there."""

    sockets: int
    """Sockets that were closed without having left."""
    channels: int
    """Channels without a socket."""


class Hub:
    """Owns the sockets and their channels; an EventSink."""

    _log = Logger()

    def __init__(
        self,
        tail: Tail,
        history: History,
        metrics: Metrics,
        seconds: Callable[[], float],
        settings: Settings,
    ) -> None:
        """Make a hub without sockets.

        Args:
            tail: an empty tail, which the hub fills and owns from now on.
            history: reads channel streams when the tail does not reach back far enough.
            metrics: where to count.
            seconds: returns the time in seconds since 1970.
            settings: how many sockets there may be, and of what time a client
                without a `last_id` gets the events.
        """
        self._tail = tail
        self._history = history
        self._metrics = metrics
        self._seconds = seconds
        self.apply(settings)
        # The round of pings in which each socket answered last, or joined.
        self._last_pong: dict[Socket, int] = {}
        self._ping_round = 0
        self._channels: dict[str, dict[Socket, None]] = {}
        # By channel: sockets that came before the tail was filled, with their last_id.
        self._before_start: dict[str, dict[Socket, str | None]] = {}
        self._is_started = False
        # By channel: the readings under way, and the sockets that wait for them.
        self._readings: dict[str, dict[Reading, Socket]] = {}
        # Events that a socket got from its channel stream and that the global
        # stream may still tell.
        self._got_early: dict[Socket, list[Event]] = {}
        self._expiring: Deadlines[Socket] = Deadlines()
        # With what those are closed that join, once the server is about to stop.
        self._closing: Close | None = None
        # Clients can make such lines come as often as they connect; metrics count them all.
        self._complaints = Throttle(seconds)
        self._gaps = Throttle(seconds)

    def apply(self, settings: Settings) -> None:
        """Go by these settings from now on; sockets that are there stay."""
        self._initial_replay_ms = settings.initial_replay_ms
        self._max_sockets = settings.max_total_connections
        self._max_per_channel = settings.max_connections_per_channel

    @property
    def sockets(self) -> list[Socket]:
        """All sockets that joined and did not leave."""
        return list(self._last_pong)

    @property
    def socket_count(self) -> int:
        """How many sockets joined and did not leave."""
        return len(self._last_pong)

    @property
    def channel_count(self) -> int:
        """How many channels have a socket that hears new events."""
        return len(self._channels)

    # What happens to sockets

    def join(self, socket: Socket, last_id: str | None) -> None:
        """Take in a socket that has just opened and send it what it missed.

        Args:
            socket: the socket; it must not have joined before.
            last_id: the id of the last event that its client received, as the
                client sent it; None if it sent none.

        Raises:
            NoRoom: if there are as many sockets as there may be.
        """
        if self._closing is not None:
            socket.close(self._closing)
            return
        self._check_room(socket.channel)
        # It may leave unanswered what it is not sent yet.
        self._last_pong[socket] = self._ping_round + 1
        self._metrics.increment(CONNECTED_CLIENT)
        if socket.expires_at is not None:
            self._expiring.add(socket, ceil(socket.expires_at))
        if self._is_started:
            self._resume(socket, last_id)
        else:
            self._before_start.setdefault(socket.channel, {})[socket] = last_id

    def _check_room(self, channel: str) -> None:
        if self._max_sockets and len(self._last_pong) >= self._max_sockets:
            raise NoRoom(
                ConnectionReason.TOTAL, f"there are {self._max_sockets} connections already"
            )
        if self._max_per_channel:
            places = (self._channels, self._readings, self._before_start)
            count = sum(len(place.get(channel, ())) for place in places)
            if count >= self._max_per_channel:
                raise NoRoom(
                    ConnectionReason.CHANNEL, f"the channel has {count} connections already"
                )

    def leave(self, socket: Socket) -> bool:
        """Forget a socket; return whether it was known."""
        if self._last_pong.pop(socket, None) is None:
            return False
        self._got_early.pop(socket, None)
        if socket.expires_at is not None:
            self._expiring.discard(socket, ceil(socket.expires_at))
        self._abandon_reading(socket)
        _remove(self._before_start, socket)
        _remove(self._channels, socket)
        return True

    def pong(self, socket: Socket) -> None:
        """Note that a socket has shown that it is alive."""
        if socket in self._last_pong:
            self._last_pong[socket] = self._ping_round

    def ping(self, silent_rounds: int) -> Iterator[bool]:
        """Begin a round of pings: ping every socket, and end those that have been silent too long.

        Time is counted in calls of this method, so that a socket is never blamed
        for a time in which this process itself stood still.

        Args:
            silent_rounds: a socket is ended so many calls after the one that it
                answered last, 2 or more.

        Returns:
            The steps of the round, one for each socket, which may be taken over
            some time: whether the socket was ended.
        """
        self._ping_round += 1
        return self._pinging(self.sockets, self._ping_round - silent_rounds)

    def _pinging(self, sockets: Sequence[Socket], latest: int) -> Iterator[bool]:
        for socket in sockets:
            last = self._last_pong.get(socket)
            if last is None:
                continue
            is_silent = last <= latest
            if is_silent:
                self._log.debug("{client} did not answer pings", **socket.peer.log_fields)
                self._end(socket)
            else:
                try:
                    socket.ping()
                except Exception:
                    self._failed_to_send(socket)
            yield is_silent

    def close_all(self, close: Close) -> None:
        """Close all sockets, and those that join from now on."""
        self._closing = close
        self.close(len(self._last_pong), close)

    def close(self, count: int, close: Close) -> None:
        """Close some sockets, those that joined first.

        Args:
            count: how many.
            close: the code and reason that they are sent.
        """
        for socket in list(islice(self._last_pong, count)):
            self.leave(socket)
            socket.close(close)

    def expire(self, most: int) -> bool:
        """Close sockets whose time is over.

        Args:
            most: how many at most, so that it does not take long.

        Returns:
            Whether there may be more.
        """
        for _ in range(most):
            socket = self._expiring.pop(self._seconds())
            if socket is None:
                return False
            socket.close(TOKEN_EXPIRED)
        return True

    def sweep(self) -> Swept:
        """Drop what should not be there; return how much it was."""
        closed = [socket for socket in self._last_pong if not socket.can_send()]
        for socket in closed:
            self.leave(socket)
        empty = [channel for channel, listeners in self._channels.items() if not listeners]
        for channel in empty:
            del self._channels[channel]
        settled_ms = self._tail.newest_id.ms - SKEW_MS
        for socket, events in list(self._got_early.items()):
            events[:] = [event for event in events if event.stream_id().ms >= settled_ms]
            if not events:
                del self._got_early[socket]
        return Swept(len(closed), len(empty))

    # What the source of events tells (EventSink)

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Fill the tail and answer the sockets that waited for it."""
        self._tail.mark_incomplete(StreamId.parse(whole_from))
        self._tail.extend(recent)
        self._is_started = True
        waiting, self._before_start = self._before_start, {}
        for sockets in waiting.values():
            for socket, last_id in sockets.items():
                self._resume(socket, last_id)

    def deliver(self, events: Sequence[Event]) -> Iterator[None]:
        """Keep events in the tail, and send each to every socket that its channel has now.

        What a socket gets of them is one write. A socket that joins during the
        steps finds them in the tail.
        """
        by_channel: dict[str, list[Event]] = {}
        self._tail.extend(events)
        for event in events:
            channel = event.channel
            if channel in self._channels or channel in self._readings:
                by_channel.setdefault(channel, []).append(event)
        to_send = []
        delivered = 0
        for channel, news in by_channel.items():
            for reading in self._readings.get(channel, ()):
                reading.deliver(news)
            if channel in self._channels:
                to_send.append((list(self._channels[channel]), news))
                delivered += len(news)
        self._metrics.increment(EVENTS_READ, len(events))
        self._metrics.increment(EVENTS_DELIVERED, delivered)
        self._metrics.increment(EVENTS_WITHOUT_LISTENER, len(events) - delivered)
        return self._sending(to_send)

    def _sending(self, to_send: Sequence[tuple[list[Socket], list[Event]]]) -> Iterator[None]:
        sent_frames = sent_bytes = 0
        for number, (listeners, events) in enumerate(to_send):
            frames = _frames(events)
            for socket in listeners:
                if socket in self._got_early:
                    late = [event for event in events if not self._was_early(socket, event)]
                    self._send(socket, _frames(late), socket.send)
                elif socket in self._last_pong:
                    self._send(socket, frames, socket.send)
                yield
            sent_frames += len(events) * len(listeners)
            sent_bytes += len(frames) * len(listeners)
            if not number % _CHANNELS_PER_NOTE:
                latency_seconds = self._seconds() - events[-1].stream_id().ms / 1000
                self._metrics.observe(DELIVERY_SECONDS, max(0.0, latency_seconds))
        self._metrics.increment(FRAMES_SENT, sent_frames)
        self._metrics.increment(FRAME_BYTES_SENT, sent_bytes)

    def gap(self) -> int:
        """Trust the tail no longer to hold all that there was."""
        self._tail.mark_incomplete(self._tail.newest_id)
        return self.channel_count

    def _resume(self, socket: Socket, last_id: str | None) -> None:
        position = None if last_id is None else LastId.parse(last_id)
        if position is None:
            if last_id is not None and self._complaints.admits():
                self._log.warn(
                    "{client}: ignored last_id, which is not <ms>-<seq>",
                    event="last_id_ignored",
                    **socket.peer.log_fields,
                )
            self._resume_new_client(socket)
            return
        if not position.of_channel_stream:
            missed = self._tail.after(socket.channel, position.id)
            if missed is not None:
                self._admit(socket, missed, _IN_TAIL)
                return
        since_ms = position.id.ms
        if self._tail and since_ms > self._tail.newest_id.ms + SKEW_MS:
            # Redis has lost what this client was told last, and numbers from an earlier time on.
            since_ms = 0
        self._read_history(
            socket,
            since=position,
            read_from=StreamId(max(0, since_ms - SKEW_MS), 0),
            tail_from_ms=since_ms,
        )

    def _resume_new_client(self, socket: Socket) -> None:
        # A job can end before its page has opened its first socket.
        since_ms = max(0, int(self._seconds() * 1000) - self._initial_replay_ms)
        if not self._initial_replay_ms:
            self._admit(socket, [], _OF_LATE)
        elif self._tail.covers(since_ms):
            self._admit(socket, self._tail.since(socket.channel, since_ms), _OF_LATE)
        else:
            since = LastId(StreamId(since_ms, 0), of_channel_stream=False)
            self._read_history(socket, since=since, read_from=since.id, tail_from_ms=since_ms)

    def _read_history(
        self,
        socket: Socket,
        *,
        since: LastId,
        read_from: StreamId,
        tail_from_ms: int,
    ) -> None:
        reading = Reading(
            socket.channel,
            since=since,
            read_from=read_from,
            tail_from_ms=tail_from_ms,
            tail_now=partial(self._tail.of_channel, socket.channel),
            tail_covers=self._tail.covers,
            done=self._history_read,
        )
        self._readings.setdefault(socket.channel, {})[reading] = socket
        self._history.read(reading)

    def _history_read(self, reading: Reading, missed: Missed | None) -> None:
        socket = self._readings[reading.channel][reading]
        if missed is None:
            # The browser will come back and try again; left open it would wait for ever.
            self._end(socket)
            return
        self._abandon_reading(socket)
        if missed.early:
            self._got_early[socket] = missed.early
        if missed.gap is not None:
            self._metrics.increment(STREAM_GAP)
            self._tell_gap(socket, missed.gap)
        self._admit(socket, missed.events, _IN_STREAM)

    def _tell_gap(self, socket: Socket, gap: Gap) -> None:
        if self._gaps.admits():
            self._log.warn(
                "{client} has lost {count} events since {since}, which Redis no longer has",
                event="client_gap",
                **socket.peer.log_fields,
                count="some" if gap.at_most is None else f"up to {gap.at_most}",
                since=bytes(gap.since).decode(),
            )

    def _abandon_reading(self, socket: Socket) -> None:
        readings = self._readings.get(socket.channel, {})
        for reading in [reading for reading, waiting in readings.items() if waiting is socket]:
            reading.wanted = False
            del readings[reading]
        if not readings:
            self._readings.pop(socket.channel, None)

    def _admit(self, socket: Socket, missed: Sequence[Event], source: str) -> None:
        self._channels.setdefault(socket.channel, {})[socket] = None
        self._metrics.observe(REPLAY_EVENTS, len(missed), source)
        self._send(socket, _frames(missed), socket.send_missed)
        self._log.debug(
            "{client} joined channel {channel} and was sent {missed} missed events",
            **socket.peer.log_fields,
            channel=socket.channel,
            missed=len(missed),
        )

    def _was_early(self, socket: Socket, event: Event) -> bool:
        events = self._got_early.get(socket, [])
        for index, early in enumerate(events):
            if early.data == event.data:
                del events[index]
                if not events:
                    del self._got_early[socket]
                return True
        return False

    def _send(self, socket: Socket, frames: bytes, send: Callable[[bytes], None]) -> None:
        try:
            if frames:
                send(frames)
        except Exception:
            self._failed_to_send(socket)

    def _failed_to_send(self, socket: Socket) -> None:
        self._log.failure("cannot send to {client}", event="send_failed", **socket.peer.log_fields)
        self._metrics.increment(CLIENT_SEND_ERROR)
        self._end(socket)

    def _end(self, socket: Socket) -> None:
        self.leave(socket)
        socket.drop()


def _remove(places: dict[str, dict[Socket, Any]], socket: Socket) -> None:
    """Remove a socket from among those of its channel, if it is there."""
    sockets = places.get(socket.channel)
    if sockets is not None:
        sockets.pop(socket, None)
        if not sockets:
            del places[socket.channel]


def _frames(events: Sequence[Event]) -> bytes:
    return b"".join([event.frame() for event in events])
