"""The benchmark's own command, with its smallest loads."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.loads import Result
from benchmarks.report import goal_table, write_plot
from benchmarks.servers import OURS
from tests.support.processes import ROOT
from tests.support.sessions import run


class CommandTests(SynchronousTestCase):
    """`python -m benchmarks`."""

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, seconds=600.0)

    def test_measures(self) -> None:
        """Each load has a row, a line of JSON, and where there is a goal a place in the plot."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        results, plot = directory / "results.jsonl", directory / "new" / "plot.svg"
        done = self.run_command(
            *("floor", "connect", "tabs", "--json", str(results), "--plot", str(plot))
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
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

    def test_realtime(self) -> None:
        """A load of the other protocol starts a server of it; its goal is what its twin costs."""
        done = self.run_command("fanout", "rt-fanout")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^rt-fanout .* x fanout ")

    def test_beside(self) -> None:
        """Another server is started by its command and measured in turn; both are reported."""
        results, plot = Path(self.mktemp()).resolve(), Path(self.mktemp()).resolve()
        other = f"node={shlex.join(OURS.command)}"
        done = self.run_command(
            *("tabs", "connect", "--beside", other, "--json", str(results), "--plot", str(plot))
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        self.assertEqual(
            [(line["load"], line["server"]) for line in lines],
            [(load, name) for load in ("tabs", "connect") for name in ("gaq-twisted", "node")],
        )
        again = self.run_command("--report", str(results), "--plot", str(plot) + ".again")
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        self.assertTrue(again.stdout)
        self.assertTrue(done.stdout.endswith(again.stdout), again.stdout)
        self.assertEqual(Path(str(plot) + ".again").read_text(), plot.read_text())
        drawn = "".join(ElementTree.parse(plot).getroot().itertext())
        self.assertIn("grey: Superset's Node.js server", drawn)

    def test_other_does_not_start(self) -> None:
        """What a server that ends at once has written is shown, and there is no report."""
        other = f"node={sys.executable} -c \"raise SystemExit('not today')\""
        done = self.run_command("connect", "--beside", other)
        self.assertEqual(done.returncode, 1)
        self.assertIn("node does not start:\nnot today", done.stderr)

    def test_bad_arguments(self) -> None:
        """What cannot be meant is refused with a reason."""
        for arguments, reason in (
            (["party"], "no load 'party'"),
            (["--pid", "1"], "--secret"),
            (["--pid", "1", "--secret", "x", "--beside", "node=true"], "not with --pid"),
            (["--beside", "node"], "--beside"),
        ):
            done = self.run_command(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(reason, done.stderr)


def runs(**values: float) -> dict[str, list[Result]]:
    """Return the results of one run of each of the named loads."""
    return {load: [Result(value, "", 0.0)] for load, value in values.items()}


class ReportTests(SynchronousTestCase):
    """The table of goals, and the plot."""

    def test_goals(self) -> None:
        """Goals may be upper or lower limits, of a figure or of its ratio to the floor."""
        own = runs(floor=2.0, fanout=3.1, tabs=1.4, connect=0.1, storm=2999.0)
        rows = goal_table({"own": own}, "own").splitlines()[1:]
        met = {row.split()[0]: "MISSED" not in row for row in rows}
        self.assertEqual(met, {"fanout": False, "tabs": True, "connect": True, "storm": False})

    def test_others(self) -> None:
        """Other servers have a column; there is one floor for all."""
        results = {"own": runs(floor=2.0, tabs=1.5, connect=0.1), "node": runs(floor=4.0, tabs=6.0)}
        head, tabs, connect = goal_table(results, "own").splitlines()
        self.assertEqual(head.split(), ["load", "own", "goal", "node", "unit"])
        self.assertEqual(tabs.split()[0], "tabs")
        self.assertIn(" 0.5 (0% of 1)", tabs)
        self.assertIn(" 2 (0% of 1)", tabs)
        self.assertIn(" - ", connect)

    def test_medians(self) -> None:
        """The median of several runs counts, and their spread is shown."""
        results = {"own": {"connect": [Result(value, "", 0.0) for value in (0.2, 0.4, 0.1)]}}
        self.assertIn(" 0.2 (300% of 3)", goal_table(results, "own"))

    def test_without_floor(self) -> None:
        """What is a ratio to the floor is left out where that was not measured."""
        self.assertEqual(len(goal_table({"own": runs(fanout=3.0)}, "own").splitlines()), 1)

    def test_twins(self) -> None:
        """A goal can be a multiple of another load of the same server, or of a further figure."""
        own = runs(**{"fanout": 10.0, "rt-fanout": 9.0, "latency": 0.1, "storm": 3000.0})
        own["latency"][0].more["ms CPU an event"] = 0.2
        own["rt-latency"] = [Result(0.9, "ms median", 0.0, {"ms CPU an event": 0.1})]
        # Older results lack the figure.
        own["rt-storm"] = [Result(0.3, "ms CPU a reconnect", 0.0)]
        rows = {row.split()[0]: row for row in goal_table({"own": own}, "own").splitlines()[1:]}
        self.assertEqual(set(rows), {"latency", "storm", "rt-fanout", "rt-latency"})
        self.assertIn(" 0.9 (", rows["rt-fanout"])
        self.assertIn(" 0.5 (", rows["rt-latency"])
        own["storm"][0].more["ms CPU a reconnect"] = 0.2
        [storm] = [row for row in goal_table({"own": own}, "own").splitlines() if "rt-storm" in row]
        self.assertIn(" 1.5 (", storm)
        self.assertIn("MISSED", storm)

    def test_plot_without_node(self) -> None:
        """The Node.js server is not spoken of where it was not measured."""
        path = Path(self.mktemp())
        write_plot(path, {"own": runs(connect=0.1)}, "own", {})
        self.assertNotIn("Node", path.read_text())
