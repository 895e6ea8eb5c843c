"""What signals do: stop, reload, begin a new log file; none ends the process by surprise."""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.logger import Logger

from gaq_twisted.net.reactor import Reactor

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# By default these end a process. SIGPWR is there on Linux only.
_MEANINGLESS = [
    number
    for number in signal.Signals
    if number.name in ("SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
]


class LogFile(Protocol):
    """The part of LogOutput that is needed here."""

    def begin_file(self) -> None:
        """As LogOutput.begin_file."""

    def follow_file(self) -> None:
        """As LogOutput.follow_file."""


class Signals:
    """Handles the signals of this process.

    SIGTERM, SIGINT and SIGQUIT stop it, the second one at once. SIGHUP reloads, and SIGUSR1
    begins a new log file; after both, a log file that logrotate has moved away is not written
    to any more. SIGUSR2 and others that by default end a process have a line in the log.

    With the reactor's handlers, twistd's exit status is the signal that stopped it. A server that
    has closed all its sockets properly has succeeded.

    Args:
        reactor: is stopped.
        reload: called for SIGHUP; if None that stops the server too, as when a terminal closes.
        output: where the log goes; None if twistd takes care of it.
        announce: called with the name of the signal that stops the server, before it stops.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Reactor,
        reload: Callable[[], None] | None,
        output: LogFile | None,
        announce: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._reload = reload
        self._output = output
        self._announce = announce
        self._is_stopping = False

    def install(self) -> None:
        """Replaces the reactor's handlers; to be called once the reactor runs."""
        for number in _STOP:
            signal.signal(number, self._stop)
        self._handle(signal.SIGUSR1, self._begin_file)
        for number in _MEANINGLESS:
            self._handle(number, partial(self._ignore, number.name))
        if self._reload is None:
            signal.signal(signal.SIGHUP, self._stop)
        else:
            self._handle(signal.SIGHUP, self._reload_all)

    def _handle(self, number: signal.Signals, task: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(task))

    def _stop(self, number: int, _: object) -> None:
        if self._is_stopping:
            # As a shell reports a process that was ended by that signal.
            os._exit(128 + number)
        self._is_stopping = True
        self._reactor.callFromThread(self._begin_stop, signal.Signals(number).name)

    def _begin_stop(self, name: str) -> None:
        self._announce(name)
        self._reactor.stop()

    def _reload_all(self) -> None:
        if self._output is not None:
            self._output.follow_file()
        assert self._reload is not None
        self._reload()

    def _begin_file(self) -> None:
        if self._output is not None:
            self._output.begin_file()

    def _ignore(self, name: str) -> None:
        self._log.info(
            "ignored {signal}, which has no meaning here", event="signal_ignored", signal=name
        )
