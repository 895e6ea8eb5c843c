"""The `gaq-ws` command."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.commands.table import COMMANDS
from tests.support import sessions
from tests.support.processes import (
    DEADLINE_SECONDS,
    ROOT,
    Program,
    RedisProcess,
    Tab,
    environment,
    health,
)
from tests.support.samples import SECRET

COMMAND = Path(sys.executable).with_name("gaq-ws")


def new_directory(test: SynchronousTestCase) -> Path:
    """Returns an empty directory."""
    directory = Path(test.mktemp())
    directory.mkdir()
    return directory


class CommandTestCase(SynchronousTestCase):
    """A test that runs the installed command."""

    def setUp(self) -> None:
        """Makes an empty directory to run it in."""
        self.directory = new_directory(self)

    def outcome(
        self, *arguments: str, standard_input: str | None = None, **environ: str
    ) -> tuple[int, str, str]:
        """Returns the exit code of the command, and what it has written to its two outputs."""
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        done = sessions.run(
            [COMMAND, *arguments],
            input=standard_input,
            cwd=self.directory,
            env={**base, **environ},
        )
        return done.returncode, done.stdout, done.stderr

    def output(self, *arguments: str, **environ: str) -> str:
        """Returns what it writes to standard output, when it writes nothing else."""
        code, output, errors = self.outcome(*arguments, **environ)
        self.assertEqual((code, errors), (0, ""), arguments)
        return output


class HelpTests(CommandTestCase):
    """Help, version, and wrong command lines."""

    def test_help(self) -> None:
        """All spellings list the commands, in 80 columns, without a word of twistd."""
        text = self.output("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command.name} +{re.escape(command.summary)}$")
        self.assertIn("--config", text)
        self.assertNotIn("twistd", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        for arguments in (("-h",), ("help",)):
            self.assertEqual(self.output(*arguments), text)

    def test_help_of_commands(self) -> None:
        """Each command shows its own, in 80 columns."""
        for command in COMMANDS:
            text = self.output(command.name, "--help")
            self.assertTrue(text.startswith(f"usage: gaq-ws {command.name} "), text)
            self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertEqual(self.output("help", "check"), self.output("check", "-h"))

    def test_version(self) -> None:
        """It shows its own version, not Twisted's."""
        self.assertEqual(self.output("--version"), f"gaq-ws {version('gaq-twisted')}\n")

    def test_usage_errors(self) -> None:
        """They go to standard error, with 2."""
        for arguments, reason in (
            (("chek",), "there is no command 'chek', did you mean check?"),
            (("--confg", "x"), "unrecognized arguments: --confg x"),
            (("serve", "x"), "unrecognized arguments: x"),
            (("check", "--cookie"), "argument --cookie: expected one argument"),
            (("completion", "csh"), "argument shell: invalid choice: 'csh'"),
            (("token", "--expires", "soon"), "soon is not a duration above 0"),
            (("--nosuch", "--", "--config", "x"), "option --nosuch not recognized"),
            (("--logfile=x", "--", "--confg=x"), "option --confg not recognized"),
        ):
            code, output, errors = self.outcome(*arguments)
            self.assertEqual((code, output), (2, ""), errors)
            self.assertIn(reason, errors)

    def test_bad_settings(self) -> None:
        """Settings that cannot be used end the start with 1, and are no usage error."""
        code, output, errors = self.outcome()
        self.assertEqual((code, output), (1, ""))
        self.assertIn("gaq-ws: jwtSecret is not set", errors)
        self.assertNotIn("usage", errors)


class ServeTests(SynchronousTestCase):
    """The server."""

    def start(self, *arguments: str) -> tuple[Program, int, RedisProcess]:
        """Returns a healthy server, its port, and its Redis."""
        redis = RedisProcess(self)
        self.directory = new_directory(self)
        environ = environment(redis.port)
        port = int(environ.pop("PORT"))
        (self.directory / "ws.json").write_text(json.dumps({"port": port}))
        program = Program(self, [COMMAND, *arguments], environ=environ, directory=self.directory)
        program.wait_until(lambda: health(port) == 200, "not healthy")
        return program, port, redis

    def test_life(self) -> None:
        """It serves in the foreground, leaves no pidfile, and stops on SIGTERM."""
        program, port, redis = self.start("serve", "--config", "ws.json")
        with Tab(port) as tab:
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        self.assertEqual(program.stop(), 0)
        self.assertEqual([file.name for file in self.directory.iterdir()], ["ws.json"])

    def test_without_command(self) -> None:
        """The server is what is started if no command is named."""
        program, _, _ = self.start("-c", "ws.json")
        self.assertEqual(program.stop(), 0)

    def test_twistd_options(self) -> None:
        """An option of twistd before `--` counts."""
        program, _, _ = self.start("--pidfile=ws.pid", "--", "--config", "ws.json")
        self.assertEqual(int((self.directory / "ws.pid").read_text()), program.process.pid)


class CheckTests(CommandTestCase):
    """The check."""

    def test_spellings(self) -> None:
        """`check` and `--check` are the same, with their exit codes."""
        redis = RedisProcess(self)
        (self.directory / "ws.json").write_text(json.dumps(_settings(redis.port)))
        for arguments in (("check", "--config", "ws.json"), ("-c", "ws.json", "--check")):
            self.assertIn("0 failed", self.output(*arguments))
        for spelling in (("check", "--json"), ("--json", "--check")):
            code, output, errors = self.outcome(*spelling)
            self.assertEqual((code, errors), (1, ""))
            self.assertEqual(json.loads(output)["failed"], 1)

    def test_browser(self) -> None:
        """What is asked about a browser reaches it, the cookie from standard input."""
        redis = RedisProcess(self)
        (self.directory / "config.json").write_text(json.dumps(_settings(redis.port)))
        code, output, _ = self.outcome(
            *("check", "--verbose", "--cookie", "-"),
            *("--origin", "https://bi.example.com", "--host", "bi.example.com"),
            standard_input="async-token=x\n",
        )
        self.assertEqual(code, 1)
        self.assertIn("not a valid JWT", output)
        self.assertIn("https://bi.example.com", output)
        self.assertIn("tailMaxEvents", output)


