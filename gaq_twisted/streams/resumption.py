"""Sends each socket what it missed when it joins, and the events that follow.

Each call is atomic, because it completes within one turn of the reactor. A socket is sent what
it missed and is admitted in one step, so no event can arrive between the two.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from gaq_twisted.core.audience import Audience, Dispatch
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.socket import Socket
from gaq_twisted.core.throttle import Throttle
from gaq_twisted.streams.early import EarlyEvents
from gaq_twisted.streams.events import Event, LastId, StreamId, Wanted, frames_of
from gaq_twisted.streams.metrics import (
    EVENTS_DELIVERED,
    EVENTS_READ,
    EVENTS_WITHOUT_LISTENER,
    REPLAY_EVENTS,
    STREAM_GAP,
    ReplaySource,
)
from gaq_twisted.streams.missed import (
    SKEW_MS,
    ChannelHistory,
    Gap,
    Missed,
    ResumePoint,
    TailSnapshot,
    missed,
)
from gaq_twisted.streams.tail import Tail

_DISPATCHES_PER_OBSERVATION = 16  # Of each one it would cost a tenth of its writing.


class ChannelReader(Protocol):
    """The part of Backfill that Resumption needs."""

    def read(
        self, channel: str, start: StreamId, on_try: Callable[[], None]
    ) -> "Deferred[ChannelHistory]":
        """See Backfill.read."""


class _CatchUp:
    """A socket that waits until the stream of its channel has been read.

    It keeps the events that arrive meanwhile, because the tail may drop them before the read ends.
    """

    __slots__ = ("arrived", "reading", "tail")

    def __init__(self) -> None:
        self.tail = TailSnapshot([], is_whole=False)
        self.arrived: list[Event] = []
        self.reading: Deferred[None] | None = None


class Resumption:
    """Sends each socket what it missed, and then every event of its channel; an EventSink.

    Args:
        hub: the hub, in which all sockets are.
        tail: an empty tail, filled and owned by this object from now on.
        reader: reads channels' streams when the tail does not reach back far enough.
        metrics: count events.
        seconds: returns the time in seconds since 1970.
        initial_replay_ms: how far back the events go for a client without a `last_id`.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        tail: Tail,
        reader: ChannelReader,
        metrics: Metrics,
        seconds: Callable[[], float],
        initial_replay_ms: int,
    ) -> None:
        self._hub = hub
        self._tail = tail
        self._reader = reader
        self._metrics = metrics
        self._seconds = seconds
        self.initial_replay_ms = initial_replay_ms
        """How far back a client without a `last_id` may have missed events."""
        self._audience = Audience(hub, metrics, seconds, self._forget)
        # Sockets that joined before the tail was filled, with their last_id.
        self._before_start: dict[Socket, str | None] = {}
        self._is_started = False
        self._catching_up: dict[str, dict[Socket, _CatchUp]] = {}
        self._early = EarlyEvents()
        # Each connecting client can cause such lines; metrics count them all.
        self._warnings = Throttle(seconds)
        self._gaps = Throttle(seconds)

    @property
    def wanted(self) -> Wanted:
        """The capacity of the tail."""
        return Wanted(self._tail.max_events, self._tail.max_bytes)

    @property
    def channel_count(self) -> int:
        """The number of channels with a socket that is sent new events."""
        return self._audience.heard_count

    def join(self, socket: Socket, last_id: str | None) -> None:
        """Adds a socket that has just opened, and sends it what it missed.

        Args:
            socket: the socket.
            last_id: the id of the client's last event, as it sent it; None if it sent none.

        Raises:
            NoRoom: if the maximum number of sockets is reached.
        """
        if not self._audience.enter(socket):
            return
        if self._is_started:
            self._resume(socket, last_id)
        else:
            self._before_start[socket] = last_id

    def sweep(self) -> None:
        """Forgets early events that the global stream must have delivered by now."""
        self._early.forget_before(self._tail.newest_id.ms - SKEW_MS)

    def _forget(self, socket: Socket) -> None:
        self._early.forget(socket)
        self._before_start.pop(socket, None)
        catch_up = self._end_catch_up(socket)
        if catch_up is not None and catch_up.reading is not None:
            catch_up.reading.cancel()

    # The sink of the firehose

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Fills the tail, and serves the sockets that waited for it."""
        self._tail.mark_incomplete(StreamId.parse(whole_from))
        self._tail.extend(recent)
        self._is_started = True
        waiting, self._before_start = self._before_start, {}
        for socket, last_id in waiting.items():
            if socket in self._hub.sockets:
                self._resume(socket, last_id)

    def deliver(self, events: Sequence[Event]) -> Iterator[None]:
        """Adds events to the tail, and sends each to its channel's present sockets.

        Each socket gets its events in one write. A socket that joins during the steps gets them
        from the tail.
        """
        self._tail.extend(events)
        by_channel: dict[str, list[Event]] = {}
        routes = self._audience.routes
        for event in events:
            if event.channel in routes:
                by_channel.setdefault(event.channel, []).append(event)
        if self._catching_up:
            for channel, news in by_channel.items():
                for catch_up in self._catching_up.get(channel, {}).values():
                    catch_up.arrived.extend(news)
        dispatches = [
            self._dispatch(channel, news, is_timed=number % _DISPATCHES_PER_OBSERVATION == 0)
            for number, (channel, news) in enumerate(by_channel.items())
        ]
        heard, steps = self._audience.dispatch(dispatches)
        self._metrics.increment(EVENTS_READ, len(events))
        if heard:
            self._metrics.increment(EVENTS_DELIVERED, heard)
        if heard < len(events):
            self._metrics.increment(EVENTS_WITHOUT_LISTENER, len(events) - heard)
        return steps

    def gap(self) -> int:
        """Marks the tail as incomplete; returns how many channels have listeners."""
        self._tail.mark_incomplete(self._tail.newest_id)
        return self.channel_count

    def _dispatch(self, channel: str, events: list[Event], *, is_timed: bool) -> Dispatch:
        instead: Mapping[Socket, bytes] = {}
        if self._early:
            instead = {
                socket: frames_of(self._early.left_of(socket, events))
                for socket in self._audience.routes[channel]
                if socket in self._early
            }
        published_at = events[-1].published_at() if is_timed else None
        return Dispatch((channel,), frames_of(events), len(events), published_at, instead)

    # What a socket missed

    def _resume(self, socket: Socket, last_id: str | None) -> None:
        position = None if last_id is None else LastId.parse(last_id)
        if position is None:
            if last_id is not None and self._warnings.admits():
                self._log.warn(
                    "{client}: ignored last_id, because it is not <ms>-<seq>",
                    event="last_id_ignored",
                    **socket.peer.log_fields,
                )
            self._resume_new_client(socket)
            return
        if not position.of_channel_stream:
            found = self._tail.after(socket.routes[0], position.id)
            if found is not None:
                self._admit(socket, found, ReplaySource.TAIL)
                return
        since_ms = position.id.ms
        if self._tail and since_ms > self._tail.newest_id.ms + SKEW_MS:
            # Redis has lost this client's last event, and its ids start from an earlier time.
            since_ms = 0
        read_from = StreamId(max(0, since_ms - SKEW_MS), 0)
        self._read_channel(socket, ResumePoint(position, read_from, since_ms))

    def _resume_new_client(self, socket: Socket) -> None:
        # A job can end before its page has opened its first socket.
        since_ms = max(0, int(self._seconds() * 1000) - self.initial_replay_ms)
        if not self.initial_replay_ms:
            self._admit(socket, [], ReplaySource.INITIAL)
        elif self._tail.covers(since_ms):
            self._admit(socket, self._tail.since(socket.routes[0], since_ms), ReplaySource.INITIAL)
        else:
            since = LastId(StreamId(since_ms, 0), of_channel_stream=False)
            self._read_channel(socket, ResumePoint(since, since.id, since_ms))

    def _read_channel(self, socket: Socket, point: ResumePoint) -> None:
        catch_up = _CatchUp()
        self._catching_up.setdefault(socket.routes[0], {})[socket] = catch_up
        catch_up.reading = Deferred.fromCoroutine(self._catch_up(socket, point, catch_up))

    async def _catch_up(self, socket: Socket, point: ResumePoint, catch_up: _CatchUp) -> None:
        channel = socket.routes[0]

        def take_snapshot() -> None:
            catch_up.tail = TailSnapshot(
                self._tail.of_channel(channel), self._tail.covers(point.tail_from_ms)
            )
            catch_up.arrived = []

        try:
            history = await self._reader.read(channel, point.read_from, take_snapshot)
            found = missed(point, history, catch_up.tail, catch_up.arrived)
        except CancelledError:
            return
        except Exception:
            self._log.failure("a client's missed events could not be read", event="replay_failed")
            self._end_catch_up(socket)
            # The browser will reconnect and try again; an open socket would wait for ever.
            self._hub.drop(socket)
            return
        self._end_catch_up(socket)
        self._give(socket, found)

    def _give(self, socket: Socket, found: Missed) -> None:
        self._early.add(socket, found.early)
        if found.gap is not None:
            self._metrics.increment(STREAM_GAP)
            self._log_gap(socket, found.gap)
        self._admit(socket, found.events, ReplaySource.CHANNEL_STREAM)

    def _log_gap(self, socket: Socket, gap: Gap) -> None:
        if self._gaps.admits():
            self._log.warn(
                "{client} has lost {count} events since {since}, because Redis no longer has them",
                event="client_gap",
                **socket.peer.log_fields,
                count="some" if gap.at_most is None else f"up to {gap.at_most}",
                since=bytes(gap.since).decode(),
            )

    def _end_catch_up(self, socket: Socket) -> _CatchUp | None:
        of_channel = self._catching_up.get(socket.routes[0])
        if of_channel is None:
            return None
        catch_up = of_channel.pop(socket, None)
        if not of_channel:
            del self._catching_up[socket.routes[0]]
        return catch_up

    def _admit(self, socket: Socket, events: Sequence[Event], source: ReplaySource) -> None:
        self._metrics.observe(REPLAY_EVENTS, len(events), source)
        self._audience.admit(socket, frames_of(events))
        self._log.debug(
            "{client} joined channel {channel} and was sent {missed} missed events",
            **socket.peer.log_fields,
            channel=socket.routes[0],
            missed=len(events),
        )
