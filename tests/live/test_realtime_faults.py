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
from functools import partial
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
        """Opens a connection, and asks for the WebSocket."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError as error:
            self.refusals.append(str(error).encode())
            self._retry()

    def leave(self) -> None:
        """Ends the connection, for good."""
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the request."""
        self._transport = transport
        self._received = b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Takes the answer to the upgrade, then frames."""
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
        """Comes back later."""
        if self.is_over:
            return
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
        self._failures += 1
        seconds = min(2 ** (self._failures - 1), 30) + random.random()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: loop.create_task(self.connect()))


def all_open(pages: list[BrowserPage]) -> bool:
    """Returns whether all of them are open."""
    return all(one.is_open for one in pages)


class Outage:
    """One loss of the subscription, which lasts less than 10 s, and 1,000 pages that see it.

    Args:
        name: what happens, in the figures.
        server: the server of the pages.
        redis: where Superset publishes before.
        fail: lets it happen and mends it; returns the Redis where Superset publishes then.
    """

    def __init__(
        self,
        name: str,
        server: Server,
        redis: RedisProcess,
        fail: "Callable[[Outage], Awaitable[RedisProcess]]",
    ) -> None:
        self.name = name
        self.server = server
        self.redis = redis
        self.pages = [BrowserPage(server.port, number) for number in range(PAGES)]
        self._fail = fail

    async def run(self) -> str:
        """Lets it happen, and returns the figures once all pages are open again."""
        try:
            await self._open()
            await self.publish("before")
            begun = time.monotonic()
            (self.redis, mended), noticed, subscribed, closed, back = await asyncio.gather(
                self._happen(),
                self.until_noticed(),
                self._until(lambda: self.server.text().count("realtime channel after") == 2),
                self._until(lambda: all(one.closes for one in self.pages)),
                self._until(lambda: all(one.opens == 2 and one.is_open for one in self.pages)),
            )
            await self.publish("after")
        finally:
            for page in self.pages:
                page.leave()
        times = zip(
            ("noticed", "mended", "subscribed", "all closed", "all back"),
            (noticed, mended, subscribed, closed, back),
            strict=True,
        )
        figures = ", ".join(f"{what} {at - begun:.2f}" for what, at in times)
        return f"{self.name}, seconds since it began: {figures}"

    async def publish(self, topic: str) -> None:
        """Publishes two messages for everybody; waits until all pages have something."""
        for page in self.pages:
            page.texts.clear()
        for number in range(2):
            message = envelope(topic, payload=number)
            await asyncio.to_thread(self.redis.client.publish, "realtime", message)
        expected = [f'{{"topic":"{topic}","payload":{number}}}'.encode() for number in range(2)]
        await self._until(lambda: all(len(one.texts) >= 2 for one in self.pages))
        # A copy too many would come soon.
        await asyncio.sleep(0.1)
        assert all(one.texts == expected for one in self.pages), self._state()

    async def until_noticed(self) -> float:
        """Waits until the server knows of it; returns when that was."""
        return await self._until(
            lambda: "no subscription to the realtime channel" in self.server.text()
        )

    async def _open(self) -> None:
        for first in range(0, PAGES, 100):
            hundred = self.pages[first : first + 100]
            await asyncio.gather(*(one.connect() for one in hundred))
            await self._until(partial(all_open, hundred))

    async def _happen(self) -> tuple[RedisProcess, float]:
        return await self._fail(self), time.monotonic()

    async def _until(self, condition: Callable[[], bool]) -> float:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._state()
            await asyncio.sleep(0.01)
        return time.monotonic()

    def _state(self) -> str:
        facts = Counter((one.opens, *one.closes, *one.texts, *one.refusals) for one in self.pages)
        return f"{self.name}: {facts}\n{self.server.text()}"


class FaultTests(SynchronousTestCase):
    """Redis fails, for less than 10 s."""

    def test_connection_ended(self) -> None:
        """Redis is restarted, replaced, takes a permission away, or has kept too much."""
        self.check(
            self.restart(), self.failover(), self.permission_taken(), self.output_buffer_exceeded()
        )

    def test_47_silence(self) -> None:
        """Redis stands still, or all packets vanish; nothing ends the connection."""
        self.check(self.freeze(), self.black_hole())

    def check(self, *outages: Outage) -> None:
        """Checks that each page was closed once, came back, was never refused, and missed nothing.

        It missed nothing since: before the outage, and after it came back.
        """

        async def run() -> None:
            for figures in asyncio.as_completed([one.run() for one in outages]):
                print(await figures)

        asyncio.run(run())
        for one in outages:
            closes = Counter(tuple(page.closes) for page in one.pages)
            self.assertEqual(closes, {(GAP,): PAGES}, one.name)
            self.assertEqual([page.refusals for page in one.pages if page.refusals], [], one.name)
            self.assertEqual(answer(one.server.port, "/ready")[0], 200, one.name)
            self.assertNotIn("Traceback", one.server.text(), one.name)

    def start(self, port: int, **values: str) -> Server:
        """Returns a server that has subscribed to the Redis on that port."""
        server = Server(self, realtime_environment(port, **values))
        server.wait_until_subscribed()
        return server

    def restart(self) -> Outage:
        """Redis is killed, and started again 3 s later."""
        redis = RedisProcess(self)

        async def fail(_: Outage) -> RedisProcess:
            redis.kill()
            await asyncio.sleep(3)
            # This thread has to live as long as the process.
            redis.start(wait=False)
            return redis

        return Outage("killed", self.start(redis.port), redis, fail)

    def freeze(self) -> Outage:
        """Redis stands still for 7 s, and goes on as if nothing had been."""
        redis = RedisProcess(self)

        async def fail(_: Outage) -> RedisProcess:
            redis.signal(signal.SIGSTOP)
            await asyncio.sleep(7)
            redis.signal(signal.SIGCONT)
            return redis

        return Outage("frozen", self.start(redis.port), redis, fail)

    def black_hole(self) -> Outage:
        """All packets to and from Redis vanish, until some time after that was noticed."""
        redis = RedisProcess(self)
        proxy = Proxy(self, redis.port)

        async def fail(outage: Outage) -> RedisProcess:
            proxy.swallows = True
            await outage.until_noticed()
            await asyncio.sleep(0.5)
            proxy.swallows = False
            return redis

        return Outage("black hole", self.start(proxy.port), redis, fail)

    def failover(self) -> Outage:
        """The master dies, and Sentinels make a replica the master."""
        master = data_node(self)
        replica = replica_of(self, master)
        (port,) = Sentinels(self, master, replica).ports

        async def fail(_: Outage) -> RedisProcess:
            master.kill()
            while not await asyncio.to_thread(_is_master, replica):
                await asyncio.sleep(0.05)
            return replica

        server = self.start(
            master.port, REDIS_SENTINELS=f"127.0.0.1:{port}", REDIS_SENTINEL_MASTER=MASTER
        )
        return Outage("failover", server, master, fail)

    def permission_taken(self) -> Outage:
        """The server's user may not subscribe any more, and 3 s later may again."""
        redis = RedisProcess(self)
        change = ("ACL", "SETUSER", "gaq")
        redis.client.execute_command(
            *change, "on", ">secret", "resetchannels", "&realtime", "+subscribe", "+ping"
        )

        async def fail(outage: Outage) -> RedisProcess:
            redis.client.execute_command(*change, "resetchannels")
            await outage.until_noticed()
            await asyncio.sleep(3)
            self.assertIn("NOPERM", outage.server.text())
            redis.client.execute_command(*change, "&realtime")
            return redis

        server = self.start(redis.port, REDIS_USERNAME="gaq", REDIS_PASSWORD="secret")
        return Outage("permission taken", server, redis, fail)

    def output_buffer_exceeded(self) -> Outage:
        """The server stands still while so much is published that Redis ends the connection."""
        redis = RedisProcess(self)
        redis.client.config_set("client-output-buffer-limit", "pubsub 32kb 16kb 1")
        flood = envelope("flood", "principal", payload="x" * 10_000, routes=["user:nobody"])

        async def fail(outage: Outage) -> RedisProcess:
            outage.server.process.send_signal(signal.SIGSTOP)
            # First the buffers of the operating system have to be full.
            while await asyncio.to_thread(redis.client.publish, "realtime", flood):
                pass
            outage.server.process.send_signal(signal.SIGCONT)
            return redis

        return Outage("output buffer", self.start(redis.port), redis, fail)


def _is_master(node: RedisProcess) -> bool:
    info: Any = node.client.info("replication")
    return bool(info["role"] == "master")
