"""Handles outages of Redis: one log line for each kind of failure, and longer waits."""

from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.redis.errors import RedisError


class Outage:
    """The reader's consecutive failures; there may be none.

    Args:
        clock: provides the time.
        retry_delay: returns the seconds to wait after that many failures in a row.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, retry_delay: Callable[[int], float]) -> None:
        self._clock = clock
        self._retry_delay = retry_delay
        self._failures = 0
        # The states of Redis that were logged in this outage.
        self._logged_states: set[str] = set()

    def __bool__(self) -> bool:
        return self._failures > 0

    async def wait_after(self, error: Exception) -> None:
        """Logs a failure, unless a similar one was logged; waits until the next attempt."""
        state = error.state if isinstance(error, RedisError) else str(error)
        if state not in self._logged_states:
            self._logged_states.add(state)
            self._log.warn(
                "cannot follow the global stream, will retry until it works: {error}",
                event="cannot_follow",
                error=str(error),
            )
        delay_seconds = self._retry_delay(self._failures)
        self._failures += 1
        with suppress(CancelledError):
            await deferLater(self._clock, delay_seconds)

    def end(self) -> None:
        """Logs that reading works again after a failure."""
        if self._failures:
            self._failures = 0
            self._logged_states.clear()
            self._log.info("following the global stream again", event="following_again")
