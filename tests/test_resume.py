"""What returning clients are sent, checked against a model of all that takes part."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.events import Event, LastId, StreamId, channel_stream_event, parse_event
from gaq_twisted.hub import Hub
from gaq_twisted.resume import SKEW_MS, Missed, Reading
from gaq_twisted.tail import Tail
from tests.fakes import FakeHistory, FakeSocket, RecordingMetrics
from tests.samples import CHANNEL, job_data, job_event

CHANNELS = ("red", "blue")
TAIL_SIZES = (1, 3)
ACTIONS = (
    *("time passes", "trim", "restart", "drop"),
    *("first XADD", "first XADD", "first XADD", "second XADD", "second XADD", "read", "read"),
    *("connect", "connect"),
    *("read channel stream", "read channel stream", "answer", "answer"),
)


class Stream:
    """A Redis stream: XADD with ids as Redis makes them, and trimming."""

    def __init__(self) -> None:
        """Be empty."""
        self.entries: list[tuple[StreamId, bytes]] = []
        self._last = StreamId(0, 0)

    def add(self, ms: int, data: bytes) -> None:
        """Append an entry."""
        same_ms = ms <= self._last.ms
        self._last = self._last.after() if same_ms else StreamId(ms, 0)
        self.entries.append((self._last, data))

    def jobs(self) -> list[tuple[StreamId, str]]:
        """Return the entries with their jobs' ids."""
        return [(entry_id, json.loads(data)["job_id"]) for entry_id, data in self.entries]


class Server:
    """A hub with the part of the global stream that it has read."""

    def __init__(self, stream: Stream, tail_size: int) -> None:
        """Start at the stream's recent end."""
        self._stream = stream
        self.history = FakeHistory()
        self.answers: list[tuple[Reading, list[Event]]] = []
        tail = Tail(tail_size, 2**20)
        self.hub = Hub(tail, self.history, RecordingMetrics(), lambda: 0.0, initial_replay_ms=0)
        recent = self._events(stream.entries[-tail_size:])
        whole_from = recent[0].id if recent else b"0-0"
        self.hub.start(recent, whole_from=whole_from)
        self.cursor = stream.entries[-1][0] if stream.entries else StreamId(0, 0)

    def read(self, count: int) -> None:
        """Read that many entries at most."""
        new = [entry for entry in self._stream.entries if entry[0] > self.cursor][:count]
        for event in self._events(new):
            self.hub.deliver(event)
            self.cursor = event.stream_id()

    @staticmethod
    def _events(entries: list[tuple[StreamId, bytes]]) -> list[Event]:
        return [parse_event(bytes(entry_id), data) for entry_id, data in entries]


class Client:
    """A browser: what it saw over all its connections."""

    def __init__(self, channel: str) -> None:
        """Have seen nothing."""
        self.channel = channel
        self.server: Server | None = None
        self.socket = FakeSocket(channel)
        self.seen: list[str] = []
        self.last_id: str | None = None
        self.expects: set[str] | None = None
        """The jobs that it must have seen in the end; None before its first connection."""
        self.may_see: Counter[str] = Counter()
        """How often it may see a job more than once."""

    def receive(self, frames_lost: int) -> None:
        """Take what was sent, but for the last frames."""
        frames = list(_payloads(b"".join(self.socket.sent)))
        for payload in frames[: len(frames) - frames_lost]:
            event = json.loads(payload)
            assert event["channel_id"] == self.channel, "an event of another channel"
            self.seen.append(event["job_id"])
            self.last_id = event["id"]


