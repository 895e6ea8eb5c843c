"""The ways to reach Redis: TCP, unix socket, users, databases; and its error replies."""

import contextlib
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import redis as redis_py
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from gaq_twisted.config.forms import HostName, Secret
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisTooOld
from gaq_twisted.streams.commands import Streams
from gaq_twisted.streams.events import BEGINNING, Entry, StreamId
from tests.live.test_connection import REACTOR, ReachingTestCase
from tests.support.processes import PREFIX, RedisProcess, free_port, wait_until
from tests.support.reading import read_once
from tests.support.samples import settings

PASSWORD = Secret("open sesame")
HASH_SLOTS = 16384


class EndpointTestCase(ReachingTestCase):
    """A test that reads streams."""

    def streams(self, redis: Redis, **values: Any) -> Streams:
        """Return streams there, which the test closes."""
        made = Streams(settings(redis=redis, **values), REACTOR)
        self.addCleanup(made.stopService)
        return made

    async def use_everything(self, redis: Redis, *, prefix: str = PREFIX) -> None:
        """Use every command of the server; the streams `full` and `red` have an entry `1-0`."""
        streams = self.streams(redis, redis_stream_prefix=prefix)
        entry = Entry(b"1-0", b"x")
        self.assertEqual(await streams.newest(count=10, max_bytes=1000), [entry])
        self.assertEqual(await read_once(streams, BEGINNING), [entry])
        self.assertEqual(await streams.following(entry), [])
        self.assertTrue(await streams.holds(entry))
        self.assertEqual(await streams.up_to(StreamId(1, 0)), [entry])
        self.assertTrue(await streams.is_untrimmed())
        self.assertEqual(await streams.of_channel("red", StreamId(1, 0)), ([entry], 0))


def fill(client: redis_py.Redis, *, prefix: str = PREFIX) -> None:
    """Add an entry to the global stream and to a channel's."""
    for name in ("full", "red"):
        client.xadd(f"{prefix}{name}", {"data": "x"}, id="1-0")


class TcpTests(EndpointTestCase):
    """By host and port."""

    async def test_everything(self) -> None:
        """All commands work, by the address and by the name."""
        redis = RedisProcess(self)
        fill(redis.client)
        for host in ("127.0.0.1", "localhost"):
            await self.use_everything(Redis(host=HostName(host), port=redis.port))

    async def test_nobody_listens(self) -> None:
        """The error names the address in its usual form, and the reason."""
        port = free_port()
        for host, shown in (("127.0.0.1", f"127.0.0.1:{port}"), ("::1", f"[::1]:{port}")):
            refusal = await self.refusal(Redis(host=HostName(host), port=port))
            self.assertTrue(refusal.startswith(f"cannot connect to Redis at {shown}: "), refusal)

    async def test_unknown_name(self) -> None:
        """A name that cannot be found, or cannot be one, is an error that shows it."""
        for host in ("redis.invalid", "redis_1.invalid", "a..invalid", "x" * 64 + ".invalid"):
            self.assertIn(f"Redis at {host}:6379", await self.refusal(Redis(host=HostName(host))))


