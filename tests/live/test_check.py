"""`twistd gaq-ws --check`: what it finds, what it advises, what it keeps to itself."""

import ast
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gaq_twisted.config.load import Loaded, load
from gaq_twisted.config.settings import Redis
from gaq_twisted.config.types import OriginPattern
from gaq_twisted.redis.server import RedisServer
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.tools.check.command import RedisCheck
from gaq_twisted.tools.check.verdicts import (
    Finding,
    Mark,
    cookie_header,
    cut,
    duration,
    judge_cookie,
    judge_origin,
    settings_table,
)
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
from tests.support.samples import CHANNEL, SECRET, cookie, job_data, settings, token

OTHER_SECRET = "another secret, as long as the first"
PASSWORD = "open sesame"
USER = "gaq"
DOCUMENTED_RULE = ("+xread", "+xrange", "+xrevrange", "+xinfo", f"~{PREFIX}*")
# How texts begin that Redis, Twisted or an operator write, or that a sentence ends with.
FOREIGN_WORDS = (
    "Connection was refused",
    "WRONGPASS",
    "NOPERM",
    "WRONGTYPE",
    "ERR unknown command",
    "+xread",
    "1795406438721-0",
)
# From linux/prctl.h and linux/capability.h.
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1


def loaded(**environ: str) -> Loaded:
    """Return the settings that an environment makes."""
    return load(None, {"JWT_SECRET": SECRET, **environ})


class DiagnosisTestCase(SynchronousTestCase):
    """Checks texts for operators."""

    def assert_discreet(self, text: str, *secrets: str) -> None:
        """Check that a text shows no secret, token or channel id."""
        for secret in (SECRET, OTHER_SECRET, PASSWORD, CHANNEL, *secrets):
            self.assertNotIn(secret, text)
        self.assertNotIn("eyJ", text)

    def assert_advice(self, finding: Finding, mark: Mark, *parts: str) -> None:
        """Check a finding's mark and parts of its one line; no failure is without a remedy."""
        line = str(finding)
        self.assertEqual(finding.mark, mark, line)
        self.assertEqual(len(line.splitlines()), 1, line)
        for part in parts:
            self.assertIn(part, line)
        if mark is Mark.FAIL:
            self.assertTrue(finding.remedy, line)
        self.assert_discreet(line)


class SettingsTableTests(DiagnosisTestCase):
    """The list of settings."""

    def test_order_and_sources(self) -> None:
        """What was set comes first, with where it was set; the rest is there too."""
        file = Path(self.mktemp())
        file.write_text(json.dumps({"redis": {"db": 2}, "logLevel": "info"}))
        lines = list(settings_table(load(file, {"JWT_SECRET": SECRET, "PORT": "81"})))
        divided = lines.index("As by default:")
        self.assertEqual(lines[0], "Set:")
        self.assertEqual(
            [line.split() for line in lines[1:divided]],
            [
                ["port", "81", "PORT", "in", "the", "environment"],
                ["logLevel", '"info"', "in", str(file)],
                ["redis.db", "2", "in", str(file)],
                ["jwtSecret", "set", "JWT_SECRET", "in", "the", "environment"],
            ],
        )
        self.assertIn(["redis.port", "6379"], [line.split() for line in lines[divided:]])
        self.assertEqual(len(lines) - 2, len(loaded().sources))

    def test_secrets(self) -> None:
        """Secrets are said to be set or empty, no more."""
        text = "\n".join(settings_table(loaded(REDIS_PASSWORD=PASSWORD)))
        self.assert_discreet(text)
        rows = {row[0]: row[1] for line in text.splitlines() if len(row := line.split()) > 1}
        self.assertEqual(rows["redis.password"], "set")
        self.assertEqual(rows["redis.sentinelPassword"], "empty")


