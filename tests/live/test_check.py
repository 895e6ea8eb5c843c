"""`twistd gaq-ws --check`: what it finds, what it advises, and what it keeps secret."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.server import RedisServer
from gaq_twisted.service import ServerReactor
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.tools.check.command import Questions, check
from gaq_twisted.tools.check.findings import Mark
from gaq_twisted.tools.check.redis import RedisCheck
from gaq_twisted.tools.check.report import Lines, Report
from tests.live.test_connection import REACTOR
from tests.live.test_sentinel import MASTER, Sentinels
from tests.support.processes import (
    DEADLINE_SECONDS,
    PREFIX,
    ROOT,
    RedisProcess,
    Server,
    environment,
    free_port,
    wait_until,
)
from tests.support.samples import CHANNEL, SECRET, cookie, job_data, realtime_token, token
from tests.tools.check.case import (
    OTHER_SECRET,
    PASSWORD,
    DiscreetTestCase,
)

USER = "gaq"
DOCUMENTED_RULE = ("+xread", "+xrange", "+xrevrange", "+xinfo", f"~{PREFIX}*")
# From linux/prctl.h and linux/capability.h.
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1


class Outcome(NamedTuple):
    """What a check printed, and its exit code."""

    code: int
    text: str

    def findings(self, mark: Mark) -> list[str]:
        """Returns the lines with that mark."""
        return [line for line in self.text.splitlines() if line.startswith(f"{mark}  ")]


class OutcomeTestCase(DiscreetTestCase):
    """Checks what a check printed."""

    def assert_well(self, outcome: Outcome, *parts: str) -> None:
        """Checks that nothing failed, and that the output contains some texts."""
        self.assertEqual(outcome.findings(Mark.FAIL), [], outcome.text)
        self.assertEqual(outcome.code, 0, outcome.text)
        for part in parts:
            self.assertIn(part, outcome.text)

    def assert_fails(self, outcome: Outcome, *parts: str) -> None:
        """Checks that one thing failed, with a remedy, and parts of its line."""
        self.assertEqual(outcome.code, 1, outcome.text)
        (failure,) = outcome.findings(Mark.FAIL)
        for part in (*parts, ". Remedy: "):
            self.assertIn(part, failure)


class CheckTestCase(TestCase, OutcomeTestCase):
    """Runs the check in this process, with a Redis."""

    def setUp(self) -> None:
        """Starts a Redis."""
        self.redis = RedisProcess(self)
        statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(statsd.close)
        statsd.bind(("127.0.0.1", 0))
        self.environ = environment(self.redis.port, STATSD_PORT=str(statsd.getsockname()[1]))

    async def run_check(
        self,
        environ: Mapping[str, str],
        *,
        file: Path | None = None,
        cookie: str | None = None,
        origin: str | None = None,
    ) -> Outcome:
        """Runs a check to its end.

        Args:
            environ: the environment variables.
            file: the configuration file.
            cookie: the cookie to judge.
            origin: the origin to judge.
        """
        lines: list[str] = []
        report = Report(Lines(lines.append, shows_settings=True))
        server_reactor = cast(ServerReactor, reactor)
        await check(file, environ, Questions(cookie, origin), report, server_reactor)
        outcome = Outcome(report.exit_code, "\n".join(lines))
        self.assert_discreet(outcome.text)
        return outcome


class CheckTests(CheckTestCase):
    """What is found about settings, ports, cookies and origins."""

    def setUp(self) -> None:
        """Starts a Redis with two events."""
        super().setUp()
        self.redis.publish("1", "2")

    async def test_healthy(self) -> None:
        """Everything is fine, and the output says what was checked."""
        page = "https://bi.example.com"
        outcome = await self.run_check(
            {**self.environ, "ALLOWED_ORIGINS": page}, cookie=cookie(), origin=page
        )
        self.assert_well(
            outcome,
            "valid",
            f"port: {self.environ['PORT']} is free",
            "redis: ",
            "clock: Redis's is 0.",
            "this machine's",
            "accepted (channel 090916f0...",
            f'origin: "{page}" is accepted',
            f"stream {PREFIX}full: it can be read; 2 entries; the newest entry is ",
            f"stream {PREFIX}090916f0...: it can be read; 2 entries; the newest entry is ",
            "0 failed, 0 warnings",
        )
        self.assertEqual(outcome.findings(Mark.WARN), [])
        self.assertIn("jwtSecret", outcome.text)

    async def test_port_in_use(self) -> None:
        """A port that another program uses is a failure."""
        environ = {**self.environ, "PORT": str(self.redis.port)}
        self.assert_fails(await self.run_check(environ), f"port: {self.redis.port} is in use")

    async def test_listen(self) -> None:
        """Every endpoint is tried, except those that systemd opens."""
        free, internal, used = free_port(), free_port(), self.redis.port
        environ = {**self.environ, "LISTEN": f"tcp:{free}:interface=127.0.0.1"}
        environ["INTERNAL_LISTEN"] = f"tcp:{internal}:interface=127.0.0.1"
        self.assert_well(
            await self.run_check(environ),
            f"listen: 127.0.0.1:{free} is free",
            f"internalListen: 127.0.0.1:{internal} is free",
        )
        environ["LISTEN"] = "unix:address=gaq.sock"
        environ["INTERNAL_LISTEN"] = f"tcp:{used}:interface=127.0.0.1"
        outcome = await self.run_check(environ)
        self.assert_fails(outcome, f"internalListen: 127.0.0.1:{used} is in use")
        for endpoint, text in (
            ("unix:/no/such/directory/x", "no socket can be created in /no/such/directory"),
            (f"tcp:{free}:interface=192.0.2.1", f"192.0.2.1:{free}: Cannot assign"),
            (f"tcp:{free}, haproxy:tcp:{free}", f"{free} is set twice, also in listen"),
        ):
            self.assert_fails(await self.run_check({**self.environ, "LISTEN": endpoint}), text)
        outcome = await self.run_check(
            {**self.environ, "LISTEN": f"haproxy:tcp:{used}:interface=127.0.0.1"}
        )
        self.assert_well(outcome, f"127.0.0.1:{used} is in use by an unknown process")
        environ = {**self.environ, "INTERNAL_LISTEN": f"tcp:{self.environ['PORT']}"}
        self.assert_fails(await self.run_check(environ), "is set twice, also in port")

    async def test_statsd(self) -> None:
        """If no metrics arrive, there is a warning that says why."""
        for host, reason in (
            ("no-such-host.invalid", "the host name does not resolve"),
            ("127.0.0.1", "Connection refused"),
            ("unix:///no/such/socket", "No such file"),
        ):
            environ = {**self.environ, "STATSD_HOST": host, "STATSD_PORT": str(free_port())}
            warnings = (await self.run_check(environ)).findings(Mark.WARN)
            (warning,) = (one for one in warnings if "statsd" in one)
            self.assertIn(reason, warning)
        outcome = await self.run_check(self.environ)
        self.assert_well(outcome, "statsd: metrics are sent to 127.0.0.1:")
        environ = {**self.environ, "STATSD_ENABLED": "false", "STATSD_HOST": "no-such-host.invalid"}
        outcome = await self.run_check(environ)
        self.assert_well(outcome, "statsd: no metrics are sent: statsd.enabled is false")

    async def test_broken_settings(self) -> None:
        """Each fault is a line; so is each warning."""
        outcome = await self.run_check({**self.environ, "PORT": "http", "REDIS_DB": "-1"})
        self.assertEqual(outcome.code, 1)
        self.assertEqual(len(outcome.findings(Mark.FAIL)), 2, outcome.text)
        outcome = await self.run_check(
            {**self.environ, "REDIS_SSL_CA_CERTS": "x", "REDIS_SSL": "1"}
        )
        self.assertEqual(outcome.code, 1)
        self.assertIn("redis.sslCaCerts: cannot read x", outcome.text)
        outcome = await self.run_check({**self.environ, "STATSD_PORT": "tcp://10.0.0.1:8125"})
        self.assert_well(outcome)
        self.assertEqual(len(outcome.findings(Mark.WARN)), 2, outcome.text)

    async def test_config_file(self) -> None:
        """The file is read as the server reads it."""
        file = Path(self.mktemp()).absolute()
        file.write_text(json.dumps({"jwtSecret": SECRET, "redis": {"port": self.redis.port}}))
        environ = {"PORT": self.environ["PORT"]}
        self.assert_well(await self.run_check(environ, file=file), f"in {file}")

    async def test_refused_cookie_and_origin(self) -> None:
        """Each refusal is a failure."""
        outcome = await self.run_check(
            {**self.environ, "ALLOWED_ORIGINS": "https://bi.example.com"},
            cookie=token(secret=OTHER_SECRET),
            origin="https://x.example.com",
        )
        self.assertEqual(outcome.code, 1)
        self.assertEqual(len(outcome.findings(Mark.FAIL)), 2, outcome.text)


class RedisTests(CheckTestCase):
    """What is found about Redis."""

    def setUp(self) -> None:
        """Starts a Redis with an event."""
        super().setUp()
        self.redis.publish("1")

    async def check_user(self, *rules: str, **environ: str) -> Outcome:
        """Runs a check as a user who may do that and nothing else."""
        self.redis.client.execute_command(
            "ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *rules
        )
        login = {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORD}
        return await self.run_check({**self.environ, **login, **environ}, cookie=cookie())

    async def test_absent(self) -> None:
        """If nothing listens, the address is named."""
        self.redis.kill()
        for environ in (
            self.environ,
            {**self.environ, "REDIS_UNIX_SOCKET_PATH": "/nonexistent/socket"},
            {**self.environ, "REDIS_SENTINELS": f"127.0.0.1:{free_port()}"},
        ):
            self.assert_fails(await self.run_check(environ), "cannot connect to ", "redis-cli")

    async def test_hung(self) -> None:
        """A Redis that does not answer ends the check after a while."""
        self.redis.signal(signal.SIGSTOP)
        self.assert_fails(await self.run_check(self.environ), "did not answer within")

    async def test_no_password(self) -> None:
        """NOAUTH and a wrong password name the setting."""
        self.redis.client.config_set("requirepass", PASSWORD)
        self.assert_fails(await self.run_check(self.environ), "NOAUTH", "set redis.password")
        environ = {**self.environ, "REDIS_PASSWORD": OTHER_SECRET}
        self.assert_fails(await self.run_check(environ), "correct redis.password or redis.username")
        self.assert_well(await self.run_check({**self.environ, "REDIS_PASSWORD": PASSWORD}))

    async def test_documented_user(self) -> None:
        """The rights in the documentation are enough."""
        outcome = await self.check_user(*DOCUMENTED_RULE)
        self.assert_well(outcome, "no permission for INFO", "no permission for TIME", "1 entries")
        self.assertEqual(len(outcome.findings(Mark.WARN)), 1, outcome.text)
        outcome = await self.check_user(*DOCUMENTED_RULE, "+select", REDIS_DB="3")
        self.assert_well(outcome, "database 3 has no such stream")

    async def test_missing_rights(self) -> None:
        """The refused commands are named, with the missing rule."""
        remedy = "the user gaq needs +xread +xrange +xrevrange +xinfo ~async-events-*"
        commands = DOCUMENTED_RULE[:-1]
        for rules, parts in (
            ((*commands, f"~{PREFIX}full"), (f"{PREFIX}090916f0...: refused: XRANGE, XREVRANGE",)),
            ((*commands, f"~{PREFIX}09*"), (f"{PREFIX}full: refused: XREVRANGE, XREAD, XRANGE",)),
            ((*DOCUMENTED_RULE, "-xread"), (f"{PREFIX}full: refused: XREAD;",)),
        ):
            self.assert_fails(await self.check_user(*rules), *parts, "NOPERM", remedy)
        outcome = await self.check_user(*DOCUMENTED_RULE, REDIS_DB="3")
        self.assert_fails(outcome, "redis: ", "answered SELECT with: NOPERM", "+select")

    async def test_without_xinfo(self) -> None:
        """XINFO is not required."""
        outcome = await self.check_user(*DOCUMENTED_RULE, "-xinfo")
        self.assert_well(outcome, "it can be read; the newest entry is")
        refused = [line for line in outcome.findings(Mark.WARN) if "XINFO is refused" in line]
        self.assertEqual(len(refused), 2, outcome.text)

    async def test_wrong_type(self) -> None:
        """A key of another type is named, whichever stream it should be."""
        self.redis.client.set(f"{PREFIX}{CHANNEL}", "x")
        outcome = await self.run_check(self.environ, cookie=cookie())
        self.assert_fails(outcome, f"{PREFIX}090916f0...: refused", "WRONGTYPE", "delete it")
        self.redis.client.delete(f"{PREFIX}{CHANNEL}", f"{PREFIX}full")
        self.redis.client.set(f"{PREFIX}full", "x")
        self.assert_fails(await self.run_check(self.environ), f"{PREFIX}full: refused", "WRONGTYPE")

    async def test_nothing_there(self) -> None:
        """Without a stream, the databases that have keys are named."""
        outcome = await self.run_check({**self.environ, "REDIS_DB": "5"})
        self.assert_well(
            outcome,
            "database 5 has no such stream, or it is empty; there are keys in db0. Remedy: ",
        )
        self.assertIn("GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX", outcome.text)

    async def test_trimmed(self) -> None:
        """The number of trimmed entries is reported if Redis knows it."""
        for job in "23456":
            data: Any = {"data": job_data(job=job)}
            self.redis.client.xadd(f"{PREFIX}full", data, maxlen=2, approximate=False)
        outcome = await self.run_check(self.environ)
        facts: Any = self.redis.client.xinfo_stream(f"{PREFIX}full")
        knows = "entries-added" in facts
        self.assert_well(outcome, "2 entries, 4 older ones were trimmed" if knows else "2 entries;")

    async def test_other_entries(self) -> None:
        """A newest entry that is not an event is reported."""
        self.redis.client.xadd(f"{PREFIX}full", {"data": "x"})
        self.assert_well(await self.run_check(self.environ), "its newest entry is not an event: ")

    async def test_from_the_future(self) -> None:
        """An entry from the future shows that the clocks differ."""
        future_ms = int(time.time() * 1000) + 7_300_000
        data: Any = {"data": job_data()}
        self.redis.client.xadd(f"{PREFIX}full", data, id=f"{future_ms}-0")
        self.assert_well(await self.run_check(self.environ), "2 h in the future")

    async def test_eviction(self) -> None:
        """A Redis that may evict streams is reported."""
        self.redis.client.config_set("maxmemory-policy", "allkeys-lru")
        outcome = await self.run_check(self.environ)
        self.assertNotIn("maxmemory-policy", outcome.text)
        self.redis.client.config_set("maxmemory", "100mb")
        self.assert_well(await self.run_check(self.environ), "maxmemory-policy is allkeys-lru")

    async def test_replica(self) -> None:
        """A replica is reported."""
        replica = RedisProcess(self, "--replicaof", "127.0.0.1", str(self.redis.port))
        wait_until(lambda: bool(replica.client.exists(f"{PREFIX}full")), lambda: "not replicated")
        self.assert_well(await self.run_check(environment(replica.port)), "this is a replica")

    async def test_sentinel(self) -> None:
        """The master is found through Sentinels; a Sentinel itself is reported as a failure."""
        port = Sentinels(self, self.redis).processes[0].port
        environ = {**self.environ, "REDIS_SENTINELS": f"127.0.0.1:{port}", "REDIS_PORT": "1"}
        self.assert_well(await self.run_check({**environ, "REDIS_SENTINEL_MASTER": MASTER}))
        outcome = await self.run_check({**self.environ, "REDIS_PORT": str(port)})
        self.assertEqual(outcome.code, 1)
        self.assertIn("this is a Sentinel", outcome.findings(Mark.FAIL)[0])


class RealtimeTests(CheckTestCase):
    """What is found about Redis if Superset 7 is served."""

    def setUp(self) -> None:
        """Starts a Redis."""
        super().setUp()
        self.environ |= {"PROTOCOL": "realtime", "ALLOWED_ORIGINS": "https://bi.example.com"}

    async def check_user(self, *rules: str, **environ: str) -> Outcome:
        """Runs a check as a user who may do that and nothing else."""
        # Before Redis 7 a new user may use all channels.
        self.redis.client.execute_command(
            "ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "resetchannels", *rules
        )
        login = {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORD}
        return await self.run_check({**self.environ, **login, **environ})

    def subscribe(self, *channels: str) -> None:
        """Subscribes to channels until the end of the test, as another server does."""
        pubsub = self.redis.client.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe(*channels)
        for _ in channels:
            self.assertIsNotNone(pubsub.get_message(timeout=DEADLINE_SECONDS))

    async def test_healthy(self) -> None:
        """Everything is fine, and there are no findings about streams."""
        outcome = await self.run_check(self.environ, cookie=f"superset-ws-token={realtime_token()}")
        self.assert_well(
            outcome,
            "protocol: realtime (PROTOCOL in the environment), for Superset 7",
            "realtime cookie: accepted (user 5, expires at ",
            "channel realtime: no client is subscribed to it at the moment",
            "channel realtime: it can be followed (SUBSCRIBE and PING are allowed)",
            "0 failed, 0 warnings",
        )
        for absent in ("stream ", "clock", "initialReplayMs"):
            self.assertNotIn(absent, outcome.text.partition("Set:")[0])

    async def test_subscribers(self) -> None:
        """Other subscribers to the channel are counted."""
        self.subscribe("a:realtime")
        environ = {**self.environ, "REALTIME_CHANNEL_PREFIX": "a:"}
        self.assert_well(
            await self.run_check(environ),
            "channel a:realtime: one client is subscribed to it at the moment",
            "0 warnings",
        )

    async def test_other_prefix(self) -> None:
        """A subscriber with another prefix is named, and so are both settings."""
        self.subscribe("tenant-a:realtime", "unrelated")
        outcome = await self.run_check({**self.environ, "REALTIME_CHANNEL_PREFIX": "tenant-a"})
        self.assert_well(
            outcome,
            "channel tenant-arealtime: other clients are subscribed to tenant-a:realtime, with",
            "realtimeChannelPrefix, which is tenant-a, equal to Superset's REALTIME_CHANNEL_PREFIX",
        )
        self.assertEqual(len(outcome.findings(Mark.WARN)), 1, outcome.text)
        self.assertNotIn("unrelated", outcome.text)
        self.assert_well(
            await self.run_check(self.environ), "realtimeChannelPrefix, which is empty"
        )
        self.subscribe(*(f"{one}:realtime" for one in "bcde"))
        self.assert_well(
            await self.run_check(self.environ),
            "to b:realtime, c:realtime, d:realtime and 2 more, with",
        )

    async def test_documented_user(self) -> None:
        """The rights that the server needs are enough; the prefix must be compared by hand."""
        outcome = await self.check_user("+subscribe", "+ping", "&realtime")
        self.assert_well(
            outcome,
            "no permission for INFO",
            "no permission for PUBSUB; not required). A wrong prefix",
            "it can be followed",
        )

    async def test_missing_rights(self) -> None:
        """The refused commands are named, with the missing rule."""
        rule = "the user gaq needs +subscribe +ping &realtime"
        for rules, command in (
            (("+subscribe", "+ping", "&other"), "SUBSCRIBE"),
            (("+ping", "&realtime"), "SUBSCRIBE"),
            (("+subscribe", "&realtime"), "PING"),
        ):
            outcome = await self.check_user(*rules, "+pubsub")
            self.assert_fails(outcome, f"realtime: refused: {command}; ", "NOPERM", rule)

    async def test_absent(self) -> None:
        """If nothing listens, Superset's setting for it is named."""
        self.redis.kill()
        outcome = await self.run_check(self.environ)
        self.assert_fails(outcome, "cannot connect to ", "DISTRIBUTED_COORDINATION_CONFIG")

    async def test_wrong_password(self) -> None:
        """A login that is refused is reported once."""
        self.redis.client.config_set("requirepass", PASSWORD)
        self.assert_fails(await self.run_check(self.environ), "NOAUTH", "set redis.password")


