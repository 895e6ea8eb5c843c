"""What the status page shows, as data: each edition describes its own part of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple

from msgspec import Struct

from gaq_twisted.core.metrics import Metric

ANY = 1e-9
"""The least that is more than nothing."""


class Level(Enum):
    """How bad something is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Format(StrEnum):
    """How the page writes a number."""

    COUNT = "count"
    RATE = "rate"
    BYTES = "bytes"
    BYTE_RATE = "byteRate"
    PERCENT = "percent"
    SECONDS = "seconds"
    SPAN = "span"
    """Seconds as days, hours, minutes and seconds."""
    LATENCY = "latency"
    """Seconds that are known within the ends of their axis only."""
    TEXT = "text"


# The columns of a sample: a number for each second.


class Count(NamedTuple):
    """The whole number that a metric is now, over all labels."""

    name: str
    metric: Metric


class Sum(NamedTuple):
    """The whole number that some metrics are now together, over all labels."""

    name: str
    metrics: tuple[Metric, ...]


class Value(NamedTuple):
    """The number that a metric is now, over all labels; None while it is not finite."""

    name: str
    metric: Metric


class Flag(NamedTuple):
    """Whether a gauge is not 0."""

    name: str
    metric: Metric


class Fresh(NamedTuple):
    """Whether a gauge is not 0, and another one, which is an age, is not above a limit."""

    name: str
    metric: Metric
    age: Metric
    most_seconds: float


class Outages(NamedTuple):
    """How many times a flag, which is an earlier column, was reset after it had been set."""

    name: str
    flag: str


class Downtime(NamedTuple):
    """For how many seconds it was not set after it had been set once."""

    name: str
    flag: str


class Rate(NamedTuple):
    """By how much counters rose together a second; None if the clock was set back."""

    name: str
    metrics: tuple[Metric, ...]


class Quantile(NamedTuple):
    """What a part of a histogram's new values does not exceed; None without new values."""

    name: str
    metric: Metric
    part: float


class Most(NamedTuple):
    """What none of a histogram's new values exceeds, which are not negative."""

    name: str
    metric: Metric


Column = Count | Sum | Value | Flag | Fresh | Outages | Downtime | Rate | Quantile | Most


class Question(NamedTuple):
    """Facts that something else must be asked for."""

    column: str
    """They may differ once this column has changed."""
    up: str
    """A flag that is set while there is somebody to ask."""
    ask: Callable[[], Awaitable[Mapping[str, str]]]
    """Returns those that are known, by name."""


# What the page draws of them. As JSON, what has its default is left out.


class State(Struct, frozen=True, omit_defaults=True):
    """A word for how things are, while the sum of some columns is in a range."""

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
    """The fact of which it is shown as a part; empty if it is shown as it is."""
    format: Format | None = None
    """How it is written; None as its plot."""


class Axis(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The vertical axis of a plot."""

    least: float = 0.0
    """The least upper end; of a logarithmic axis, the lower end."""
    most: float | None = None
    """The upper end; None if it follows the values."""
    is_logarithmic: bool = False


class Section(IntEnum):
    """What a plot is about; the page has its plots in this order."""

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
    """Up to three."""
    more: tuple[Series, ...] = ()
    """What is shown as a number only."""
    idle: str = ""
    """What is shown where there is no value."""
    states: tuple[State, ...] = ()
    """The first that holds is shown; none if none does."""


class Row(Struct, frozen=True, omit_defaults=True):
    """A number of a tile."""

    label: str
    column: str
    format: Format
    suffix: str = ""
    zero: str = ""
    """What is shown instead of 0."""
    none: str = ""
    """What is shown where there is no value."""


class Tile(Struct, frozen=True, omit_defaults=True):
    """Some numbers below a heading, with a state."""

    title: str
    rows: tuple[Row, ...]
    states: tuple[State, ...]
    """The first that holds is shown."""


class Fault(Struct, frozen=True, omit_defaults=True):
    """A number of faults since the start."""

    label: str
    column: str
    level: Level
    """GOOD if it is none, but of interest beside those that are."""
    format: Format = Format.COUNT


# What makes an incident, which is a line of the page's list.


class News(NamedTuple):
    """What an incident says."""

    level: Level
    kind: str
    text: str
    """With `{count:,}` and `{times}` for by how much a column rose, or `{value}` for what it is."""


class Rose(NamedTuple):
    """A count rose."""

    column: str
    news: News


class Switched(NamedTuple):
    """A flag was set, or reset."""

    column: str
    on: News
    off: News | None = None


class Reached(NamedTuple):
    """A number is as great as this or greater."""

    column: str
    least: float
    news: News


Rule = Rose | Switched | Reached


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What an edition adds to the status page, or all that the page shows."""

    columns: tuple[Column, ...] = ()
    plots: tuple[Plot, ...] = ()
    tiles: tuple[Tile, ...] = ()
    faults: tuple[Fault, ...] = ()
    """What a tile of faults lists."""
    process: tuple[Row, ...] = ()
    """What is shown of the process."""
    rules: tuple[Rule, ...] = ()
    routes: str = ""
    """What the metric of channels counts, in the plural; empty if no edition adds any."""
    questions: tuple[Question, ...] = ()
    up: tuple[str, ...] = ()
    """The flags that are set while Redis can be read; all plots show when one was not."""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """What does not change while the server runs, by name."""