class CookieHeaderTests(SynchronousTestCase):
    """What operators paste."""

    def test_forms(self) -> None:
        """A whole header, with or without its name, a cookie, and a token alone will do."""
        signed = token()
        for given, header in (
            (signed, f"async-token={signed}"),
            (f"  {signed}\n", f"async-token={signed}"),
            (f"async-token={signed}", f"async-token={signed}"),
            (f"a=b; async-token={signed}", f"a=b; async-token={signed}"),
            (f"Cookie: a=b; c=d{signed}", f"a=b; c=d{signed}"),
            (f"cookie:a={signed}", f"a={signed}"),
        ):
            self.assertEqual(cookie_header(settings(), given), header)


class CookieVerdictTests(DiagnosisTestCase):
    """Whether a cookie is accepted, and why not."""

    def judge(self, header: str, *, at: float | None = None, **environ: str) -> list[Finding]:
        """Return what is found about a header at a time, or now."""
        verdict = judge_cookie(loaded(**environ), header, time.time() if at is None else at)
        accepted = verdict.findings[0].mark is Mark.OK
        self.assertEqual(verdict.channel, CHANNEL if accepted else None)
        return verdict.findings

    def test_accepted(self) -> None:
        """A good cookie is accepted, with the end that its token has or has not."""
        (finding,) = self.judge(f"async-token={token()}")
        self.assert_advice(finding, Mark.OK, "accepted", "090916f0...", "without an end")
        end = int(time.time()) + 7200
        (finding,) = self.judge(f"a=b; async-token={token(exp=end)}", at=end - 3599)
        self.assert_advice(finding, Mark.OK, "accepted", "60 min from now", " UTC")

    def test_no_cookie(self) -> None:
        """Without our cookie, the names of those that are there are told."""
        (finding,) = self.judge("session=secret1; \x1b[31m=secret2")
        self.assert_advice(
            finding, Mark.FAIL, "no cookie named async-token", "session, '\\x1b[31m'"
        )
        self.assertNotIn("secret1", str(finding))
        (finding,) = self.judge("")
        self.assert_advice(finding, Mark.FAIL, "there is none at all", "GLOBAL_ASYNC_QUERIES")

    def test_another_name(self) -> None:
        """A cookie of another name that would do is named, whatever ours holds."""
        for ours in ("session=1", f"async-token={token(secret=OTHER_SECRET)}"):
            findings = self.judge(f"{ours}; gaq={token()}; x={token(secret=OTHER_SECRET)}")
            self.assertEqual(len(findings), 2)
            self.assert_advice(findings[1], Mark.FAIL, "the cookie gaq", "set jwtCookieName to gaq")

    def test_wrong_secret(self) -> None:
        """A token of another secret is told, with where ours is from."""
        (finding,) = self.judge(f"async-token={token(secret=OTHER_SECRET)}")
        self.assert_advice(
            finding,
            Mark.FAIL,
            *("bad signature", "JWT_SECRET in the environment", "GLOBAL_ASYNC_QUERIES_JWT_SECRET"),
        )

    def test_nearly_the_secret(self) -> None:
        """White space and quotes that one side has and the other has not are found."""
        for ours, theirs, what in (
            (f" {SECRET}\n", SECRET, "without the white space around it"),
            (SECRET, f"{SECRET}\n", "with a line end behind it"),
            (f'"{SECRET}"', SECRET, "without the quotes around it"),
        ):
            for claims in ({}, {"exp": 1}):
                (finding,) = self.judge(
                    f"async-token={token(secret=theirs, **claims)}", JWT_SECRET=ours
                )
                self.assert_advice(finding, Mark.FAIL, "bad signature", what)

    def test_previous_secret(self) -> None:
        """A token of the previous secret is accepted, with a note; one of the current without."""
        old, new = token(), token(secret=OTHER_SECRET)
        for signed, count in ((old, 2), (new, 1)):
            accepted, *notes = self.judge(
                f"async-token={signed}", JWT_SECRET=OTHER_SECRET, PREVIOUS_JWT_SECRET=SECRET
            )
            self.assertEqual(accepted.mark, Mark.OK)
            self.assertEqual(len(notes) + 1, count)
            for note in notes:
                self.assert_advice(note, Mark.NOTE, "previousJwtSecret")

    def test_algorithm(self) -> None:
        """The token's algorithm and the setting are both named."""
        claims = {"channel": CHANNEL}
        long_secret = SECRET * 2
        signed = jwt.encode(claims, long_secret, algorithm="HS512")
        (finding,) = self.judge(f"async-token={signed}", JWT_SECRET=long_secret)
        self.assert_advice(finding, Mark.FAIL, "HS256: it is HS512", "set jwtAlgorithms to HS512")
        self.assertNotIn("a key for it", str(finding))
        key = rsa.generate_private_key(65537, 2048)
        (finding,) = self.judge(f"async-token={jwt.encode(claims, key, algorithm='RS256')}")
        self.assert_advice(finding, Mark.FAIL, "it is RS256", "jwtSecret to a key for it")
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (finding,) = self.judge(
            f"async-token={token()}", JWT_SECRET=public.decode(), JWT_ALGORITHMS="RS256,PS256"
        )
        self.assert_advice(finding, Mark.FAIL, "RS256, PS256: it is HS256", "a key for it")
        (finding,) = self.judge(f"async-token={jwt.encode(claims, '', algorithm='none')}")
        self.assert_advice(finding, Mark.FAIL, "it is none")
        self.assertNotIn("jwtAlgorithms to", str(finding))

    def test_expired(self) -> None:
        """It is told since when."""
        now = int(time.time())
        (finding,) = self.judge(f"async-token={token(exp=now - 7300)}", at=now)
        since = f"{datetime.fromtimestamp(now - 7300, UTC):%Y-%m-%d %H:%M:%S} UTC, 2 h ago"
        self.assert_advice(finding, Mark.FAIL, "has expired", since, "clocks right")

    def test_not_yet_valid(self) -> None:
        """It is told from when on."""
        now = int(time.time())
        (finding,) = self.judge(f"async-token={token(nbf=now + 7200)}", at=now)
        self.assert_advice(finding, Mark.FAIL, "not valid yet", "in 2 h", "clocks")

    def test_no_channel(self) -> None:
        """The names of the claims are told, not what they hold."""
        (finding,) = self.judge(f"async-token={token()}", JWT_CHANNEL_ID_KEY="room")
        self.assert_advice(
            *(finding, Mark.FAIL, "no channel", "claims are: channel, sub", "jwtChannelIdKey")
        )
        for channel in (None, "", 1):
            (finding,) = self.judge(f"async-token={token(channel)}")
            self.assert_advice(finding, Mark.FAIL, "its claim channel is no text")

    def test_no_jwt(self) -> None:
        """What is no token at all is told."""
        for value in ("x", "", token()[:40], "a.b.c", f"{token()}x.y"):
            (finding,) = self.judge(f"async-token={value}")
            self.assert_advice(finding, Mark.FAIL, "async-token is not a valid JWT")

    def test_several(self) -> None:
        """Each bad cookie of our name is judged; that there are several good ones is noted."""
        good, forged = f"async-token={token()}", f"async-token={token(secret=OTHER_SECRET)}"
        first, second = self.judge(f"{forged}; async-token=x")
        self.assert_advice(first, Mark.FAIL, "bad signature")
        self.assert_advice(second, Mark.FAIL, "not a valid JWT")
        accepted, note = self.judge(f"{forged}; {good}")
        self.assertEqual(accepted.mark, Mark.OK)
        self.assert_advice(note, Mark.NOTE, "2 cookies named async-token")


