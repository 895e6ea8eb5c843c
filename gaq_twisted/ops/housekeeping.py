"""What is done every now and then, with its results in the log."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gaq_twisted.config.settings import Settings
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import REACTOR_STALL_SECONDS, Metrics
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.net.gateway import Gateway
from gaq_twisted.ops.statsd import StatsdReports

_PING_SLICE_SECONDS = 0.125
_EXPIRY_SECONDS = 0.25
_EXPIRIES_AT_A_TIME = 200
_STALL_SECONDS = 0.1
_SECOND = 1.0


class Housekeeping(Service):
    """Pings and sweeps sockets, ends what is over, and reports."""

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        sweeps: Sequence[Callable[[], None]],
        door: Gateway,
        refusals: Rejections,
        metrics: Metrics,
        reports: StatsdReports,
        settings: Settings,
        clock: Any,
    ) -> None:
        """Take what is looked after.

        Args:
            hub: whose sockets are pinged, swept and ended.
            sweeps: called when the hub is swept.
            door: where those are ended that say nothing.
            refusals: are summed up.
            metrics: where it is noted how late timers are.
            reports: are sent every second.
            settings: name the intervals.
            clock: provides IReactorTime.
        """
        self._hub = hub
        self._sweeps = sweeps
        self._door = door
        self._refusals = refusals
        self._metrics = metrics
        self._reports = reports
        self._clock = clock
        self._next_ping_slice = 0
        self._round: Iterator[bool] = iter(())
        self._per_slice = 0
        self._ended = 0
        self._looked_at = 0.0
        self._loops: dict[Callable[[], None], LoopingCall] = {}
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Keep the intervals of these settings from now on."""
        ping_seconds = settings.ping_sockets_interval_ms / 1000
        self._ping_slices = max(1, int(ping_seconds / _PING_SLICE_SECONDS))
        self._most_silent_rounds = ceil(
            settings.socket_response_timeout_ms / settings.ping_sockets_interval_ms
        )
        self._intervals_seconds = {
            self._ping: ping_seconds / self._ping_slices,
            self._expire: _EXPIRY_SECONDS,
            self._look_for_stall: _STALL_SECONDS,
            self._begin_second: _SECOND,
            self._sweep: settings.gc_channels_interval_ms / 1000,
        }
        if self.running:
            self._start_loops()

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._looked_at = self._clock.seconds() - _STALL_SECONDS
        self._start_loops()

    def stopService(self) -> None:
        """End."""
        super().stopService()
        for loop in self._loops.values():
            loop.stop()
        self._loops.clear()

    def _start_loops(self) -> None:
        """Start what is not there, or has another interval now."""
        for task, seconds in self._intervals_seconds.items():
            loop = self._loops.get(task)
            if loop is not None and loop.interval == seconds:
                continue
            if loop is not None:
                loop.stop()
            loop = self._loops[task] = LoopingCall(self._do, task)
            loop.clock = self._clock
            loop.start(seconds)

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:
            # Passed on, it would end the loop for good.
            self._log.failure("a periodic task failed", event="periodic_task_failed")

    def _ping(self) -> None:
        # All at once, the pings and then the pongs would hold up every event.
        if self._next_ping_slice == 0:
            # A round ends as it began, whatever the settings say meanwhile.
            self._slices, self._silent_rounds = self._ping_slices, self._most_silent_rounds
            self._round = self._hub.ping(self._silent_rounds)
            self._per_slice = ceil(self._hub.socket_count / self._slices)
        self._next_ping_slice = (self._next_ping_slice + 1) % self._slices
        self._ended += sum(islice(self._round, self._per_slice))
        if self._next_ping_slice == 0 and self._ended:
            self._log.info(
                "ended {count} sockets that did not answer {rounds} pings",
                event="silent_sockets_ended",
                count=self._ended,
                rounds=self._silent_rounds,
            )
            self._ended = 0

    def _expire(self) -> None:
        if self._hub.expire(_EXPIRIES_AT_A_TIME) and self.running:
            # Others have their turn between.
            self._clock.callLater(0, self._do, self._expire)

    def _look_for_stall(self) -> None:
        now = self._clock.seconds()
        late_seconds = now - self._looked_at - _STALL_SECONDS
        self._looked_at = now
        self._metrics.observe(REACTOR_STALL_SECONDS, max(0.0, late_seconds))

    def _begin_second(self) -> None:
        self._door.close_late()
        self._door.sockets.begin_second()
        self._refusals.summarise()
        self._reports.send()

    def _sweep(self) -> None:
        for sweep in self._sweeps:
            sweep()
        swept = self._hub.sweep()
        level = self._log.warn if swept else self._log.debug
        level(
            "the sweep dropped {sockets} closed sockets",
            event="swept",
            sockets=swept,
        )