class UnixSocketTests(EndpointTestCase):
    """By the path of a unix socket."""

    def setUp(self) -> None:
        """Choose a path, short enough for a socket."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "redis.sock"

    async def test_everything(self) -> None:
        """All commands work, and host and port do not matter."""
        redis = RedisProcess(self, "--unixsocket", str(self.path))
        fill(redis.client)
        await self.use_everything(
            Redis(unix_socket_path=str(self.path), host=HostName("redis.invalid"), port=1)
        )

    async def test_login(self) -> None:
        """User, password and database are used as well."""
        redis = RedisProcess(self, "--unixsocket", str(self.path))
        with redis_py.Redis(port=redis.port, db=3) as client:
            fill(client)
        redis.client.config_set("requirepass", PASSWORD)
        path = str(self.path)
        await self.use_everything(Redis(unix_socket_path=path, password=PASSWORD, db=3))
        self.assertIn(f"Redis at {path}", await self.refusal(Redis(unix_socket_path=path)))

    async def test_absent(self) -> None:
        """Without the socket the error names its path; once it is there the same object works."""
        connection = self.connection(Redis(unix_socket_path=str(self.path)))
        refusal = await self.failure_of(connection.ask("PING"))
        self.assertTrue(refusal.startswith(f"cannot connect to Redis at {self.path}: "), refusal)
        self.assertIn("No such file or directory", refusal)
        RedisProcess(self, "--unixsocket", str(self.path))
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_no_socket(self) -> None:
        """The error also names a path that is no socket, or a socket without a listener."""
        redis = RedisProcess(self, "--unixsocket", str(self.path))
        redis.kill()
        self.assertTrue(self.path.exists())
        file = self.path.with_name("file")
        file.touch()
        for path in (self.path, file, file.parent):
            refusal = await self.refusal(Redis(unix_socket_path=str(path)))
            self.assertTrue(refusal.startswith(f"cannot connect to Redis at {path}: "), refusal)


class LoginTests(EndpointTestCase):
    """Users, passwords and databases."""

    def setUp(self) -> None:
        """Start a Redis with a password, and a user with another."""
        self.redis = RedisProcess(self)
        fill(self.redis.client)
        with redis_py.Redis(port=self.redis.port, db=3) as client:
            client.xadd(f"{PREFIX}full", {"data": "in 3"}, id="3-0")
        self.redis.client.acl_setuser(
            "superset", enabled=True, passwords=["+sesame"], keys=["*"], commands=["+@all"]
        )
        self.redis.client.config_set("requirepass", PASSWORD)

    def at(self, **values: Any) -> Redis:
        """Return settings for the Redis."""
        return Redis(port=self.redis.port, **values)

    async def test_users(self) -> None:
        """The default user logs in without a name, others with theirs."""
        for username, password in (("default", PASSWORD), ("superset", Secret("sesame"))):
            connection = self.connection(self.at(username=username, password=password))
            self.assertEqual((await connection.ask("ACL", "WHOAMI")).decode(), username)
            await self.use_everything(self.at(username=username, password=password))

    async def test_empty_user(self) -> None:
        """An empty name is no name: the password is the default user's."""
        connection = self.connection(self.at(username="", password=PASSWORD))
        self.assertEqual(await connection.ask("ACL", "WHOAMI"), b"default")

    async def test_no_password(self) -> None:
        """If a password is missing, the error names the setting."""
        refusal = await self.refusal(self.at())
        self.assertIn(f"Redis at 127.0.0.1:{self.redis.port} answered PING with: NOAUTH", refusal)
        self.assertTrue(refusal.endswith("(set redis.password)"), refusal)

    async def test_wrong_password(self) -> None:
        """If a password is wrong, the error names the settings, but not the password."""
        for username in ("default", "superset", "nobody"):
            refusal = await self.refusal(self.at(username=username, password=Secret("hunter2")))
            self.assertIn(
                f"Redis at 127.0.0.1:{self.redis.port} answered AUTH with: WRONGPASS", refusal
            )
            self.assertTrue(refusal.endswith("(correct redis.password or redis.username)"), refusal)
            self.assertNotIn("hunter2", refusal)

    async def test_password_for_nothing(self) -> None:
        """A password for a Redis without one is accepted, or the error explains it."""
        self.redis.client.execute_command("AUTH", PASSWORD)
        self.redis.client.config_set("requirepass", "")
        self.assertIn("redis.password", await self.refusal(self.at(password=PASSWORD)))

    async def test_password_changed(self) -> None:
        """A password that is corrected in Redis is accepted by the same object."""
        connection = self.connection(self.at(password=Secret("new")))
        self.assertIn("WRONGPASS", await self.failure_of(connection.ask("PING")))
        with redis_py.Redis(port=self.redis.port, password=PASSWORD) as client:
            client.config_set("requirepass", "new")
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_database(self) -> None:
        """The database number is selected, on both connections."""
        streams = self.streams(self.at(password=PASSWORD, db=3))
        self.assertEqual(await streams.newest(count=1, max_bytes=1000), [Entry(b"3-0", b"in 3")])
        entries, _ = await streams.of_channel("red", StreamId(0, 0))
        self.assertEqual(entries, [])

    async def test_no_such_database(self) -> None:
        """The error for a database number that is too high is that of Redis."""
        refusal = await self.refusal(self.at(password=PASSWORD, db=99))
        self.assertIn("answered SELECT with: ERR", refusal)


