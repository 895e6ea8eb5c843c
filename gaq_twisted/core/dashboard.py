"""The description of the status page as data; each edition describes its own part."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple

from msgspec import Struct

from gaq_twisted.core.metrics import Metric

ANY = 1e-9
"""The smallest value above 0."""


class Level(Enum):
    """The severity of a state."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Format(StrEnum):
    """How the page formats a number."""

    COUNT = "count"
    RATE = "rate"
    BYTES = "bytes"
    BYTE_RATE = "byteRate"
    PERCENT = "percent"
    SECONDS = "seconds"
    SPAN = "span"
    """Seconds as days, hours, minutes and seconds."""
    LATENCY = "latency"
    """Seconds that are known only within the ends of their axis."""
    TEXT = "text"


# The columns of a sample: one number for each second.


class Count(NamedTuple):
    """The present value of a metric as a whole number, summed over all labels."""

    name: str
    metric: Metric


class Sum(NamedTuple):
    """The sum of the present values of some metrics as a whole number, over all labels."""

    name: str
    metrics: tuple[Metric, ...]


class Value(NamedTuple):
    """The present value of a metric, summed over all labels; None while it is not finite."""

    name: str
    metric: Metric


class Flag(NamedTuple):
    """Whether a gauge is not 0."""

    name: str
    metric: Metric


class Fresh(NamedTuple):
    """Whether a gauge is not 0, and an age in another gauge is not above a limit."""

    name: str
    metric: Metric
    age: Metric
    most_seconds: float


class Outages(NamedTuple):
    """How many times a flag in an earlier column was cleared after it had been set."""

    name: str
    flag: str


class Downtime(NamedTuple):
    """For how many seconds it was not set after it was first set."""

    name: str
    flag: str


class Rate(NamedTuple):
    """The total increase of some counters per second; None if the clock was set back."""

    name: str
    metrics: tuple[Metric, ...]


class Quantile(NamedTuple):
    """A quantile of a histogram's new values; None without new values."""

    name: str
    metric: Metric
    part: float


class Most(NamedTuple):
    """An upper bound of a histogram's new values, which are not negative."""

    name: str
    metric: Metric


Column = Count | Sum | Value | Flag | Fresh | Outages | Downtime | Rate | Quantile | Most


class Question(NamedTuple):
    """Facts that must be queried elsewhere, such as in Redis."""

    column: str
    """They may have changed when this column changes."""
    up: str
    """A flag that is set while they can be queried."""
    ask: Callable[[], Awaitable[Mapping[str, str]]]
    """Returns the known facts, by name."""


# What the page draws of them. Fields with their default are omitted from the JSON.


class State(Struct, frozen=True, omit_defaults=True):
    """A word that is shown while the sum of some columns is in a range."""

    level: Level
    word: str
    columns: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


class Series(Struct, frozen=True, omit_defaults=True):
    """A line of a plot, or a number above it."""

    column: str
    label: str
    of: str = ""
    """The fact of which it is shown as a share; empty if it is shown unchanged."""
    format: Format | None = None
    """Its format; None for that of its plot."""


class Axis(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The vertical axis of a plot."""

    least: float = 0.0
    """The minimum of the upper end; for a logarithmic axis, the lower end."""
    most: float | None = None
    """The upper end; None if it follows the values."""
    is_logarithmic: bool = False


class Section(IntEnum):
    """The subject of a plot; the page shows its plots in this order."""

    SOCKETS = 1
    EVENTS = 2
    SENDING = 3
    REDIS = 4
    PROCESS = 5


class Plot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plot of some columns."""

    section: Section
    title: str
    format: Format
    axis: Axis
    series: tuple[Series, ...]
    """At most three."""
    more: tuple[Series, ...] = ()
    """Series that are shown only as numbers."""
    idle: str = ""
    """What is shown where there is no value."""
    states: tuple[State, ...] = ()
    """The first state that applies is shown, if any."""


class Row(Struct, frozen=True, omit_defaults=True):
    """A number in a tile."""

    label: str
    column: str
    format: Format
    suffix: str = ""
    zero: str = ""
    """What is shown instead of 0."""
    none: str = ""
    """What is shown where there is no value."""


class Tile(Struct, frozen=True, omit_defaults=True):
    """Numbers below a heading, with a state."""

    title: str
    rows: tuple[Row, ...]
    states: tuple[State, ...]
    """The first state that applies is shown."""


class Fault(Struct, frozen=True, omit_defaults=True):
    """A number of faults since the start."""

    label: str
    column: str
    level: Level
    """GOOD for a number that is not a fault, but helps to interpret the faults."""
    format: Format = Format.COUNT


# The causes of incidents, which are lines of the page's list.


class News(NamedTuple):
    """The text of an incident."""

    level: Level
    kind: str
    text: str
    """May contain `{count:,}` and `{times}` for a column's increase, or `{value}` for its value."""


class Rose(NamedTuple):
    """A count rose."""

    column: str
    news: News


class Switched(NamedTuple):
    """A flag was set or cleared."""

    column: str
    on: News
    off: News | None = None


class Reached(NamedTuple):
    """A number is at or above a threshold."""

    column: str
    least: float
    news: News


Rule = Rose | Switched | Reached


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """An edition's part of the status page, or the whole page."""

    columns: tuple[Column, ...] = ()
    plots: tuple[Plot, ...] = ()
    tiles: tuple[Tile, ...] = ()
    faults: tuple[Fault, ...] = ()
    """The faults in a tile."""
    process: tuple[Row, ...] = ()
    """The facts that are shown about the process."""
    rules: tuple[Rule, ...] = ()
    routes: str = ""
    """What the metric of channels counts, in the plural; empty if no edition counts any."""
    questions: tuple[Question, ...] = ()
    up: tuple[str, ...] = ()
    """The flags that are set while Redis can be read; all plots mark the times when one is not."""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """Facts that do not change while the server runs, by name."""
