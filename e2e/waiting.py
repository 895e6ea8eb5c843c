"""Waiting for what happens in other processes."""

import signal
import time
from collections.abc import Callable
from types import FrameType

DEADLINE_SECONDS = 60.0
"""How long anything may take, generous because a busy machine proves nothing."""
_GLANCE_SECONDS = 0.02
_STANDSTILL_SECONDS = 5 * DEADLINE_SECONDS


class TooLate(Exception):
    """Something did not happen before the deadline."""


def wait_until(
    condition: Callable[[], bool],
    what: Callable[[], str],
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Wait until a condition holds.

    Args:
        condition: called until it returns True.
        what: called for the text of the failure: what did not happen.
        pause: waits for so many seconds, and may do something useful meanwhile.

    Raises:
        TooLate: if it does not hold before the deadline.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TooLate(f"{what()} within {DEADLINE_SECONDS:.0f} s")
        pause(_GLANCE_SECONDS)


def expect_progress() -> None:
    """End the program unless this is called again before long.

    Some calls of playwright wait without a deadline.
    """
    signal.signal(signal.SIGALRM, _give_up)
    # Again and again, because what ends then may stand still as well.
    signal.setitimer(signal.ITIMER_REAL, _STANDSTILL_SECONDS, DEADLINE_SECONDS)


def _give_up(_: int, __: FrameType | None) -> None:
    raise SystemExit(f"nothing has happened for {_STANDSTILL_SECONDS:.0f} s")
