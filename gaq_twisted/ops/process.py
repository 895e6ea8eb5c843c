"""Limits and garbage collection of this process."""

import gc
import resource
from typing import Any

from twisted.internet.task import LoopingCall

_FULL_COLLECTION_SECONDS = 24 * 3600.0
# As good as never; there is no value that means so.
_NEVER = 1_000_000


def tune_gc(clock: Any) -> None:
    """Let the collector look through old objects once a day only.

    By itself it looks through all of them whenever their number has grown by a
    quarter, which with 20,000 sockets stops the process for 0.1 s.  Sockets
    leave nothing for it: what they held is free when they close.  What else
    may become garbage in old age (a connection to Redis, a kept-alive HTTP
    connection) can wait a day.  Young objects are few and looked at as usual.

    Args:
        clock: provides IReactorTime.
    """
    # What was imported lives as long as the process, and need never be looked at.
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    daily = LoopingCall(gc.collect)
    daily.clock = clock
    daily.start(_FULL_COLLECTION_SECONDS, now=False)


def raise_file_limit() -> int:
    """Raise the limit as far as an ordinary process may, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 2**31