class OriginVerdictTests(DiagnosisTestCase):
    """Whether a page may connect."""

    def check(
        self, mark: Mark, *parts: str, origin: str, allowed: str = "", host: str | None = None
    ) -> None:
        """Check what is found about an origin."""
        patterns = tuple(OriginPattern(one) for one in allowed.split())
        finding = judge_origin(settings(allowed_origins=patterns), origin, host)
        self.assert_advice(finding, mark, *parts)

    def test_accepted(self) -> None:
        """Whoever the rules let in is accepted."""
        page = "https://bi.example.com"
        self.check(Mark.OK, "allowedOrigins is empty", origin=page)
        for allowed in (page, "*", "https://*.example.com"):
            self.check(Mark.OK, "is accepted", origin=page, allowed=allowed)
        self.check(Mark.OK, origin=page, allowed="same-host", host="bi.example.com:8080")
        self.check(Mark.OK, origin="null", allowed="null")

    def test_refused(self) -> None:
        """What to add is said, and what there is."""
        self.check(
            Mark.FAIL,
            *("403", "which is https://bi.example.com", 'add "http://bi.example.com" to'),
            origin="http://bi.example.com",
            allowed="https://bi.example.com",
        )
        self.check(Mark.FAIL, "add null", origin="null", allowed="https://bi.example.com")

    def test_no_origin(self) -> None:
        """A URL with a path or without a scheme is corrected."""
        for given in ("https://bi.example.com/superset/", "bi.example.com/x"):
            self.check(
                Mark.FAIL,
                *("is no origin", "as https://bi.example.com"),
                origin=given,
                allowed="https://bi.example.com",
            )

    def test_same_host(self) -> None:
        """For same-host the host decides, and without it nothing is certain."""
        for host, mark, part in (
            (None, Mark.WARN, "add --host"),
            ("ws.example.com", Mark.FAIL, 'for the host "ws.example.com"'),
        ):
            self.check(
                *(mark, part), origin="https://bi.example.com", allowed="same-host", host=host
            )


