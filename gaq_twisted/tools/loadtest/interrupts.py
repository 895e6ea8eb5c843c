"""Ctrl-C and SIGTERM during the load test."""

import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# By convention of shells.
_EXIT_CODE_BASE = 128


class Interrupts:
    """Passes signals to whatever runs at the moment.

    Args:
        reactor: runs what signals cause.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._number = 0
        self.on_signal: Callable[[], object] = _ignore
        """Called for each signal."""

    def install(self) -> None:
        """Handles the signals; the reactor must be running."""
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

    def answer(self) -> str:
        """Returns a line from standard input.

        Raises:
            KeyboardInterrupt: if Ctrl-C comes first.
        """
        # Nothing else would end a blocking read.
        signal.signal(signal.SIGINT, self._break_off)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            return input()
        except EOFError:
            return ""
        finally:
            self.install()

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the last signal has ended; 0 if there was none."""
        return self._number and _EXIT_CODE_BASE + self._number

    def _break_off(self, number: int, _: object) -> None:
        self._number = number
        raise KeyboardInterrupt

    def _note(self, number: int, _: object) -> None:
        self._number = number
        self._reactor.callFromThread(self._pass_on)

    def _pass_on(self) -> None:
        self.on_signal()


def _ignore() -> None:
    pass
