"""What 1,000 pages of Superset 7 live through when Redis fails in each of its ways.

Nothing is stored, so a page that may have missed a message has to be closed, once, and be let
in again. How long that takes is printed, not asserted.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.test_sentinel import MASTER, Sentinels, data_node, replica_of
from tests.support.processes import (
    DEADLINE_SECONDS,
    Proxy,
    RedisProcess,
    Server,
    answer,
    realtime_environment,
)
from tests.support.rfc6455 import CLOSE, PING, PONG, TEXT, frame, parse
from tests.support.samples import envelope, realtime_cookie, upgrade_request

PAGES = 1000
GAP = 1012
_END = b"\r\n\r\n"


class BrowserPage(asyncio.Protocol):
    """A page that reconnects as Superset's does, and notes what happens to it.

    Args:
        port: the server's.
        number: decides its user and its tab.
    """

    def __init__(self, port: int, number: int) -> None:
        self.closes: list[int] = []
        """The codes with which it was closed; 1006 where the connection just ended."""
        self.opens = 0
        """How many times it was open."""
        self.refusals: list[bytes] = []
        """The status lines of refused upgrades."""
        self.texts: list[bytes] = []
        """The frames that it got."""
        self.is_open = False
        self.is_over = False
        """Whether it does not come back any more."""
        self._port = port
        self._request = upgrade_request(
            target=f"/?tab_id={number % 2}", cookies=realtime_cookie(str(number // 2))
        )
        self._failures = 0
        self._received = b""
        self._transport: Any = None

    async def connect(self) -> None:
        """Open a connection, and ask for the WebSocket."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError as error:
            self.refusals.append(str(error).encode())
            self._retry()

    def leave(self) -> None:
        """End the connection, for good."""
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = transport
        self._received = b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the answer to the upgrade, then frames."""
        self._received += data
        if not self.is_open:
            head, end, rest = self._received.partition(_END)
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.refusals.append(head.partition(b"\r\n")[0])
                self._transport.close()
                return
            self.is_open, self._failures, self._received = True, 0, rest
            self.opens += 1
        self._take_frames()

    def connection_lost(self, error: Exception | None) -> None:
        """Come back later."""
        if self.is_open:
            self.closes.append(1006)
            self.is_open = False
        self._retry()

    def _take_frames(self) -> None:
        for one in parse(self._received):
            length = len(one.payload)
            self._received = self._received[2 + 2 * (length > 125) + length :]
            if one.opcode == TEXT:
                self.texts.append(one.payload)
            elif one.opcode == PING:
                self._transport.write(frame(PONG, one.payload))
            elif one.opcode == CLOSE:
                self.closes.append(int.from_bytes(one.payload[:2], "big"))
                self.is_open = False
                self._transport.write(frame(CLOSE, one.payload))
                self._transport.close()
                return

    def _retry(self) -> None:
        if not self.is_over:
            self._failures += 1
            seconds = min(2 ** (self._failures - 1), 30) + random.random()
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self.connect()))


async def until(condition: Callable[[], bool], otherwise: Callable[[], object]) -> float:
    """Wait until a condition holds; return when that was, by time.monotonic.

    Args:
        condition: called until it returns True.
        otherwise: called for the text of the failure when it never does.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        await asyncio.sleep(0.01)
    return time.monotonic()


