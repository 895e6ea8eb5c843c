"""The load test, with real servers, and with servers that lose."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.support import sessions
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

COMMAND = (str(Path(sys.executable).with_name("gaq-ws")), "load")
EVENTS = 60
SMALL = ("-c", "10", "--tabs", "2", "-r", "120", "-d", "500ms", "--yes")


class CommandTestCase(SynchronousTestCase):
    """A test that runs `gaq-ws load`."""

    def run_command(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs it to its end, in an empty directory."""
        directory = Path(self.mktemp())
        directory.mkdir()
        return sessions.run(
            [*COMMAND, *arguments],
            seconds=3 * DEADLINE_SECONDS,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        )


class ServerTests(CommandTestCase):
    """Load on a real server with a real Redis."""

    def setUp(self) -> None:
        """Starts both."""
        self.redis = RedisProcess(self)
        self.environ = environment(self.redis.port, ALLOWED_ORIGINS="https://bi.example.com")
        self.server = Server(self, self.environ)
        self.server.wait_until_ready()

    def load(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs the command with a small load, with the server's settings and some others."""
        url = f"ws://127.0.0.1:{self.server.port}/ws?a=b"
        return self.run_command("--url", url, *SMALL, *arguments, **{**self.environ, **environ})

    def keys(self) -> set[str]:
        """Returns the names of all keys in Redis."""
        keys: Any = self.redis.client.keys()
        return {key.decode() for key in keys}

    def test_nothing_is_lost(self) -> None:
        """With connections that break, nothing is lost, as reported, and no streams are left."""
        done = self.load("--drops", "40", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertTrue(report["is_good"])
        self.assertEqual((report["clients"], report["channels"]), (10, 5))
        self.assertEqual((report["published"], report["failed_publications"]), (EVENTS, {}))
        self.assertEqual(report["frames_expected"], 2 * EVENTS)
        self.assertEqual(report["frames_received"], 2 * EVENTS + report["duplicated"])
        self.assertEqual((report["lost"], report["out_of_order"]), (0, 0))
        self.assertGreater(report["reconnects"], 0)
        self.assertEqual(report["failed_connects"], {})
        self.assertGreater(report["latency_worst_ms"], 0.0)
        # No more than what it has announced, and each phase.
        announcement, *phases = done.stderr.splitlines()
        self.assertEqual(
            [line.split(": ")[:2] for line in phases],
            [["gaq-ws load", phase] for phase in ("starting", "connecting", "running", "settling")],
        )
        self.assertIn(
            f"about {EVENTS} entries will be added to the stream {PREFIX}full", announcement
        )
        self.assertEqual(self.keys(), {f"{PREFIX}full"})
        # And one to see whether that can be done.
        self.assertEqual(self.redis.client.xlen(f"{PREFIX}full"), EVENTS + 1)

    def test_loss(self) -> None:
        """With a server that follows another stream, all is reported as lost, with a reason."""
        done = self.load("--settle", "0.5", REDIS_STREAM_PREFIX="other-")
        self.assertEqual(done.returncode, 1, done.stderr)
        rows = dict(line.split("  ", 1) for line in done.stdout.splitlines())
        figures = {name: rows[name].strip() for name in ("frames expected", "lost", "duplicated")}
        self.assertEqual(
            figures, {"frames expected": "120", "lost": "120", "duplicated": "0"}, done.stdout
        )
        self.assertEqual(rows["latency, worst"].strip(), "-")
        self.assertIn("use the same Redis, redis.db and redisStreamPrefix", done.stderr)

    def test_refused(self) -> None:
        """A refused client ends it, before anything is published for the others, with a remedy."""
        for arguments, environ, reason, remedy in (
            (
                (),
                {"JWT_SECRET": "not the secret that the server has"},
                "HTTP 401: bad signature: the token is not signed with jwtSecret",
                "give it the server's jwtSecret",
            ),
            (("--origin", "https://evil.example"), {}, "HTTP 403: ", "with --origin"),
            (
                ("--url", f"ws://127.0.0.1:{free_port()}"),
                {},
                "Connection refused",
                "check that the server is running and that --url is its address",
            ),
            ((), {"REDIS_PORT": str(free_port())}, "cannot connect to Redis at 127.0.0.1:", ""),
        ):
            done = self.load(*arguments, **environ)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f": {reason}", done.stderr)
            self.assertIn(remedy, done.stderr)
            self.assertNotIn("running: ", done.stderr)
        self.assertLess(self.redis.client.xlen(f"{PREFIX}full"), 5)
        self.assertEqual(self.keys(), {f"{PREFIX}full"})

    def test_tls(self) -> None:
        """It speaks TLS, and only with a server whose certificate this machine trusts."""
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        files = {name: Path(self.mktemp()).resolve() for name in ("ca", "chain", "key")}
        ca.cert_pem.write_to_path(files["ca"])
        certificate.private_key_pem.write_to_path(files["key"])
        files["chain"].write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        port = free_port()
        listen = (
            f"ssl:{port}:interface=127.0.0.1:privateKey={files['key']}:certKey={files['chain']}"
        )
        server = Server(self, {**self.environ, "LISTEN": listen})
        server.wait_for_text("following the global stream")
        done = self.load("--url", f"wss://127.0.0.1:{port}/", SSL_CERT_FILE=str(files["ca"]))
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.load("--url", f"wss://127.0.0.1:{port}/")
        self.assertEqual(done.returncode, 2)
        self.assertIn(": TLS: certificate verify failed (", done.stderr)
        self.assertIn("SSL_CERT_FILE", done.stderr)

    def test_may_not_publish(self) -> None:
        """For a user of Redis who only reads, the missing rule is reported; no client connects."""
        self.redis.client.execute_command(
            "ACL",
            "SETUSER",
            "gaq",
            "on",
            ">password",
            "+xread",
            "+xrange",
            "+xrevrange",
            "+xinfo",
            f"~{PREFIX}*",
        )
        user = {"REDIS_USERNAME": "gaq", "REDIS_PASSWORD": "password"}
        done = self.load(**user)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("answered XADD with: NOPERM", done.stderr)
        rule = ("+xadd", "+unlink", f"~{PREFIX}*")
        self.assertIn(f"(the user gaq needs {' '.join(rule)})", done.stderr)
        self.assertNotIn("cannot connect", done.stderr)
        # With that rule it works.
        self.redis.client.execute_command("ACL", "SETUSER", "gaq", *rule)
        self.assertEqual(self.load("--origin", "https://bi.example.com", **user).returncode, 0)

    def test_interrupted(self) -> None:
        """On a terminal it shows how far it is; Ctrl-C ends it early, with the table."""
        ours, its = pty.openpty()
        self.addCleanup(os.close, ours)
        arguments = ("--url", f"ws://127.0.0.1:{self.server.port}", *SMALL, "-d", "10m")
        process = sessions.start(
            self,
            [*COMMAND, *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            stderr=its,
            text=True,
        )
        os.close(its)
        shown = ""
        while "running    [" not in shown:
            shown += os.read(ours, 1000).decode()
        self.assertIn("connecting [", shown)
        self.assertIn(" of 10 clients", shown)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        shown += os.read(ours, 10_000).decode()
        self.assertIn("the test was interrupted", shown)
        self.assertRegex(output, r"(?m)^lost +0$")
        self.assertEqual(process.returncode, 130)

    def test_failed_publications(self) -> None:
        """A result is not good if Redis did not take all events, even if the others arrived."""
        self.redis.client.execute_command(
            *("ACL", "SETUSER", "gaq", "on", ">password", "+xadd", "+unlink", f"~{PREFIX}*")
        )
        process = sessions.start(
            self,
            [*COMMAND, "--url", f"ws://127.0.0.1:{self.server.port}", *SMALL, "-d", "10m"],
            env={
                **{"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
                **{"REDIS_USERNAME": "gaq", "REDIS_PASSWORD": "password"},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: self.entries() > EVENTS, self.server.text)
        self.redis.client.execute_command("ACL", "SETUSER", "gaq", "-xadd")
        denied = "acl_access_denied_cmd"
        stats: Any = self.redis.client.info
        wait_until(lambda: int(stats("stats").get(denied, 1)) > 0, self.server.text)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertRegex(output, r"(?m)^ +[0-9,]+ not published: Redis at .*: NOPERM$")
        self.assertRegex(output, r"(?m)^lost +0$")
        self.assertIn("could not be published, so the test has failed", errors)
        self.assertEqual(process.returncode, 143)

    def entries(self) -> int:
        """Returns the length of the global stream."""
        return int(str(self.redis.client.xlen(f"{PREFIX}full")))


class PermissionTests(CommandTestCase):
    """A Redis that others may use."""

    def setUp(self) -> None:
        """Starts it, and puts an event into the stream."""
        self.redis = RedisProcess(self)
        self.redis.publish("job")
        self.environ = environment(self.redis.port)
        self.arguments = tuple(word for word in SMALL if word != "--yes")

    def entries(self) -> int:
        """Returns the length of the global stream."""
        return int(str(self.redis.client.xlen(f"{PREFIX}full")))

    def ask(self) -> "tuple[subprocess.Popen[str], int]":
        """Returns the process, which has asked on a terminal, and that terminal."""
        ours, its = pty.openpty()
        self.addCleanup(os.close, ours)
        process = sessions.start(
            self,
            [*COMMAND, *self.arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdin=its,
            stdout=subprocess.PIPE,
            stderr=its,
            text=True,
        )
        os.close(its)
        shown = ""
        while "[y/N]" not in shown:
            shown += os.read(ours, 1000).decode()
        self.assertIn(f"has the stream {PREFIX}full (length 1), which Superset may use", shown)
        return process, ours

    def test_no_terminal(self) -> None:
        """Where nobody can answer it ends with 2, says why, and publishes nothing."""
        done = self.run_command(*self.arguments, **self.environ)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("Nothing was published. Use --yes to publish anyway", done.stderr)
        self.assertEqual(self.entries(), 1)

    def test_answers(self) -> None:
        """On a terminal it asks; only a yes lets it publish."""
        for answer, code, entries in ((b"\n", 2, 1), (b"no\n", 2, 1), (b"y\n", 2, 2)):
            process, terminal = self.ask()
            os.write(terminal, answer)
            # No server listens, which it only finds after its first event.
            self.assertEqual(process.wait(DEADLINE_SECONDS), code)
            self.assertEqual(self.entries(), entries)

    def test_interrupted(self) -> None:
        """Ctrl-C answers the question, too; shells report that as 130."""
        process, _ = self.ask()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_SECONDS), -signal.SIGINT)
        self.assertEqual(self.entries(), 1)

    def test_may_not_look(self) -> None:
        """A user of Redis who may not ask for the length gets the question, too."""
        self.redis.client.execute_command(
            *("ACL", "SETUSER", "gaq", "on", ">password", "+xadd", "+unlink", f"~{PREFIX}*")
        )
        user = {"REDIS_USERNAME": "gaq", "REDIS_PASSWORD": "password"}
        done = self.run_command(*self.arguments, **self.environ, **user)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("it is unknown whether Superset uses this Redis", done.stderr)

    def test_stalled(self) -> None:
        """Ctrl-C ends it while Redis does not answer."""
        self.redis.signal(signal.SIGSTOP)
        process = sessions.start(
            self,
            [*COMMAND, *SMALL],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        while "starting: " not in process.stderr.readline():
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(DEADLINE_SECONDS), 130)
        self.assertIn("interrupted before the test began", process.stderr.read())


class RealtimeTests(CommandTestCase):
    """Load on a real server of Superset 7's protocol."""

    def setUp(self) -> None:
        """Starts Redis and the server."""
        self.redis = RedisProcess(self)
        self.environ = environment(self.redis.port, PROTOCOL="realtime")
        self.server = Server(self, self.environ)
        self.server.wait_for_text("subscribed to the realtime channel")
        self.url = f"ws://127.0.0.1:{self.server.port}/ws?a=b"

    def load(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Runs the command with a small load, with the server's settings and some others."""
        return self.run_command(
            "--url", self.url, *SMALL, *arguments, **{**self.environ, **environ}
        )

    def test_nothing_is_lost(self) -> None:
        """With connections that break, nothing is lost that is owed; broadcasts reach all."""
        # Half of the clients stay connected, even if all breaks come first.
        done = self.load("-c", "40", "--drops", "40", "--broadcasts", "0.5", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["clients"], report["channels"]), (40, 20))
        self.assertEqual((report["published"], report["failed_publications"]), (EVENTS, {}))
        self.assertEqual(
            (report["lost"], report["duplicated"], report["out_of_order"], report["misdelivered"]),
            (0, 0, 0, 0),
        )
        self.assertGreater(report["frames_expected"], EVENTS)
        self.assertGreaterEqual(report["frames_received"], report["frames_expected"])
        self.assertGreater(report["reconnects"], 0)
        self.assertEqual(report["failed_connects"], {})
        self.assertGreater(report["latency_worst_ms"], 0.0)
        announcement = done.stderr.splitlines()[0]
        self.assertIn(f"about {EVENTS} messages will be published on the channel", announcement)
        self.assertEqual(self.redis.client.keys(), [])

    def test_loss(self) -> None:
        """With a server that follows another channel, all is lost, with a reason."""
        done = self.load(
            *("--settle", "0.5", "--drops", "0", "--json"), REALTIME_CHANNEL_PREFIX="other-"
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["lost"], report["frames_expected"])
        self.assertGreaterEqual(report["lost"], EVENTS)
        self.assertEqual(report["not_owed"], {})
        self.assertIn("use the same Redis, and realtimeChannelPrefix", done.stderr)

    def test_gap(self) -> None:
        """Where the server admits a gap by 1012, clients come back, and nothing counts as lost."""
        arguments = ("--url", self.url, *SMALL, "-d", "10m", "--drops", "0", "--json")
        process = sessions.start(
            self,
            [*COMMAND, *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # It publishes once all have connected.
        wait_until(lambda: self.published() > EVENTS, self.server.text)
        self.redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        before = self.published()
        # Sockets are closed at once, and their clients come back within a second.
        wait_until(lambda: self.published() > before + 4 * EVENTS, self.server.text)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, 130, errors)
        report = json.loads(output)
        self.assertTrue(report["is_good"])
        self.assertEqual((report["lost"], report["reconnects"]), (0, 10))
        [(reason, count)] = report["failed_connects"].items()
        self.assertTrue(reason.startswith("closed with 1012"), reason)
        self.assertEqual(count, 10)

    def test_other_secret(self) -> None:
        """A refused client ends it, with a remedy."""
        done = self.load(JWT_SECRET="not the secret that the server has, but long")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("HTTP 401: bad signature", done.stderr)
        self.assertIn("give it the server's", done.stderr)

    def test_may_not_publish(self) -> None:
        """For a user of Redis who only subscribes, the missing rule is reported."""
        self.redis.client.execute_command(
            *("ACL", "SETUSER", "gaq", "on", ">password", "+subscribe"),
            *("resetchannels", "&realtime"),
        )
        done = self.load(REDIS_USERNAME="gaq", REDIS_PASSWORD="password")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("(the user gaq needs +publish &realtime)", done.stderr)

    def test_both(self) -> None:
        """Where both protocols are served, one must be chosen."""
        done = self.load(PROTOCOL="both")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("choose one with --protocol", done.stderr)

    def test_asks(self) -> None:
        """Where servers follow the channel, it asks, as the user that the documentation has."""
        rule = "on >password +publish +pubsub|numsub resetchannels &realtime"
        self.redis.client.execute_command("ACL", "SETUSER", "gaq-load", *rule.split())
        user = {"REDIS_USERNAME": "gaq-load", "REDIS_PASSWORD": "password"}
        arguments = [word for word in SMALL if word != "--yes"]
        done = self.run_command("--url", self.url, *arguments, **self.environ, **user)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("the channel realtime has subscribers (1)", done.stderr)
        self.assertEqual(self.published(), 0)

    def published(self) -> int:
        """Returns how many messages were published."""
        stats: Any = self.redis.client.info("commandstats")
        return int(stats.get("cmdstat_publish", {"calls": 0})["calls"])


class OptionTests(CommandTestCase):
    """The command line."""

    def test_bad_arguments(self) -> None:
        """Bad arguments and settings end it with status 2 and a reason, and nothing else."""
        for arguments, reason in (
            (("--connections", "0"), "--connections: 0 is not a whole number above 0"),
            (("--rate", "nan"), "--rate: nan is not a number above 0"),
            (("--duration", "3x"), "--duration: 3x is not a duration above 0, such as 90s"),
            (("--url", "http://127.0.0.1/"), "--url: 'http://127.0.0.1/' is not like ws://"),
            (("--config", "none.json"), "cannot read none.json: No such file"),
            ((), "jwtSecret is not set"),
        ):
            done = self.run_command(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(reason, done.stderr)

    def test_first_names(self) -> None:
        """The command's first name works, with the names that options had then."""
        done = sessions.run(
            [
                *(sys.executable, "-c", "from gaq_twisted.cli import load; load()"),
                *("--clients", "7", "--seconds", "1"),
            ],
            env={
                **{"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                **environment(free_port()),
            },
        )
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("7 clients of 4 channels will connect", done.stderr)
        self.assertIn("about 20 entries", done.stderr)
