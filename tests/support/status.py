"""The status page: metrics to show, and its events as browsers read them."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from gaq_twisted.core import metrics as core
from gaq_twisted.core.dashboard import Dashboard
from gaq_twisted.core.metrics import Metrics
from gaq_twisted.streams import metrics as streams
from gaq_twisted.streams.dashboard import streams_dashboard
from gaq_twisted.web.status.about import About
from gaq_twisted.web.status.contents import contents
from tests.support.samples import settings, streams_metrics

GAUGES = {
    core.OPEN_SOCKETS: 3,
    core.OPEN_CHANNELS: 2,
    core.SLOW_SOCKETS: 1,
    core.UNSENT_BYTES: 4096,
    core.DRAINING: False,
    streams.TAIL_EVENTS: 7,
    streams.TAIL_BYTES: 900,
    streams.REDIS_CONNECTIONS: 5,
    streams.REDIS_UP: True,
    streams.CURSOR_LAG_SECONDS: 0.0,
    streams.READ_AGE_SECONDS: 0.25,
}


def metrics_with(**gauges: float) -> Metrics:
    """Returns metrics whose gauges can be read; those that are named have that value."""
    metrics = streams_metrics()
    for metric, value in GAUGES.items():
        metrics.read_from(metric, partial(float, gauges.get(metric.name, value)))
    return metrics


async def ask_redis() -> Mapping[str, str]:
    """Returns what a server says of itself."""
    return {"redisVersion": "Valkey 8.1.0"}


def streams_contents(
    ask: Callable[[], Awaitable[Mapping[str, str]]] = ask_redis,
) -> Dashboard:
    """Returns what the page of a server of the streams edition shows."""
    limits = settings(tail_max_events=1000, tail_max_bytes=100_000)
    return contents("1.2", [streams_dashboard(limits, ask)])


def about(**values: Any) -> About:
    """Returns what finds out what a server with those settings is."""
    return About(settings(**values), 1024, dict)


class SentEvent(NamedTuple):
    """A Server-Sent Event."""

    name: str
    data: Any
    id: str


def events_of(text: str) -> Iterator[SentEvent]:
    """Yields the whole events of a stream's text."""
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        yield SentEvent(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
