"""Results as text, and as a plot."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.loads import Result

Results = Mapping[str, Mapping[str, Sequence[Result]]]
"""What each load cost each server, by the server's name and the load's."""

NODE = "node"
"""What Superset's own server is called in the results."""


class Goal(NamedTuple):
    """What a load should cost."""

    limit: float
    unit: str
    at_least: bool = False
    multiple_of: str | None = None
    """The load of the same run that the limit is a multiple of."""
    figure: str | None = None
    """Which of the further figures counts; the load's value if None."""


GOALS: Mapping[str, Goal] = {
    "fanout": Goal(1.5, "x floor", multiple_of="floor"),
    "tabs": Goal(0.7, "x floor", multiple_of="floor"),
    "discard": Goal(0.4, "x floor", multiple_of="floor"),
    "connect": Goal(0.30, "ms CPU"),
    "memory": Goal(6.0, "kB"),
    "latency": Goal(0.45, "ms median"),
    "sweep": Goal(15.0, "ms worst"),
    "churn": Goal(15.0, "ms worst"),
    "catchup": Goal(2.0, "ms median"),
    "storm": Goal(3000.0, "a second", at_least=True),
    # The other protocol is to cost no more.
    "rt-fanout": Goal(1.0, "x fanout", multiple_of="fanout"),
    "rt-discard": Goal(1.0, "x discard", multiple_of="discard"),
    "rt-connect": Goal(1.0, "x connect", multiple_of="connect"),
    "rt-latency": Goal(1.0, "x CPU of latency", multiple_of="latency", figure="ms CPU an event"),
    "rt-storm": Goal(1.0, "x CPU of storm", multiple_of="storm", figure="ms CPU a reconnect"),
    "rt-broadcast": Goal(15.0, "ms worst"),
}


def read_results(path: Path) -> tuple[Results, dict[str, str]]:
    """Return the results that a file of --json holds, and what the last was measured on.

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


def row(server: str, load: str, result: Result) -> str:
    """Return one line about one run of a load."""
    more = ", ".join(f"{value:.4g} {name}" for name, value in result.more.items())
    busy = f"generator {result.generator_busy:.0%}" if result.generator_busy else ""
    return f"{server:12} {load:14} {result.value:9.3f} {result.unit:17} {busy:15} {more}"


def goal_table(results: Results, name: str) -> str:
    """Return the medians beside the goals, and beside those of other servers.

    Args:
        results: all runs.
        name: the server whose goals they are.
    """
    others = [other for other in results if other != name]
    heads = "".join(f" {other:>20}" for other in others)
    lines = [f"{'load':12} {name:>20} {'goal':>9}{heads}  unit"]
    for load, goal in GOALS.items():
        figure = _figure(results, name, load)
        if figure is None:
            continue
        met = figure >= goal.limit if goal.at_least else figure <= goal.limit
        limit = f"{'>=' if goal.at_least else '<='}{goal.limit:.4g}"
        beside = "".join(f" {_with_spread(results, other, load):>20}" for other in others)
        lines.append(
            f"{load:12} {_with_spread(results, name, load):>20} {limit:>9}{beside}"
            f"  {goal.unit:16} {'met' if met else 'MISSED'}"
        )
    return "\n".join(lines)


def write_plot(path: Path, results: Results, name: str, facts: Mapping[str, str]) -> None:
    """Write an SVG: for each load, how many times better than its goal; and the Node.js server.

    Args:
        path: the file.
        results: all runs.
        name: the server whose goals they are.
        facts: what it was measured on.
    """
    compared = []
    for load in GOALS:
        own = _figure(results, name, load)
        if own is not None:
            compared.append((load, own, _figure(results, NODE, load)))
    width, left, bar = 860, 100, 14
    height = 90 + len(compared) * 44
    # Times the goal; to the left of 1 is better, on a logarithmic scale.
    scale = _scale(left, width - 180)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15">Cost as a multiple of the goal'
        " (shorter is better; the line is the goal)</text>",
    ]
    for index, (load, own, node) in enumerate(compared):
        goal = GOALS[load]
        top = 44 + index * 44
        parts.append(f'<text x="{left - 8}" y="{top + 19}" text-anchor="end">{load}</text>')
        for place, colour, value in ((0, "#1f77b4", own), (1, "#b0b0b0", node)):
            if value is None:
                continue
            cost = goal.limit / value if goal.at_least else value / goal.limit
            y = top + place * (bar + 2)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{scale(cost) - left:.1f}" height="{bar}"'
                f' fill="{colour}"/><text x="{scale(cost) + 6:.1f}" y="{y + 11}" font-size="11">'
                f"{_short(value)} {goal.unit}</text>"
            )
    parts.append(
        f'<path d="M{scale(1):.1f} 36V{height - 44}" stroke="#d62728" stroke-dasharray="4 3"/>'
    )
    legend = f"blue: {name}"
    if any(node is not None for _, _, node in compared):
        legend += "; grey: Superset's Node.js server, measured in turn with it on this machine"
    said = ", ".join(f"{fact} {value}" for fact, value in facts.items())
    parts.append(
        f'<text x="10" y="{height - 26}" font-size="11">{escape(legend)}</text>'
        f'<text x="10" y="{height - 10}" font-size="10">{escape(said)}</text></svg>'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n")


def _scale(left: float, right: float) -> Callable[[float], float]:
    low, high = math.log10(0.05), math.log10(3000)

    def place(cost: float) -> float:
        part = (math.log10(max(cost, 0.06)) - low) / (high - low)
        return left + part * (right - left)

    return place


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _figure(results: Results, name: str, load: str) -> float | None:
    """Returns a server's median in the unit of the goal, or None if it was not measured."""
    goal = GOALS[load]
    runs = results.get(name, {}).get(load, ())
    if goal.multiple_of == "floor":
        # It has to do with no server, so those that were measured in turn have one floor.
        compared = [run for loads in results.values() for run in loads.get("floor", ())]
    else:
        compared = list(results.get(name, {}).get(goal.multiple_of or load, ()))
    values, others = _values(runs, goal.figure), _values(compared, goal.figure)
    if not values or not others:
        return None
    return statistics.median(values) / (statistics.median(others) if goal.multiple_of else 1.0)


def _with_spread(results: Results, name: str, load: str) -> str:
    figure = _figure(results, name, load)
    if figure is None:
        return "-"
    values = _values(results[name][load], GOALS[load].figure)
    return f"{figure:.3g} ({max(values) / min(values) - 1:.0%} of {len(values)})"


def _values(runs: Sequence[Result], figure: str | None) -> list[float]:
    """Returns one figure of each run that has it; the value if None."""
    if figure is None:
        return [run.value for run in runs]
    figures = [{run.unit: run.value, **run.more} for run in runs]
    return [of_run[figure] for of_run in figures if figure in of_run]
