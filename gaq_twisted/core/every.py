"""Tasks that are repeated, and survive their own faults."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()


def every(
    seconds: float, task: Callable[[], object], clock: IReactorTime, *, now: bool = True
) -> LoopingCall:
    """Starts to call a task at an interval.

    By itself a LoopingCall ends for good when its task raises an exception; here the exception is
    logged, and the task is called again when it is due.

    Args:
        seconds: the interval.
        task: what is called.
        clock: calls it.
        now: whether to call it at once, too.

    Returns:
        The loop, whose `stop` ends it.
    """
    loop = LoopingCall(guarded, task)
    loop.clock = clock
    loop.start(seconds, now=now)
    return loop


def guarded(task: Callable[[], object]) -> None:
    """Calls a task, and logs the exception if it raises one."""
    try:
        task()
    except Exception:
        _log.failure("a periodic task failed", event="periodic_task_failed")
