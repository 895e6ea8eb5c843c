"""A part of the crowd: the clients of one process of the generator.

The process publishes to its clients' channels and breaks their connections, so it knows what each
client must get. `gaq_twisted.tools.loadtest.record` keeps count.
"""

import heapq
import math
import random
import time
from collections.abc import Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec

from benchmarks.clients import Client, Clients, frames, pong
from benchmarks.measuring import DEADLINE_SECONDS
from benchmarks.target import EVENT_FIELDS, StreamsTarget
from gaq_twisted.tools.loadtest.record import Channel, Listener, NumberedEvent, Record
from gaq_twisted.tools.loadtest.report import Latencies, Report

_HANDSHAKES_AT_A_TIME = 64
_LONGEST_ABSENCE_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 0.2
_OPENING_SECONDS = 600.0
# The first event of each channel gives its clients an id to come back with.
_FIRST_EVENTS_A_SECOND = 400.0

_decode = msgspec.json.Decoder(NumberedEvent).decode


class Plan(NamedTuple):
    """The work of one process of the generator."""

    sockets: int
    tabs: int
    """How many sockets share a channel."""
    rate: float
    """Events a second."""
    drops: float
    """Connections that break, a second."""
    seconds: float


class Tally(NamedTuple):
    """The observations of one process of the generator."""

    report: Report
    busy: float
    """The part of one core that it has used."""


def take_part(target: StreamsTarget, name: str, plan: Plan, pipe: Connection) -> None:
    """Is one process of the generator, which waits on the pipe between the phases.

    Args:
        target: the server.
        name: the prefix of its channels' names.
        plan: what to do.
        pipe: is sent a word after each phase, and at last the tally.
    """
    with closing(_Part(target, name, plan)) as part:
        part.open()
        pipe.send("open")
        pipe.recv()
        part.publish_first()
        pipe.send("ready")
        pipe.recv()
        own, began = time.process_time(), time.perf_counter()
        part.run()
        pipe.send("done")
        busy = (time.process_time() - own) / (time.perf_counter() - began)
        part.settle()
        pipe.send(Tally(part.report(), busy))


class _Tab:
    """A client, across all its connections.

    Args:
        channel: what it listens to.
    """

    __slots__ = ("channel", "client", "last_id", "listener", "opened_ns", "rest")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.client: Client | None = None
        self.listener: Listener | None = None
        self.last_id: str | None = None
        self.opened_ns = 0
        self.rest = b""
        """The beginning of a frame whose end has not come."""


