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
# How long a browser may take to read what was sent.
_PATIENCE_SAMPLES = 10
_RETRY_MS = 2000
# How often open pages are sent facts about the server.
_SERVER_SAMPLES = 10


@implementer(IPushProducer)
class Watcher:
    """A browser that receives samples as Server-Sent Events.

    Args:
        request: its request.
        next_number: the number of the sample that it needs next.
    """

    def __init__(self, request: Request, next_number: int) -> None:
        self.request = request
        self.next_number = next_number
        self.lists_version: tuple[int, int] | None = None
        """The version of the lists that it was last sent."""
        self.unread_samples = 0
        """The number of samples during which it has not read earlier data."""
        self.can_read = True

    def send(self, name: str, data: bytes, more: str = "") -> None:
        """Sends one event.

        Args:
            name: its name.
            data: its data, in one line.
            more: further lines of the event.
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
        """Records that the browser reads more slowly than data are sent to it."""
        self.can_read = False

    def resumeProducing(self) -> None:
        """Records that the browser has read nearly everything."""
        self.can_read = True
        self.unread_samples = 0

    def stopProducing(self) -> None:
        """Does nothing, because the request reports its end."""


class StatusFeed(Service):
    """Keeps the samples of the last ten minutes, and sends new ones to open pages.

    Args:
        metrics: the source of the samples.
        rejections: the rejected clients.
        dashboard: the description of the page.
        about: collects facts about the server.
        state: returns further present facts by name, including `reasons`, why the server is not
        ready.
        clock: provides the time.
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
        """Starts taking samples."""
        super().startService()
        now = self._clock.seconds()
        self._sampler = Sampler(self._metrics, self._dashboard.columns, now, self._cpu_seconds())
        # Distinguishes this process from its predecessor.
        self._run = f"{now * 1000:.0f}"
        self._started_at = now
        self._hello = self._greeting(now)
        self._loop.start(_INTERVAL_SECONDS, now=False)

    def stopService(self) -> None:
        """Stops sampling, and ends all streams."""
        super().stopService()
        self._loop.stop()
        self._answers.stop()
        for watcher in list(self._watchers):
            watcher.finish()

    def watch(self, request: Request, last_event_id: str) -> bool:
        """Sends samples as the answer to a request, from now until it ends.

        Args:
            request: the request; its headers are set.
            last_event_id: the id of the browser's last event; empty for none.

        Returns:
            Whether there was room for this page.
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
        """Returns the present contents of the page as JSON."""
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
        """Returns the facts that a page needs before the first sample."""
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
            # An exception would stop the loop.
            self._log.failure("taking a sample failed", event="sample_failed")

    def _take(self) -> None:
        sample = self._sampler.sample(self._clock.seconds(), self._cpu_seconds())
        self._incidents.compare(self._last, sample)
        self._last = sample
        self._samples.add(msgspec.json.encode(list(sample.values())))
        # Without open pages, these facts are not needed.
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
        """Sends new data to a watcher, unless it is slow; drops it if it is too slow."""
        if not watcher.can_read:
            watcher.unread_samples += 1
            if watcher.unread_samples > _PATIENCE_SAMPLES:
                self._log.info(
                    "dropped an open status page, because its browser does not read",
                    event="watcher_dropped",
                )
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
