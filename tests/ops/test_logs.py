"""Which log events are written, and where."""

import ast
import io
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, Logger, capturedLogs
from twisted.python import syslog
from twisted.python.log import LogPublisher
from twisted.trial.unittest import SynchronousTestCase

import gaq_twisted
from gaq_twisted.ops.logs import LogOutput
from tests.support.samples import settings

LEVELS = ["debug", "info", "warn", "error", "critical"]


class FakeSyslogObserver:
    """A twisted.python.syslog.SyslogObserver that keeps the events."""

    made: list["FakeSyslogObserver"]

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.events: list[dict[str, Any]] = []
        self.made.append(self)

    def emit(self, event: dict[str, Any]) -> None:
        """Keeps the event."""
        self.events.append(event)


class LogsTestCase(SynchronousTestCase):
    """Runs in an empty directory, with standard output replaced."""

    def setUp(self) -> None:
        """Replaces it."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.stdout = io.StringIO()
        self.patch(sys, "stdout", self.stdout)

    def observer(self, twistd: dict[str, Any] | None = None, **values: Any) -> LogOutput:
        """Returns the observer for those options of twistd and those settings."""
        return LogOutput(settings(**values), twistd or {})

    def files(self) -> dict[str, int]:
        """Returns how many lines each file holds."""
        return {file.name: len(file.read_text().splitlines()) for file in self.directory.iterdir()}


def _log(to: ILogObserver) -> None:
    """Logs an event of each level."""
    logger = Logger("gaq_twisted.test", observer=to)
    for level in LEVELS:
        getattr(logger, level)("an event of level {name}", name=level)


class LevelTests(LogsTestCase):
    """Which events pass."""

    def test_levels(self) -> None:
        """Events of the chosen level and above pass, where warning is another name of warn."""
        for name, first in (
            ("debug", "debug"),
            ("info", "info"),
            ("warn", "warn"),
            ("warning", "warn"),
            ("error", "error"),
        ):
            self.stdout.truncate(self.stdout.seek(0))
            _log(self.observer({"nodaemon": True}, log_level=name))
            passed = [line.split()[-1] for line in self.stdout.getvalue().splitlines()]
            self.assertEqual(passed, LEVELS[LEVELS.index(first) :], name)


class RoutineTests(LogsTestCase):
    """What Twisted reports of its own work."""

    # As Twisted 25.5 to 26.10 write them.
    ROUTINE = (
        "twistd 26.10.0 (/usr/bin/python3 3.13.0) starting up.",
        "reactor class: twisted.internet.epollreactor.EPollReactor.",
        "Gateway starting on 8080",
        "Gateway (TLS) starting on 8443",
        "Gateway starting on '/run/gaq.sock'",
        "DatagramProtocol starting on 41707",
        "(TCP Port 8080 Closed)",
        "(UDP Port 41707 Closed)",
        "(Port '/run/gaq.sock' Closed)",
        "Starting factory <twisted.web.server.Site object at 0x7f>",
        "set uid/gid 65534/65534",
        "Main loop terminated.",
        "Server Shut Down.",
    )
    # Faults that it reports on the same level.
    FAULTS = (
        "failed to set uid/gid 1/1: Operation not permitted (are you root?) -- exiting.",
        "Warning: No permission to delete pid file",
        "EMFILE encountered; releasing reserved file descriptor.",
    )

    def shown(self, log: Callable[[str, ILogObserver], object], **values: Any) -> list[str]:
        """Returns which of these lines are shown."""
        self.stdout.truncate(self.stdout.seek(0))
        to = self.observer({"nodaemon": True}, **values)
        for text in (*self.ROUTINE, *self.FAULTS):
            log(text, to)
        return [line.partition("] ")[2] for line in self.stdout.getvalue().splitlines()]

    def test_hidden(self) -> None:
        """It is shown on level debug only, whichever way it is logged; faults are always shown."""

        def legacy(text: str, to: ILogObserver) -> None:
            LogPublisher(observerPublisher=to, publishPublisher=to).msg(text)

        def modern(text: str, to: ILogObserver) -> None:
            Logger("twisted.internet", observer=to).info("{text}", text=text)

        for log in (legacy, modern):
            self.assertEqual(self.shown(log), [*self.FAULTS])
            everything = [*self.ROUTINE, *self.FAULTS]
            self.assertEqual(self.shown(log, log_level="debug"), everything)

    def test_warnings(self) -> None:
        """A warning or error is shown whatever it says, and so is each line of this server."""

        def warn(text: str, to: ILogObserver) -> None:
            Logger("twisted.internet", observer=to).warn("{text}", text=text)

        def ours(text: str, to: ILogObserver) -> None:
            Logger("gaq_twisted.net", observer=to).info("{text}", text=text)

        for log in (warn, ours):
            self.assertEqual(self.shown(log), [*self.ROUTINE, *self.FAULTS])


class DestinationTests(LogsTestCase):
    """Where the events go; a level of error lets two events pass."""

    def test_files(self) -> None:
        """The option of twistd wins over the settings, and a daemon has twistd's default file."""
        to_file = {"log_to_file": True, "log_filename": "app.txt"}
        cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
            ({"nodaemon": False}, {}, "twistd.log"),
            ({"nodaemon": False}, {"log_filename": "app.txt"}, "twistd.log"),
            ({"nodaemon": False}, to_file, "app.txt"),
            ({"nodaemon": True}, to_file, "app.txt"),
            ({"nodaemon": True, "logfile": "one.txt"}, {}, "one.txt"),
            ({"nodaemon": False, "logfile": "one.txt"}, to_file, "one.txt"),
        ]
        for twistd, values, expected in cases:
            _log(self.observer(twistd, log_level="error", **values))
            self.assertEqual(self.files(), {expected: 2}, (twistd, values))
            (self.directory / expected).unlink()
        self.assertEqual(self.stdout.getvalue(), "")

    def test_standard_output(self) -> None:
        """Without a file, or with one called -, a process in the foreground prints."""
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {}),
            ({"logfile": "-"}, {}),
            ({"logfile": "-"}, {"log_to_file": True}),
            ({}, {"log_to_file": True, "log_filename": "-"}),
        ]
        for count, (twistd, values) in enumerate(cases, 1):
            _log(self.observer({"nodaemon": True, **twistd}, log_level="error", **values))
            self.assertEqual(len(self.stdout.getvalue().splitlines()), 2 * count)
        self.assertEqual(self.files(), {})

    def test_daemon_has_no_standard_output(self) -> None:
        """A daemon that is to log to the standard output ends with a reason."""
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"logfile": "-"}, {}),
            ({}, {"log_to_file": True, "log_filename": "-"}),
        ]
        for twistd, values in cases:
            error = self.assertRaises(SystemExit, self.observer, twistd, **values)
            self.assertIn("standard output", str(error.code))

    def test_file_that_cannot_be_written(self) -> None:
        """A log file that cannot be opened ends the start with its path and the reason."""
        error = self.assertRaises(
            SystemExit, self.observer, {}, log_to_file=True, log_filename="no/such/app.log"
        )
        self.assertEqual(
            error.code,
            "gaq-ws: cannot write the log file no/such/app.log: No such file or directory",
        )

    def test_syslog(self) -> None:
        """The syslog option wins over every file, and twistd's prefix is used."""
        FakeSyslogObserver.made = []
        self.patch(syslog, "SyslogObserver", FakeSyslogObserver)
        twistd = {"syslog": True, "prefix": "gaq", "logfile": "one.txt", "nodaemon": True}
        _log(self.observer(twistd, log_level="error", log_to_file=True))
        (made,) = FakeSyslogObserver.made
        self.assertEqual(made.prefix, "gaq")
        self.assertEqual([event["name"] for event in made.events], ["error", "critical"])
        self.assertEqual((self.files(), self.stdout.getvalue()), ({}, ""))