class Promise(RuleBasedStateMachine):
    """Any order of publishing, reading, dropping and returning that Redis allows."""

    def __init__(self) -> None:
        """Have two servers, which know different parts of the past, and two tabs of one browser."""
        super().__init__()
        self.now_ms = 1_000_000
        self.whole = Stream()
        self.by_channel = {channel: Stream() for channel in CHANNELS}
        self.half_published: list[tuple[int, str, str]] = []
        self.begun: list[str] = []
        self.published: dict[str, list[str]] = defaultdict(list)
        self.trimmed: set[str] = set()
        self.servers = [Server(self.whole, size) for size in TAIL_SIZES]
        self.clients = [Client("red"), Client("red")]
        self.jobs = 0

    # Hypothesis leaves out some of the rules in each run; here only all together are of use.
    @rule(
        action=st.sampled_from(ACTIONS),
        which=st.integers(0, 1),
        amount=st.integers(0, 3),
    )
    def step(self, action: str, which: int, amount: int) -> None:
        """Do one of the actions."""
        match action:
            case "time passes":
                self.time_passes((0, 1, 100, 2000)[amount])
            case "first XADD":
                self.first_xadd(CHANNELS[amount == 3])
            case "second XADD":
                self.second_xadd(amount)
            case "read":
                self.read(which, 1 + amount)
            case "connect":
                self.connect(which, amount % 2)
            case "drop":
                self.drop(which, max(0, amount - 1))
            case "read channel stream":
                self.read_channel_stream(which)
            case "answer":
                self.answer(which, amount == 3)
            case "trim":
                self.trim()
            case "restart":
                self.restart(which)

    def time_passes(self, ms: int) -> None:
        """Move Redis's clock, but let no publisher pause for longer than we allow for."""
        latest = min((begun_ms for begun_ms, _, _ in self.half_published), default=self.now_ms)
        self.now_ms = max(self.now_ms, min(self.now_ms + ms, latest + SKEW_MS - 1))
        if not self.half_published:
            self.now_ms += ms

    def first_xadd(self, channel: str) -> None:
        """Let a publisher write to the channel stream."""
        self.jobs += 1
        job = f"job {self.jobs}"
        self.by_channel[channel].add(self.now_ms, job_data(channel, job))
        self.half_published.append((self.now_ms, channel, job))
        self.begun.append(job)

    def second_xadd(self, which: int) -> None:
        """Let some publisher write to the global stream."""
        if self.half_published:
            _, channel, job = self.half_published.pop(which % len(self.half_published))
            self.whole.add(self.now_ms, job_data(channel, job))
            self.published[channel].append(job)
            for client in self.clients:
                if client.channel == channel and client.expects is not None:
                    client.expects.add(job)

    def trim(self) -> None:
        """Let Redis trim the old end of the channel stream."""
        stream = self.by_channel["red"]
        self.trimmed.update(job for _, job in stream.jobs()[:1])
        del stream.entries[:1]

    def read(self, which: int, count: int) -> None:
        """Let a server read on."""
        self.servers[which].read(count)

    def connect(self, which: int, server: int) -> None:
        """Let a client connect, at first and after it dropped."""
        client = self.clients[which]
        if client.server is None:
            client.server = self.servers[server]
            client.socket = FakeSocket(client.channel)
            readings = len(client.server.history.readings)
            client.server.hub.join(client.socket, client.last_id)
            if client.expects is None or client.last_id is None:
                self._expect_from_here(client, client.server)
            elif len(client.server.history.readings) > readings:
                self._allow_repeats(client, StreamId(0, 0))
            else:
                self._allow_repeats(client, StreamId.parse(client.last_id.encode()))

    def drop(self, which: int, frames_lost: int) -> None:
        """Let a client lose its connection, perhaps with frames under way."""
        client = self.clients[which]
        if client.server is not None:
            client.server.hub.leave(client.socket)
            client.server = None
            client.receive(frames_lost)

    def read_channel_stream(self, which: int) -> None:
        """Let a server ask Redis for the oldest reading that waits."""
        server = self.servers[which]
        if server.history.readings:
            reading = server.history.readings.pop(0)
            reading.begin()
            server.answers.append((reading, self._channel_events(reading)))

    def answer(self, which: int, failed: bool) -> None:
        """Let Redis's answer arrive, or get lost so that it is asked again."""
        server = self.servers[which]
        if server.answers:
            reading, events = server.answers.pop(0)
            if failed:
                server.history.readings.append(reading)
            else:
                reading.answer(events)

    def restart(self, which: int) -> None:
        """Replace a server; its clients drop."""
        for index, client in enumerate(self.clients):
            if client.server is self.servers[which]:
                self.drop(index, 0)
        self.servers[which] = Server(self.whole, TAIL_SIZES[which])

    def teardown(self) -> None:
        """Let everything come to rest and see whether the promise was kept.

        Only what Redis trimmed from a channel stream may be lost or repeated.
        """
        while self.half_published:
            self.second_xadd(0)
        for index in range(len(self.clients)):
            self.connect(index, index % 2)
        for which, server in enumerate(self.servers):
            server.read(len(self.whole.entries))
            while server.history.readings or server.answers:
                self.read_channel_stream(which)
                self.answer(which, False)
        for client in self.clients:
            client.receive(0)
            expects = client.expects or set()
            lost = expects - set(client.seen) - self.trimmed
            assert not lost, f"lost: {lost}; seen: {client.seen}"
            seen = [job for job in client.seen if job not in self.trimmed]
            too_often = Counter(seen) - client.may_see - Counter(set(seen))
            assert not too_often, f"twice: {too_often}; seen: {client.seen}"
            self._check_order([job for job in dict.fromkeys(seen) if job in expects])

    def _check_order(self, seen: list[str]) -> None:
        """What both streams tell in the same order must be seen in that order."""
        for later in range(len(seen)):
            for earlier in seen[:later]:
                in_order = [
                    order.index(earlier) < order.index(seen[later])
                    for order in (self.begun, self.published["red"])
                    if earlier in order and seen[later] in order
                ]
                assert any(in_order), f"{seen[later]} after {earlier}; seen: {seen}"

    def _allow_repeats(self, client: Client, after: StreamId) -> None:
        """Allow what is told again when a client returns with an id of the global stream.

        If the id is older than the tail, that is anything; else what the client
        has from its channel's stream while the global one tells it only later.
        """
        position = LastId.parse(client.last_id or "")
        assert position is not None
        if not position.of_channel_stream:
            before = {job for entry_id, job in self.whole.jobs() if entry_id <= after}
            client.may_see.update(set(client.seen) - before)

    def _expect_from_here(self, client: Client, server: Server) -> None:
        known = {job for entry_id, job in self.whole.jobs() if entry_id <= server.cursor}
        client.expects = set(self.published[client.channel]) - known

    def _channel_events(self, reading: Reading) -> list[Event]:
        return [
            channel_stream_event(bytes(entry_id), data)
            for entry_id, data in self.by_channel[reading.channel].entries
            if entry_id >= reading.read_from
        ]