class RightsTests(EndpointTestCase):
    """The rights that a user needs."""

    def setUp(self) -> None:
        """Start a Redis with streams in two databases and under two prefixes."""
        self.redis = RedisProcess(self)
        for db in (0, 3):
            with redis_py.Redis(port=self.redis.port, db=db) as client:
                fill(client)
                fill(client, prefix="other:")

    def allow(self, *rules: str) -> None:
        """Create a user with these rights only."""
        user = ("gaq", "reset", "on", f">{PASSWORD}")
        self.redis.client.execute_command("ACL", "SETUSER", *user, *rules)

    def user(self, db: int) -> Redis:
        """Return the settings of that user."""
        return Redis(port=self.redis.port, username="gaq", password=PASSWORD, db=db)

    async def test_named_rule_suffices(self) -> None:
        """The error names the user and the rule that is missing; with it everything works."""
        for db, prefix in ((0, PREFIX), (3, PREFIX), (0, "other:")):
            self.allow()
            streams = self.streams(self.user(db), redis_stream_prefix=prefix)
            refusal = await self.failure_of(streams.newest(count=1, max_bytes=1000), RedisRefused)
            self.assertIn("NOPERM", refusal)
            shown, _, rule = refusal.rstrip(")").partition("(the user gaq needs ")
            self.assertIn(f"answered {'SELECT' if db else 'XREVRANGE'} with: ", shown)
            self.allow(*rule.split())
            await self.use_everything(self.user(db), prefix=prefix)

    async def test_other_keys(self) -> None:
        """The rule does not open more than the prefix."""
        self.allow("+@all", f"~{PREFIX}*")
        await self.use_everything(self.user(0))
        streams = self.streams(self.user(0), redis_stream_prefix="other:")
        refusal = await self.failure_of(streams.following(BEGINNING), RedisRefused)
        self.assertIn("answered XRANGE with: NOPERM", refusal)
        self.assertIn("~other:*)", refusal)


class RefusalTests(EndpointTestCase):
    """Other error replies."""

    async def test_wrong_type(self) -> None:
        """The error for a key that is no stream has a remedy."""
        redis = RedisProcess(self)
        redis.client.set(f"{PREFIX}full", "not a stream")
        streams = self.streams(Redis(port=redis.port))
        refusal = await self.failure_of(read_once(streams, BEGINNING), RedisRefused)
        self.assertIn(f"Redis at 127.0.0.1:{redis.port} answered XREAD with: WRONGTYPE", refusal)
        self.assertIn("delete it", refusal)

    async def test_states(self) -> None:
        """Errors that differ only in the command are one state, others are not."""
        redis = RedisProcess(self)
        for name in ("full", "red"):
            redis.client.set(f"{PREFIX}{name}", "not a stream")
        redis.client.acl_setuser(
            "gaq", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+xread", "+xrange"]
        )
        anybody = Redis(port=redis.port)
        limited = Redis(port=redis.port, username="gaq", password=PASSWORD)
        states = []
        for user in (anybody, limited):
            streams = self.streams(user)
            for asked in (read_once(streams, BEGINNING), streams.of_channel("red", StreamId(0, 0))):
                with self.assertRaises(RedisRefused) as caught:
                    await asked
                states.append(caught.exception.state)
        self.assertEqual([states[0], states[2]], [states[1], states[3]])
        self.assertNotEqual(states[0], states[2])

    async def test_unknown_command(self) -> None:
        """A Redis without a command, old or configured so, has an error of its own."""
        redis = RedisProcess(self, "--rename-command", "XREAD", "")
        streams = self.streams(Redis(port=redis.port))
        refusal = await self.failure_of(read_once(streams, BEGINNING), RedisTooOld)
        self.assertIn("answered XREAD with: ERR unknown command", refusal)
        self.assertIn("Redis 5.0 or newer is needed", refusal)

    async def test_too_many_clients(self) -> None:
        """The error says that Redis takes no more connections; a later try succeeds."""
        redis = RedisProcess(self)
        redis.client.config_set("maxclients", 1)
        # Redis's error must be read although the connection is closed at the same time.
        for _ in range(20):
            self.assertIn(
                "max number of clients reached", await self.refusal(Redis(port=redis.port))
            )
        connection = self.connection(Redis(port=redis.port))
        await self.failure_of(connection.ask("PING"))
        redis.client.config_set("maxclients", 100)
        await deferLater(reactor, 0.05)
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_replica_without_master(self) -> None:
        """The error for a replica that must not serve stale data is that of Redis."""
        master = ("--replicaof", "127.0.0.1", str(free_port()))
        redis = RedisProcess(self, *master, "--replica-serve-stale-data", "no")
        streams = self.streams(Redis(port=redis.port))
        self.assertIn("MASTERDOWN", await self.failure_of(read_once(streams, BEGINNING)))


