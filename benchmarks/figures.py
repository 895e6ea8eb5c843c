"""The figures of a results file, as the documentation shows them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.report import Results, values_of
from benchmarks.servers import OURS


class MissingFigure(Exception):
    """Raised for a load that was not measured; the text names load and server."""


class Figures(NamedTuple):
    """The measurements, and the machine."""

    results: Results
    facts: Mapping[str, str]
    """Machine and versions of the last run."""

    def values(
        self, load: str, figure: str | None = None, *, server: str = OURS.name
    ) -> Sequence[float]:
        """Returns one figure of each run.

        Args:
            load: the load.
            figure: which of its further figures; its value if None.
            server: whose.

        Raises:
            MissingFigure: if it was not measured.
        """
        values = values_of(self.results, server, load, figure)
        if not values:
            raise MissingFigure(f"{load} of {server}" + (f": {figure}" if figure else ""))
        return values

    def median(self, load: str, figure: str | None = None, *, server: str = OURS.name) -> float:
        """Returns the median of all runs; arguments and exceptions are those of `values`."""
        return statistics.median(self.values(load, figure, server=server))

    def cell(
        self, load: str, figure: str | None = None, *, server: str = OURS.name, unit: str = ""
    ) -> str:
        """Returns the median with least and most, for a table."""
        values = self.values(load, figure, server=server)
        text = f"{short(statistics.median(values))}{unit and f' {unit}'}"
        if len(values) == 1:
            return text
        return f"{text} ({short(min(values))} to {short(max(values))})"


def short(value: float) -> str:
    """Returns a number with two or three digits that count."""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines
    )
