"""The load test, with real servers, with servers that lose, and its bookkeeping alone."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jwt
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.settings import Settings
from gaq_twisted.config.types import ConfigError, SigningSecret
from gaq_twisted.tools.loadtest.command import remarks, table
from gaq_twisted.tools.loadtest.cookies import Signer
from gaq_twisted.tools.loadtest.record import (
    Channel,
    Latencies,
    Listener,
    Load,
    NumberedEvent,
    Record,
    Report,
    Sight,
)
from tests.support.processes import (
    DEADLINE_SECONDS,
    PREFIX,
    ROOT,
    RedisProcess,
    Server,
    environment,
    free_port,
)
from tests.support.samples import CHANNEL

COMMAND = str(Path(sys.executable).with_name("gaq-ws-load"))
EVENTS = 60
SMALL = ("--clients", "10", "--tabs", "2", "--rate", "120", "--seconds", "0.5")


class CommandTestCase(SynchronousTestCase):
    """A test that runs `gaq-ws-load`."""

    def run_command(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end, in an empty directory."""
        directory = Path(self.mktemp())
        directory.mkdir()
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
            capture_output=True,
            text=True,
            timeout=3 * DEADLINE_SECONDS,
            check=False,
        )


class ServerTests(CommandTestCase):
    """Load on a real server with a real Redis."""

    def setUp(self) -> None:
        """Start both."""
        self.redis = RedisProcess(self)
        self.environ = environment(self.redis.port, ALLOWED_ORIGINS="https://bi.example.com")
        self.server = Server(self, self.environ)
        self.server.wait_until_ready()

    def load(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run the command with a small load, with the server's settings and some others."""
        url = f"ws://127.0.0.1:{self.server.port}/ws?a=b"
        return self.run_command("--url", url, *SMALL, *arguments, **{**self.environ, **environ})

    def keys(self) -> set[str]:
        """Return the names of all keys in Redis."""
        keys: Any = self.redis.client.keys()
        return {key.decode() for key in keys}

    def test_nothing_is_lost(self) -> None:
        """With connections that break, nothing is lost; it says so, and leaves no streams."""
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
        # No more than what it has announced.
        [announcement] = done.stderr.splitlines()
        self.assertIn(
            f"about {EVENTS} entries will be added to the stream {PREFIX}full", announcement
        )
        self.assertEqual(self.keys(), {f"{PREFIX}full"})
        # And one to see whether that can be done.
        self.assertEqual(self.redis.client.xlen(f"{PREFIX}full"), EVENTS + 1)

    def test_loss(self) -> None:
        """With a server that follows another stream, all is lost; it says so, and why perhaps."""
        done = self.load("--settle", "0.5", REDIS_STREAM_PREFIX="other-")
        self.assertEqual(done.returncode, 1, done.stderr)
        rows = dict(line.split("  ", 1) for line in done.stdout.splitlines())
        figures = {name: rows[name].strip() for name in ("frames expected", "lost", "duplicated")}
        self.assertEqual(
            figures, {"frames expected": "120", "lost": "120", "duplicated": "0"}, done.stdout
        )
        self.assertEqual(rows["latency, worst"].strip(), "-")
        self.assertIn("have the same Redis, redis.db and redisStreamPrefix", done.stderr)

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
                "see that the server runs and that --url leads to it",
            ),
            ((), {"REDIS_PORT": str(free_port())}, "cannot connect to Redis at 127.0.0.1:", ""),
        ):
            done = self.load(*arguments, **environ)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f": {reason}", done.stderr)
            self.assertIn(remedy, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)
        self.assertLess(self.redis.client.xlen(f"{PREFIX}full"), 5)

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
        """A user of Redis who only reads is told the rule that is missing; no client connects."""
        self.redis.client.execute_command(
            *("ACL", "SETUSER", "gaq", "on", ">password"),
            *("+xread", "+xrange", "+xrevrange", "+xinfo", f"~{PREFIX}*"),
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
        arguments = ("--url", f"ws://127.0.0.1:{self.server.port}", *SMALL, "--seconds", "600")
        process = subprocess.Popen(
            [COMMAND, *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            stderr=its,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(its)
        shown = ""
        while "running    [" not in shown:
            shown += os.read(ours, 1000).decode()
        self.assertIn("connecting [#", shown)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        shown += os.read(ours, 10_000).decode()
        self.assertIn("the test was interrupted", shown)
        self.assertRegex(output, r"(?m)^lost +0$")
        self.assertEqual(process.returncode, 0)


class OptionTests(CommandTestCase):
    """What cannot be meant."""

    def test_bad_arguments(self) -> None:
        """Bad arguments and settings end it with status 2 and a reason, and nothing else."""
        for arguments, reason in (
            (("--clients", "0"), "--clients: 0 is not a whole number above 0"),
            (("--rate", "nan"), "--rate: nan is not a number above 0"),
            (("--drops", "-1"), "--drops: -1 is not a number from 0 on"),
            (("--url", "http://127.0.0.1/"), "--url: 'http://127.0.0.1/' is not like ws://"),
            (("--config", "none.json"), "cannot read none.json: No such file"),
            ((), "jwtSecret is not set"),
        ):
            done = self.run_command(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(reason, done.stderr)


class SignerTests(SynchronousTestCase):
    """Cookies."""

    def test_secret(self) -> None:
        """A cookie is signed by the settings, and the server takes it."""
        ours = settings_with(
            "long enough for HS512. " * 3,
            *("HS512", "HS256"),
            jwt_cookie_name="c",
            jwt_channel_id_key="k",
        )
        header = Signer(ours).cookie_header(CHANNEL, 2**33)
        self.assertEqual(Authenticator(ours).identify(header), (CHANNEL, 2**33))
        self.assertEqual(jwt.get_unverified_header(header.partition("=")[2])["alg"], "HS512")

    def test_key_pair(self) -> None:
        """With a key pair the private key signs; with the public key alone it says what to do."""
        private = ec.generate_private_key(ec.SECP256R1())
        private_pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signing, verifying = (
            settings_with(pem.decode(), "ES256") for pem in (private_pem, public_pem)
        )
        header = Signer(signing).cookie_header(CHANNEL, 2**33)
        self.assertEqual(Authenticator(verifying).identify(header).channel, CHANNEL)
        with self.assertRaises(ConfigError) as caught:
            Signer(verifying)
        self.assertIn("it must be the private key", str(caught.exception))


def settings_with(secret: str, *algorithms: Any, **values: Any) -> Settings:
    """Return settings with that secret and those algorithms, and other values."""
    return Settings(jwt_secret=SigningSecret(secret), jwt_algorithms=algorithms, **values)


def event(channel: Channel, number: int, published_ns: int = 0) -> NumberedEvent:
    """Return an event as a frame tells it."""
    return NumberedEvent("1-0", channel.name, number, published_ns)


class RecordTests(SynchronousTestCase):
    """What is counted."""

    def setUp(self) -> None:
        """Have a channel with a client, and another channel."""
        self.record = Record(["a", "b"])
        self.channel, self.other = self.record.channels
        self.client = self.record.add_listener(self.channel)

    def publish(self, count: int) -> None:
        """Publish to both channels."""
        for _ in range(count):
            self.channel.next_number()
            self.other.next_number()

    def take(self, *numbers: int, **times: int) -> None:
        """Let the client get events of its channel."""
        for number in numbers:
            self.record.take(
                self.client,
                event(self.channel, number, times.get("published_ns", 0)),
                opened_ns=times.get("opened_ns", 0),
                now_ns=times.get("now_ns", 0),
            )

    def report(self) -> Report:
        """Return the result."""
        return self.record.report()

    def test_counts(self) -> None:
        """What is lost, comes twice or late is told apart; nobody listens to the other channel."""
        self.publish(6)
        self.take(1, 2, 2, 4, 3, 3)
        report = self.report()
        self.assertEqual(report.published, 12)
        self.assertEqual((report.frames_expected, report.frames_received), (6, 6))
        self.assertEqual((report.lost, report.duplicated, report.out_of_order), (2, 2, 1))
        self.assertFalse(report.is_good)
        self.take(5, 6)
        self.assertTrue(self.report().is_good)

    def test_uncertain(self) -> None:
        """An event that Redis has perhaps may come, late or never."""
        self.publish(3)
        self.channel.unpublished = {1, 3}
        self.take(2)
        for numbers in ((), (1, 3)):
            self.take(*numbers)
            report = self.report()
            self.assertEqual((report.frames_expected, report.lost), (1, 0))
            self.assertEqual(report.out_of_order, 0)

    def test_reasons(self) -> None:
        """Reasons are shown with their counts, the most frequent first."""
        self.record.failed_connects.update({"HTTP 503: busy": 2, "closed with 1013: full": 1200})
        self.record.failed_publications["Redis is gone"] = 3
        lines = [line.strip() for line in table(self.report()).splitlines()]
        at = lines.index("1,200: closed with 1013: full")
        self.assertRegex(lines[at - 1], "failed connects +1,202")
        self.assertEqual(lines[at + 1], "2: HTTP 503: busy")
        self.assertIn("3 not published: Redis is gone", lines)

    def test_strangers(self) -> None:
        """An event of another channel, or that was never published, is bad."""
        self.publish(1)
        self.take(1)
        for number, channel in ((1, self.other), (0, self.channel), (2, self.channel)):
            is_its = self.record.take(self.client, event(channel, number), opened_ns=0, now_ns=0)
            self.assertFalse(is_its)
        report = self.report()
        self.assertEqual((report.misdelivered, report.lost, report.is_good), (3, 0, False))

    def test_never_connected(self) -> None:
        """A client that was not served is no loss that can be counted, but not good either."""
        self.record.never_connected = 3
        report = self.report()
        self.assertEqual((report.clients, report.lost, report.is_good), (4, 0, False))
        self.assertIn("1 of 4", table(report))

    def test_latency(self) -> None:
        """What was published while the client was away is caught up, and has no latency."""
        self.publish(2)
        self.take(1, published_ns=1_000_000, opened_ns=2_000_000, now_ns=900_000_000)
        self.take(2, published_ns=3_000_000, opened_ns=2_000_000, now_ns=5_000_000)
        report = self.report()
        self.assertEqual(report.caught_up, 1)
        self.assertEqual(report.latency_worst_ms, 2.0)

    def test_remarks(self) -> None:
        """It says when its own speed was the limit."""
        self.assertEqual(list(remarks(self.report())), [])
        self.record.connecting = Load(1.0, 0.9)
        self.assertIn("while it connected", "".join(remarks(self.report())))
        self.record.running = Load(1.0, 0.81)
        self.assertIn("latencies and rates", "".join(remarks(self.report())))

    @settings(deadline=None)
    @given(
        st.integers(0, 12),
        st.sets(st.integers(1, 12)),
        st.lists(st.integers(1, 12), max_size=30),
    )
    def test_any_order(self, newest: int, uncertain: set[int], seen: list[int]) -> None:
        """Whatever comes in whatever order, the counts are those of sets and lists."""
        channel = Channel("a")
        channel.newest = newest
        published = set(range(1, newest + 1)) - uncertain
        channel.unpublished = set(range(1, newest + 1)) & uncertain
        seen = [number for number in seen if number <= newest]
        listener = Listener(channel)
        sights = [listener.see(number) for number in seen]
        self.assertEqual(channel.published, len(published))
        self.assertEqual(listener.lost(), len(published - set(seen)))
        self.assertEqual(sights.count(Sight.AGAIN), len(seen) - len(set(seen)))
        firsts = list(dict.fromkeys(seen))
        late = sum(number < max(firsts[:index], default=0) for index, number in enumerate(firsts))
        self.assertEqual(sights.count(Sight.LATE), late)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.01, 1.0))
    def test_quantiles(self, latencies_us: Sequence[int], share: float) -> None:
        """A quantile is that of the sorted list, but for 0.8 %; and they ascend."""
        latencies = Latencies()
        for latency_us in latencies_us:
            latencies.add(latency_us)
        ordered = sorted(latencies_us)
        exact_ms = next(
            value / 1000 for rank, value in enumerate(ordered, 1) if rank >= share * len(ordered)
        )
        found_ms = latencies.quantile_ms(share)
        assert found_ms is not None
        self.assertLessEqual(found_ms, exact_ms)
        self.assertGreaterEqual(found_ms, exact_ms * (1 - 0.008))
        self.assertEqual(latencies.worst_ms, ordered[-1] / 1000)
        quantiles = [latencies.quantile_ms(each) or 0.0 for each in (0.1, 0.5, 0.9, 1.0)]
        self.assertTrue(all(low <= high for low, high in pairwise(quantiles)))
