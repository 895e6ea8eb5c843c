"""Ctrl-C and SIGTERM during the load test."""

import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A convention of shells.
_EXIT_CODE_BASE = 128


class Interrupts:
    """Passes signals to the work that is running.

    Args:
        reactor: runs what signals cause.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._number = 0
        self.on_signal: Callable[[], object] = _ignore
        """Called for each signal."""

    def install(self) -> None:
        """Handles the signals."""
        for number in _SIGNALS:
            signal.signal(number, self._note)

    async def cancelling(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Returns the result of some work, which a signal cancels.

        Raises:
            CancelledError: if a signal has done so.
        """
        running = Deferred.fromCoroutine(work)
        self.on_signal = running.cancel
        try:
            return await running
        finally:
            self.on_signal = _ignore

    def answer(self, question: str) -> str:
        """Asks on standard error; returns a line from standard input.

        Raises:
            CancelledError: if a signal came before.
        """
        # Python's own handlers cannot end a read that has just begun.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self._number:
            raise CancelledError
        print(question, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        self.install()
        return line

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the last signal has ended; 0 if there was none."""
        return self._number and _EXIT_CODE_BASE + self._number

    def _note(self, number: int, _: object) -> None:
        self._number = number
        self._reactor.callFromThread(self._pass_on)

    def _pass_on(self) -> None:
        self.on_signal()


def _ignore() -> None:
    pass
