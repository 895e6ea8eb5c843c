"""A status page with ten minutes of history, as a real server would have it; prints its port.

The numbers come from a script instead of browsers, so that a picture of ten minutes takes a
second. What makes a page of them is the server's own.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, LoopingCall

from gaq_twisted.core import metrics as core
from gaq_twisted.core.metrics import CORE, DELIVERY_SECONDS, Metric, Metrics
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason
from gaq_twisted.core.rejections import Rejections
from gaq_twisted.streams import metrics as streams
from gaq_twisted.streams.dashboard import streams_dashboard
from gaq_twisted.web.site import EventSite, resource_tree
from gaq_twisted.web.status.about import About
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.feed import StatusFeed
from gaq_twisted.web.status.page import StatusJson, StatusPage
from tests.support.samples import settings

_SECONDS = 620
_OUTAGE = range(280, 305)
_SPIKE_EVENTS = 1800
_DAY_SECONDS = 86400.0


class Script:
    """The events on the server, by second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(time.time() - _SECONDS)
        self.metrics = Metrics((*CORE, *streams.STREAMS))
        self.rejections = Rejections(self.metrics, self.clock.seconds)
        self.second = 0
        self._random = random.Random(1)
        self._sockets = 420.0
        self._cpu_seconds = 0.0
        for metric, source in self._gauges().items():
            self.metrics.read_from(metric, source)

    @property
    def is_up(self) -> bool:
        """Whether Redis can be read."""
        return self.second not in _OUTAGE

    def cpu_seconds(self) -> float:
        """Return how much CPU time the process has used."""
        return self._cpu_seconds

    def state(self) -> Mapping[str, object]:
        """Return what else holds now."""
        reasons = [] if self.is_up else ["Redis cannot be read"]
        return {"reasons": reasons, "cursor": f"{self.clock.seconds() * 1000:.0f}-0"}

    def next(self) -> None:
        """Let a second pass."""
        self.second += 1
        chance, metrics = self._random.random, self.metrics
        opened, closed = (
            round(2.5 + math.sin(self.second / shift) + chance()) for shift in (40, 47)
        )
        self._sockets += opened - closed
        metrics.increment(core.CONNECTED_CLIENT, opened)
        metrics.increment(core.CLOSED, closed, "1001")
        busy = 1 + 0.6 * math.sin(self.second / 55) + (1.4 if self.second % 130 < 9 else 0)
        read = round(90 * busy + 30 * chance()) if self.is_up else 0
        read += _SPIKE_EVENTS if self.second == _OUTAGE.stop else 0
        delivered = round(read * 0.7)
        metrics.increment(streams.EVENTS_READ, read)
        metrics.increment(streams.EVENTS_DELIVERED, delivered)
        metrics.increment(streams.EVENTS_WITHOUT_LISTENER, read - delivered)
        metrics.increment(core.FRAMES_SENT, delivered * 2)
        metrics.increment(core.FRAME_BYTES_SENT, delivered * 2 * 240)
        for _ in range(delivered // 16):
            metrics.observe(DELIVERY_SECONDS, self._random.lognormvariate(-6.3, 0.7))
        metrics.observe(core.REACTOR_STALL_SECONDS, 0.0007 + 0.02 * chance() ** 8)
        self._cpu_seconds += 0.012 + 0.0002 * read
        self._reject()
        self.clock.advance(1)

    def _reject(self) -> None:
        peer = Peer(f"10.20.{self._random.randrange(3)}.7")
        if self.second % 41 == 0:
            self.rejections.upgrade(peer, HTTPStatus.UNAUTHORIZED, UpgradeReason.TOKEN_EXPIRED, "")
        if self.second % 97 == 0:
            self.rejections.upgrade(peer, HTTPStatus.FORBIDDEN, UpgradeReason.ORIGIN, "")
        if self.second == 150:
            self.rejections.mismatch(peer, RequestReason.TLS, "")
        if self.second == 420:
            self.rejections.connection(peer, 1013, ConnectionReason.CHANNEL, "")
        if self.second == _OUTAGE.stop:
            self.metrics.increment(streams.STREAM_GAP)

    def _gauges(self) -> Mapping[Metric, Callable[[], float]]:
        return {
            core.OPEN_SOCKETS: lambda: round(self._sockets),
            core.OPEN_CHANNELS: lambda: round(self._sockets * 0.6),
            core.SLOW_SOCKETS: lambda: 3 if self.second % 200 > 190 else 0,
            core.UNSENT_BYTES: lambda: 90_000 if self.second % 200 > 190 else 0,
            core.DRAINING: lambda: False,
            streams.TAIL_EVENTS: lambda: min(20_000, self.second * 90),
            streams.TAIL_BYTES: lambda: min(20_000, self.second * 90) * 590,
            streams.REDIS_CONNECTIONS: lambda: 1 if self.second < _OUTAGE.stop else 2,
            streams.REDIS_UP: lambda: self.is_up,
            streams.CURSOR_LAG_SECONDS: lambda: 0.0,
            streams.READ_AGE_SECONDS: lambda: (
                0.012 if self.is_up else float(self.second - _OUTAGE.start)
            ),
        }


async def _ask_redis() -> Mapping[str, str]:
    return {"redisVersion": "Valkey 8.1.1", "redisServer": "10.0.3.7:6379, db 0"}


def serve() -> None:
    """Serve the page until the process is ended."""
    script = Script()
    endpoint = "ssl:8443:privateKey=key.pem"
    chosen = settings(listen=(endpoint,), allowed_origins=("https://bi.example.com",))
    about = About(chosen, 524_288, lambda: {endpoint: time.time() + 61 * _DAY_SECONDS})
    feed = StatusFeed(
        script.metrics,
        script.rejections,
        contents("0.1.0", [streams_dashboard(chosen, _ask_redis)]),
        about,
        script.state,
        script.clock,
        script.cpu_seconds,
    )
    feed.startService()
    for _ in range(_SECONDS):
        script.next()
    reactor: Any = global_reactor
    tree = resource_tree({b"status": StatusPage(feed), b"status.json": StatusJson(feed)})
    port = reactor.listenTCP(0, EventSite(tree, reactor=reactor), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    LoopingCall(script.next).start(1.0)
    reactor.run()


if __name__ == "__main__":
    serve()
