"""Deadlines that can be extended, unlike those of Twisted's Deferreds."""

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
        extension: called when the time is over; returns how many more seconds to wait, or 0.

    Returns:
        The same Deferred.
    """
    deadline = _Deadline(answer, seconds, clock, extension)
    return answer.addBoth(deadline.note)


class _Deadline:
    """The deadline of one answer; for the arguments see `in_time`."""

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
        """Passes the result on; raises DeadlineError for a cancellation by the deadline."""
        if self._call.active():
            self._call.cancel()
        if self._is_over and isinstance(result, Failure) and result.check(CancelledError):
            raise DeadlineError
        return result
