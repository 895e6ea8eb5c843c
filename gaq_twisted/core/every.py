"""Periodic tasks that continue after an exception."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


def every(
    seconds: float,
    task: Callable[[], object],
    clock: IReactorTime,
    log: Logger,
    *,
    now: bool = True,
) -> LoopingCall:
    """Starts to call a task at an interval.

    A plain LoopingCall ends when its task raises an exception. Here the exception is logged, and
    the task is called again when it is due.

    Args:
        seconds: the interval.
        task: what is called.
        clock: calls it.
        log: the logger of the task's owner.
        now: whether to also call it at once.

    Returns:
        The loop, whose `stop` ends it.
    """
    loop = LoopingCall(guarded, task, log)
    loop.clock = clock
    loop.start(seconds, now=now)
    return loop


def guarded(task: Callable[[], object], log: Logger) -> None:
    """Calls a task, and logs the exception if it raises one."""
    try:
        task()
    except Exception:
        log.failure("a periodic task failed", event="periodic_task_failed")