class FaultTests(SynchronousTestCase):
    """One loss of the subscription, of less than 10 s, and how it comes to that."""

    def start(self, port: int, **values: str) -> None:
        """Start a server that subscribes to the Redis on that port."""
        self.server = Server(self, realtime_environment(port, **values))
        self.server.wait_until_subscribed()

    def check(
        self, name: str, fault: Callable[[], Awaitable[RedisProcess]], *, redis: RedisProcess
    ) -> None:
        """Check what pages live through.

        Args:
            name: what happens, in the figures.
            fault: lets it happen, and mends it; returns the Redis where Superset publishes then.
            redis: where Superset publishes before.
        """
        asyncio.run(self._check(name, fault, redis))
        self.assertNotIn("Traceback", self.server.text())

    async def _check(
        self, name: str, fault: Callable[[], Awaitable[RedisProcess]], redis: RedisProcess
    ) -> None:
        pages = [BrowserPage(self.server.port, number) for number in range(PAGES)]

        def state() -> str:
            facts = Counter((one.opens, tuple(one.closes), len(one.texts)) for one in pages)
            return f"(opens, closes, frames): {facts}\n{self.server.text()}"

        try:
            for first in range(0, PAGES, 100):
                hundred = pages[first : first + 100]
                await asyncio.gather(*(one.connect() for one in hundred))
                await until(lambda now=hundred: all(one.is_open for one in now), state)
            await self._broadcast(redis, "before", pages, state)
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                failing = group.create_task(self._happen(fault))
                noticed = group.create_task(until(self._is_noticed, state))
                back = group.create_task(until(self._is_back, state))
                closed = group.create_task(until(lambda: all(one.closes for one in pages), state))
                returned = group.create_task(
                    until(lambda: all(one.opens == 2 and one.is_open for one in pages), state)
                )
            redis, mended = failing.result()
            status, body = await asyncio.to_thread(answer, self.server.port, "/ready")
            self.assertEqual(status, 200, body)
            await self._broadcast(redis, "after", pages, state)
            self.assertEqual(Counter(tuple(one.closes) for one in pages), {(GAP,): PAGES}, state())
            self.assertEqual([one.refusals for one in pages if one.refusals], [])
        finally:
            for page in pages:
                page.leave()
        seconds = " ".join(
            f"{what}={at - begun:.2f}"
            for what, at in {
                "noticed": noticed.result(),
                "mended": mended,
                "subscribed": back.result(),
                "all_closed": closed.result(),
                "all_back": returned.result(),
            }.items()
        )
        print(f"{name}, seconds since it began: {seconds}")

    async def _happen(
        self, fault: Callable[[], Awaitable[RedisProcess]]
    ) -> tuple[RedisProcess, float]:
        return await fault(), time.monotonic()

    def _is_noticed(self) -> bool:
        return "no subscription to the realtime channel" in self.server.text()

    def _is_back(self) -> bool:
        return self.server.text().count("subscribed to the realtime channel, after") == 2

    async def _broadcast(
        self, redis: RedisProcess, word: str, pages: list[BrowserPage], state: Callable[[], str]
    ) -> None:
        """Publish for everybody, and check that each page gets one copy."""
        for number in range(2):
            message = envelope(word, payload=number)
            # Redis may still count a connection that was swallowed.
            await asyncio.to_thread(redis.client.publish, "realtime", message)
        await until(lambda: all(len(one.texts) >= 2 for one in pages), state)
        await asyncio.sleep(0.1)
        expected = [f'{{"topic":"{word}","payload":{number}}}'.encode() for number in range(2)]
        for page in pages:
            self.assertEqual(page.texts, expected)
            page.texts.clear()

    async def _until_noticed(self) -> None:
        await until(self._is_noticed, self.server.text)

    def test_killed(self) -> None:
        """Redis is killed, and started again after 3 s."""
        redis = RedisProcess(self)
        self.start(redis.port)

        async def fault() -> RedisProcess:
            redis.kill()
            await self._until_noticed()
            await asyncio.sleep(3)
            await asyncio.to_thread(redis.start)
            return redis

        self.check("killed", fault, redis=redis)

    def test_frozen(self) -> None:
        """Redis stands still for 7 s, and goes on as if nothing had been."""
        redis = RedisProcess(self)
        self.start(redis.port)

        async def fault() -> RedisProcess:
            redis.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(7)
            finally:
                redis.signal(signal.SIGCONT)
            return redis

        self.check("frozen", fault, redis=redis)

    def test_47_black_hole(self) -> None:
        """All packets to and from Redis vanish, until some time after that was noticed."""
        redis = RedisProcess(self)
        proxy = Proxy(self, redis.port)
        self.start(proxy.port)

        async def fault() -> RedisProcess:
            proxy.swallows = True
            await self._until_noticed()
            await asyncio.sleep(0.5)
            proxy.swallows = False
            return redis

        self.check("black hole", fault, redis=redis)

    def test_56_failover(self) -> None:
        """The master dies, and Sentinels make a replica the master."""
        master = data_node(self)
        replica = replica_of(self, master)
        (port,) = Sentinels(self, master, replica).ports
        self.start(
            master.port,
            REDIS_SENTINELS=f"127.0.0.1:{port}",
            REDIS_SENTINEL_MASTER=MASTER,
        )

        async def fault() -> RedisProcess:
            master.kill()
            await until(lambda: _is_master(replica), self.server.text)
            return replica

        self.check("failover", fault, redis=master)

    def test_permission(self) -> None:
        """The server's user may not subscribe any more, and 3 s later may again."""
        redis = RedisProcess(self)
        change = ("ACL", "SETUSER", "gaq")
        redis.client.execute_command(
            *change, "on", ">secret", "resetchannels", "&realtime", "+subscribe", "+ping"
        )
        self.start(redis.port, REDIS_USERNAME="gaq", REDIS_PASSWORD="secret")

        async def fault() -> RedisProcess:
            await asyncio.to_thread(redis.client.execute_command, *change, "resetchannels")
            await self._until_noticed()
            await asyncio.sleep(3)
            self.assertIn("NOPERM", self.server.text())
            await asyncio.to_thread(redis.client.execute_command, *change, "&realtime")
            return redis

        self.check("permission taken", fault, redis=redis)

    def test_output_buffer(self) -> None:
        """The server stands still while so much is published that Redis ends the connection."""
        redis = RedisProcess(self)
        redis.client.config_set("client-output-buffer-limit", "pubsub 32kb 16kb 1")
        self.start(redis.port)
        message = envelope("flood", "principal", payload="x" * 10_000, routes=["user:nobody"])

        def flood() -> None:
            # First the buffers of the operating system have to be full.
            while redis.client.publish("realtime", message):
                pass

        async def fault() -> RedisProcess:
            self.server.process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(flood)
            finally:
                self.server.process.send_signal(signal.SIGCONT)
            return redis

        self.check("output buffer", fault, redis=redis)


def _is_master(node: RedisProcess) -> bool:
    info: Any = node.client.info("replication")
    return bool(info["role"] == "master")