class BothTests(CheckTestCase):
    """What is found if both protocols are served."""

    def setUp(self) -> None:
        """Starts a Redis with an event."""
        super().setUp()
        self.redis.publish("1")
        self.environ |= {"PROTOCOL": "both", "ALLOWED_ORIGINS": "https://bi.example.com"}

    async def test_one_redis(self) -> None:
        """One Redis for both is identified once, and used for both."""
        outcome = await self.run_check(
            self.environ, cookie=f"{cookie()}; superset-ws-token={realtime_token()}"
        )
        self.assert_well(
            outcome,
            "protocol: both (PROTOCOL in the environment)",
            "streams cookie: accepted",
            "realtime cookie: accepted",
            f"stream {PREFIX}full: it can be read",
            "channel realtime: it can be followed",
            "0 failed, 0 warnings",
        )
        self.assertEqual(outcome.text.count("clock: "), 1)
        self.assertEqual(len([one for one in outcome.findings(Mark.OK) if "redis: " in one]), 1)

    async def test_two(self) -> None:
        """With a Redis for each, a fault names its section, and the other is still checked."""
        other = RedisProcess(self)
        environ = {**self.environ, "REALTIME_REDIS_PORT": str(other.port)}
        outcome = await self.run_check(environ)
        self.assert_well(outcome, "redis: ", "realtimeRedis: ", "channel realtime: it can be")
        other.kill()
        outcome = await self.run_check(environ)
        self.assert_fails(
            outcome, "realtimeRedis: cannot connect", "realtimeRedis.host and realtimeRedis.port"
        )
        self.assertIn(f"stream {PREFIX}full: it can be read", outcome.text)
        other.start()
        self.redis.kill()
        outcome = await self.run_check(environ)
        self.assert_fails(outcome, "redis: cannot connect", "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND")
        self.assertIn("channel realtime: it can be followed", outcome.text)


