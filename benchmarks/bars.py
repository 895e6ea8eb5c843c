"""The picture of the documentation: three costs beside those of Superset's Node.js server."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from benchmarks.figures import Figures, short
from benchmarks.servers import NODE

_WIDTH = 760
_LEFT = 130
_LONGEST = 460
_BAR = 22
_PANEL = 98
_TOP = 16


class Colours(NamedTuple):
    """The tools for drawing the picture."""

    page: str
    text: str
    faint: str
    own: str
    other: str


LIGHT = Colours(page="#ffffff", text="#1d2733", faint="#44546a", own="#2f6fbf", other="#a9b4c0")
DARK = Colours(page="#14181e", text="#e6ebf1", faint="#b1bdcb", own="#6aa5ea", other="#5b6877")


class Comparison(NamedTuple):
    """One cost of both servers."""

    title: str
    own: float
    other: float
    unit: str


def comparisons(figures: Figures) -> Sequence[Comparison]:
    """Returns what is drawn.

    Raises:
        MissingFigure: if something was not measured.
    """
    return [
        Comparison(title, figures.median(*load), figures.median(*load, server=NODE), unit)
        for title, load, unit in (
            ("CPU at 200 events a second", ("lone-200", "% of a core"), "% of a core"),
            ("Memory of an open connection", ("memory",), "kB"),
            ("Until a browser that reconnects has what it missed", ("catchup",), "ms"),
        )
    ]


def description(compared: Sequence[Comparison]) -> str:
    """Returns the picture in words."""
    return "; ".join(
        f"{title}: {short(own)} {unit} with gaq-twisted, {short(other)} {unit} with Node.js"
        for title, own, other, unit in compared
    )


def drawing(compared: Sequence[Comparison], colours: Colours) -> str:
    """Returns the picture as SVG."""
    height = _TOP + _PANEL * len(compared) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' height="{height}" font-family="system-ui, sans-serif" font-size="14" role="img"'
        f' aria-label="{escape(description(compared))}">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="{colours.page}"/>',
    ]
    for index, (title, own, other, unit) in enumerate(compared):
        top = _TOP + _PANEL * index
        lines.append(
            f'<text x="16" y="{top + 18}" font-size="16" font-weight="600" fill="{colours.text}">'
            f"{escape(title)}</text>"
        )
        for place, (name, value, colour) in enumerate(
            (("gaq-twisted", own, colours.own), ("Node.js", other, colours.other))
        ):
            y = top + 30 + place * (_BAR + 5)
            # What is thinner than this cannot be seen.
            width = max(2.0, value / max(own, other) * _LONGEST)
            lines.append(
                f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end" fill="{colours.faint}">'
                f"{name}</text>"
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"'
                f' fill="{colour}"/>'
                f'<text x="{_LEFT + width + 8:.1f}" y="{y + 16}" fill="{colours.text}">'
                f"{short(value)} {escape(unit)}</text>"
            )
    return "\n".join([*lines, "</svg>"]) + "\n"
