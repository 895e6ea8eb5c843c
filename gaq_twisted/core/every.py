"""Tasks that are repeated, and survive their own faults."""

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

    By itself a LoopingCall ends for good when its task raises an exception; here the exception is
    logged, and the task is called again when it is due.

    Args:
        seconds: the interval.
        task: what is called.
        clock: calls it.
        log: the logger of the task's owner.
        now: whether to call it at once, too.

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