class ClockTests(TestCase):
    """This machine's time and that of Redis."""

    async def test_difference(self) -> None:
        """A difference of seconds is reported, in either direction; a smaller one is fine."""
        redis = RedisProcess(self)
        where = Redis(port=redis.port)
        for ahead_seconds, mark, words in (
            (0.0, Mark.OK, "0."),
            (-30.0, Mark.WARN, "30.0"),
            (30.0, Mark.WARN, "behind this machine's"),
        ):
            clock = partial(_time, ahead_seconds)
            server = RedisServer(where, REACTOR, stream_usage(PREFIX))
            checking = RedisCheck(where, server.connection(), clock)
            found = [one async for one in checking.findings() if one.topic == "clock"]
            self.assertEqual([one.mark for one in found], [mark])
            self.assertIn(words, found[0].text)


def _time(ahead_seconds: float) -> float:
    return time.time() + ahead_seconds


def _obey_permissions() -> None:
    """Lets a program that is started next obey the permissions of files, even if root runs it."""
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


class ProcessTestCase(OutcomeTestCase):
    """Runs the command."""

    def run_check(
        self,
        environ: Mapping[str, str],
        *options: str,
        twistd: tuple[str, ...] = ("--nodaemon",),
        directory: Path | None = None,
        standard_input: str = "",
    ) -> Outcome:
        """Runs a check to its end.

        Args:
            environ: the environment variables for it, besides PATH.
            options: what comes after `--check`.
            twistd: what comes before `gaq-ws`.
            directory: where it runs; a new one that must stay empty if None.
            standard_input: what it can read.
        """
        if directory is None:
            temporary = tempfile.TemporaryDirectory()
            self.addCleanup(temporary.cleanup)
            working = Path(temporary.name)
            working.chmod(0o555)
        else:
            working = directory
        ended = subprocess.run(
            [Path(sys.executable).with_name("twistd"), *twistd, "gaq-ws", "--check", *options],
            cwd=working,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
            input=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
            preexec_fn=_obey_permissions,
        )
        if directory is None:
            self.assertEqual(list(working.iterdir()), [])
        outcome = Outcome(ended.returncode, ended.stdout)
        self.assert_discreet(outcome.text)
        self.assertNotIn("Traceback", outcome.text)
        return outcome


