"""How the server says goodbye."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.readiness import Readiness

# RFC 6455 section 7.4.1.
_GOING_AWAY = 1001
_REASON = "the server stops"
_BATCH_SECONDS = 0.05
# Slower is of no use: so many clients that come back at once trouble nobody.
_LEAST_SOCKETS_PER_SECOND = 100
_ANSWER_SECONDS = 1.0


class Drain:
    """Lets the clients go, a few at a time, so that others can take them in."""

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        readiness: Readiness,
        listening: Sequence[IService],
        when_all_closed: Callable[[], "Deferred[None]"],
        settings: Settings,
        clock: Any,
    ) -> None:
        """Take what it needs.

        Args:
            hub: has the sockets.
            readiness: is told that this server is no longer of use.
            listening: the services that let clients in.
            when_all_closed: returns a Deferred that fires when no socket is open.
            settings: name the times.
            clock: provides IReactorTime.
        """
        self._hub = hub
        self._readiness = readiness
        self._listening = listening
        self._when_all_closed = when_all_closed
        self._clock = clock
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._delay_seconds = settings.drain_delay_ms / 1000
        self._seconds = settings.drain_ms / 1000

    async def drain(self) -> None:
        """Be not ready, wait, let nobody in, and close all sockets; events go on meanwhile."""
        self._readiness.is_draining = True
        if self._delay_seconds:
            self._log.info(
                "stopping in {seconds} s", event="drain_delayed", seconds=self._delay_seconds
            )
            await deferLater(self._clock, self._delay_seconds)
        await gatherResults([maybeDeferred(one.stopService) for one in self._listening])
        count = self._hub.socket_count
        if not count:
            self._hub.close_all(_GOING_AWAY, _REASON)
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
            self._hub.close(ceil(self._hub.socket_count / left), _GOING_AWAY, _REASON)
            await deferLater(self._clock, seconds / batches)
        self._hub.close_all(_GOING_AWAY, _REASON)
        closed = self._when_all_closed()
        await closed.addTimeout(_ANSWER_SECONDS, self._clock, lambda *_: None)