class FileTests(LogsTestCase):
    """New log files, as at a signal."""

    def setUp(self) -> None:
        """Logs two events to a file."""
        super().setUp()
        self.to = self.observer({"nodaemon": True, "logfile": "one.txt"}, log_level="error")
        _log(self.to)

    def test_begin(self) -> None:
        """Events go to a new file, and the old one is kept under another name."""
        self.to.begin_file()
        _log(self.to)
        self.assertEqual(self.files(), {"one.txt": 2, "one.txt.1": 2})

    def test_moved(self) -> None:
        """A file that another program has moved away is not written to any more."""
        for begin in (self.to.begin_file, self.to.follow_file):
            os.rename("one.txt", "moved.txt")
            begin()
            _log(self.to)
            self.assertEqual(self.files(), {"one.txt": 2, "moved.txt": 2})

    def test_replaced(self) -> None:
        """So is one in whose place the other program has made a new one."""
        os.rename("one.txt", "moved.txt")
        Path("one.txt").touch()
        self.to.follow_file()
        _log(self.to)
        self.assertEqual(self.files(), {"one.txt": 2, "moved.txt": 2})

    def test_not_moved(self) -> None:
        """Where nobody has moved the file, it is only followed, and goes on."""
        self.to.follow_file()
        _log(self.to)
        self.assertEqual(self.files(), {"one.txt": 4})

    def test_no_file(self) -> None:
        """Without a file there is a line that says so."""
        to = self.observer({"nodaemon": True})
        with capturedLogs() as logs:
            to.follow_file()
            to.begin_file()
        self.assertEqual([one["event"] for one in logs], ["no_log_file"])