class ClusterTests(EndpointTestCase):
    """A Redis Cluster."""

    def setUp(self) -> None:
        """Start a cluster of two nodes, each with half of the hash slots."""
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.nodes = []
        for _ in range(2):
            self.nodes.append(RedisProcess(self, *options, port=self.free_pair()))
        low, high = self.nodes
        half = HASH_SLOTS // 2
        for node, slots in ((low, range(half)), (high, range(half, HASH_SLOTS))):
            node.client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        high.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
        low.client.execute_command("CLUSTER", "MEET", "127.0.0.1", high.port)
        for node in self.nodes:
            wait_until(partial(self.is_ready, node), lambda: "no cluster")

    def free_pair(self) -> int:
        """Return a free port of which that is free too where the nodes talk to each other."""
        while True:
            port = free_port()
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 10_000)):
                return port

    def is_ready(self, node: RedisProcess) -> bool:
        """Return whether a node knows the owner of each slot."""
        info: Any = node.client.execute_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_slots_ok:%d" % HASH_SLOTS in info

    def owner(self, key: str) -> tuple[RedisProcess, RedisProcess]:
        """Return the node that has a key, and the other one."""
        low, high = self.nodes
        slot: Any = low.client.execute_command("CLUSTER", "KEYSLOT", key)
        return (low, high) if slot < HASH_SLOTS // 2 else (high, low)

    async def test_wrong_node(self) -> None:
        """The error for a MOVED reply of another node has a remedy."""
        owner, other = self.owner(f"{PREFIX}full")
        streams = self.streams(Redis(port=other.port))
        refusal = await self.failure_of(read_once(streams, BEGINNING))
        self.assertIn(f"Redis at 127.0.0.1:{other.port} answered XREAD with: MOVED", refusal)
        self.assertIn(f":{owner.port} ", refusal)
        self.assertIn("put a hash tag into redisStreamPrefix", refusal)

    async def test_prefix_without_hash_tag(self) -> None:
        """Without a hash tag some channels are on other nodes, and each fails with an error."""
        owner, _ = self.owner(f"{PREFIX}full")
        channel = next(name for name in "abcdefgh" if self.owner(f"{PREFIX}{name}")[0] is not owner)
        streams = self.streams(Redis(port=owner.port))
        self.assertEqual(await streams.following(BEGINNING), [])
        refusal = await self.failure_of(streams.of_channel(channel, StreamId(0, 0)))
        self.assertIn("answered XRANGE with: MOVED", refusal)

    async def test_hash_tag(self) -> None:
        """With a hash tag in the prefix, and the node that has its slot, everything works."""
        prefix = "{async-events}-"
        owner, other = self.owner(f"{prefix}full")
        fill(owner.client, prefix=prefix)
        await self.use_everything(Redis(port=owner.port), prefix=prefix)
        streams = self.streams(Redis(port=owner.port), redis_stream_prefix=prefix)
        channels = (f"channel {number}" for number in range(20))
        await gatherResults(
            [
                Deferred.fromCoroutine(streams.of_channel(channel, StreamId(0, 0)))
                for channel in channels
            ]
        )
        user = ("gaq", "on", f">{PASSWORD}")
        rules = ("+xread", "+xrange", "+xrevrange", "+xinfo", f"~{prefix}*")
        owner.client.execute_command("ACL", "SETUSER", *user, *rules)
        await self.use_everything(
            Redis(port=owner.port, username="gaq", password=PASSWORD), prefix=prefix
        )
        streams = self.streams(Redis(port=other.port), redis_stream_prefix=prefix)
        with self.assertRaises(RedisError):
            await read_once(streams, BEGINNING)
