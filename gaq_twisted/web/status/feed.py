"""Takes a sample every second, and sends it to those who watch."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from gaq_twisted.core.metrics import DELIVERY_SECONDS, Metrics
from gaq_twisted.core.readiness import Readiness
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.web.status.incidents import Incidents
from gaq_twisted.web.status.sampler import FIELDS, History, Sample, Sampler

_INTERVAL_SECONDS = 1.0
_KEPT_SAMPLES = 600
_MOST_WATCHERS = 10
# How long a browser may take to read what it was sent.
_PATIENCE_SAMPLES = 10
_RETRY_MS = 2000


@implementer(IPushProducer)
class Watcher:
    """A browser that is sent samples, as Server-Sent Events."""

    def __init__(self, request: Any, next_number: int) -> None:
        """Take its request, and the number of the sample that it needs next."""
        self.request = request
        self.next_number = next_number
        self.lists_version: tuple[int, int] | None = None
        """Which lists it has been sent."""
        self.unread_samples = 0
        """For how many samples it has not read what it was sent before."""
        self.can_read = True

    def send(self, name: str, data: bytes, more: str = "") -> None:
        """Send one event.

        Args:
            name: its name.
            data: its data, in one line.
            more: further lines for it.
        """
        self.request.write(b"%bevent: %b\ndata: %b\n\n" % (more.encode(), name.encode(), data))

    def finish(self) -> None:
        """End the stream."""
        self.request.unregisterProducer()
        self.request.finish()

    # Called by the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """Note that it does not read as fast as is sent to it."""
        self.can_read = False

    def resumeProducing(self) -> None:
        """Note that it has read nearly all."""
        self.can_read = True
        self.unread_samples = 0

    def stopProducing(self) -> None:
        """Do nothing; the request tells its end."""


class StatusFeed(Service):
    """Keeps the samples of the last ten minutes, and sends new ones to watchers."""

    _log = Logger()

    def __init__(
        self,
        metrics: Metrics,
        refusals: Rejections,
        readiness: Readiness,
        facts: Mapping[str, object],
        clock: Any,
        cpu_seconds: Callable[[], float],
    ) -> None:
        """Take what is shown.

        Args:
            metrics: the numbers.
            refusals: the clients that were turned away.
            readiness: knows whether the server is ready.
            facts: what does not change, under names that the page knows.
            clock: provides IReactorTime.
            cpu_seconds: returns how much CPU time the process has used.
        """
        self._metrics = metrics
        self._refusals = refusals
        self._readiness = readiness
        self._facts = facts
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._notes = Incidents()
        self._history = History(_KEPT_SAMPLES)
        self._last: Sample | None = None
        self._state = b"{}"
        self._watchers: dict[Watcher, None] = {}
        self._loop = LoopingCall(self._take_guarded)
        self._loop.clock = clock

    def startService(self) -> None:
        """Begin."""
        super().startService()
        now = self._clock.seconds()
        self._sampler = Sampler(self._metrics, now, self._cpu_seconds())
        # Tells this process from the one that it replaces.
        self._run = f"{now * 1000:.0f}"
        first, last = DELIVERY_SECONDS.buckets[0], DELIVERY_SECONDS.buckets[-1]
        self._hello = msgspec.json.encode(
            {
                **self._facts,
                "startedAt": now,
                "fields": FIELDS,
                "keptSeconds": _KEPT_SAMPLES * _INTERVAL_SECONDS,
                "leastLatencySeconds": first,
                "mostLatencySeconds": last,
            }
        )
        self._loop.start(_INTERVAL_SECONDS, now=False)

    def stopService(self) -> None:
        """End, also all streams."""
        super().stopService()
        self._loop.stop()
        for watcher in list(self._watchers):
            watcher.finish()

    def watch(self, request: Request, last_event_id: str) -> bool:
        """Send samples as the answer to a request, from now until it ends.

        Args:
            request: the request; its headers are set.
            last_event_id: the id of the last event that the browser got; empty for none.

        Returns:
            Whether there is room for one more.
        """
        if not self.running or len(self._watchers) >= _MOST_WATCHERS:
            return False
        run, _, number = last_event_id.partition("-")
        has_some = run == self._run and number.isdecimal() and len(number) < 20
        watcher = Watcher(request, int(number) if has_some else 0)
        self._watchers[watcher] = None
        # It fires at the end of the answer, whoever ends it.
        request.notifyFinish().addBoth(lambda _: self._watchers.pop(watcher))
        request.registerProducer(watcher, True)
        watcher.send("hello", self._hello, f"retry: {_RETRY_MS}\n")
        self._update(watcher)
        return True

    def _take_guarded(self) -> None:
        try:
            self._take()
        except Exception:
            # Passed on, it would end the loop for good.
            self._log.failure("taking a sample failed", event="sample_failed")

    def _take(self) -> None:
        sample = self._sampler.sample(self._clock.seconds(), self._cpu_seconds())
        self._notes.compare(self._last, sample)
        self._last = sample
        self._history.add(msgspec.json.encode(sample))
        reasons, facts = self._readiness.now()
        self._state = msgspec.json.encode({"reasons": reasons, **facts})
        for watcher in list(self._watchers):
            self._update(watcher)

    def _update(self, watcher: Watcher) -> None:
        """Send what a watcher has not got yet, unless it is slow; end it if it is too slow."""
        if not watcher.can_read:
            watcher.unread_samples += 1
            if watcher.unread_samples > _PATIENCE_SAMPLES:
                self._log.info("dropped a watcher that does not read", event="watcher_dropped")
                watcher.request.channel.transport.abortConnection()
            return
        lists_version = (self._refusals.version, self._notes.version)
        if watcher.lists_version != lists_version:
            watcher.lists_version = lists_version
            watcher.send("lists", self._lists())
        rows = self._history.since(watcher.next_number)
        watcher.next_number = self._history.end
        if rows:
            watcher.send(
                "samples",
                b'{"state":%b,"samples":[%b]}' % (self._state, b",".join(rows)),
                f"id: {self._run}-{self._history.end}\n",
            )

    def _lists(self) -> bytes:
        return msgspec.json.encode(
            {"refusals": self._refusals.newest_first(), "notes": self._notes.newest_first()}
        )
