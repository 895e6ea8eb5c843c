"""Where log events are written, and from which level on."""

import json
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from gaq_twisted.config.settings import Settings


@implementer(ILogObserver)
class LogOutput:
    """The log observer of this process, whose level can change.

    twistd's own options win over `logToFile`, because they belong to this one run.

    Args:
        settings: names the level, the format and perhaps a file.
        twistd: twistd's options, of which `syslog`, `prefix`, `logfile` and `nodaemon` are used.
        reactor: runs the rotation of the file after a signal.

    Raises:
        SystemExit: if a daemon is to log to the standard output.
    """

    def __init__(
        self, settings: Settings, twistd: Mapping[str, Any], reactor: IReactorFromThreads
    ) -> None:
        self._threshold = LogLevelFilterPredicate()
        self.apply(settings)
        self._observer = FilteringLogObserver(
            _destination(settings, twistd, reactor), [self._threshold]
        )

    def __call__(self, event: LogEvent) -> None:
        """Logs an event if its level is high enough."""
        self._observer(event)

    def apply(self, settings: Settings) -> None:
        """Changes the level to the one that the settings name now."""
        name = settings.log_level
        level = LogLevel.warn if name == "warning" else LogLevel.lookupByName(name)
        self._threshold.setLogLevelForNamespace("", level)


def json_line(event: LogEvent) -> str:
    """Returns an event as one line of JSON.

    The key `event` names the kind of event, and stays the same when the words of
    the `message` change; each fact in the message has a key of its own.
    """
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event["log_level"].name if event.get("log_level") else "info",
        "event": event.get("event"),
        "logger": event.get("log_namespace"),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        line["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
    for key, value in event.items():
        if not key.startswith("log_") and key not in line and _is_fact(value):
            line[key] = value
    return json.dumps({key: value for key, value in line.items() if value is not None}) + "\n"


def _is_fact(value: object) -> bool:
    return isinstance(value, str | int | float)


def _destination(
    settings: Settings, twistd: Mapping[str, Any], reactor: IReactorFromThreads
) -> ILogObserver:
    if twistd.get("syslog"):
        from twisted.python import syslog

        emit: Any = syslog.SyslogObserver(twistd["prefix"]).emit
        return LegacyLogObserverWrapper(emit)
    path = twistd.get("logfile") or (settings.log_filename if settings.log_to_file else "")
    if not path and not twistd.get("nodaemon"):
        path = "twistd.log"
    if path in ("", "-"):
        if not twistd.get("nodaemon"):
            raise SystemExit("gaq-ws: a daemon cannot log to the standard output")
        return _lines(sys.stdout, settings)
    file = LogFile.fromFullPath(path)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return _lines(file, settings)


def _lines(file: TextIO, settings: Settings) -> ILogObserver:
    if settings.log_format == "json":
        return FileLogObserver(file, json_line)
    return textFileLogObserver(file)
