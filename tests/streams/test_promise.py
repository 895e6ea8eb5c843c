"""The promise to clients, checked against a model of all that takes part."""

import json
from collections import Counter
from collections.abc import Callable

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.streams.events import LastId
from gaq_twisted.streams.missed import SKEW_MS
from tests.support.fakes import FakeSocket, payloads
from tests.support.model import GLOBAL, ModelRedis, ModelServer

CHANNELS = ("red", "blue")
# Ids of one era are never those of another, as a new master's clock is not just the old one's.
ERAS = 8
DISASTERS = ("fail over", "flush")
TRIMMING = ("outage and trim", "trim channel")
ACTIONS = (
    *("first XADD",) * 5,
    *("second XADD",) * 4,
    *("Redis executes",) * 5,
    *("answer arrives",) * 6,
    *("connect",) * 5,
    *("drop",) * 4,
    *("time passes", "read times out", "connection lost", "restart"),
    *(*TRIMMING, "trim channel", *DISASTERS),
)


class Client:
    """A browser: what it saw over all its connections."""

    def __init__(self, channel: str) -> None:
        """Have seen nothing."""
        self.channel = channel
        self.server: ModelServer | None = None
        self.servers: list[ModelServer] = []
        self.socket = FakeSocket(channel)
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.expects: set[str] | None = None
        """The jobs that it must have seen in the end; None before its first connection."""
        self.waited_for: ModelServer | None = None
        """The server on which it began as a new client before that had started."""
        self.may_see: Counter[str] = Counter()
        """How often it may see a job more than once."""

    def receive(self, frames_lost: int) -> None:
        """Take what was sent, but for the last frames."""
        frames = list(payloads(b"".join(self.socket.sent)))
        for payload in frames[: len(frames) - frames_lost]:
            event = json.loads(payload)
            assert event["channel_id"] == self.channel, "an event of another channel"
            self.seen.append(event["job_id"])
            self.ids.append(event["id"])


