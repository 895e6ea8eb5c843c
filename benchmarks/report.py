"""Results as text, and as a plot."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.loads import Result


class Goal(NamedTuple):
    """What a load should cost, and what it costs the Node.js server."""

    of_floor: bool
    """Whether both figures are multiples of the floor of the same run."""
    limit: float
    at_least: bool
    node: float | None
    unit: str


GOALS: Mapping[str, Goal] = {
    "fanout": Goal(True, 1.5, False, 16.8 / 7, "x floor"),
    "tabs": Goal(True, 0.7, False, 10.9 / 7, "x floor"),
    "discard": Goal(True, 0.4, False, 4.5 / 7, "x floor"),
    "connect": Goal(False, 0.30, False, 1.19, "ms CPU"),
    "memory": Goal(False, 6.0, False, 10.3, "kB"),
    "latency": Goal(False, 0.45, False, 0.53, "ms median"),
    "sweep": Goal(False, 15.0, False, 147.0, "ms worst"),
    "churn": Goal(False, 15.0, False, None, "ms worst"),
    "catchup": Goal(False, 2.0, False, 4856.0, "ms median"),
    "storm": Goal(False, 3000.0, True, 847.0, "a second"),
}


def row(load: str, result: Result) -> str:
    """Return one line about one run of a load."""
    more = ", ".join(f"{value:.4g} {name}" for name, value in result.more.items())
    busy = f"generator {result.generator_busy:.0%}" if result.generator_busy else ""
    return f"{load:14} {result.value:9.3f} {result.unit:17} {busy:15} {more}"


def goal_table(medians: Mapping[str, float], results: Mapping[str, Sequence[Result]]) -> str:
    """Return the medians beside the goals.

    Args:
        medians: by load.
        results: all runs, by load.
    """
    lines = [f"{'load':8} {'measured':>9} {'goal':>9} {'Node.js':>9}  unit"]
    for name, goal, figure in _compared(medians):
        met = figure >= goal.limit if goal.at_least else figure <= goal.limit
        sign = ">=" if goal.at_least else "<="
        node = "-" if goal.node is None else f"{goal.node:.4g}"
        spread = [result.value for result in results[name]]
        share = max(spread) / min(spread) - 1
        lines.append(
            f"{name:8} {figure:9.3g} {f'{sign}{goal.limit:.4g}':>9} {node:>9}"
            f"  {goal.unit:10} {'met' if met else 'MISSED':7}"
            f" spread {share:.0%} of {len(spread)} runs"
        )
    return "\n".join(lines)


def write_plot(path: Path, medians: Mapping[str, float], facts: Mapping[str, str]) -> None:
    """Write an SVG: for each load, how many times better than its goal, and the Node.js server.

    Args:
        path: the file.
        medians: by load.
        facts: what it was measured on.
    """
    compared = _compared(medians)
    width, left, bar = 860, 90, 14
    height = 90 + len(compared) * 44
    # Times the goal; to the left of 1 is better, on a logarithmic scale.
    scale = _scale(left, width - 150)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15">Cost as a multiple of the goal'
        " (shorter is better; the line is the goal)</text>",
    ]
    for index, (name, goal, figure) in enumerate(compared):
        top = 44 + index * 44
        parts.append(f'<text x="{left - 8}" y="{top + 19}" text-anchor="end">{name}</text>')
        for place, colour, value in (
            (0, "#1f77b4", figure),
            (1, "#b0b0b0", goal.node),
        ):
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
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts.append(
        f'<text x="10" y="{height - 26}" font-size="11">blue: this server; grey: the Node.js server'
        " as once measured on another machine, whose floor is 7 µs</text>"
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


def _compared(medians: Mapping[str, float]) -> list[tuple[str, Goal, float]]:
    compared = []
    for name, goal in GOALS.items():
        if name not in medians or (goal.of_floor and "floor" not in medians):
            continue
        figure = medians[name] / medians["floor"] if goal.of_floor else medians[name]
        compared.append((name, goal, figure))
    return compared
