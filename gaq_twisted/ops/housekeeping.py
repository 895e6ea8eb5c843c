"""Periodic work: pings, expiry, sweeps, and tasks that run every second."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.every import every, guarded
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import REACTOR_STALL_SECONDS, Metrics

_PING_SLICE_SECONDS = 0.125
_EXPIRY_SECONDS = 0.25
_EXPIRIES_AT_A_TIME = 200
_STALL_SECONDS = 0.1
_SECOND = 1.0


class Housekeeping(Service):
    """Pings and sweeps sockets, and closes those whose token has expired.

    Args:
        hub: has the sockets.
        sweeps: called whenever the hub is swept.
        each_second: called every second, one after the other.
        metrics: record how late timers are.
        settings: contain the intervals.
        clock: calls everything.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        sweeps: Sequence[Callable[[], None]],
        each_second: Sequence[Callable[[], None]],
        metrics: Metrics,
        settings: Settings,
        clock: IReactorTime,
    ) -> None:
        self._hub = hub
        self._sweeps = sweeps
        self._each_second = each_second
        self._metrics = metrics
        self._clock = clock
        self._next_ping_slice = 0
        self._round: Iterator[bool] = iter(())
        self._per_slice = 0
        self._ended = 0
        self._measured_at = 0.0
        self._loops: dict[Callable[[], None], LoopingCall] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses the intervals of these settings from now on."""
        ping_seconds = settings.ping_sockets_interval_ms / 1000
        self._ping_slices = max(1, int(ping_seconds / _PING_SLICE_SECONDS))
        self._most_silent_rounds = ceil(
            settings.socket_response_timeout_ms / settings.ping_sockets_interval_ms
        )
        self._intervals_seconds: dict[Callable[[], None], float] = {
            self._ping: ping_seconds / self._ping_slices,
            self._expire: _EXPIRY_SECONDS,
            self._measure_stall: _STALL_SECONDS,
            self._do_each_second: _SECOND,
            self._sweep: settings.gc_channels_interval_ms / 1000,
        }
        if self.running:
            self._start_loops()

    def startService(self) -> None:
        """Starts all loops."""
        super().startService()
        self._measured_at = self._clock.seconds() - _STALL_SECONDS
        self._start_loops()

    def stopService(self) -> None:
        """Stops all loops."""
        super().stopService()
        for loop in self._loops.values():
            loop.stop()
        self._loops.clear()

    def _start_loops(self) -> None:
        """Starts the loops that do not run, and restarts those whose interval has changed."""
        for task, seconds in self._intervals_seconds.items():
            loop = self._loops.get(task)
            if loop is not None and loop.interval == seconds:
                continue
            if loop is not None:
                loop.stop()
            self._loops[task] = every(seconds, task, self._clock, self._log)

    def _ping(self) -> None:
        # Sent all at once, the pings and then the pongs would delay every event.
        if self._next_ping_slice == 0:
            # A round keeps its settings, even if they change meanwhile.
            self._slices, self._silent_rounds = self._ping_slices, self._most_silent_rounds
            self._round = self._hub.ping(self._silent_rounds)
            self._per_slice = ceil(self._hub.socket_count / self._slices)
        self._next_ping_slice = (self._next_ping_slice + 1) % self._slices
        self._ended += sum(islice(self._round, self._per_slice))
        if self._next_ping_slice == 0 and self._ended:
            self._log.info(
                "dropped {count} sockets that did not answer {rounds} pings",
                event="silent_sockets_ended",
                count=self._ended,
                rounds=self._silent_rounds,
            )
            self._ended = 0

    def _expire(self) -> None:
        if self._hub.expire(_EXPIRIES_AT_A_TIME) and self.running:
            # Other work runs in between.
            self._clock.callLater(0, guarded, self._expire, self._log)

    def _measure_stall(self) -> None:
        now = self._clock.seconds()
        late_seconds = now - self._measured_at - _STALL_SECONDS
        self._measured_at = now
        self._metrics.observe(REACTOR_STALL_SECONDS, max(0.0, late_seconds))

    def _do_each_second(self) -> None:
        for task in self._each_second:
            guarded(task, self._log)

    def _sweep(self) -> None:
        for sweep in self._sweeps:
            sweep()
        count = self._hub.sweep()
        level = self._log.warn if count else self._log.debug
        level("the sweep removed {sockets} closed sockets", event="swept", sockets=count)
