"""Results as text, and as a plot."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Result
from benchmarks.servers import FLOOR, NODE

Results = Mapping[str, Mapping[str, Sequence[Result]]]
"""The cost of each load for each server, by the server's name and the load's."""


class Goal(NamedTuple):
    """The expected cost of a load."""

    load: str
    limit: float
    unit: str
    at_least: bool = False
    of_load: str | None = None
    """The load of the same run that the limit is a multiple of; the same load if None."""
    of_server: str | None = None
    """The server of the same run that the limit is a multiple of; the same server if None."""
    figure: str | None = None
    """Which of the further figures counts; the load's value if None."""


GOALS: Sequence[Goal] = (
    *(Goal(f"lone-{rate}", 2.0, "x floor", of_server=FLOOR.name) for rate in (10, 200, 500)),
    Goal("lone-200", 0.6, "x median of node", of_server=NODE, figure="ms median"),
    Goal("lone-200", 1.0, "x 99 % of node", of_server=NODE, figure="ms 99 %"),
    *(Goal(f"rt-lone-{rate}", 2.0, "x floor", of_server=FLOOR.name) for rate in (10, 200, 500)),
    Goal("idle-0", 1.0, "ms CPU a second"),
    Goal("idle-100", 1.0, "ms CPU a second"),
    Goal("idle-10000", 1.0, "x CPU of node", of_server=NODE),
    # A third less than on the day before the work on them began.
    Goal("import", 280.0, "ms"),
    Goal("start", 680.0, "ms until ready"),
    Goal("start", 290.0, "ms CPU", figure="ms CPU until ready"),
    Goal("start", 44.0, "MB when idle", figure="MB when idle"),
    Goal("fanout", 2.0, "x floor", of_load="floor"),
    Goal("tabs", 0.7, "x floor", of_load="floor"),
    Goal("discard", 0.35, "x floor", of_load="floor"),
    Goal("connect", 0.30, "ms CPU"),
    Goal("memory", 6.0, "kB"),
    Goal("sweep", 15.0, "ms worst"),
    Goal("churn", 15.0, "ms worst"),
    Goal("catchup", 2.0, "ms median"),
    Goal("storm", 3000.0, "a second", at_least=True),
    # The other protocol is to cost no more.
    Goal("rt-fanout", 1.0, "x fanout", of_load="fanout"),
    Goal("rt-discard", 1.0, "x discard", of_load="discard"),
    Goal("rt-connect", 1.0, "x connect", of_load="connect"),
    Goal("rt-lone-200", 1.0, "x CPU of lone-200", of_load="lone-200"),
    Goal("rt-storm", 1.0, "x CPU of storm", of_load="storm", figure="ms CPU a reconnect"),
    Goal("rt-broadcast", 15.0, "ms worst"),
)


def read_results(path: Path) -> tuple[Results, dict[str, str]]:
    """Returns the results that a file of --json holds, and what the last was measured on.

    Args:
        path: the file, which may be the work of several runs.
    """
    results: dict[str, dict[str, list[Result]]] = {}
    facts = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        figures = (line.pop(key) for key in ("value", "unit", "generator_busy", "more"))
        of_server = results.setdefault(line.pop("server"), {})
        of_server.setdefault(line.pop("load"), []).append(Result(*figures))
        facts = line
    return results, facts


def forget_results(path: Path, loads: Sequence[str]) -> None:
    """Removes the results of loads from a file of --json, which need not exist."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if json.loads(line)["load"] not in loads]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(kept))


def row(server: str, load: str, result: Result) -> str:
    """Returns one line about one run of a load."""
    more = ", ".join(f"{value:.4g} {name}" for name, value in result.more.items())
    busy = f"generator {result.generator_busy:.0%}" if result.generator_busy else ""
    return f"{server:12} {load:14} {result.value:9.3f} {result.unit:17} {busy:15} {more}"


def goal_table(results: Results, name: str) -> str:
    """Returns the medians beside the goals, and beside those of other servers.

    Args:
        results: all runs.
        name: the server whose goals they are.
    """
    others = [other for other in results if other not in (name, FLOOR.name)]
    heads = "".join(f" {other:>20}" for other in others)
    lines = [f"{'load':12} {name:>20} {'goal':>9}{heads}  unit"]
    for goal in GOALS:
        figure = figure_of(results, name, goal, name)
        if figure is None:
            continue
        met = figure >= goal.limit if goal.at_least else figure <= goal.limit
        limit = f"{'>=' if goal.at_least else '<='}{goal.limit:.4g}"
        beside = "".join(f" {_with_spread(results, other, goal, name):>20}" for other in others)
        lines.append(
            f"{goal.load:12} {_with_spread(results, name, goal, name):>20} {limit:>9}{beside}"
            f"  {goal.unit:16} {'met' if met else 'MISSED'}"
        )
    return "\n".join(lines)


def median_of(results: Results, server: str, load: str, figure: str | None = None) -> float | None:
    """Returns the median of what a load cost a server, or None if that was not measured.

    Args:
        results: all runs.
        server: whose.
        load: of which load.
        figure: which of the further figures; the load's value if None.
    """
    values = values_of(results, server, load, figure)
    return statistics.median(values) if values else None


def values_of(
    results: Results, server: str, load: str, figure: str | None = None
) -> Sequence[float]:
    """Returns one figure of each run of a load on a server; as `median_of`."""
    runs = results.get(server, {}).get(load, ())
    if figure is None:
        return [run.value for run in runs]
    figures = [{run.unit: run.value, **run.more} for run in runs]
    return [of_run[figure] for of_run in figures if figure in of_run]


def figure_of(results: Results, server: str, goal: Goal, own: str) -> float | None:
    """Returns a server's median in the unit of the goal, or None if it was not measured."""
    value = median_of(results, server, goal.load, goal.figure)
    if goal.of_load is None and goal.of_server is None:
        return value
    # The floor of bulk has to do with no server, so there is one for all.
    of_server = own if goal.of_load == "floor" else goal.of_server or server
    compared = median_of(results, of_server, goal.of_load or goal.load, goal.figure)
    return None if value is None or compared is None else value / compared


def _with_spread(results: Results, server: str, goal: Goal, own: str) -> str:
    figure = figure_of(results, server, goal, own)
    if figure is None:
        return "-"
    values = values_of(results, server, goal.load, goal.figure)
    return f"{figure:.3g} ({max(values) / min(values) - 1:.0%} of {len(values)})"
