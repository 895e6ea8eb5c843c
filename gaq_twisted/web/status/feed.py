"""Takes a sample every second, and sends it to the open status pages."""

from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from twisted.application.service import Service
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from gaq_twisted.core.dashboard import Dashboard
from gaq_twisted.core.metrics import Metrics
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.web.status.about import About
from gaq_twisted.web.status.answers import Answers
from gaq_twisted.web.status.contents import REASONS
from gaq_twisted.web.status.incidents import Incidents
from gaq_twisted.web.status.sampler import Sample, Sampler, SampleRing

_INTERVAL_SECONDS = 1.0
_KEPT_SAMPLES = 600
_MOST_WATCHERS = 10
# How long a browser may take to read what it was sent.
_PATIENCE_SAMPLES = 10
_RETRY_MS = 2000
# How often open pages are sent what the server is.
_SERVER_SAMPLES = 10


@implementer(IPushProducer)
class Watcher:
    """A browser that is sent samples, as Server-Sent Events.

    Args:
        request: its request.
        next_number: the number of the sample that it needs next.
    """

    def __init__(self, request: Request, next_number: int) -> None:
        self.request = request
        self.next_number = next_number
        self.lists_version: tuple[int, int] | None = None
        """The version of the lists that it was sent."""
        self.unread_samples = 0
        """For how many samples it has not read what it was sent before."""
        self.can_read = True

    def send(self, name: str, data: bytes, more: str = "") -> None:
        """Sends one event.

        Args:
            name: its name.
            data: its data, in one line.
            more: further lines of it.
        """
        self.request.write(b"%bevent: %b\ndata: %b\n\n" % (more.encode(), name.encode(), data))

    def finish(self) -> None:
        """Ends the stream."""
        self.request.unregisterProducer()
        self.request.finish()

    def drop(self) -> None:
        """Ends the connection at once."""
        cast(ITCPTransport, self.request.channel.transport).abortConnection()

    # Called by the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """Notes that the browser does not read as fast as is sent to it."""
        self.can_read = False

    def resumeProducing(self) -> None:
        """Notes that the browser has read nearly all."""
        self.can_read = True
        self.unread_samples = 0

    def stopProducing(self) -> None:
        """Does nothing; the request reports its end."""


class StatusFeed(Service):
    """Keeps the samples of the last ten minutes, and sends new ones to the open pages.

    Args:
        metrics: the numbers.
        rejections: the clients that were rejected.
        dashboard: what the page shows.
        about: finds out what the server is.
        state: returns what else holds now, by name; among it `reasons`, why the server is
            not ready.
        clock: the time.
        cpu_seconds: returns how much CPU time the process has used.
    """

    _log = Logger()

    def __init__(
        self,
        metrics: Metrics,
        rejections: Rejections,
        dashboard: Dashboard,
        about: About,
        state: Callable[[], Mapping[str, object]],
        clock: IReactorTime,
        cpu_seconds: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._rejections = rejections
        self._dashboard = dashboard
        self._about = about
        self._answers = Answers(dashboard.questions)
        self._read_state = state
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._incidents = Incidents(dashboard.rules)
        self._samples = SampleRing(_KEPT_SAMPLES)
        self._last: Sample | None = None
        self._watchers: dict[Watcher, None] = {}
        self._loop = LoopingCall(self._take_guarded)
        self._loop.clock = clock

    def startService(self) -> None:
        """Begins to take samples."""
        super().startService()
        now = self._clock.seconds()
        self._sampler = Sampler(self._metrics, self._dashboard.columns, now, self._cpu_seconds())
        # Distinguishes this process from the one that it replaces.
        self._run = f"{now * 1000:.0f}"
        self._started_at = now
        self._hello = self._greeting(now)
        self._loop.start(_INTERVAL_SECONDS, now=False)

    def stopService(self) -> None:
        """Ends the sampling, and all streams."""
        super().stopService()
        self._loop.stop()
        self._answers.stop()
        for watcher in list(self._watchers):
            watcher.finish()

    def watch(self, request: Request, last_event_id: str) -> bool:
        """Sends samples as the answer to a request, from now until it ends.

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
        # It fires at the end of the answer, whichever side ends it.
        request.notifyFinish().addBoth(lambda _: self._watchers.pop(watcher))
        request.registerProducer(watcher, True)
        watcher.send("hello", self._hello, f"retry: {_RETRY_MS}\n")
        self._update(watcher, self._state(), self._server())
        return True

    def snapshot(self) -> bytes:
        """Returns what the page shows now, as JSON."""
        sample = self._last or {}
        if sample:
            self._answers.refresh(sample)
        state = {**self._dashboard.facts, **self._answers.facts, **self._read_state()}
        return msgspec.json.encode(
            {
                "ready": not state["reasons"],
                **state,
                "startedAt": self._started_at,
                "server": self._about.now(),
                "now": sample,
                **self._lists(),
            }
        )

    def _greeting(self, now: float) -> bytes:
        """Returns what a page needs to know before the first sample."""
        shown = self._dashboard
        return msgspec.json.encode(
            {
                **shown.facts,
                "startedAt": now,
                "fields": self._sampler.fields,
                "keptSeconds": _KEPT_SAMPLES * _INTERVAL_SECONDS,
                "plots": shown.plots,
                "tiles": shown.tiles,
                "process": shown.process,
                "up": shown.up,
                "reasons": REASONS,
            }
        )

    def _take_guarded(self) -> None:
        try:
            self._take()
        except Exception:
            # Passed on, it would end the loop for good.
            self._log.failure("taking a sample failed", event="sample_failed")

    def _take(self) -> None:
        sample = self._sampler.sample(self._clock.seconds(), self._cpu_seconds())
        self._incidents.compare(self._last, sample)
        self._last = sample
        self._samples.add(msgspec.json.encode(list(sample.values())))
        # What nobody watches is not read.
        if not self._watchers:
            return
        self._answers.refresh(sample)
        server = self._server() if self._samples.end % _SERVER_SAMPLES == 0 else b""
        state = self._state()
        for watcher in list(self._watchers):
            self._update(watcher, state, server)

    def _state(self) -> bytes:
        return msgspec.json.encode({**self._answers.facts, **self._read_state()})

    def _server(self) -> bytes:
        return msgspec.json.encode(self._about.now())

    def _update(self, watcher: Watcher, state: bytes, server: bytes) -> None:
        """Sends what a watcher does not have yet, unless it is slow; drops it if it is too slow."""
        if not watcher.can_read:
            watcher.unread_samples += 1
            if watcher.unread_samples > _PATIENCE_SAMPLES:
                self._log.info("dropped a watcher that does not read", event="watcher_dropped")
                watcher.drop()
            return
        lists_version = (self._rejections.version, self._incidents.version)
        if watcher.lists_version != lists_version:
            watcher.lists_version = lists_version
            watcher.send("lists", msgspec.json.encode(self._lists()))
        if server:
            watcher.send("server", server)
        rows = self._samples.since(watcher.next_number)
        watcher.next_number = self._samples.end
        if rows:
            watcher.send(
                "samples",
                b'{"state":%b,"samples":[%b]}' % (state, b",".join(rows)),
                f"id: {self._run}-{self._samples.end}\n",
            )

    def _lists(self) -> Mapping[str, object]:
        return {
            "rejections": self._rejections.newest_first(),
            "incidents": self._incidents.newest_first(),
        }
