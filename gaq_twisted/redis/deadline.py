"""Deadlines that can be extended, as those of Twisted's Deferreds cannot."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure


def no_extension() -> float:
    """Extends no deadline."""
    return 0.0


def in_time(
    answer: "Deferred[Any]",
    seconds: float,
    clock: IReactorTime,
    extension: Callable[[], float] = no_extension,
) -> "Deferred[Any]":
    """Cancels an answer that takes too long; then it fails with DeadlineError.

    Args:
        answer: the answer.
        seconds: how long it may take.
        clock: the source of time.
        extension: called when that is over; returns how many seconds more it may take, 0 for none.

    Returns:
        The same Deferred.
    """
    deadline = _Deadline(answer, seconds, clock, extension)
    return answer.addBoth(deadline.note)


class _Deadline:
    """The deadline of one answer; arguments as of `in_time`."""

    def __init__(
        self,
        answer: "Deferred[Any]",
        seconds: float,
        clock: IReactorTime,
        extension: Callable[[], float],
    ) -> None:
        self._answer = answer
        self._clock = clock
        self._extension = extension
        self._is_over = False
        self._call = clock.callLater(seconds, self._end)

    def _end(self) -> None:
        seconds = self._extension()
        if seconds > 0:
            self._call = self._clock.callLater(seconds, self._end)
        else:
            self._is_over = True
            self._answer.cancel()

    def note(self, result: Any) -> Any:
        """Passes the result on; a cancellation by the deadline as DeadlineError."""
        if self._call.active():
            self._call.cancel()
        if self._is_over and isinstance(result, Failure) and result.check(CancelledError):
            raise DeadlineError
        return result