class CommandTests(ProcessTestCase):
    """The command, as a process of its own."""

    def setUp(self) -> None:
        """Starts a Redis."""
        self.redis = RedisProcess(self)
        self.redis.publish("1", "2")
        self.environ = environment(self.redis.port)

    def test_as_a_daemon(self) -> None:
        """Without --nodaemon it stays in the foreground too, and writes no file."""
        self.assert_well(self.run_check(self.environ, twistd=()), "0 failed")
        self.assert_fails(self.run_check(self.environ, "--cookie", "x", twistd=()), "valid JWT")

    def test_directory_is_not_writable(self) -> None:
        """The directories of these tests cannot be written to, even by root."""
        directory = Path(self.mktemp())
        directory.mkdir(mode=0o555)
        touched = subprocess.run(
            ["touch", "file"],
            cwd=directory,
            stderr=subprocess.DEVNULL,
            preexec_fn=_obey_permissions,
        )
        self.assertNotEqual(touched.returncode, 0)

    def test_beside_the_server(self) -> None:
        """In the directory of a running server, it finds that server, and keeps its pid file."""
        server = Server(self, self.environ)
        server.wait_until_ready()
        for twistd in (("--nodaemon",), ()):
            outcome = self.run_check(self.environ, twistd=twistd, directory=server.directory)
            self.assert_well(outcome, "is in use by a server that answers /health")
        self.assertEqual(int((server.directory / "twistd.pid").read_text()), server.process.pid)
        self.assertFalse((server.directory / "twistd.log").exists())

    def test_cookie_from_standard_input(self) -> None:
        """A cookie can be kept off the command line, where others could see it."""
        outcome = self.run_check(self.environ, "--cookie", "-", standard_input=f"{cookie()}\n")
        self.assert_well(outcome, "accepted (channel")

    def test_options(self) -> None:
        """Options that exclude each other are refused."""
        outcome = self.run_check(self.environ, "--demo")
        self.assertIn("--check and --demo cannot be combined", outcome.text)
        self.assertEqual(outcome.code, 1)
        server = Server(self, self.environ, command=("gaq-ws", "--origin", "x"))
        self.assertEqual(server.wait(), 1)
        self.assertIn("--origin needs --check", server.text())

    def test_hung(self) -> None:
        """Without --nodaemon, a Redis that does not answer ends the check after a while too."""
        self.redis.signal(signal.SIGSTOP)
        self.assert_fails(self.run_check(self.environ, twistd=()), "did not answer within")

    def test_interrupted(self) -> None:
        """A signal ends it with a failure."""
        self.redis.signal(signal.SIGSTOP)
        for number in (signal.SIGINT, signal.SIGTERM):
            check = Server(self, self.environ, command=("gaq-ws", "--check"))
            check.wait_for_text("is free")
            self.assertEqual(check.stop(number), 1)
            self.assertIn("the check was interrupted", check.text())
            self.assertNotIn("Traceback", check.text())
