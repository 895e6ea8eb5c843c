"""Closes the sockets a few at a time when the server stops."""

from collections.abc import Callable, Sequence
from math import ceil

from twisted.application.service import IService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.close import GOING_AWAY
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.readiness import Readiness

_BATCH_SECONDS = 0.05
# The slowest useful rate: this many reconnecting clients are no load for other servers.
_LEAST_SOCKETS_PER_SECOND = 100
_ANSWER_SECONDS = 1.0


class Drain:
    """Closes the sockets a few at a time, so that other servers can take the clients over.

    It accepts changed settings.

    Args:
        hub: has the sockets.
        readiness: reports that this server is not ready.
        listening: the services that accept connections.
        fail_waiting: called to reject the upgrades that are waiting.
        when_all_closed: returns a Deferred that fires when no socket is open.
        settings: contain the times.
        clock: provides the time.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        readiness: Readiness,
        listening: Sequence[IService],
        fail_waiting: Sequence[Callable[[], None]],
        when_all_closed: Callable[[], "Deferred[None]"],
        settings: Settings,
        clock: IReactorTime,
    ) -> None:
        self._hub = hub
        self._readiness = readiness
        self._listening = listening
        self._fail_waiting = fail_waiting
        self._when_all_closed = when_all_closed
        self._clock = clock
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses these settings from now on."""
        self._delay_seconds = settings.drain_delay_ms / 1000
        self._seconds = settings.drain_ms / 1000

    async def drain(self) -> None:
        """Reports not ready, waits, stops listening, then closes all sockets.

        Events keep flowing throughout.
        """
        self._readiness.is_draining = True
        if self._delay_seconds:
            self._log.info(
                "waiting {seconds} s for load balancers",
                event="drain_delayed",
                seconds=self._delay_seconds,
            )
            await deferLater(self._clock, self._delay_seconds)
        await gatherResults([maybeDeferred(one.stopService) for one in self._listening])
        for fail_waiting in self._fail_waiting:
            fail_waiting()
        count = self._hub.socket_count
        if not count:
            self._hub.close_all(GOING_AWAY)
            return
        seconds = min(self._seconds, count / _LEAST_SOCKETS_PER_SECOND)
        self._log.info(
            "closing {count} sockets within {seconds} s",
            event="drain",
            count=count,
            seconds=seconds,
        )
        batches = max(1, ceil(seconds / _BATCH_SECONDS))
        for left in range(batches, 1, -1):
            self._hub.close_oldest(ceil(self._hub.socket_count / left), GOING_AWAY)
            await deferLater(self._clock, seconds / batches)
        self._hub.close_all(GOING_AWAY)
        closed = self._when_all_closed()
        await closed.addTimeout(_ANSWER_SECONDS, self._clock, lambda *_: None)
