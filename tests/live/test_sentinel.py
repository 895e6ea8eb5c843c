"""Redis behind Sentinels: found, followed through failovers, and left when it is replaced."""

import contextlib
import json
import secrets
import signal
import subprocess
import threading
import time
from typing import Any

import redis as redis_py
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel as SentinelClient
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.forms import HostName, Secret, SentinelAddress
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.errors import RedisRefused
from gaq_twisted.redis.server import RedisServer
from tests.live.test_connection import REACTOR, USAGE, Listener, ReachingTestCase
from tests.live.test_redis_tls import pem_file, tls_front
from tests.support import sessions
from tests.support.processes import (
    PREFIX,
    RedisProcess,
    Server,
    Tab,
    environment,
    free_port,
    redis_program,
    wait_until,
)
from tests.support.samples import CHANNEL, job_data

MASTER = "mymaster"
PASSWORD = Secret("open sesame")


class SentinelProcess(RedisProcess):
    """A real Sentinel, which keeps its state when it is killed."""

    def __init__(
        self, test: SynchronousTestCase, *lines: str, port: int, password: str = ""
    ) -> None:
        """Start it with those lines of configuration; the test ends it."""
        self._lines = [*lines, f'requirepass "{password}"'] if password else lines
        self._password = password
        super().__init__(test, port=port)

    def start(self, *, wait: bool = True) -> None:
        """Start it; perhaps wait until it answers."""
        self.client.connection_pool.connection_kwargs["password"] = self._password or None
        file = self.directory / "sentinel.conf"
        if not file.exists():
            lines = (f"port {self.port}", "bind 127.0.0.1", *self._lines, "")
            file.write_text("\n".join(lines))
        with (self.directory / "log").open("ab") as log:
            self._process = sessions.start(
                self._test,
                [redis_program(), file, "--sentinel"],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_until(self.answers, lambda: (self.directory / "log").read_text())


class Sentinels:
    """Sentinels that watch a master and know each other."""

    def __init__(
        self,
        test: SynchronousTestCase,
        master: RedisProcess,
        *replicas: RedisProcess,
        count: int = 1,
        password: str = "",
    ) -> None:
        """Start them, and wait until they can do a failover if there is a replica."""
        ids = {free_port(): secrets.token_hex(20) for _ in range(count)}
        self.processes = []
        for port, own_id in ids.items():
            lines = [
                f"sentinel myid {own_id}",
                f"sentinel monitor {MASTER} 127.0.0.1 {master.port} {count // 2 + 1}",
                f"sentinel down-after-milliseconds {MASTER} 1000",
                f"sentinel failover-timeout {MASTER} 3000",
            ]
            # As it is in their files after they have found each other, which takes seconds.
            lines.extend(
                f"sentinel known-replica {MASTER} 127.0.0.1 {replica.port}" for replica in replicas
            )
            lines.extend(
                f"sentinel known-sentinel {MASTER} 127.0.0.1 {other} {other_id}"
                for other, other_id in ids.items()
                if other != port
            )
            self.processes.append(SentinelProcess(test, *lines, port=port, password=password))
        if replicas:
            wait_until(self.are_ready, lambda: "the Sentinels do not see each other")

    @property
    def ports(self) -> list[int]:
        """Their ports."""
        return [process.port for process in self.processes]

    def ask(self, *words: object) -> list[Any]:
        """Return each one's reply to `SENTINEL` and some words."""
        return [one.client.execute_command("SENTINEL", *words) for one in self.processes]

    def are_ready(self) -> bool:
        """Return whether each of them could do a failover."""
        try:
            self.ask("CKQUORUM", MASTER)
        except redis_py.ResponseError:
            return False
        replicas: list[Any] = [one.client.sentinel_slaves(MASTER) for one in self.processes]
        return not any(
            replica["is_sdown"] or replica["is_disconnected"]
            for known in replicas
            for replica in known
        )

    def agree_on(self, port: int) -> bool:
        """Return whether each of them says that the master is there."""
        addresses = self.ask("GET-MASTER-ADDR-BY-NAME", MASTER)
        return addresses == [[b"127.0.0.1", str(port).encode()]] * len(addresses)

    def monitor(self, master: RedisProcess) -> None:
        """Let them watch another master of that name."""
        self.ask("REMOVE", MASTER)
        self.ask("MONITOR", MASTER, "127.0.0.1", master.port, 1)


def replica_of(test: SynchronousTestCase, master: RedisProcess) -> RedisProcess:
    """Start a replica and wait until it has what its master has."""
    replica = data_node(test, "--replicaof", "127.0.0.1", str(master.port))
    wait_until(lambda: is_replica(replica), lambda: (replica.directory / "log").read_text())
    return replica


def data_node(test: SynchronousTestCase, *options: str) -> RedisProcess:
    """Start a server that, as a master, serves its replicas without delay."""
    return RedisProcess(test, "--repl-diskless-sync-delay", "0", *options)


def is_replica(node: RedisProcess) -> bool:
    """Return whether a node is a replica that follows its master."""
    info: Any = node.client.info("replication")
    return (info["role"], info.get("master_link_status")) == ("slave", "up")


class LocatingTests(ReachingTestCase):
    """Where the Sentinels say that the master is."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = data_node(self)

    def behind(self, *ports: int, host: str = "127.0.0.1", **values: Any) -> Redis:
        """Return settings for Sentinels on those ports; nothing else could be reached."""
        addresses = tuple(SentinelAddress(f"{host}:{port}") for port in ports)
        return Redis(host=HostName("redis.invalid"), port=1, sentinels=addresses, **values)

    async def check(self, redis: Redis) -> None:
        """Check that the master is reached."""
        _, port = await self.connection(redis).ask("CONFIG", "GET", "port")
        self.assertEqual(port, str(self.redis.port).encode())

    async def test_found(self) -> None:
        """The server that a Sentinel names is used, with user, password and database."""
        self.redis.client.acl_setuser(
            "gaq", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"]
        )
        (port,) = Sentinels(self, self.redis).ports
        await self.check(self.behind(port))
        await self.check(self.behind(port, host="localhost"))
        connection = self.connection(self.behind(port, username="gaq", password=PASSWORD, db=3))
        self.assertEqual(await connection.ask("ACL", "WHOAMI"), b"gaq")
        self.assertIn(b" db=3 ", await connection.ask("CLIENT", "LIST", "TYPE", "normal"))

    async def test_some_are_dead(self) -> None:
        """Sentinels that are absent, silent or other servers are skipped."""
        (port,) = Sentinels(self, self.redis).ports
        hung = Sentinels(self, self.redis).processes[0]
        hung.signal(signal.SIGSTOP)
        http = Listener(self, answer=b"HTTP/1.1 400 Bad Request\r\n\r\n").port
        await self.check(self.behind(free_port(), hung.port, http, self.redis.port, port))

    async def test_unknown_name_of_a_sentinel(self) -> None:
        """A Sentinel whose name is unknown, or invalid, is skipped."""
        (port,) = Sentinels(self, self.redis).ports
        for host in ("sentinel.invalid", "sentinel_1.invalid"):
            good = SentinelAddress(f"127.0.0.1:{port}")
            await self.check(Redis(sentinels=(SentinelAddress(host), good)))

    async def test_last_one_that_answered_comes_first(self) -> None:
        """A Sentinel that replied is asked first from then on."""
        silent = Listener(self)
        (port,) = Sentinels(self, self.redis).ports
        server = RedisServer(self.behind(silent.port, port), REACTOR, USAGE)
        asked = []
        for _ in range(2):
            connection = server.connection()
            self.addCleanup(connection.close)
            await connection.ask("PING")
            asked.append(silent.received)
        self.assertIn(b"get-master-addr-by-name", asked[0])
        self.assertEqual(asked[1], asked[0])

    async def test_all_are_dead(self) -> None:
        """The error names each Sentinel and its failure; once one is back the master is found."""
        dead = Sentinels(self, self.redis, count=2).processes
        hung = Sentinels(self, self.redis).processes[0]
        for process in dead:
            process.kill()
        hung.signal(signal.SIGSTOP)
        connection = self.connection(self.behind(dead[0].port, hung.port, dead[1].port))
        first, second, third = (await self.failure_of(connection.ask("PING"))).split("; ")
        for refusal, process in ((first, dead[0]), (third, dead[1])):
            self.assertIn(f"cannot connect to Sentinel at 127.0.0.1:{process.port}: ", refusal)
        self.assertIn(f"Sentinel at 127.0.0.1:{hung.port} did not answer", second)
        dead[1].start()
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_unknown_master(self) -> None:
        """The error names a master that no Sentinel knows."""
        ports = Sentinels(self, self.redis, count=2).ports
        refusal = await self.refusal(self.behind(*ports, sentinel_master="other"))
        for port in ports:
            self.assertIn(f"Sentinel at 127.0.0.1:{port} does not know the master other", refusal)

    async def test_no_sentinel(self) -> None:
        """The error says that a Redis is no Sentinel, and not that it is old."""
        refusal = await self.refusal(self.behind(self.redis.port))
        self.assertIn(f"Sentinel at 127.0.0.1:{self.redis.port}", refusal)
        self.assertNotIn("5.0", refusal)

    async def test_replica(self) -> None:
        """A server that the Sentinels name too early, while it still is a replica, is not used."""
        master = self.redis
        replica = replica_of(self, master)
        (port,) = Sentinels(self, replica).ports
        connection = self.connection(self.behind(port))
        self.assertEqual(
            await self.failure_of(connection.ask("PING")),
            f"Redis master {MASTER} at 127.0.0.1:{replica.port} is not a master, but a slave",
        )
        replica.client.replicaof("NO", "ONE")
        self.assertEqual(await connection.ask("PING"), b"PONG")

    async def test_master_absent(self) -> None:
        """If the master is down and no replica took over yet, the error names it."""
        (port,) = Sentinels(self, self.redis).ports
        self.redis.kill()
        self.assertIn(
            f"cannot connect to Redis master {MASTER} at 127.0.0.1:{self.redis.port}: ",
            await self.refusal(self.behind(port)),
        )

    async def test_rights(self) -> None:
        """The rule that the error for a missing right names is enough with Sentinels too."""
        (port,) = Sentinels(self, self.redis).ports
        for db in (0, 3):
            redis = self.behind(port, username="gaq", password=PASSWORD, db=db)
            user = ("ACL", "SETUSER", "gaq", "reset", "on", f">{PASSWORD}")
            self.redis.client.execute_command(*user)
            refusal = await self.failure_of(self.connection(redis).ask("PING"), RedisRefused)
            _, _, rule = refusal.rstrip(")").partition("(the user gaq needs ")
            self.redis.client.execute_command(*user, *rule.split())
            connection = self.connection(redis)
            self.assertIsNone(await connection.ask("XREAD", "STREAMS", f"{PREFIX}full", "0"))

    async def test_password(self) -> None:
        """The Sentinels have a password of their own."""
        (port,) = Sentinels(self, self.redis, password=PASSWORD).ports
        self.redis.client.config_set("requirepass", "another")
        another = Secret("another")
        await self.check(self.behind(port, password=another, sentinel_password=PASSWORD))
        for wrong in (Secret(), another):
            refusal = await self.refusal(
                self.behind(port, password=another, sentinel_password=wrong)
            )
            self.assertIn(f"Sentinel at 127.0.0.1:{port} answered ", refusal)
            self.assertIn("redis.sentinelPassword", refusal)

    async def test_user(self) -> None:
        """The Sentinels have a user of their own; who is none of theirs is told which setting."""
        sentinels = Sentinels(self, self.redis)
        (port,) = sentinels.ports
        (sentinel,) = sentinels.processes
        sentinel.client.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "+@all")
        sentinel.client.execute_command("ACL", "SETUSER", "default", "off")
        user = {"sentinel_username": "app", "sentinel_password": PASSWORD}
        await self.check(self.behind(port, **user))
        refusal = await self.refusal(self.behind(port, **{**user, "sentinel_username": "none"}))
        self.assertIn("redis.sentinelUsername", refusal)

    async def test_hung_with_password(self) -> None:
        """A silent Sentinel is skipped as soon if there is a password for it."""
        silent = Listener(self).port
        refusal = await self.refusal(self.behind(silent, sentinel_password=PASSWORD))
        self.assertIn("did not answer within 1 s", refusal)

    async def test_tls(self) -> None:
        """Sentinels and master may use TLS, each or both, with certificates of one CA."""
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        file = pem_file(self, ca.cert_pem)
        plain = Sentinels(self, self.redis)
        secret_master = tls_front(self, self.redis.port, certificate)
        # Its reply does not depend on its own connection to that master.
        plain_to_secret = Sentinels(self, self.redis)
        plain_to_secret.ask("REMOVE", MASTER)
        plain_to_secret.ask("MONITOR", MASTER, "127.0.0.1", secret_master, 1)
        for sentinels, ssl in ((plain, False), (plain_to_secret, True)):
            front = tls_front(self, sentinels.ports[0], certificate)
            await self.check(self.behind(front, ssl=ssl, sentinel_ssl=True, ssl_ca_certs=file))
            if ssl:
                await self.check(self.behind(sentinels.ports[0], ssl=True, ssl_ca_certs=file))
            other = pem_file(self, trustme.CA().cert_pem)
            refusal = await self.refusal(
                self.behind(front, ssl=ssl, sentinel_ssl=True, ssl_ca_certs=other)
            )
            self.assertIn(f"Sentinel at 127.0.0.1:{front} was lost: ", refusal)
            self.assertIn("certificate verify failed", refusal)


class Publisher:
    """A worker of Superset that asks the Sentinels where to publish, in a thread of its own."""

    def __init__(self, test: SynchronousTestCase, sentinels: Sentinels) -> None:
        """Start to publish; the test ends it."""
        self.replicated: list[str] = []
        """The jobs that the master's replica had before anything else happened."""
        self.master_of: dict[str, int] = {}
        """By job whose two XADDs were acknowledged: the port of the master that did."""
        client = SentinelClient([("127.0.0.1", port) for port in sentinels.ports], socket_timeout=1)
        for one in client.sentinels:
            test.addCleanup(one.close)
        # An XADD whose reply was lost must not be repeated.
        self._master: Any = client.master_for(MASTER, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        test.addCleanup(self._master.close)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        test.addCleanup(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Stop publishing."""
        self._is_stopped.set()
        self._thread.join()

    def count_at(self, port: int) -> int:
        """Return how many events a master has acknowledged."""
        return list(self.master_of.values()).count(port)

    def _run(self) -> None:
        number = 0
        while not self._is_stopped.wait(0.03):
            number += 1
            with contextlib.suppress(redis_py.RedisError):
                self._publish(f"job {number}")

    def _publish(self, job: str) -> None:
        data = {"data": job_data(CHANNEL, job)}
        self._master.xadd(f"{PREFIX}{CHANNEL}", data, maxlen=1000)
        self._master.xadd(f"{PREFIX}full", data, maxlen=1_000_000)
        _, self.master_of[job] = self._master.connection_pool.master_address
        if self._master.wait(1, 100):
            self.replicated.append(job)


class FailoverTests(SynchronousTestCase):
    """The whole server behind three Sentinels, a master and a replica."""

    def setUp(self) -> None:
        """Start all of them."""
        self.master = data_node(self)
        self.replica = replica_of(self, self.master)
        self.sentinels = Sentinels(self, self.master, self.replica, count=3)

    def start(self, **values: str) -> Server:
        """Start a server and wait until it is ready."""
        server = start_behind(self, self.sentinels, **values)
        server.wait_until_ready()
        return server

    def test_master_killed(self) -> None:
        """A kill of the master costs no event that its replica had, and no socket."""
        server = self.start(TAIL_MAX_EVENTS="50")
        publisher = Publisher(self, self.sentinels)
        with Tab(server.port) as tab:
            got: list[dict[str, Any]] = []
            arrived: dict[str, float] = {}

            def receive(enough: Any) -> None:
                while not enough():
                    (event,) = tab.events(1)
                    got.append(event)
                    arrived[event["job_id"]] = time.monotonic()

            receive(lambda: len(got) >= 30)
            self.master.kill()
            killed_at = time.monotonic()
            receive(lambda: publisher.count_at(self.replica.port) >= 20)
            first_new = next(
                job for job in arrived if publisher.master_of.get(job) == self.replica.port
            )
            print(f"{arrived[first_new] - killed_at:.1f} s from the kill until the first new event")

            self.master.start()
            reader = self.reader(self.replica)
            receive(lambda: is_replica(self.master))
            self.assertTrue(self.sentinels.agree_on(self.replica.port))
            before = publisher.count_at(self.replica.port)
            receive(lambda: publisher.count_at(self.replica.port) >= before + 20)
            self.assertEqual(self.reader(self.replica), reader, "it has connected anew")
            publisher.stop()

            held = self.jobs_held_by(self.replica)
            self.assertEqual(set(publisher.replicated) - set(held), set())
            receive(lambda: held[-1] in arrived)
            self.assert_gapless([event["job_id"] for event in got], held)

        # Returning clients lose nothing either: from the tail, and from the channel's stream.
        ids = {event["job_id"]: event["id"] for event in got}
        for known in (len(held) - 20, 10, 0):
            last_id = ids[held[known - 1]] if known else "1-1"
            with Tab(server.port, last_id=last_id) as late:
                jobs = late.jobs(len(held) - known)
                while jobs[-1] != held[-1]:
                    jobs.extend(late.jobs(1))
            self.assert_gapless(jobs, held[known:])

        self.assert_told_once(server)
        self.assertEqual(len(lines_with(server.text(), "following the global stream again")), 1)

    def test_fail_over_by_hand(self) -> None:
        """A master that becomes a replica is left for its successor."""
        server = self.start(REDIS_STREAM_READ_BLOCK_MS="1000")
        with Tab(server.port) as tab:
            self.master.publish("1")
            self.assertEqual(tab.jobs(1), ["1"])
            wait_until(
                lambda: self.jobs_held_by(self.replica) == ["1"], lambda: "it is not replicated"
            )
            self.sentinels.processes[0].client.execute_command("SENTINEL", "FAILOVER", MASTER)
            wait_until(lambda: self.sentinels.agree_on(self.replica.port), server.text)
            self.replica.publish("2")
            # The Sentinels would do so too, some seconds later.
            self.master.client.replicaof("127.0.0.1", self.replica.port)
            self.replica.publish("3")
            self.assertEqual(tab.jobs(2), ["2", "3"])
            wait_until(lambda: uses(self.replica) and not uses(self.master), server.text)
            wait_until(lambda: is_replica(self.master), server.text)
            self.replica.publish("4")
            self.assertEqual(tab.jobs(1), ["4"])
        self.assert_told_once(server)

    def reader(self, node: RedisProcess) -> str:
        """Return the id of the server's connection on which it follows the stream."""
        (client,) = (one for one in node.client.client_list() if one["cmd"] == "xread")
        return str(client["id"])

    def jobs_held_by(self, node: RedisProcess) -> list[str]:
        """Return the jobs in a node's global stream."""
        entries: Any = node.client.xrange(f"{PREFIX}full")
        return [json.loads(fields[b"data"])["job_id"] for _, fields in entries]

    def assert_told_once(self, server: Server) -> None:
        """Check that each failure was logged once, and no unexpected one."""
        text = server.text()
        told = [line.partition(" will retry ")[2] for line in lines_with(text, "cannot follow")]
        self.assertEqual(sorted(set(told)), sorted(told))
        self.assertNotIn("Traceback", text)

    def assert_gapless(self, got: list[str], held: list[str]) -> None:
        """Check that all events that Redis holds were received, once and in order."""
        wanted = set(held)
        self.assertEqual([job for job in got if job in wanted], held)


class ReplacementTests(SynchronousTestCase):
    """A master that stays up, with its publishers, while the Sentinels have another one."""

    def test_left(self) -> None:
        """It is left for the other one, of which no event is lost, although both are busy."""
        old, new = data_node(self), data_node(self)
        sentinels = Sentinels(self, old)
        server = start_behind(self, sentinels, REDIS_STREAM_READ_BLOCK_MS="1000")
        server.wait_until_ready()
        with Tab(server.port) as tab:
            old.publish("old 1")
            got = tab.jobs(1)
            sentinels.monitor(new)
            number = 1
            while not any(job.startswith("new") for job in got):
                number += 1
                time.sleep(0.005)
                (stream_id,) = old.publish(f"old {number}")
                # Two masters that are busy at the same time give the same ids.
                data: Any = {"data": job_data(CHANNEL, f"new {number}")}
                new.client.xadd(f"{PREFIX}full", data, id=stream_id)
                got.extend(tab.jobs(1))
            new.publish("last")
            while got[-1] != "last":
                got.extend(tab.jobs(1))
        self.assertEqual(
            [job for job in got if job.startswith("new")],
            [f"new {expected}" for expected in range(2, number + 1)],
        )
        self.assertEqual(len(set(got)), len(got))
        wait_until(lambda: not uses(old), server.text)
        self.assertNotIn("Traceback", server.text())


class StartTests(SynchronousTestCase):
    """The whole server before Sentinels and Redis are up."""

    def test_sentinels_absent(self) -> None:
        """The server starts, logs once what is missing, and then serves the waiting clients."""
        redis = RedisProcess(self)
        redis.publish("early")
        sentinels = Sentinels(self, redis, count=2)
        for process in sentinels.processes:
            process.kill()
        server = start_behind(self, sentinels)
        server.wait_until_healthy()
        with Tab(server.port) as tab:
            server.wait_for_text("cannot follow the global stream")
            sentinels.processes[1].start()
            self.assertEqual(tab.jobs(1), ["early"])
        (line,) = lines_with(server.text(), "cannot follow")
        for port in sentinels.ports:
            self.assertIn(f"cannot connect to Sentinel at 127.0.0.1:{port}: ", line)


def start_behind(test: SynchronousTestCase, sentinels: Sentinels, **values: str) -> Server:
    """Start a server that has only Sentinels in its settings."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in sentinels.ports)
    # Without Sentinels it would find no Redis.
    return Server(
        test,
        environment(1, REDIS_SENTINELS=addresses, REDIS_SENTINEL_MASTER=MASTER, **values),
    )


def uses(node: RedisProcess) -> bool:
    """Return whether a server follows the stream on a node."""
    return any(client["cmd"] == "xread" for client in node.client.client_list())


def lines_with(text: str, part: str) -> list[str]:
    """Return the lines of a text that have that part."""
    return [line for line in text.splitlines() if part in line]
