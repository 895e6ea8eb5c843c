"""The benchmark's own command, with its smallest loads."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.loads import Result
from benchmarks.report import goal_table
from tests.processes import ROOT


class CommandTests(SynchronousTestCase):
    """`python -m benchmarks`."""

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def test_measures(self) -> None:
        """Each load has a row, a line of JSON, and where there is a goal a place in the plot."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        results, plot = directory / "results.jsonl", directory / "new" / "plot.svg"
        done = self.run_command(
            *("floor", "connect", "tabs", "--json", str(results), "--plot", str(plot))
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        self.assertEqual([line["load"] for line in lines], ["floor", "connect", "tabs"])
        for line in lines:
            self.assertGreater(line["value"], 0)
            self.assertIn(line["load"], done.stdout)
            self.assertIn("generator_busy", line)
        drawing = ElementTree.parse(plot).getroot()
        labels = [text.text for text in drawing.iter() if text.get("text-anchor") == "end"]
        self.assertEqual(labels, ["tabs", "connect"])
        drawn = "".join(drawing.itertext())
        for text in (lines[0]["twisted"], lines[0]["date"]):
            self.assertIn(text, drawn)

    def test_bad_arguments(self) -> None:
        """An unknown load, and a server whose secret is not told, are refused with a reason."""
        for arguments, reason in ((["party"], "no load 'party'"), (["--pid", "1"], "--secret")):
            done = self.run_command(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(reason, done.stderr)


class ReportTests(SynchronousTestCase):
    """The table of goals."""

    def test_goals(self) -> None:
        """Goals may be upper or lower limits, of a figure or of its ratio to the floor."""
        medians = {"floor": 2.0, "fanout": 3.1, "tabs": 1.4, "connect": 0.1, "storm": 2999.0}
        results = {name: [Result(value, "", 0.0)] for name, value in medians.items()}
        rows = goal_table(medians, results).splitlines()[1:]
        met = {row.split()[0]: "MISSED" not in row for row in rows}
        self.assertEqual(met, {"fanout": False, "tabs": True, "connect": True, "storm": False})

    def test_without_floor(self) -> None:
        """What is a ratio to the floor is left out where that was not measured."""
        self.assertEqual(len(goal_table({"fanout": 3.0}, {}).splitlines()), 1)
