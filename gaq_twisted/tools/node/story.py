"""What happened while a dashboard loaded, independent of the server."""

from dataclasses import dataclass, field
from typing import NamedTuple

from gaq_twisted.streams.events import StreamId


class Span(NamedTuple):
    """A period in which something did not run, in seconds since the dashboard began to load."""

    start: float
    end: float

    def has(self, at: float) -> bool:
        """Returns whether a time is within it."""
        return self.start <= at < self.end


class Publication(NamedTuple):
    """The event of a chart that is ready, as it is in Redis."""

    chart: str
    at: float
    """When it was published, in seconds since the dashboard began to load."""
    channel_id: StreamId
    """Its id in the stream of the browser's channel."""
    global_id: StreamId
    """Its id in the global stream."""


class Position(NamedTuple):
    """The position of a reader of the global stream."""

    newest: StreamId | None
    """The last event that it has read; None if it has read none since it started."""
    since: float
    """When it read that event or started, in seconds since the dashboard began to load."""


@dataclass(kw_only=True)
class Story:
    """The load of one dashboard, and its faults; times are in seconds since its start."""

    cut_at: float | None = None
    """When the browser's connection was cut."""
    server_down: Span | None = None
    """When the server did not run."""
    redis_down: Span | None = None
    """When Redis did not run."""
    publications: list[Publication] = field(default_factory=list)
    """The events in Redis, in the order of their publication; of streams only."""
    ended: dict[str, float] = field(default_factory=dict)
    """When each chart's query ended, as Superset's database has it."""


class Outcome(NamedTuple):
    """The outcome of a chart."""

    is_shown: bool
    """Whether the browser shows it; otherwise it never does, until the page is reloaded."""
    at: float
    """Since when, in seconds since the dashboard began to load."""