class ConfigTests(CommandTestCase):
    """New configuration files."""

    def test_files(self) -> None:
        """Each is a file with which the check finds no fault, and has a secret of its own."""
        redis = RedisProcess(self)
        secrets = set()
        for arguments in (("config",), ("config",), ("config", "--defaults")):
            code, output, errors = self.outcome(*arguments)
            self.assertEqual(code, 0)
            self.assertIn("GLOBAL_ASYNC_QUERIES_JWT_SECRET", errors)
            document = json.loads(output)
            secrets.add(document["jwtSecret"])
            (self.directory / "config.json").write_text(
                json.dumps(
                    {**document, **_settings(redis.port), "jwtSecret": document["jwtSecret"]}
                )
            )
            self.assertIn("0 failed", self.output("check"))
        self.assertEqual(len(secrets), 3)

    def test_unread_pipe(self) -> None:
        """A pipe that nobody reads any more ends it as it ends other programs."""
        reading, writing = os.pipe()
        os.close(reading)
        process = sessions.start(
            self,
            [COMMAND, "config"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, -signal.SIGPIPE, errors)
        self.assertNotIn("Traceback", errors)


class TokenTests(CommandTestCase):
    """Cookies to try the server with."""

    def test_connects(self) -> None:
        """The server accepts the header that is written to standard output, as it is."""
        redis = RedisProcess(self)
        environ = environment(redis.port, PROTOCOL="both")
        program = Program(self, [COMMAND], environ=environ, directory=new_directory(self))
        port = int(environ["PORT"])
        program.wait_until(lambda: health(port) == 200, "not healthy")
        code, header, advice = self.outcome("token", "--protocol", "streams", **environ)
        name, _, value = header.removesuffix("\n").partition(": ")
        self.assertEqual((code, name), (0, "Cookie"))
        channel = re.findall(r"channel (\S+), valid", advice)[0]
        with Tab(port, token=value.partition("=")[2]) as tab:
            redis.publish("job", channel=channel)
            self.assertEqual(tab.jobs(1), ["job"])
        code, output, errors = self.outcome("token", "--explain", header, **environ)
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(f'channel: "{channel}"', output)

    def test_rejected(self) -> None:
        """A cookie that is rejected, here from standard input, is explained with 1."""
        code, output, errors = self.outcome(
            "token", "--explain", "-", standard_input="nonsense\n", JWT_SECRET=SECRET
        )
        self.assertEqual((code, errors), (1, ""))
        self.assertIn("not a valid JWT", output)

    def test_unusable(self) -> None:
        """Settings that cannot be used, and options that do not fit, end it with 2."""
        for arguments, environ, reason in (
            ((), {}, "gaq-ws token: jwtSecret is not set"),
            ((), {"PROTOCOL": "both"}, "choose one with --protocol"),
            (("--user", "5"), {}, "--user is only for the protocol realtime"),
            (("--protocol", "realtime"), {}, "serve only the protocol streams"),
        ):
            secret = {"JWT_SECRET": SECRET} if arguments or environ else {}
            code, output, errors = self.outcome("token", *arguments, **secret, **environ)
            self.assertEqual((code, output), (2, ""))
            self.assertIn(reason, errors)


class StartLineTests(SynchronousTestCase):
    """What the log says at the start."""

    def output(self, **values: str) -> str:
        """Returns what the server has logged, with these environment variables, in its life."""
        redis = RedisProcess(self)
        self.redis_port = redis.port
        environ = environment(redis.port, **values)
        program = Program(self, [COMMAND], environ=environ, directory=new_directory(self))
        program.wait_until(lambda: health(int(environ["PORT"])) == 200, "not healthy")
        self.assertEqual(program.stop(), 0)
        return program.text()

    def test_protocol(self) -> None:
        """It names the protocol, and why it is that."""
        self.assertIn("protocol streams (default)", self.output())
        self.assertIn(
            "protocol realtime (because realtimeChannelPrefix is set)",
            self.output(REALTIME_CHANNEL_PREFIX="a:"),
        )
        self.assertIn(
            "protocol both (set as PROTOCOL in the environment)",
            self.output(PROTOCOL="both"),
        )

    def test_structured(self) -> None:
        """As JSON, the event has all of it as fields."""
        lines = self.output(LOG_FORMAT="json").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        event = events[1]
        self.assertEqual(event["event"], "started")
        self.assertEqual((event["protocol"], event["reason"]), ("streams", "default"))
        self.assertEqual(event["version"], version("gaq-twisted"))
        self.assertEqual(event["redis"], f"127.0.0.1:{self.redis_port}/0")
        self.assertRegex(event["listening"], r"^WebSocket on tcp:[0-9]+$")
        self.assertRegex(event["configuration"], r"^[0-9]+ variables$")


def _settings(redis_port: int) -> dict[str, object]:
    """Returns settings with which the check finds no fault."""
    environ = environment(redis_port)
    return {
        "port": int(environ["PORT"]),
        "redis": {"port": redis_port},
        "jwtSecret": environ["JWT_SECRET"],
        "allowedOrigins": ["same-host"],
    }
