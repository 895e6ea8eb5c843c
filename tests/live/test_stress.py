"""The promise against real processes: whatever drops or dies, no client misses an event.

The dice are thrown by a seed, which is printed; STRESS_SEED in the environment repeats it.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from gaq_twisted.streams.events import LastId, StreamId
from gaq_twisted.streams.missed import SKEW_MS
from tests.support.processes import PREFIX, RedisProcess, Server, Tab, environment
from tests.support.samples import cookie, job_data
from tests.support.sessions import start

ROOT = Path(__file__).resolve().parent.parent.parent
CHANNELS = tuple(f"channel-{number}" for number in range(10))
CLIENTS = 50
# Every so many clients connect for the first time while events are in flight.
LATE_CLIENTS = 5
PUBLISHERS = 8
EVENTS = 20_000
# About a third of a second, so that the channel streams are read as well.
TAIL_EVENTS = 300
# A channel's stream holds about 10 s.
INITIAL_REPLAY_MS = 5000
DEADLINE_SECONDS = 150.0
OLD = "old"
END = "end"


class Client:
    """A browser that drops again and again, and checks whatever it gets."""

    def __init__(self, number: int, ports: list[int], seed: str) -> None:
        """Take its number, the ports of the servers, and the seed of the dice."""
        self.name = f"client {number}"
        self.channel = CHANNELS[number % len(CHANNELS)]
        self.is_late = number % LATE_CLIENTS == 0
        self.may_drop = True
        """Whether it leaves of its own will."""
        self.connected = asyncio.Event()
        """Set since it was connected for the first time."""
        self.connected_ms = 0.0
        """When that was, in milliseconds since 1970."""
        self.seen: set[str] = set()
        self.first_sights: list[str] = []
        """What it has seen, in the order in which it saw each for the first time."""
        self.frames = 0
        self.frames_of_channel_stream = 0
        self.repeated = 0
        self.repeated_on_one_connection: set[str] = set()
        self.faults: list[str] = []
        self.connections: list[str] = []
        """What happened on each connection."""
        self.unreachable: list[int] = []
        """The ports where it was turned away."""
        self.ended: list[int] = []
        """The ports of servers that ended a connection."""
        self._ports = ports
        self._dice = random.Random(f"{seed} {self.name}")
        self._headers = {"Cookie": cookie(self.channel)}
        self._last_id: str | None = None

    async def run(self) -> None:
        """Come and go until the end has been seen."""
        if self.is_late:
            await asyncio.sleep(self._dice.uniform(0.0, 8.0))
        while END not in self.seen:
            port = self._dice.choice(self._ports)
            try:
                await self._visit(port)
            except (OSError, InvalidMessage):
                self.unreachable.append(port)
            await asyncio.sleep(self._pause_seconds())

    def story(self) -> str:
        """Return a line for each of its connections."""
        return "\n  ".join([f"{self.name}, whose connections were:", *self.connections])

    async def _visit(self, port: int) -> None:
        query = "" if self._last_id is None else f"?last_id={self._last_id}"
        socket = await connect(
            f"ws://127.0.0.1:{port}/{query}",
            additional_headers=self._headers,
            compression=None,
            proxy=None,
            open_timeout=DEADLINE_SECONDS,
            ping_interval=None,
            max_queue=None,
        )
        if not self.connected.is_set():
            self.connected_ms = time.time() * 1000
            self.connected.set()
        frames, how = self.frames, "failed"
        try:
            how = await self._listen(socket)
        except ConnectionClosed as closed:
            how = f"was ended with {closed.rcvd}"
            self.ended.append(port)
        finally:
            socket.transport.abort()
            await socket.wait_closed()
            self.connections.append(f"{port}{query} {how} after {self.frames - frames} frames")

    async def _listen(self, socket: ClientConnection) -> str:
        """Take frames as long as the dice say, then leave; return how."""
        oldest_ms = self._oldest_repeated_ms()
        seen_here: set[str] = set()
        frames, seconds = self._stay()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(seen_here) < frames and END not in self.seen:
                    self._take(json.loads(await socket.recv()), oldest_ms, seen_here)
        if self._dice.random() < 0.7:
            return "aborted"
        await socket.close()
        return "closed"

    def _stay(self) -> tuple[float, float | None]:
        """Return how many events to take at most, and for how many seconds."""
        any_number = float("inf")
        if not self.may_drop:
            return any_number, None
        if self._last_id is None:
            return self._dice.randint(1, 400), None
        throw = self._dice.random()
        if throw < 0.15:
            return 0, None
        if throw < 0.5:
            return self._dice.randint(1, 400), 3.0
        return any_number, self._dice.uniform(0.05, 4.0)

    def _pause_seconds(self) -> float:
        throw = self._dice.random()
        if throw < 0.5:
            return self._dice.uniform(0.0, 0.1)
        return self._dice.uniform(0.1, 1.0 if throw < 0.9 else 2.5)

    def _oldest_repeated_ms(self) -> int:
        """Return the least time in the id of an event that the next connection may send again."""
        last = LastId.parse(self._last_id or "0-0")
        assert last is not None
        return last.id.ms if last.of_channel_stream else last.id.ms - SKEW_MS

    def _take(self, event: dict[str, Any], oldest_ms: int, seen_here: set[str]) -> None:
        job: str = event["job_id"]
        last = LastId.parse(event["id"])
        assert last is not None
        self.frames += 1
        self.frames_of_channel_stream += last.of_channel_stream
        self._last_id = event["id"]
        if event["channel_id"] != self.channel:
            self.faults.append(f"{job} is of {event['channel_id']}")
        if job not in self.seen:
            self.first_sights.append(job)
        elif job in seen_here:
            self.repeated_on_one_connection.add(job)
        else:
            self.repeated += 1
            if last.id.ms < oldest_ms:
                self.faults.append(f"{job} was told again, as {event['id']}")
        self.seen.add(job)
        seen_here.add(job)


class Lost(NamedTuple):
    """An event that a client should have seen."""

    client: Client
    entry_id: str
    """Its id in the global stream."""
    data: str


class StressTests(SynchronousTestCase):
    """Everything at once."""

    def setUp(self) -> None:
        """Start a Redis whose channels have a past, and two servers."""
        self.seed = os.environ.get("STRESS_SEED") or str(random.randrange(10**6))
        print(f"STRESS_SEED={self.seed}")
        self.dice = random.Random(f"{self.seed} disturbances")
        self.redis = RedisProcess(self)
        for number, channel in enumerate(CHANNELS, 1):
            data: Any = {"data": job_data(channel, OLD)}
            for stream in (channel, "full"):
                self.redis.client.xadd(f"{PREFIX}{stream}", data, id=f"{number}-0")
        self.environments = [
            environment(
                self.redis.port,
                TAIL_MAX_EVENTS=str(TAIL_EVENTS),
                INITIAL_REPLAY_MS=str(INITIAL_REPLAY_MS),
            )
            for _ in range(2)
        ]
        self.servers = [Server(self, environ) for environ in self.environments]
        for server in self.servers:
            server.wait_until_ready()
        self.publishers: list[subprocess.Popen[str]] = []

    def test_nothing_is_lost(self) -> None:
        """Each client sees every event of its channel, in each publisher's order, and no other."""
        ports = [server.port for server in self.servers]
        clients = [Client(number, ports, self.seed) for number in range(CLIENTS)]
        begun = time.monotonic()
        is_done = True
        try:
            asyncio.run(self.run_all(clients))
        except TimeoutError:
            is_done = False
        seconds = time.monotonic() - begun
        self.published = self.entries("full")
        lost = list(self.lost(clients))
        reconnects = sum(len(client.connections) - 1 for client in clients)
        of_channel_streams = sum(client.frames_of_channel_stream for client in clients)
        print(
            f"{EVENTS} events, {PUBLISHERS} publishers, {CLIENTS} clients,"
            f" {reconnects} reconnects, {sum(client.frames for client in clients)} frames"
            f" ({of_channel_streams} of channel streams),"
            f" {sum(client.repeated for client in clients)} repeated,"
            f" {len(lost)} lost, {seconds:.1f} s"
        )
        if lost:
            self.fail(self.explain(lost[0]))
        self.assertTrue(is_done, "the deadline has passed")
        written_again = self.written_again()
        for client in clients:
            self.check_client(client, written_again)
        self.check_servers()
        # Otherwise all this was too easy.
        self.assertGreater(reconnects, 5 * CLIENTS)
        self.assertGreater(of_channel_streams, 5 * CLIENTS)

    async def run_all(self, clients: list[Client]) -> None:
        """Let clients and publishers run, and kill what they need, until all are done."""
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run())
            for client in clients:
                if not client.is_late:
                    await client.connected.wait()
            self.start_publishers()
            await self.wait_for_progress(self.dice.uniform(0.2, 0.45))
            await self.restart_a_server()
            await self.wait_for_progress(self.dice.uniform(0.55, 0.8))
            await self.restart_redis()
            await _wait_for(lambda: all(one.poll() is not None for one in self.publishers))
            for client in clients:
                client.may_drop = False
            for channel in CHANNELS:
                self.redis.publish(END, channel=channel)

    def start_publishers(self) -> None:
        """Start processes that publish the events; the test ends them."""
        for number in range(PUBLISHERS):
            publisher: subprocess.Popen[str] = start(
                self,
                [
                    *(sys.executable, "-m", "tests.support.stress_publisher", str(self.redis.port)),
                    *(str(number), str(EVENTS // PUBLISHERS), self.seed, *CHANNELS),
                ],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert publisher.stdout is not None
            self.addCleanup(publisher.stdout.close)
            self.publishers.append(publisher)

    async def wait_for_progress(self, share: float) -> None:
        """Wait until that share of the events has been published."""
        await _wait_for(lambda: self.redis.client.xlen(f"{PREFIX}full") >= share * EVENTS)

    async def restart_a_server(self) -> None:
        """Kill one of the servers; start it again on the same port a little later."""
        number = self.dice.randrange(2)
        self.killed = self.servers[number]
        self.killed.stop(signal.SIGKILL)
        await asyncio.sleep(self.dice.uniform(0.0, 1.0))
        self.servers[number] = Server(self, self.environments[number])

    async def restart_redis(self) -> None:
        """Kill Redis; start it again a little later."""
        self.redis.kill()
        await asyncio.sleep(self.dice.uniform(0.0, 0.5))
        self.redis.start(wait=False)

    def lost(self, clients: list[Client]) -> Iterator[Lost]:
        """Yield what each client should have seen but has not."""
        for entry_id, data in self.published:
            event = json.loads(data)
            for client in clients:
                if (
                    client.channel == event["channel_id"]
                    and client.connected_ms < _stream_id(entry_id).ms
                    and event["job_id"] not in client.seen
                ):
                    yield Lost(client, entry_id, data)

    def explain(self, lost: Lost) -> str:
        """Return what is known of a lost event."""
        client = lost.client
        in_channel = [each for each, data in self.entries(client.channel) if data == lost.data]
        return (
            f"{lost.entry_id}, in its channel's stream now {in_channel or 'trimmed'}, was not seen:"
            f" {lost.data}; {client.story()}"
        )

    def entries(self, stream: str) -> list[tuple[str, str]]:
        """Return the ids and data of a stream's entries."""
        entries: Any = self.redis.client.xrange(f"{PREFIX}{stream}")
        return [(entry_id.decode(), fields[b"data"].decode()) for entry_id, fields in entries]

    def written_again(self) -> set[str]:
        """Return the jobs that can be in a stream twice, once all publishers have succeeded."""
        jobs: set[str] = set()
        for publisher in self.publishers:
            assert publisher.stdout is not None
            jobs.update(json.loads(publisher.stdout.read()))
        published = {json.loads(data)["job_id"] for _, data in self.published}
        self.assertEqual(len(published - {OLD, END}), EVENTS)
        return jobs

    def check_client(self, client: Client, written_again: set[str]) -> None:
        """Check what a client saw, and that nobody but the killed server ended a connection."""
        self.assertEqual(self.disorder(client) + client.faults, [], client.story())
        self.assertLessEqual(client.repeated_on_one_connection, written_again, client.story())
        self.assertIn(client.ended, ([], [self.killed.port]), client.story())
        self.assertLessEqual(set(client.unreachable), {self.killed.port}, client.story())

    def disorder(self, client: Client) -> list[str]:
        """Return what a client saw first after a later event of the same publisher.

        What was published before its first connection does not count: a replay begins
        before the id that the client has, and so may reach back further each time.
        """
        first_ids: dict[str, StreamId] = {}
        for entry_id, data in self.published:
            first_ids.setdefault(json.loads(data)["job_id"], _stream_id(entry_id))
        newest: dict[str, int] = {}
        found: list[str] = []
        for job in client.first_sights:
            publisher, _, number = job.partition("-")
            if number and first_ids[job].ms > client.connected_ms:
                if int(number) < newest.get(publisher, -1):
                    found.append(f"{job} came after {publisher}-{newest[publisher]}")
                newest[publisher] = max(newest.get(publisher, -1), int(number))
        return found

    def check_servers(self) -> None:
        """Check that the servers found nothing wrong."""
        for server in self.servers:
            server.stop()
        survivor, restarted = sorted(
            self.servers, key=lambda server: server.port == self.killed.port
        )
        self.assertIn("following the global stream again", survivor.text())
        self.assertIn("following the global stream", restarted.text())
        for server in (self.killed, *self.servers):
            for bad in ("traceback", "unhandled", "critical", "may be lost", "has lost"):
                self.assertNotIn(bad, server.text().lower())


class WrittenTwiceTests(SynchronousTestCase):
    """What a publisher wrote again because the first answer was lost."""

    def test_order(self) -> None:
        """An event that is twice in the global stream is not sent before what precedes it."""
        redis = RedisProcess(self)
        jobs = ["1", "2", "3", "4"]
        for stream, written in ((CHANNELS[0], jobs), ("full", [*jobs, "4"])):
            for number, job in enumerate(written, 1):
                data: Any = {"data": job_data(CHANNELS[0], job)}
                redis.client.xadd(f"{PREFIX}{stream}", data, id=f"{number}-0")
        server = Server(self, environment(redis.port, TAIL_MAX_EVENTS="3"))
        server.wait_until_ready()
        with Tab(server.port, channel=CHANNELS[0], last_id="1-0") as tab:
            self.assertEqual(list(dict.fromkeys(tab.jobs(5))), jobs)


def _stream_id(text: str) -> StreamId:
    return StreamId.parse(text.encode())


async def _wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)
