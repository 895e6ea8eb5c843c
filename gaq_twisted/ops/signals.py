"""Handles signals: stop, reload, start a new log file; no other signal ends the process."""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.logger import Logger

from gaq_twisted.net.reactor import Reactor

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# These end a process by default. SIGPWR exists only on Linux.
_MEANINGLESS = [
    number
    for number in signal.Signals
    if number.name in ("SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR")
]


class LogFile(Protocol):
    """The part of LogOutput that Signals needs."""

    def begin_file(self) -> None:
        """See LogOutput.begin_file."""

    def follow_file(self) -> None:
        """See LogOutput.follow_file."""


class Signals:
    """Handles the signals of this process.

    SIGTERM, SIGINT and SIGQUIT stop it, the second one at once. SIGHUP reloads the settings, and
    SIGUSR1 starts a new log file. Both also stop writing to a file that logrotate has moved.
    SIGUSR2 and other signals that end a process by default are only logged.

    With the reactor's handlers, twistd's exit status is the signal that stopped it. A server that
    has closed all its sockets properly has succeeded.

    Args:
        reactor: is stopped.
        reload: called for SIGHUP; if None that stops the server too, as when a terminal closes.
        output: writes the log; None if twistd does.
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
            # The status with which a shell reports a process that was ended by that signal.
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
            "ignored {signal}, which this server does not use", event="signal_ignored", signal=name
        )
