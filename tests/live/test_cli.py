"""The `gaq-ws` command."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.cli import twistd_arguments
from tests.support.processes import Program, RedisProcess, Tab, environment, health

COMMAND = Path(sys.executable).with_name("gaq-ws")


class ArgumentTests(SynchronousTestCase):
    """What twistd is given."""

    def test_options(self) -> None:
        """Options are those of gaq-ws, unless they come before a `--`."""
        for arguments, expected in (
            ([], ["--nodaemon", "--pidfile=", "gaq-ws"]),
            (["--config", "x"], ["--nodaemon", "--pidfile=", "gaq-ws", "--config", "x"]),
            (
                ["--pidfile=ws.pid", "--syslog", "--", "--config", "x"],
                [
                    "--nodaemon",
                    "--pidfile=",
                    "--pidfile=ws.pid",
                    "--syslog",
                    "gaq-ws",
                    "--config",
                    "x",
                ],
            ),
            (["--syslog", "--"], ["--nodaemon", "--pidfile=", "--syslog", "gaq-ws"]),
        ):
            self.assertEqual(twistd_arguments(arguments), expected)


class CommandTests(SynchronousTestCase):
    """The installed command."""

    def output(self, *arguments: str) -> str:
        """Returns what it prints."""
        ended = subprocess.run(
            [COMMAND, *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return ended.stdout

    def test_help(self) -> None:
        """It shows the options of gaq-ws."""
        self.assertIn("--config", self.output("--help"))

    def test_version(self) -> None:
        """It shows its own version, not Twisted's."""
        self.assertEqual(self.output("--version"), f"gaq-ws {version('gaq-twisted')}\n")

    def test_life(self) -> None:
        """It serves in the foreground, leaves no pidfile, and stops on SIGTERM."""
        redis = RedisProcess(self)
        directory = Path(self.mktemp())
        directory.mkdir()
        environ = environment(redis.port)
        port = int(environ["PORT"])
        program = Program(self, [COMMAND], environ=environ, directory=directory)
        program.wait_until(lambda: health(port) == 200, "not healthy")
        with Tab(port) as tab:
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        self.assertEqual(program.stop(), 0)
        self.assertEqual(list(directory.iterdir()), [])

    def test_twistd_options(self) -> None:
        """An option of twistd before `--` counts."""
        redis = RedisProcess(self)
        directory = Path(self.mktemp())
        directory.mkdir()
        environ = environment(redis.port)
        program = Program(
            self, [COMMAND, "--pidfile=ws.pid", "--"], environ=environ, directory=directory
        )
        program.wait_until(lambda: health(int(environ["PORT"])) == 200, "not healthy")
        self.assertEqual(int((directory / "ws.pid").read_text()), program.process.pid)


class StartLineTests(SynchronousTestCase):
    """What the log says at the start."""

    def output(self, **values: str) -> str:
        """Returns what the server has logged, with these environment variables, in its life."""
        redis = RedisProcess(self)
        self.redis_port = redis.port
        directory = Path(self.mktemp())
        directory.mkdir()
        environ = environment(redis.port, **values)
        program = Program(self, [COMMAND], environ=environ, directory=directory)
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
