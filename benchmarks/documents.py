"""The command that writes the figures into the documentation: `python -m benchmarks.documents`.

A page has places for figures, between a line `<!-- figures: NAME -->` and a line
`<!-- end of figures -->`. What is between them is written by this command only.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import scaling, tables
from benchmarks.bars import DARK, LIGHT, comparisons, description, drawing
from benchmarks.figures import Figures, MissingFigure
from benchmarks.report import read_results

_DOCS = Path(__file__).resolve().parent.parent / "docs"
_PLACE = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def _picture(figures: Figures) -> str:
    return (
        "<picture>\n"
        '  <source media="(prefers-color-scheme: dark)" srcset="images/performance-dark.svg">\n'
        f'  <img alt="{description(comparisons(figures))}" src="images/performance-light.svg">\n'
        "</picture>"
    )


PLACES: Mapping[str, Callable[[Figures], str]] = {
    "picture": _picture,
    "facts": tables.facts,
    "beside": tables.beside,
    "realtime": tables.realtime,
    "broadcast": tables.broadcast,
    "goals": tables.goals,
    "lone": tables.lone,
    "growth": tables.growth,
    "process": scaling.process,
    "reading": scaling.reading,
    "replicas": scaling.replicas,
    "redis": scaling.redis,
    "crowd": scaling.crowd,
}
"""What can be between the lines, by name."""


def filled(page: str, figures: Figures) -> str:
    """Returns a page with all its figures.

    Raises:
        MissingFigure: if something was not measured.
    """
    return _PLACE.sub(lambda found: f"{found[1]}\n{PLACES[found[2]](figures)}\n\n{found[3]}", page)


def main(results: Path) -> None:
    """Writes the figures of a file of results.

    Raises:
        SystemExit: if something that is shown was not measured.
    """
    figures = Figures(*read_results(results))
    try:
        pages = {page: filled(page.read_text(), figures) for page in sorted(_DOCS.glob("*.md"))}
        compared = comparisons(figures)
    except MissingFigure as error:
        raise SystemExit(f"nothing is written, as {results} lacks {error}") from None
    for page, text in pages.items():
        page.write_text(text)
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        (_DOCS / "images" / f"performance-{name}.svg").write_text(drawing(compared, colours))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
