"""Periodic work: pings, expiry, sweeps, and tasks that run every second."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil, inf

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.every import every, guarded
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import REACTOR_STALL_SECONDS, Metrics

# A round of pings is divided into slices: few for few sockets, because each slice wakes the
# process up, and several sockets each for many.
_LEAST_PINGS_PER_SLICE = 8
_LEAST_SLICE_SECONDS = 0.125
_EXPIRIES_AT_A_TIME = 200
# Waking up an idle process costs more than the work itself.
_TICK_SECONDS = 0.5
_SECOND = 1.0


class Housekeeping(Service):
    """Pings and sweeps sockets, and closes those whose token has expired.

    Args:
        hub: has the sockets.
        sweeps: called whenever the hub is swept.
        each_second: called every second, one after another.
        metrics: record how late timers fire.
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
        self._slices = 1
        self._slice_seconds = inf
        self._round: Iterator[bool] = iter(())
        self._per_slice = 0
        self._ended = 0
        self._measured_at = 0.0
        self._loops: dict[Callable[[], None], LoopingCall] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Uses the intervals of these settings from now on."""
        self._ping_seconds = settings.ping_sockets_interval_ms / 1000
        self._slice_seconds = min(self._slice_seconds, self._ping_seconds)
        self._most_silent_rounds = ceil(
            settings.socket_response_timeout_ms / settings.ping_sockets_interval_ms
        )
        self._intervals_seconds: dict[Callable[[], None], float] = {
            self._ping: self._slice_seconds,
            self._tick: _TICK_SECONDS,
            self._do_each_second: _SECOND,
            self._sweep: settings.gc_channels_interval_ms / 1000,
        }
        if self.running:
            self._start_loops()

    def startService(self) -> None:
        """Starts all loops."""
        super().startService()
        self._measured_at = self._clock.seconds() - _TICK_SECONDS
        self._plan_slices()
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
        if self._next_ping_slice == 0:
            self._begin_round()
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

    def _begin_round(self) -> None:
        # A round keeps its settings, even if they change meanwhile.
        self._plan_slices()
        self._silent_rounds = self._most_silent_rounds
        self._round = self._hub.ping(self._silent_rounds)
        self._per_slice = ceil(self._hub.socket_count / self._slices)
        loop = self._loops.get(self._ping)
        if loop is not None and loop.interval != self._slice_seconds:
            loop.interval = self._slice_seconds
            # From here the loop counts its intervals. After stalls, the first slice of this round,
            # perhaps its only one, would end too early otherwise, and the next pings would follow
            # before the answers.
            loop.starttime = self._clock.seconds()

    def _plan_slices(self) -> None:
        """Divides a round, because all pings and pongs at once would delay every event."""
        most_slices = max(1, int(self._ping_seconds / _LEAST_SLICE_SECONDS))
        wanted_slices = max(1, ceil(self._hub.socket_count / _LEAST_PINGS_PER_SLICE))
        self._slices = min(most_slices, wanted_slices)
        self._slice_seconds = self._ping_seconds / self._slices
        self._intervals_seconds[self._ping] = self._slice_seconds

    def _tick(self) -> None:
        self._measure_stall()
        self._expire()

    def _expire(self) -> None:
        if self._hub.expire(_EXPIRIES_AT_A_TIME) and self.running:
            # Other work runs in between.
            self._clock.callLater(0, guarded, self._expire, self._log)

    def _measure_stall(self) -> None:
        now = self._clock.seconds()
        late_seconds = now - self._measured_at - _TICK_SECONDS
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