class Promise(RuleBasedStateMachine):
    """Any order of publishing, reading, losing, dropping and returning that is possible."""

    @initialize(
        tail_sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
        tells_added=st.booleans(),
        spared=st.sampled_from(((), DISASTERS, (*DISASTERS, *TRIMMING))),
        lags=st.tuples(st.booleans(), st.booleans()),
    )
    def begin(
        self,
        tail_sizes: tuple[int, ...],
        tells_added: bool,
        spared: tuple[str, ...],
        lags: tuple[bool, ...],
    ) -> None:
        """Have two servers, two tabs of one browser and one of another."""
        self.redis = ModelRedis()
        self.redis.tells_added = tells_added
        self.era = 0
        self.spared = spared
        self.lags = lags
        self.half_published: list[tuple[int, str, str]] = []
        self.begun: list[str] = []
        self.published: list[str] = []
        self.trimmed: set[str] = set()
        self.lost: set[str] = set()
        self.stopped: list[ModelServer] = []
        for key in (GLOBAL, "blue"):
            self.redis.xadd(key, "blue", "job 0")
        self.servers = [ModelServer(self.redis, size, self.published) for size in tail_sizes]
        self.clients = [Client("red"), Client("red"), Client("blue")]

    # Hypothesis leaves out some of the rules in each run; here only all together are of use.
    @rule(
        action=st.sampled_from(ACTIONS),
        which=st.integers(0, 2),
        amount=st.integers(0, 3),
    )
    def step(self, action: str, which: int, amount: int) -> None:
        """Do one of the actions."""
        if action in self.spared:
            return
        server = self.servers[which % 2]
        match action:
            case "time passes":
                self.time_passes(ERAS * (0, 1, 10, 250)[amount])
            case "first XADD":
                self.first_xadd(CHANNELS[amount == 3])
            case "second XADD":
                self.second_xadd(amount)
            case "Redis executes":
                server.streams.execute(amount)
            case "answer arrives":
                server.streams.tell(amount)
            case "read times out":
                server.streams.time_out()
            case "connection lost":
                server.streams.lose()
            case "connect":
                self.connect(self.clients[which], self.servers[amount % 2], amount)
            case "drop":
                self.drop(self.clients[which], max(0, amount - 1))
            case "trim channel":
                self.trimmed.update(self.redis.trim("red"))
            case "restart":
                self.restart(which % 2)
            case "fail over":
                self.fail_over(1 + amount)
            case "flush":
                self.flush()
            case "outage and trim":
                for one in self.servers:
                    one.streams.lose()
                for _ in range(1 + amount):
                    self.trimmed.update(self.redis.trim(GLOBAL))
        for one, lags in zip(self.servers, self.lags, strict=True):
            one.turn()
            if not lags:
                one.catch_up()

    def time_passes(self, ms: int) -> None:
        """Move all clocks, but let no publisher pause for longer than we allow for."""
        latest = min((begun for begun, _, _ in self.half_published), default=self.redis.now_ms)
        if not self.half_published or self.redis.now_ms + ms < latest + SKEW_MS:
            self.redis.now_ms += ms
        for server in self.servers:
            server.turn(ms / 1000 + 0.1)

    def first_xadd(self, channel: str) -> None:
        """Let a publisher write to the channel stream."""
        job = f"job {len(self.begun) + 1}"
        self.begun.append(job)
        self.redis.xadd(channel, channel, job)
        self.half_published.append((self.redis.now_ms, channel, job))

    def second_xadd(self, which: int) -> None:
        """Let some publisher write to the global stream."""
        if self.half_published:
            _, channel, job = self.half_published.pop(which % len(self.half_published))
            self.published.append(job)
            for client in self.clients:
                if client.channel == channel and client.expects is not None:
                    client.expects.add(job)
            self.redis.xadd(GLOBAL, channel, job)

    def fail_over(self, lag: int) -> None:
        """Let a replica take over that lacks the last commands, with a clock of its own."""
        self.note_losses(lambda: self.redis.fail_over(lag))
        last_ms = (
            stream.entries[-1][0].ms for stream in self.redis.streams.values() if stream.entries
        )
        self.begin_era(max(last_ms, default=self.redis.now_ms))

    def flush(self) -> None:
        """Empty Redis."""
        self.note_losses(self.redis.flush)
        self.begin_era(self.redis.now_ms)

    def begin_era(self, after_ms: int) -> None:
        """Set Redis's clock to a time after that one which it never showed before."""
        self.era += 1
        self.redis.now_ms = after_ms + 1 + (self.era - after_ms - 1) % ERAS
        # Publishers that had begun before are not held to the new clock.
        self.half_published = [
            (self.redis.now_ms, channel, job) for _, channel, job in self.half_published
        ]

    def note_losses(self, lose: "Callable[[], None]") -> None:
        """Note what is lost by that."""
        before = self._held()
        lose()
        self.lost.update(job for key, job in before - self._held())

    def _held(self) -> set[tuple[str, str]]:
        return {(key, job) for key, stream in self.redis.streams.items() for job in stream.jobs()}

    def connect(self, client: Client, server: ModelServer, how: int) -> None:
        """Let a client connect, mostly with the id of its last frame."""
        if client.server is not None:
            return
        last_id = client.ids[-1] if client.ids else None
        if how == 3 and client.ids:
            last_id = client.ids[len(client.ids) // 2]
        client.server = server
        client.servers.append(server)
        client.socket = FakeSocket(client.channel)
        if last_id is None:
            client.expects = set()
            client.waited_for = None if server.resumption.has_started else server
        elif client.expects is not None:
            self._allow_repeats(client, server, last_id, exact=how != 3)
        server.resumption.join(client.socket, last_id)

    def _allow_repeats(
        self, client: Client, server: ModelServer, last_id: str, *, exact: bool
    ) -> None:
        """Allow what is told again when a client returns with an id of the global stream.

        If the id is not in the tail, that is anything; else what the client has
        from its channel's stream while the global one tells it only later.
        """
        position = LastId.parse(last_id)
        assert position is not None
        if exact and position.of_channel_stream and not self.lost:
            return
        told = server.resumption._tail.after(client.channel, position.id)
        if not exact or told is None or position.of_channel_stream:
            client.may_see.update(set(client.seen))
            return
        later = {json.loads(event.data)["job_id"] for event in told}
        held = {
            json.loads(event.data)["job_id"]
            for event in server.resumption._tail.of_channel(client.channel)
        }
        client.may_see.update(set(client.seen) & (later | (set(client.seen) - held)))

    def drop(self, client: Client, frames_lost: int) -> None:
        """Let a client lose its connection, perhaps with frames under way."""
        if client.server is not None:
            client.server.hub.leave(client.socket)
            client.server = None
            client.receive(frames_lost)

    def restart(self, which: int) -> None:
        """Replace a server; its clients drop."""
        for client in self.clients:
            if client.server is self.servers[which]:
                self.drop(client, 0)
        self.servers[which].stop()
        self.stopped.append(self.servers[which])
        self.servers[which] = ModelServer(self.redis, self.servers[which].tail_size, self.published)

    def teardown(self) -> None:
        """Let everything come to rest and see whether the promise was kept."""
        if not hasattr(self, "redis"):
            return
        while self.half_published:
            self.second_xadd(0)
        for index, client in enumerate(self.clients):
            self.connect(client, self.servers[index % 2], 0)
        for server in self.servers:
            server.rest()
        for client in self.clients:
            client.receive(0)
            self._check(client)
        for server in self.servers:
            server.stop()
        if not self.trimmed and not self.lost:
            gaps = [server.gaps for server in (*self.servers, *self.stopped)]
            assert not any(gaps), f"reported: {gaps}"

    def _check(self, client: Client) -> None:
        expects = client.expects or set()
        if client.waited_for is not None:
            expects = expects - client.waited_for.resumption.before_start
        missing = expects - set(client.seen) - self.lost
        if missing:
            assert missing <= self.trimmed, f"lost: {missing}; seen: {client.seen}"
            # A Redis that lost its streams does not know either what it had trimmed.
            reported = any(server.gaps for server in client.servers)
            assert reported or self.era, f"not reported: {missing}"
        gone = self.trimmed | self.lost
        too_often = Counter(client.seen) - client.may_see - Counter(set(client.seen))
        too_often = Counter({job: n for job, n in too_often.items() if job not in gone})
        assert not too_often, f"twice: {too_often}; seen: {client.seen}"
        self._check_order([job for job in dict.fromkeys(client.seen) if job in expects - gone])

    def _check_order(self, seen: list[str]) -> None:
        """What both streams tell in the same order must be seen in that order."""
        for later in range(len(seen)):
            for earlier in seen[:later]:
                in_order = [
                    order.index(earlier) < order.index(seen[later])
                    for order in (self.begun, self.published)
                    if earlier in order and seen[later] in order
                ]
                assert any(in_order), f"{seen[later]} after {earlier}; seen: {seen}"


class PromiseTests(SynchronousTestCase):
    """The promise to clients that return."""

    def test_promise(self) -> None:
        """No client ever loses an event untold, and none sees one twice without need."""
        run_state_machine_as_test(
            Promise,
            settings=hypothesis_settings(
                max_examples=300, stateful_step_count=80, deadline=None, derandomize=True
            ),
        )