class JsonTests(LogsTestCase):
    """One JSON object per line."""

    def lines(self, log: Callable[[Logger], object], **twistd: Any) -> list[dict[str, Any]]:
        """Returns what is written when something is logged."""
        to = self.observer({"nodaemon": True, **twistd}, log_format="json", log_level="debug")
        log(Logger("gaq_twisted.place", observer=to))
        written = self.stdout.getvalue() or Path("one.txt").read_text()
        return [json.loads(line) for line in written.splitlines()]

    def test_line(self) -> None:
        """A line has the time, level, kind of event, logger, message and facts."""
        (line,) = self.lines(
            lambda log: log.warn("{peer} got {count}", event="got", peer="a\n", count=2, x=object())
        )
        at = datetime.fromisoformat(line.pop("time"))
        self.assertLess(abs((datetime.now(UTC) - at).total_seconds()), 60)
        expected = {"level": "warn", "event": "got", "logger": "gaq_twisted.place"}
        self.assertEqual(line, {**expected, "message": "a\n got 2", "peer": "a\n", "count": 2})

    def test_failure(self) -> None:
        """A failure has its traceback, in the same line."""

        def fail(log: Logger) -> None:
            with log.failuresHandled("it failed"):
                raise ZeroDivisionError("oops")

        (line,) = self.lines(fail)
        self.assertEqual((line["level"], line["message"]), ("critical", "it failed"))
        self.assertIn("ZeroDivisionError: oops", line["traceback"])
        self.assertIn("test_logs.py", line["traceback"])

    def test_file(self) -> None:
        """Files get the same lines."""
        self.assertEqual(
            self.lines(lambda log: log.info("a"), logfile="one.txt")[0]["level"], "info"
        )

    def test_debug(self) -> None:
        """A line for debugging that has no event of its own has one that all of them share."""
        (line,) = self.lines(lambda log: log.debug("{client} came", client="a"))
        self.assertEqual((line["event"], line["client"]), ("debug", "a"))

    def test_library(self) -> None:
        """Lines of libraries have the same keys, one event, and none of their own facts."""
        to = self.observer({"nodaemon": True}, log_format="json")
        publisher = LogPublisher(observerPublisher=to, publishPublisher=to)
        publisher.msg("old", "words", answer=42)
        publisher.msg("old fault", isError=1)
        Logger("twisted.somewhere", observer=to).warn("{what} broke", what="it", event="x")
        lines = [json.loads(line) for line in self.stdout.getvalue().splitlines()]
        keys = ["time", "level", "event", "logger", "message"]
        self.assertEqual([list(line) for line in lines], [keys] * 3)
        self.assertEqual(
            [tuple(line.values())[1:] for line in lines],
            [
                ("info", "library", "twisted", "old words"),
                ("critical", "library", "twisted", "old fault"),
                ("warn", "library", "twisted.somewhere", "it broke"),
            ],
        )


class EventNameTests(SynchronousTestCase):
    """The stable names of log events."""

    def test_names(self) -> None:
        """Every line that an operator sees has a name, and different lines have different ones."""
        found: list[str] = []
        for file in Path(gaq_twisted.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                owner = ast.unparse(node.func.value)
                if owner.endswith("_log") and node.func.attr != "debug":
                    names = [one.value for one in node.keywords if one.arg == "event"]
                    self.assertEqual(len(names), 1, f"{file.name}: {ast.unparse(node)}")
                    assert isinstance(names[0], ast.Constant)
                    found.append(str(names[0].value))
        self.assertGreater(len(found), 30)
        self.assertEqual({name for name in found if found.count(name) > 1}, {"settings_warning"})