class WordsTests(SynchronousTestCase):
    """How things are said."""

    def test_duration(self) -> None:
        """Time spans are in the largest unit of which there are two."""
        for seconds, text in (
            *((0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min")),
            *((7200, "2 h"), (172_800, "2 days"), (-7200, "-2 h")),
        ):
            self.assertEqual(duration(seconds), text)

    def test_cut(self) -> None:
        """Never more than half of an id is shown."""
        for identifier in (CHANNEL, "channel", "a"):
            self.assertLessEqual(len(cut(identifier)) - 3, len(identifier) / 2)


class DocumentationTests(DiagnosisTestCase):
    """The lines that docs/troubleshooting.md shows are those that operators see."""

    def setUp(self) -> None:
        """Collect the texts of the source, and the lines of the page."""
        self.templates = set(_templates())
        page = (ROOT / "docs" / "troubleshooting.md").read_text()
        blocks = re.findall(r"^```(log|check)\n(.+?)^```$", page, re.DOTALL | re.MULTILINE)
        self.lines = {"log": list[str](), "check": list[str]()}
        for kind, block in blocks:
            self.lines[kind].extend(block.splitlines())

    def test_log(self) -> None:
        """Each line of a log is one that the source writes."""
        self.assertGreater(len(self.lines["log"]), 10)
        for line in self.lines["log"]:
            self.assertTrue(self.is_written(line), line)
        for line in ("refused the upgrade of 10.1.2.3 with 401: no such cake, I fear", "x"):
            self.assertFalse(self.is_written(line), line)

    def test_check(self) -> None:
        """Each line of a check is one that it prints, perhaps without its remedy."""
        self.assertGreater(len(self.lines["check"]), 10)
        judged = list(map(str, self.judgements()))
        for line in self.lines["check"]:
            mark, _, finding = line.partition("  ")
            topic, _, text = finding.strip().partition(": ")
            if topic in ("cookie", "origin"):
                self.assertTrue(any(one.startswith(line) for one in judged), line)
            else:
                self.assertIn(mark, list(Mark), line)
                for part in text.split(". Remedy: "):
                    self.assertTrue(self.is_written(part), part)

    def judgements(self) -> Iterator[Finding]:
        """Yield what is found about the cookies and the origin of the page."""
        end = 1_760_000_000
        for header, at, environ in (
            ("session=1; locale=en", 0.0, {}),
            (f"gaq={token()}", 0.0, {}),
            (f"async-token={token(secret=SECRET + chr(10))}", 0.0, {}),
            (f"async-token={token(exp=end)}", end + 7300.0, {}),
            (
                f"async-token={token()}",
                0.0,
                {"JWT_SECRET": OTHER_SECRET, "PREVIOUS_JWT_SECRET": SECRET},
            ),
        ):
            yield from judge_cookie(loaded(**environ), header, at).findings
        allowed = (OriginPattern("https://bi.example.com"),)
        yield judge_origin(settings(allowed_origins=allowed), "http://bi.example.com", None)

    def is_written(self, line: str) -> bool:
        """Return whether the source has a text of that form; so for a text within the text."""
        for template in self.templates:
            match = template.fullmatch(line)
            if match is None:
                continue
            rest = match[match.lastindex] if match.lastindex else ""
            if not line.endswith(rest) or len(rest.split()) < 4 or rest.startswith(FOREIGN_WORDS):
                return True
            if rest != line and self.is_written(rest):
                return True
        return False


def _templates() -> Iterator[re.Pattern[str]]:
    """Yield a pattern for each text in the source that is long enough to be told from others."""
    for file in (ROOT / "gaq_twisted").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values
                ]
            else:
                continue
            literals = re.split(r"\{[^{}]*\}", "".join(parts))
            if sum(map(len, literals)) >= 10:
                yield re.compile("(.*?)".join(map(re.escape, literals)))


class Outcome(NamedTuple):
    """What a check printed, and its exit code."""

    code: int
    text: str

    def findings(self, mark: Mark) -> list[str]:
        """Return the lines with that mark."""
        return [line for line in self.text.splitlines() if line.startswith(f"{mark}  ")]


def _obey_permissions() -> None:
    """Let a program that is started next obey the permissions of files, even if root runs it."""
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


class ProcessTestCase(DiagnosisTestCase):
    """Runs the command."""

    def run_check(
        self,
        environ: Mapping[str, str],
        *options: str,
        twistd: tuple[str, ...] = ("--nodaemon",),
        directory: Path | None = None,
        standard_input: str = "",
    ) -> Outcome:
        """Run a check to its end.

        Args:
            environ: the environment variables for it, beside PATH.
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

    def assert_well(self, outcome: Outcome, *parts: str) -> None:
        """Check that nothing failed, and that some texts are there."""
        self.assertEqual(outcome.findings(Mark.FAIL), [], outcome.text)
        self.assertEqual(outcome.code, 0, outcome.text)
        for part in parts:
            self.assertIn(part, outcome.text)

    def assert_fails(self, outcome: Outcome, *parts: str) -> None:
        """Check that one thing failed, with a remedy, and what its line tells."""
        self.assertEqual(outcome.code, 1, outcome.text)
        (failure,) = outcome.findings(Mark.FAIL)
        for part in (*parts, ". Remedy: "):
            self.assertIn(part, failure)


class CommandTests(ProcessTestCase):
    """The command as such."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)
        self.redis.publish("1", "2")
        self.environ = environment(self.redis.port)

    def test_healthy(self) -> None:
        """All is well, and the output says what was looked at."""
        page = "https://bi.example.com"
        outcome = self.run_check(
            {**self.environ, "ALLOWED_ORIGINS": page}, "--cookie", cookie(), "--origin", page
        )
        self.assert_well(
            outcome,
            *("they can be used", f"port: {self.environ['PORT']} is free", "redis: "),
            *("clock: Redis's is 0.", "this machine's", "accepted, as channel 090916f0..."),
            f'origin: "{page}" is accepted',
            f"stream {PREFIX}full: it can be read; 2 entries; the newest entry is ",
            f"stream {PREFIX}090916f0...: it can be read; 2 entries; the newest entry is ",
            "0 failed, 0 to look at",
        )
        self.assertEqual(outcome.findings(Mark.WARN), [])
        self.assertIn("jwtSecret", outcome.text)

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
        """In the directory of a server that runs, it finds that, and leaves its pid file alone."""
        server = Server(self, self.environ)
        server.wait_until_ready()
        for twistd in (("--nodaemon",), ()):
            outcome = self.run_check(self.environ, twistd=twistd, directory=server.directory)
            self.assert_well(outcome, "is in use, and a server there answers /health")
        self.assertEqual(int((server.directory / "twistd.pid").read_text()), server.process.pid)
        self.assertFalse((server.directory / "twistd.log").exists())

    def test_port_in_use(self) -> None:
        """A port that somebody else uses fails."""
        environ = {**self.environ, "PORT": str(self.redis.port)}
        self.assert_fails(self.run_check(environ), f"port: {self.redis.port} is in use")

    def test_listen(self) -> None:
        """Endpoints are named, and not tried."""
        outcome = self.run_check({**self.environ, "LISTEN": "tcp:1:interface=127.0.0.1"})
        self.assert_well(outcome, "listen: not tried: tcp:1:interface=127.0.0.1")

    def test_broken_settings(self) -> None:
        """Each fault is a line; so is each warning."""
        outcome = self.run_check({**self.environ, "PORT": "http", "REDIS_DB": "-1"})
        self.assertEqual(outcome.code, 1)
        self.assertEqual(len(outcome.findings(Mark.FAIL)), 2, outcome.text)
        outcome = self.run_check({**self.environ, "REDIS_SSL_CA_CERTS": "x", "REDIS_SSL": "1"})
        self.assertEqual(outcome.code, 1)
        self.assertIn("redis.sslCaCerts: cannot read x", outcome.text)
        outcome = self.run_check({**self.environ, "STATSD_PORT": "tcp://10.0.0.1:8125"})
        self.assert_well(outcome)
        self.assertEqual(len(outcome.findings(Mark.WARN)), 2, outcome.text)

    def test_config_file(self) -> None:
        """The file is read as by the server."""
        file = Path(self.mktemp()).absolute()
        file.write_text(json.dumps({"jwtSecret": SECRET, "redis": {"port": self.redis.port}}))
        environ = {"PORT": self.environ["PORT"]}
        self.assert_well(self.run_check(environ, "--config", str(file)), f"in {file}")

    def test_cookie_from_standard_input(self) -> None:
        """A cookie need not be in the command line, where others could see it."""
        outcome = self.run_check(self.environ, "--cookie", "-", standard_input=f"{cookie()}\n")
        self.assert_well(outcome, "accepted, as channel")

    def test_refused_cookie_and_origin(self) -> None:
        """Each refusal is a failure."""
        outcome = self.run_check(
            {**self.environ, "ALLOWED_ORIGINS": "https://bi.example.com"},
            *("--cookie", token(secret=OTHER_SECRET), "--origin", "https://x.example.com"),
        )
        self.assertEqual(outcome.code, 1)
        self.assertEqual(len(outcome.findings(Mark.FAIL)), 2, outcome.text)

    def test_options(self) -> None:
        """Options that do not go together are refused."""
        outcome = self.run_check(self.environ, "--demo")
        self.assertIn("--check and --demo do not go together", outcome.text)
        self.assertEqual(outcome.code, 1)
        server = Server(self, self.environ, command=("gaq-ws", "--origin", "x"))
        self.assertEqual(server.wait(), 1)
        self.assertIn("--origin needs --check", server.text())


class RedisTests(ProcessTestCase):
    """What is found about Redis."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)
        self.redis.publish("1")
        self.environ = environment(self.redis.port)

    def check_user(self, *rules: str, **environ: str) -> Outcome:
        """Run a check as a user who may do that and nothing else."""
        self.redis.client.execute_command(
            *("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}"), *rules
        )
        login = {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORD}
        return self.run_check({**self.environ, **login, **environ}, "--cookie", cookie())

    def test_absent(self) -> None:
        """Where nothing listens, the address is named."""
        self.redis.kill()
        for environ in (
            self.environ,
            {**self.environ, "REDIS_UNIX_SOCKET_PATH": "/nonexistent/socket"},
            {**self.environ, "REDIS_SENTINELS": f"127.0.0.1:{free_port()}"},
        ):
            self.assert_fails(self.run_check(environ), "cannot connect to ", "redis-cli")

    def test_hung(self) -> None:
        """A Redis that does not answer ends the check after a while."""
        self.redis.signal(signal.SIGSTOP)
        for twistd in (("--nodaemon",), ()):
            self.assert_fails(self.run_check(self.environ, twistd=twistd), "did not answer within")

    def test_interrupted(self) -> None:
        """A signal ends it, not with success."""
        self.redis.signal(signal.SIGSTOP)
        for number in (signal.SIGINT, signal.SIGTERM):
            check = Server(self, self.environ, command=("gaq-ws", "--check"))
            check.wait_for_text("is free")
            self.assertEqual(check.stop(number), 1)
            self.assertIn("the check was interrupted", check.text())
            self.assertNotIn("Traceback", check.text())

    def test_no_password(self) -> None:
        """NOAUTH and a wrong password name the setting."""
        self.redis.client.config_set("requirepass", PASSWORD)
        self.assert_fails(self.run_check(self.environ), "NOAUTH", "set redis.password")
        environ = {**self.environ, "REDIS_PASSWORD": OTHER_SECRET}
        self.assert_fails(self.run_check(environ), "correct redis.password or the user name")
        self.assert_well(self.run_check({**self.environ, "REDIS_PASSWORD": PASSWORD}))

    def test_documented_user(self) -> None:
        """The rights that the documentation demands are enough."""
        outcome = self.check_user(*DOCUMENTED_RULE)
        self.assert_well(outcome, "may not ask INFO", "may not ask TIME", "1 entries")
        self.assertEqual(len(outcome.findings(Mark.WARN)), 1, outcome.text)
        outcome = self.check_user(*DOCUMENTED_RULE, "+select", REDIS_DB="3")
        self.assert_well(outcome, "database 3 has no such stream")

    def test_missing_rights(self) -> None:
        """What is refused is named, with the rule that is missing."""
        remedy = "the user gaq needs +xread +xrange +xrevrange +xinfo ~async-events-*"
        commands = DOCUMENTED_RULE[:-1]
        for rules, parts in (
            ((*commands, f"~{PREFIX}full"), (f"{PREFIX}090916f0...: refused: XRANGE, XREVRANGE",)),
            ((*commands, f"~{PREFIX}09*"), (f"{PREFIX}full: refused: XREVRANGE, XREAD, XRANGE",)),
            ((*DOCUMENTED_RULE, "-xread"), (f"{PREFIX}full: refused: XREAD;",)),
        ):
            self.assert_fails(self.check_user(*rules), *parts, "NOPERM", remedy)
        outcome = self.check_user(*DOCUMENTED_RULE, REDIS_DB="3")
        self.assert_fails(outcome, "redis: ", "answered SELECT with: NOPERM", "+select")

    def test_without_xinfo(self) -> None:
        """XINFO can be done without."""
        outcome = self.check_user(*DOCUMENTED_RULE, "-xinfo")
        self.assert_well(outcome, "it can be read; the newest entry is")
        refused = [line for line in outcome.findings(Mark.WARN) if "XINFO is refused" in line]
        self.assertEqual(len(refused), 2, outcome.text)

    def test_wrong_type(self) -> None:
        """A key that holds something else is named, whichever stream it should be."""
        self.redis.client.set(f"{PREFIX}{CHANNEL}", "x")
        outcome = self.run_check(self.environ, "--cookie", cookie())
        self.assert_fails(outcome, f"{PREFIX}090916f0...: refused", "WRONGTYPE", "delete it")
        self.redis.client.delete(f"{PREFIX}{CHANNEL}", f"{PREFIX}full")
        self.redis.client.set(f"{PREFIX}full", "x")
        self.assert_fails(self.run_check(self.environ), f"{PREFIX}full: refused", "WRONGTYPE")

    def test_nothing_there(self) -> None:
        """Without a stream, the databases that have keys are named."""
        outcome = self.run_check({**self.environ, "REDIS_DB": "5"})
        self.assert_well(
            outcome,
            "database 5 has no such stream, or an empty one; there are keys in db0. Remedy: ",
        )
        self.assertIn("GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX", outcome.text)

    def test_trimmed(self) -> None:
        """It is told how many entries are gone, by a Redis that knows."""
        for job in "23456":
            data: Any = {"data": job_data(job=job)}
            self.redis.client.xadd(f"{PREFIX}full", data, maxlen=2, approximate=False)
        outcome = self.run_check(self.environ)
        facts: Any = self.redis.client.xinfo_stream(f"{PREFIX}full")
        knows = "entries-added" in facts
        self.assert_well(outcome, "2 entries, 4 older ones are trimmed" if knows else "2 entries;")

    def test_other_entries(self) -> None:
        """A newest entry that is no event is told."""
        self.redis.client.xadd(f"{PREFIX}full", {"data": "x"})
        self.assert_well(self.run_check(self.environ), "its newest entry is not an event: ")

    def test_from_the_future(self) -> None:
        """An entry that is newer than now tells that the clocks differ."""
        future_ms = int(time.time() * 1000) + 7_300_000
        data: Any = {"data": job_data()}
        self.redis.client.xadd(f"{PREFIX}full", data, id=f"{future_ms}-0")
        self.assert_well(self.run_check(self.environ), "2 h in the future")

    def test_eviction(self) -> None:
        """A Redis that may throw streams away is told."""
        self.redis.client.config_set("maxmemory-policy", "allkeys-lru")
        self.assertNotIn("maxmemory-policy", self.run_check(self.environ).text)
        self.redis.client.config_set("maxmemory", "100mb")
        self.assert_well(self.run_check(self.environ), "maxmemory-policy is allkeys-lru")

    def test_replica(self) -> None:
        """A replica is told."""
        replica = RedisProcess(self, "--replicaof", "127.0.0.1", str(self.redis.port))
        wait_until(lambda: bool(replica.client.exists(f"{PREFIX}full")), lambda: "not replicated")
        self.assert_well(self.run_check(environment(replica.port)), "this is a replica")

    def test_sentinel(self) -> None:
        """By way of Sentinels the master is found; a Sentinel itself is no Redis for us."""
        port = Sentinels(self, self.redis).processes[0].port
        environ = {**self.environ, "REDIS_SENTINELS": f"127.0.0.1:{port}", "REDIS_PORT": "1"}
        self.assert_well(self.run_check({**environ, "REDIS_SENTINEL_MASTER": MASTER}))
        outcome = self.run_check({**self.environ, "REDIS_PORT": str(port)})
        self.assertEqual(outcome.code, 1)
        self.assertIn("this is a Sentinel", outcome.findings(Mark.FAIL)[0])


class ClockTests(TestCase):
    """This machine's time and that of Redis."""

    async def test_difference(self) -> None:
        """A difference of seconds is told, in either direction; of less, it is well."""
        redis = RedisProcess(self)
        where = settings(redis=Redis(port=redis.port))
        for ahead_seconds, mark, words in (
            (0.0, Mark.OK, "0."),
            (-30.0, Mark.WARN, "30.0"),
            (30.0, Mark.WARN, "behind this machine's"),
        ):
            clock = partial(_time, ahead_seconds)
            server = RedisServer(where.redis, REACTOR, stream_usage(where.redis_stream_prefix))
            check = RedisCheck(where, server.connection(), clock)
            found = [one async for one in check.findings(None) if one.topic == "clock"]
            self.assertEqual([one.mark for one in found], [mark])
            self.assertIn(words, found[0].text)


def _time(ahead_seconds: float) -> float:
    return time.time() + ahead_seconds
