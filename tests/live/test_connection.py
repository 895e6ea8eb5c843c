"""A connection to Redis: opened, shared, lost, replaced, aborted in time."""

import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from gaq_twisted.config.forms import Secret
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.connection import Connection, Credentials
from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisReplied
from gaq_twisted.redis.remedies import Remedies
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.redis.session import ServerAddress
from gaq_twisted.streams.commands import stream_usage
from tests.support.processes import DEADLINE_SECONDS, PREFIX, RedisProcess

REACTOR = cast(IClientReactor, reactor)
USAGE = stream_usage(PREFIX)
REMEDIES = Remedies("redis", "default", "password", USAGE)
NOBODY = Credentials(
    username="default",
    password="",
    db=0,
    must_be_master=False,
)


class ReachingTestCase(TestCase):
    """A test that talks to Redis."""

    timeout = 3 * DEADLINE_SECONDS

    def connection(self, redis: Redis) -> Connection:
        """Return a connection for those settings, which the test closes."""
        made = RedisServer(redis, REACTOR, USAGE).connection()
        self.addCleanup(made.close)
        return made

    async def failure_of(
        self, asked: Awaitable[object], kind: type[RedisError] | None = None
    ) -> str:
        """Return the text of the error that comes instead of a reply; one that time may mend."""
        with self.assertRaises(RedisError) as caught:
            await asked
        kinds = (RedisError, RedisReplied) if kind is None else (kind,)
        self.assertIn(type(caught.exception), kinds)
        text = str(caught.exception)
        self.assertEqual(len(text.splitlines()), 1)
        return text

    async def refusal(self, redis: Redis, *command: object) -> str:
        """Return the error of a command on a new connection."""
        return await self.failure_of(self.connection(redis).ask(*(command or ("PING",))))

    async def eventually(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, while the reactor runs."""
        deadline = reactor.seconds() + DEADLINE_SECONDS
        while not condition():
            self.assertLess(reactor.seconds(), deadline, "it never happened")
            await deferLater(reactor, 0.01)


class ConnectionTestCase(ReachingTestCase):
    """A test with a Redis and a connection to it."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def client_ids(self) -> set[str]:
        """Return the ids of the connections that Redis has."""
        return {client["id"] for client in self.redis.client.client_list()}

    def to_redis(self) -> Connection:
        """Return a connection to the Redis."""
        return self.connection(Redis(port=self.redis.port))


class SharingTests(ConnectionTestCase):
    """One connection for all commands."""

    async def test_opened_when_needed(self) -> None:
        """The first command opens the connection, once."""
        before = self.client_ids()
        connection = self.to_redis()
        await deferLater(reactor, 0)
        self.assertEqual(self.client_ids(), before)
        self.assertEqual(connection.times_opened, 0)
        await connection.ask("PING")
        await connection.ask("PING")
        self.assertEqual(len(self.client_ids() - before), 1)
        self.assertEqual(connection.times_opened, 1)

    async def test_many_at_once(self) -> None:
        """Simultaneous commands share one connection, and each gets its own reply."""
        before = self.client_ids()
        connection = self.to_redis()
        # First while it is being opened, then while it is open.
        for count in (2000, 1000):
            numbers = range(count)
            asked = [Deferred.fromCoroutine(connection.ask("ECHO", number)) for number in numbers]
            replies = await gatherResults(asked)
            self.assertEqual(replies, [str(number).encode() for number in numbers])
        self.assertEqual(len(self.client_ids() - before), 1)
        self.assertEqual(connection.times_opened, 1)

    async def test_bytes(self) -> None:
        """A reply is the bytes that Redis holds, of any size and content."""
        connection = self.to_redis()
        for value in (b"", b"007", b"1.50", b"\xff\x00\r\n", b"x" * 10_000_000):
            await connection.ask("SET", "key", value)
            self.assertEqual(await connection.ask("GET", "key"), value)

    async def test_error_reply(self) -> None:
        """An error reply is raised, and the connection stays open."""
        connection = self.to_redis()
        before = await connection.ask("CLIENT", "ID")
        self.redis.client.set(f"{PREFIX}full", "not a stream")
        told = await self.failure_of(
            connection.ask("XRANGE", f"{PREFIX}full", "-", "+"), RedisRefused
        )
        self.assertIn("answered XRANGE with: WRONGTYPE", told)
        self.assertEqual(await connection.ask("CLIENT", "ID"), before)

    async def test_error_among_others(self) -> None:
        """An error reply belongs to its own command only."""
        connection = self.to_redis()
        first = Deferred.fromCoroutine(connection.ask("ECHO", "1"))
        bad = Deferred.fromCoroutine(connection.ask("ECHO"))
        last = Deferred.fromCoroutine(connection.ask("ECHO", "2"))
        self.assertIn("wrong number of arguments", await self.failure_of(bad))
        self.assertEqual([await first, await last], [b"1", b"2"])


class LossTests(ConnectionTestCase):
    """Redis goes away."""

    async def test_absent(self) -> None:
        """Without Redis the error names the address; with it again the same object works."""
        connection = self.to_redis()
        self.redis.kill()
        for _ in range(2):
            self.assertIn(
                f"cannot connect to Redis at 127.0.0.1:{self.redis.port}: ",
                await self.failure_of(connection.ask("PING")),
            )
        self.assertEqual(connection.times_opened, 0)
        self.redis.start()
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_lost(self) -> None:
        """Commands under way fail when the connection is lost; the next one opens another."""
        connection = self.to_redis()
        waiting = [
            Deferred.fromCoroutine(connection.ask("BLPOP", "none", 0, within_seconds=1000))
            for _ in range(3)
        ]
        await self.eventually(lambda: self.redis.client.info("clients")["blocked_clients"] == 1)
        self.redis.kill()
        for asked in waiting:
            self.assertIn(
                f"the connection to Redis at 127.0.0.1:{self.redis.port} was lost: ",
                await self.failure_of(asked),
            )
        self.redis.start()
        self.assertEqual(await connection.ask("PING"), b"PONG")
        self.assertEqual(connection.times_opened, 2)

    async def test_lost_while_idle(self) -> None:
        """A connection that was lost while idle makes no command fail."""
        connection = self.to_redis()
        before = await connection.ask("CLIENT", "ID")
        self.redis.client.client_kill_filter(_id=str(before))
        # When its end has been read, the next command must not use it any more.
        await self.eventually(lambda: str(before) not in self.client_ids())
        await deferLater(reactor, 0.05)
        self.assertNotEqual(await connection.ask("CLIENT", "ID"), before)
        self.assertEqual(connection.times_opened, 2)

    async def test_not_redis(self) -> None:
        """A server of another protocol makes one error, which names it."""
        port = Listener(self, answer=b"HTTP/1.1 400 Bad Request\r\n\r\n").port
        self.assertIn(f"Redis at 127.0.0.1:{port}", await self.refusal(Redis(port=port)))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_refused_connections_are_closed(self) -> None:
        """A connection whose login fails is not kept."""
        self.redis.client.config_set("requirepass", "open up")
        redis = partial(Redis, port=self.redis.port)
        before = self.client_ids()
        for _ in range(5):
            told = await self.refusal(redis(password=Secret("wrong")))
            self.assertIn("WRONGPASS", told)
            told = await self.refusal(redis(password=Secret("open up"), db=99))
            self.assertIn("SELECT", told)
        await self.eventually(lambda: self.client_ids() == before)


class DeadlineTests(ConnectionTestCase):
    """Servers that take too long."""

    async def test_hung(self) -> None:
        """A connection without a reply is aborted in time, and another is opened."""
        connection = self.to_redis()
        await connection.ask("PING")
        self.redis.signal(signal.SIGSTOP)
        self.assertIn(
            f"Redis at 127.0.0.1:{self.redis.port} did not answer within 0.1 s",
            await self.failure_of(connection.ask("ECHO", "old", within_seconds=0.1)),
        )
        self.redis.signal(signal.SIGCONT)
        # The late reply must not be taken for that of a later command.
        self.assertEqual(await connection.ask("ECHO", "new"), b"new")
        self.assertEqual(connection.times_opened, 2)

    async def test_hung_for_all(self) -> None:
        """When one command times out, those after it on the connection fail too."""
        connection = self.to_redis()
        await connection.ask("PING")
        self.redis.signal(signal.SIGSTOP)
        behind = Deferred.fromCoroutine(connection.ask("PING", within_seconds=1000))
        await self.failure_of(connection.ask("PING", within_seconds=0.1))
        self.assertIn("was lost", await self.failure_of(behind))
        self.redis.signal(signal.SIGCONT)

    async def test_waiting_command(self) -> None:
        """A blocking command has a deadline of its own."""
        connection = self.to_redis()
        asked = connection.ask("BLPOP", "none", "0.3", within_seconds=DEADLINE_SECONDS)
        self.assertIsNone(await asked)
        self.assertEqual(connection.times_opened, 1)

    async def test_vanished(self) -> None:
        """Connecting to an address that does not answer fails in time."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            # With a full queue the system ignores further connections.
            queued = [socket.socket() for _ in range(4)]
            for one in queued:
                self.addCleanup(one.close)
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            connection = Connection(at(port), NOBODY, REMEDIES, reactor, connect_seconds=0.2)
            self.assertEqual(
                await self.failure_of(connection.ask("PING")),
                f"cannot connect to port {port} within 0.2 s",
            )

    async def test_silent_at_login(self) -> None:
        """A server that accepts the connection, but does not reply to the login, fails in time."""
        listener = Listener(self)
        clock = Clock()
        connection = Connection(at(listener.port), NOBODY._replace(password="x"), REMEDIES, clock)
        asked = Deferred.fromCoroutine(connection.ask("PING"))
        await self.eventually(lambda: b"AUTH" in listener.received)
        clock.advance(4.9)
        self.assertNoResult(asked)
        clock.advance(0.1)
        self.assertIn("did not answer within 5 s", await self.failure_of(asked))
        await self.eventually(lambda: listener.open_count == 0)


class CancelTests(ConnectionTestCase):
    """The caller cancels a command."""

    async def assert_cancelled(self, asked: "Deferred[Any]") -> None:
        """Cancel a command, and check that it fails as cancelled."""
        asked.cancel()
        with self.assertRaises(CancelledError):
            await asked

    async def test_command_under_way(self) -> None:
        """The connection is aborted, because its next reply would be for no command."""
        connection = self.to_redis()
        before = await connection.ask("CLIENT", "ID")
        asked = Deferred.fromCoroutine(connection.ask("BLPOP", "none", 0, within_seconds=1000))
        await self.eventually(lambda: self.redis.client.info("clients")["blocked_clients"] == 1)
        await self.assert_cancelled(asked)
        await self.eventually(lambda: str(before) not in self.client_ids())
        self.assertEqual(await connection.ask("ECHO", "new"), b"new")

    async def test_connecting(self) -> None:
        """A command that waited for the same connection opens one."""
        connection = self.to_redis()
        first = Deferred.fromCoroutine(connection.ask("ECHO", "1"))
        second = Deferred.fromCoroutine(connection.ask("ECHO", "2"))
        await self.assert_cancelled(first)
        self.assertEqual(await second, b"2")
        self.assertEqual(connection.times_opened, 1)

    async def test_waiting_for_the_connection(self) -> None:
        """A command can be cancelled while it waits for another one to open the connection."""
        connection = self.to_redis()
        first = Deferred.fromCoroutine(connection.ask("ECHO", "1"))
        second = Deferred.fromCoroutine(connection.ask("ECHO", "2"))
        await self.assert_cancelled(second)
        self.assertEqual(await first, b"1")
        self.assertEqual(await connection.ask("ECHO", "3"), b"3")
        self.assertEqual(connection.times_opened, 1)

    async def test_at_login(self) -> None:
        """A connection is closed if its login is cancelled."""
        listener = Listener(self)
        connection = Connection(at(listener.port), NOBODY._replace(password="x"), REMEDIES, reactor)
        asked = Deferred.fromCoroutine(connection.ask("PING"))
        await self.eventually(lambda: b"AUTH" in listener.received)
        await self.assert_cancelled(asked)
        await self.eventually(lambda: listener.open_count == 0)


class CloseTests(ConnectionTestCase):
    """The server stops."""

    async def test_under_way(self) -> None:
        """Commands under way fail at once, and Redis sees the end of the connection."""
        before = self.client_ids()
        connection = self.to_redis()
        asked = Deferred.fromCoroutine(connection.ask("BLPOP", "none", 0, within_seconds=1000))
        await self.eventually(lambda: self.redis.client.info("clients")["blocked_clients"] == 1)
        connection.close()
        self.assertIn("was lost", await self.failure_of(asked))
        await self.eventually(lambda: self.client_ids() == before)

    async def test_again(self) -> None:
        """Closing twice does nothing, and a later command opens a new connection."""
        connection = self.to_redis()
        connection.close()
        self.assertEqual(await connection.ask("PING"), b"PONG")
        connection.close()
        connection.close()
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_at_login(self) -> None:
        """A connection that is being opened is closed as well, and the commands fail."""
        listener = Listener(self)
        clock = Clock()
        connection = Connection(at(listener.port), NOBODY._replace(password="x"), REMEDIES, clock)
        asked = Deferred.fromCoroutine(connection.ask("PING"))
        # If closing does not help, the deadline ends it.
        self.addCleanup(clock.advance, DEADLINE_SECONDS)
        failed: list[Failure] = []
        asked.addErrback(failed.append)
        await self.eventually(lambda: b"AUTH" in listener.received)
        connection.close()
        await deferLater(reactor, 0.05)
        self.assertEqual([type(failure.value) for failure in failed], [RedisError])


class MovingTests(ReachingTestCase):
    """The server's address changes while the connection is open."""

    def setUp(self) -> None:
        """Start two servers with different replies; the first one is the current one."""
        self.ports = []
        for number in range(2):
            redis = RedisProcess(self)
            redis.client.set("number", number)
            self.ports.append(redis.port)
        self.clock = Clock()
        self.current = 0
        self.is_known = True
        self.lookups = 0
        self.moving = Connection(self.locate, NOBODY, REMEDIES, self.clock)
        self.addCleanup(self.moving.close)

    async def locate(self) -> ServerAddress:
        """Return the address of the current server, or fail."""
        self.lookups += 1
        if not self.is_known:
            raise RedisError("nobody knows")
        return await at(self.ports[self.current])()

    async def number(self) -> int:
        """Return the number of the server that replies."""
        return int(await self.moving.ask("GET", "number"))

    async def test_same_place(self) -> None:
        """The address is looked up every five seconds; the same address changes nothing."""
        for _ in range(3):
            for _ in range(3):
                self.assertEqual(await self.number(), 0)
            self.clock.advance(4.9)
            self.assertEqual(await self.number(), 0)
            self.clock.advance(0.1)
        self.assertEqual(self.lookups, 3)
        self.assertEqual(self.moving.times_opened, 1)

    async def test_moved(self) -> None:
        """After the address has changed, the new server is used."""
        self.assertEqual(await self.number(), 0)
        self.current = 1
        self.assertEqual(await self.number(), 0)
        self.clock.advance(5)
        self.assertEqual(await self.number(), 1)
        self.assertEqual(self.moving.times_opened, 2)
        self.clock.advance(5)
        self.assertEqual(await self.number(), 1)
        self.assertEqual(self.moving.times_opened, 2)

    async def test_unknown_place(self) -> None:
        """While the address cannot be looked up, the server that replies is kept."""
        self.assertEqual(await self.number(), 0)
        self.current, self.is_known = 1, False
        for _ in range(3):
            self.clock.advance(5)
            self.assertEqual(await self.number(), 0)
        self.is_known = True
        self.clock.advance(5)
        self.assertEqual(await self.number(), 1)

    async def test_commands_at_the_old_place(self) -> None:
        """Commands under way on the old server fail, so that their callers retry."""
        await self.number()
        waiting = Deferred.fromCoroutine(
            self.moving.ask("BLPOP", "none", 0, within_seconds=DEADLINE_SECONDS)
        )
        self.current = 1
        self.clock.advance(5)
        self.assertEqual(await self.number(), 1)
        self.assertIn("was lost", await self.failure_of(waiting))

    async def test_given_up_while_looking(self) -> None:
        """A connection that fails during the lookup is replaced like any other."""
        answer: Deferred[ServerAddress] = Deferred()

        async def slowly() -> ServerAddress:
            self.lookups += 1
            return await (at(self.ports[0])() if self.lookups == 1 else answer)

        connection = Connection(slowly, NOBODY, REMEDIES, self.clock)
        self.addCleanup(connection.close)
        await connection.ask("PING")
        self.clock.advance(4)
        hung = Deferred.fromCoroutine(connection.ask("BLPOP", "none", 0, within_seconds=2))
        self.clock.advance(1)
        asked = Deferred.fromCoroutine(connection.ask("GET", "number"))
        self.clock.advance(1)
        self.assertIn("did not answer within 2 s", await self.failure_of(hung))
        answer.callback(await at(self.ports[1])())
        self.assertEqual(await asked, b"1")


class Listener:
    """A server that sends every client the same, or nothing, and keeps what it receives."""

    def __init__(self, test: TestCase, *, answer: bytes = b"") -> None:
        """Listen on a free port until the test ends."""
        self.received = b""
        self.open_count = 0
        listener = self

        class Answering(Protocol):
            def connectionMade(self) -> None:
                listener.open_count += 1

            def dataReceived(self, data: bytes) -> None:
                listener.received += data
                if answer:
                    assert self.transport is not None
                    self.transport.write(answer)

            def connectionLost(self, reason: Any = None) -> None:
                listener.open_count -= 1

        factory: Any = Factory.forProtocol(Answering)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        test.addCleanup(port.stopListening)
        self.port: int = port.getHost().port


def at(port: int) -> Callable[[], Awaitable[ServerAddress]]:
    """Return a function that locates Redis on that port of the loopback interface."""

    async def locate() -> ServerAddress:
        return ServerAddress(f"port {port}", HostnameEndpoint(reactor, "127.0.0.1", port))

    return locate
