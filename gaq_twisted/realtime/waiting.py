"""Upgrades that wait while there is no subscription.

A page of Superset 7 fails all its waiting charts at the third rejected connection in a row, about
four seconds after the first one. An unanswered upgrade is not a rejection, so short outages of
Redis fail no chart.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from gaq_twisted.core.edition import Unavailable

_PATIENCE_SECONDS = 10.0
_MOST_WAITING = 20_000
# How long upgrades are accepted before the reactor does other work.
_SLICE_SECONDS = 0.005
_TEXT = "no connection to Redis"


class WaitingUpgrades:
    """Upgrades that are accepted once there is a subscription.

    Args:
        clock: times the waits.
        patience_seconds: how long each may wait.
        most: how many may wait.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
        most: int = _MOST_WAITING,
    ) -> None:
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._most = most
        # The time by which each must be answered, oldest first.
        self._until: dict[Deferred[None], float] = {}
        self._is_open: Callable[[], bool] = lambda: False
        self._releasing: IDelayedCall | None = None
        self._expiring: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._until)

    def wait(self) -> "Deferred[None]":
        """Waits for `release`.

        Returns:
            A Deferred that fires then, or fails with Unavailable after the longest wait. Cancel it
            if the client leaves.

        Raises:
            Unavailable: if too many wait already.
        """
        if len(self._until) >= self._most:
            raise Unavailable(f"{_TEXT}, and too many clients are waiting")
        waiting: Deferred[None] = Deferred(self._forget)
        self._until[waiting] = self._clock.seconds() + self._patience_seconds
        if self._expiring is None:
            self._expiring = self._clock.callLater(self._patience_seconds, self._expire)
        return waiting

    def release(self, is_open: Callable[[], bool]) -> None:
        """Accepts the waiting upgrades, in slices between which the reactor does other work.

        Args:
            is_open: returns whether they may still be accepted; if not, the rest keep waiting.
        """
        self._is_open = is_open
        if self._releasing is None:
            self._release_slice()

    def stop(self) -> None:
        """Fails the waiting upgrades, and all later ones."""
        self._most = 0
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None
        for waiting in list(self._until):
            self._fail(waiting, "the server is stopping")

    def _release_slice(self) -> None:
        self._releasing = None
        pause_at = self._clock.seconds() + _SLICE_SECONDS
        while self._until and self._is_open():
            waiting = next(iter(self._until))
            self._forget(waiting)
            waiting.callback(None)
            if self._until and self._clock.seconds() >= pause_at:
                self._releasing = self._clock.callLater(0, self._release_slice)
                return

    def _expire(self) -> None:
        self._expiring = None
        now = self._clock.seconds()
        while self._until:
            waiting, until = next(iter(self._until.items()))
            if until > now:
                self._expiring = self._clock.callLater(until - now, self._expire)
                return
            self._fail(waiting, f"{_TEXT} for {self._patience_seconds:g} s")

    def _fail(self, waiting: "Deferred[None]", text: str) -> None:
        self._forget(waiting)
        waiting.errback(Unavailable(text))

    def _forget(self, waiting: "Deferred[None]") -> None:
        self._until.pop(waiting, None)
        if not self._until and self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
