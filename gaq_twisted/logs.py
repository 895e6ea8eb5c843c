"""Where log events go: to wherever twistd was told to, from the level that the settings name."""

import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile

from gaq_twisted.settings import Settings


def observer(settings: Settings, twistd: Mapping[str, Any], reactor: Any) -> ILogObserver:
    """Return the observer for this process.

    twistd's own options win over `logToFile`, because they belong to this one run.

    Args:
        settings: names the level and perhaps a file.
        twistd: twistd's options, of which `syslog`, `prefix`, `logfile` and `nodaemon` count.
        reactor: provides IReactorFromThreads.
    """
    threshold = LogLevelFilterPredicate(defaultLogLevel=_level(settings.log_level))
    return FilteringLogObserver(_destination(settings, twistd, reactor), [threshold])


def _level(name: str) -> Any:
    return LogLevel.warn if name == "warning" else LogLevel.lookupByName(name)


def _destination(settings: Settings, twistd: Mapping[str, Any], reactor: Any) -> ILogObserver:
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
        return textFileLogObserver(sys.stdout)
    file = LogFile.fromFullPath(path)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return textFileLogObserver(file)
