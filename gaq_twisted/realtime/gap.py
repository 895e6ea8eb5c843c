"""Sockets that were open while messages may have been missed.

Messages are not stored, so a missed one is lost. A browser of Superset 7 asks Superset for the
state of its tasks whenever its socket opens. Closing the socket is therefore the only way to make
it ask.
"""

from collections.abc import Callable
from itertools import islice
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from gaq_twisted.core.close import REALTIME_GAP
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.socket import Socket

_GRACE_SECONDS = 2.0
_SPREAD_SECONDS = 1.9
_BATCH_SECONDS = 0.05
# A slower rate has no benefit, because this many reconnects are harmless.
_LEAST_SOCKETS_PER_SECOND = 1000


class GapSockets:
    """Closes the sockets that were open during a gap, each once.

    They are closed when new sockets are accepted again, because browsers reconnect at once, or
    after 2 s without a subscription. The closes are spread, so that neither they nor the reconnects
    delay messages.

    Args:
        hub: the hub.
        closed: called with the number of sockets that were closed.
        clock: times the closes.
    """

    def __init__(self, hub: Hub, closed: Callable[[int], None], clock: IReactorTime) -> None:
        self._hub = hub
        self._closed = closed
        self._clock = clock
        # In the order in which they opened.
        self._sockets: dict[Socket, None] = {}
        # When the last of them will be closed; None before the first.
        self._ends_at: float | None = None
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    def add(self, socket: Socket) -> None:
        """Adds a socket that may miss messages."""
        self._sockets[socket] = None

    def discard(self, socket: Socket) -> None:
        """Removes a socket that has left, if it is there."""
        self._sockets.pop(socket, None)

    def close_after_grace(self) -> None:
        """Closes them in 2 s, unless that has begun already."""
        if self._call is None:
            self._call = self._clock.callLater(_GRACE_SECONDS, self._close_batch)

    def close_now(self) -> None:
        """Starts to close them."""
        self.stop()
        self._close_batch()

    def stop(self) -> None:
        """Closes no more of them."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._ends_at = None

    def _close_batch(self) -> None:
        self._call = None
        now = self._clock.seconds()
        if self._ends_at is None:
            self._ends_at = now + min(
                _SPREAD_SECONDS, len(self._sockets) / _LEAST_SOCKETS_PER_SECOND
            )
        # Recalculated each time, because the reactor may be late and sockets may be added.
        batches = max(1, ceil((self._ends_at - now) / _BATCH_SECONDS))
        batch = list(islice(self._sockets, ceil(len(self._sockets) / batches)))
        for socket in batch:
            self._close(socket)
        self._closed(len(batch))
        if self._sockets:
            self._call = self._clock.callLater(_BATCH_SECONDS, self._close_batch)
        else:
            self._ends_at = None

    def _close(self, socket: Socket) -> None:
        self.discard(socket)
        try:
            self._hub.close_one(socket, REALTIME_GAP)
        except Exception:
            self._hub.fail(socket)