class _Part:
    """The clients of one process.

    Args:
        target: the server.
        name: the prefix of its channels' names.
        plan: what to do.
    """

    def __init__(self, target: StreamsTarget, name: str, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._dice = random.Random(name)
        self._publisher = target.publisher()
        self._record = Record([f"{name}-{n:05d}" for n in range(-(-plan.sockets // plan.tabs))])
        self._clients = Clients(target.address)
        self._clients.on_open = self._opened
        self._clients.on_bytes = self._take
        self._clients.on_end = self._ended
        channels = self._record.channels
        self._tabs = [_Tab(channels[n % len(channels)]) for n in range(plan.sockets)]
        self._tab_of: dict[Client, _Tab] = {}
        # When which tabs connect again, by time.perf_counter; the number only sorts.
        self._returns: list[tuple[float, int, _Tab]] = []
        self._sequence = 0
        self._open = 0
        self._last_frame_at = 0.0

    def open(self) -> None:
        """Connects all tabs."""
        waiting = list(reversed(self._tabs))
        deadline = time.monotonic() + _OPENING_SECONDS
        while self._open < len(self._tabs):
            while waiting and len(self._tab_of) - self._open < _HANDSHAKES_AT_A_TIME:
                self._connect(waiting.pop())
            self._poll(time.perf_counter() + _LONGEST_WAIT_SECONDS)
            if time.monotonic() > deadline:
                reasons = dict(self._record.failed_connects)
                raise TimeoutError(f"{self._open} of {len(self._tabs)} are connected; {reasons}")

    def publish_first(self) -> None:
        """Publishes an event to each channel."""
        self._publish(self._record.channels, _FIRST_EVENTS_A_SECOND, drops=0.0)
        self.settle()
        self._record.latencies = Latencies()

    def run(self) -> None:
        """Publishes to channels by chance, and breaks connections by chance."""
        plan = self._plan
        events = round(plan.rate * plan.seconds)
        self._publish(
            self._dice.choices(self._record.channels, k=events), plan.rate, drops=plan.drops
        )

    def settle(self) -> None:
        """Waits until nothing is missing, or nothing has come for a long time."""
        self._last_frame_at = time.perf_counter()
        while self._open < len(self._tabs) or self._record.lost():
            self._poll(time.perf_counter() + _LONGEST_WAIT_SECONDS)
            if time.perf_counter() - self._last_frame_at > DEADLINE_SECONDS / 4:
                return

    def report(self) -> Report:
        """Returns what was seen."""
        return self._record.report()

    def close(self) -> None:
        """Closes all connections."""
        self._clients.close_all()
        self._publisher.close()

    def _publish(self, channels: Sequence[Channel], rate: float, *, drops: float) -> None:
        began = now = time.perf_counter()
        next_drop_at = began + self._seconds_to_drop(drops)
        given = 0
        while given < len(channels):
            due = min(int((now - began) * rate) + 1, len(channels))
            for channel in channels[given:due]:
                self._publisher.send(
                    [self._target.command_of(channel.name, _event(channel.name, channel))]
                )
            given = due
            while next_drop_at <= now:
                self._drop(self._dice.choice(self._tabs))
                next_drop_at += self._seconds_to_drop(drops)
            self._poll(min(began + given / rate, next_drop_at))
            now = time.perf_counter()

    def _seconds_to_drop(self, drops: float) -> float:
        return self._dice.expovariate(drops) if drops else math.inf

    def _poll(self, until: float) -> None:
        """Handles what happens until then, or for a moment if that is over."""
        while True:
            now = time.perf_counter()
            while self._returns and self._returns[0][0] <= now:
                self._connect(heapq.heappop(self._returns)[2])
            next_at = min(until, self._returns[0][0]) if self._returns else until
            self._clients.poll(max(0.0, next_at - now))
            if time.perf_counter() >= until:
                return

    def _connect(self, tab: _Tab) -> None:
        client = self._clients.begin(self._target.request(tab.channel.name, tab.last_id))
        self._tab_of[client] = tab

    def _opened(self, client: Client) -> None:
        tab = self._tab_of[client]
        tab.client, tab.opened_ns = client, time.monotonic_ns()
        self._open += 1
        if tab.listener is None:
            tab.listener = self._record.add_listener(tab.channel)
        else:
            self._record.reconnects += 1

    def _drop(self, tab: _Tab) -> None:
        if tab.client is not None:
            self._leave(tab.client)

    def _ended(self, client: Client, reason: str) -> None:
        self._record.failed_connects[reason] += 1
        self._leave(client)

    def _leave(self, client: Client) -> None:
        self._clients.close(client)
        tab = self._tab_of.pop(client)
        if tab.client is client:
            self._open -= 1
        tab.client, tab.rest = None, b""
        self._sequence += 1
        at = time.perf_counter() + self._dice.uniform(0.0, _LONGEST_ABSENCE_SECONDS)
        heapq.heappush(self._returns, (at, self._sequence, tab))

    def _take(self, client: Client, chunk: memoryview) -> None:
        now_ns = time.monotonic_ns()
        tab = self._tab_of[client]
        received = tab.rest = tab.rest + chunk
        for opcode, payload, rest in frames(received):
            tab.rest = rest
            if opcode == 0x9:
                client.connection.send(pong(payload))
            elif opcode == 0x8:
                self._ended(client, f"closed with {int.from_bytes(payload[:2])}")
                return
            else:
                self._note(tab, payload, now_ns)

    def _note(self, tab: _Tab, payload: bytes, now_ns: int) -> None:
        self._last_frame_at = time.perf_counter()
        event = _decode(payload)
        assert tab.listener is not None
        if self._record.take(tab.listener, event, opened_ns=tab.opened_ns, now_ns=now_ns):
            tab.last_id = event.id


def _event(name: str, channel: Channel) -> bytes:
    number = channel.next_number()
    return (
        f'{{"channel_id":"{name}",{EVENT_FIELDS},"number":{number},'
        f'"published_ns":{time.monotonic_ns()}}}'
    ).encode()