class PromiseTests(SynchronousTestCase):
    """The promise to clients that return."""

    def test_promise(self) -> None:
        """No client ever loses an event, and none sees one twice without need."""
        run_state_machine_as_test(
            Promise,
            settings=hypothesis_settings(
                max_examples=300, stateful_step_count=60, deadline=None, derandomize=True
            ),
        )


class ReadingTests(SynchronousTestCase):
    """Single cases, by example."""

    def missed(
        self, since: str, *, tail: list[Event], arrived: list[Event], entries: list[Event]
    ) -> tuple[list[tuple[bytes, str]], list[bytes]]:
        """Return what a client is sent, as ids and jobs, and the ids of what it has early."""
        told: list[Missed | None] = []
        last_id = LastId.parse(since)
        assert last_id is not None
        reading = Reading(
            CHANNEL,
            since=last_id,
            read_from=StreamId(0, 0),
            exact=True,
            tail_now=lambda: tail,
            done=lambda _, missed: told.append(missed),
        )
        reading.begin()
        for event in arrived:
            reading.deliver(event)
        reading.answer(entries)
        (missed,) = told
        assert missed is not None
        events = [(event.id, json.loads(event.data)["job_id"]) for event in missed.events]
        return events, [event.id for event in missed.early]

    def test_trimmed(self) -> None:
        """What only the tail has still comes first, and leaves the client's place where it was."""
        events, early = self.missed(
            "10-00",
            tail=[job_event("11-0", job="trimmed"), job_event("13-0", job="both")],
            arrived=[job_event("14-0", job="arrived")],
            entries=[_entry("12-0", "both"), _entry("12-1", "not told yet")],
        )
        self.assertEqual(
            events,
            [
                (b"10-00", "trimmed"),
                (b"12-00", "both"),
                (b"12-01", "not told yet"),
                (b"14-0", "arrived"),
            ],
        )
        self.assertEqual(early, [b"12-01"])

    def test_last_event_not_told_yet(self) -> None:
        """What the client had before it dropped is not told again by the global stream."""
        events, early = self.missed("10-00", tail=[], arrived=[], entries=[_entry("10-0", "had")])
        self.assertEqual((events, early), ([], [b"10-00"]))

    def test_same_millisecond(self) -> None:
        """An event of the last one's millisecond is known to the tail, and goes by its id there."""
        events, early = self.missed(
            "10-00",
            tail=[job_event("10-4", job="had"), job_event("10-5", job="missed")],
            arrived=[],
            entries=[_entry("10-0", "had"), _entry("10-1", "missed")],
        )
        self.assertEqual((events, early), ([(b"10-5", "missed")], []))


def _entry(stream_id: str, job: str) -> Event:
    return channel_stream_event(stream_id.encode(), job_data(job=job))


def _payloads(frames: bytes) -> Iterator[bytes]:
    while frames:
        length, start = frames[1], 2
        if length == 126:
            length, start = int.from_bytes(frames[2:4], "big"), 4
        yield frames[start : start + length]
        frames = frames[start + length :]
