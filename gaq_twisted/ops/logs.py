"""Writes log events of sufficient level to their destination."""

import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from gaq_twisted.config.settings import Settings

_OURS = "gaq_twisted"
# Lines of level info by which Twisted reports its own start, stop and ports. Not all of its lines
# of that level: it also reports faults so, such as a user that it cannot become.
_ROUTINE = re.compile(
    r"twistd .+ starting up\.|reactor class: .+|set e?uid/e?gid .+|.+ starting on .+"
    r"|\(.*Port .+ Closed\)|Main loop terminated\.|Server Shut Down\."
    r"|(?:Starting|Stopping) (?:factory|protocol) .+",
    re.DOTALL,
)
# The namespace of events from Twisted's legacy logging.
_LEGACY = "log_legacy"


@implementer(ILogObserver)
class LogOutput:
    """The log observer of this process, whose level can change.

    twistd's own options override `logToFile`, because they apply to this run only.

    Args:
        settings: contains the level, the format and optionally a file.
        twistd: twistd's options, of which `syslog`, `prefix`, `logfile` and `nodaemon` are used.

    Raises:
        SystemExit: if a daemon is to log to the standard output, or the file cannot be written.
    """

    _log = Logger()

    def __init__(self, settings: Settings, twistd: Mapping[str, Any]) -> None:
        self._threshold = LogLevelFilterPredicate()
        self.apply(settings)
        path = _path(settings, twistd)
        self._file = _opened(path) if path else None
        self._observer = FilteringLogObserver(
            _destination(settings, twistd, self._file), [self._threshold]
        )

    def __call__(self, event: LogEvent) -> None:
        """Logs an event if its level is high enough."""
        self._observer({**event, "log_level": LogLevel.debug} if _is_routine(event) else event)

    def begin_file(self) -> None:
        """Starts a new log file, if this process logs to a file.

        The old file is renamed, unless another program such as logrotate has already moved it.
        """
        if self._file is None:
            self._log.info(
                "cannot start a new log file: this process does not log to a file",
                event="no_log_file",
            )
        elif self._is_moved():
            self._file.reopen()
        else:
            self._file.rotate()

    def follow_file(self) -> None:
        """Starts a new log file if another program has moved the old one."""
        if self._file is not None and self._is_moved():
            self._file.reopen()

    def _is_moved(self) -> bool:
        file: Any = self._file
        try:
            at_the_path = os.stat(file.path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(at_the_path, os.fstat(file._file.fileno()))

    def apply(self, settings: Settings) -> None:
        """Changes the level to the one that the settings name now."""
        name = settings.log_level
        level = LogLevel.warn if name == "warning" else LogLevel.lookupByName(name)
        self._threshold.setLogLevelForNamespace("", level)


def json_line(event: LogEvent) -> str:
    """Returns an event as one line of JSON.

    The key `event` names the kind of event, and stays the same when the words of the `message`
    change; each fact in the message has a key of its own. All lines of a library have the same
    `event`, and no facts, and so have all our lines for debugging.
    """
    is_ours = _is_ours(event)
    namespace = event.get("log_namespace")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event["log_level"].name if event.get("log_level") else "info",
        "event": event.get("event", "debug") if is_ours else "library",
        "logger": "twisted" if namespace == _LEGACY else namespace,
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        line["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
    for key, value in event.items() if is_ours else ():
        if not key.startswith("log_") and key not in line and _is_fact(value):
            line[key] = value
    return json.dumps(line) + "\n"


def _is_ours(event: LogEvent) -> bool:
    """Returns whether this package, and not a library, logged an event."""
    return str(event.get("log_namespace", "")).partition(".")[0] == _OURS


def _is_routine(event: LogEvent) -> bool:
    """Returns whether an event is routine output of Twisted."""
    return (
        not _is_ours(event)
        and event.get("log_level") is LogLevel.info
        and _ROUTINE.fullmatch(formatEvent(event)) is not None
    )


def _is_fact(value: object) -> bool:
    return isinstance(value, str | int | float)


def _path(settings: Settings, twistd: Mapping[str, Any]) -> str:
    """Returns the path of the log file; empty if there is none.

    Raises:
        SystemExit: if a daemon is to log to the standard output.
    """
    if twistd.get("syslog"):
        return ""
    path = twistd.get("logfile") or (settings.log_filename if settings.log_to_file else "")
    if not path and not twistd.get("nodaemon"):
        path = "twistd.log"
    if path not in ("", "-"):
        return str(path)
    if not twistd.get("nodaemon"):
        raise SystemExit("gaq-ws: a daemon cannot log to standard output")
    return ""


def _opened(path: str) -> LogFile:
    try:
        file: LogFile = LogFile.fromFullPath(path)
    except OSError as error:
        raise SystemExit(f"gaq-ws: cannot write the log file {path}: {error.strerror}") from None
    return file


def _destination(
    settings: Settings, twistd: Mapping[str, Any], file: LogFile | None
) -> ILogObserver:
    if twistd.get("syslog"):
        from twisted.python import syslog

        emit: Any = syslog.SyslogObserver(twistd["prefix"]).emit
        return LegacyLogObserverWrapper(emit)
    to: Any = file or sys.stdout
    return _lines(to, settings)


def _lines(file: TextIO, settings: Settings) -> ILogObserver:
    if settings.log_format == "json":
        return FileLogObserver(file, json_line)
    return textFileLogObserver(file)
