"""The benchmark's own command, with its smallest loads."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.catalogue import LOADS, loads_of
from benchmarks.crowd import crowd
from benchmarks.holding import idle
from benchmarks.lone import lone
from benchmarks.measuring import Result
from benchmarks.report import goal_table
from benchmarks.servers import FLOOR, OURS
from tests.support.processes import ROOT
from tests.support.sessions import run


class CommandTests(SynchronousTestCase):
    """`python -m benchmarks`."""

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        return run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, seconds=600.0)

    def test_measures(self) -> None:
        """Each load has a row and a line of JSON."""
        results = Path(self.mktemp()).resolve()
        done = self.run_command("floor", "connect", "tabs", "start", "--json", str(results))
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        self.assertEqual([line["load"] for line in lines], ["floor", "connect", "tabs", "start"])
        for line in lines:
            self.assertGreater(line["value"], 0)
            self.assertIn(line["load"], done.stdout)
            self.assertIn("generator_busy", line)
            self.assertIn("twisted", line)

    def test_realtime(self) -> None:
        """A load of the other protocol starts a server of it; its goal is what its twin costs."""
        # A server of streams has nothing to do with that load.
        done = self.run_command("rt-connect", "--beside", "node=false")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        done = self.run_command("fanout", "rt-fanout")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^rt-fanout .* x fanout ")

    def test_beside(self) -> None:
        """Another server is started by its command and measured in turn; both are reported."""
        results = Path(self.mktemp()).resolve()
        done = self.run_command(
            *("import", "tabs", "connect", "--beside", f"node={shlex.join(OURS.command)}"),
            *("--json", str(results)),
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        self.assertEqual(
            [(line["load"], line["server"]) for line in lines],
            [
                ("import", "gaq-twisted"),
                *((load, name) for load in ("tabs", "connect") for name in ("gaq-twisted", "node")),
            ],
        )
        again = self.run_command("--report", str(results))
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        self.assertTrue(again.stdout)
        self.assertTrue(done.stdout.endswith(again.stdout), again.stdout)

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


class LoadTests(SynchronousTestCase):
    """Loads that take long, in small."""

    def test_lone(self) -> None:
        """All events reach the sockets of the server and of the bare loop, in both protocols."""
        for server in (OURS, FLOOR):
            for run_target in (server.streams, server.realtime):
                with run_target() as target:
                    result = lone(target, lambda _: None, rate=50, seconds=1)
                self.assertGreater(result.value, 0)
                self.assertGreater(result.more["ms 99 %"], result.more["ms median"])
                self.assertGreater(result.generator_busy, 0)

    def test_idle(self) -> None:
        """What the server costs with sockets on which nothing happens."""
        with OURS.streams() as target:
            result = idle(target, lambda _: None, sockets=3, seconds=1)
        self.assertGreater(result.value, 0)
        self.assertEqual(result.more["sockets"], 3)

    def test_crowd(self) -> None:
        """Clients of processes that share a port lose nothing, though they drop all the time."""
        with OURS.several(2) as targets:
            result = crowd(targets, lambda _: None, sockets=60, rate=100, drops=40, seconds=2)
        self.assertEqual(result.more["lost"], 0)
        self.assertGreater(result.more["frames"], 60)
        self.assertGreater(result.more["reconnects"], 0)

    def test_names(self) -> None:
        """A load can be named with its number, or all of its numbers at once, or all loads."""
        self.assertEqual(loads_of("lone"), ["lone-10", "lone-200", "lone-500"])
        self.assertEqual(loads_of("lone-10"), ["lone-10"])
        self.assertEqual(loads_of("floor"), ["floor"])
        self.assertIn("fanout", loads_of("ordinary"))
        self.assertNotIn("crowd", loads_of("ordinary"))
        self.assertRaises(KeyError, loads_of, "party")
        self.assertIn("idle-10000", LOADS)


def runs(**values: float) -> dict[str, list[Result]]:
    """Returns the results of one run of each of the named loads."""
    return {load: [Result(value, "", 0.0)] for load, value in values.items()}


class ReportTests(SynchronousTestCase):
    """The table of goals."""

    def test_goals(self) -> None:
        """Goals may be upper or lower limits, of a figure or of its ratio to the floor."""
        own = runs(floor=2.0, fanout=4.1, tabs=1.4, connect=0.1, storm=2999.0)
        rows = goal_table({"own": own}, "own").splitlines()[1:]
        met = {row.split()[0]: "MISSED" not in row for row in rows}
        self.assertEqual(met, {"fanout": False, "tabs": True, "connect": True, "storm": False})

    def test_others(self) -> None:
        """Other servers have a column; there is one floor of `floor` for all."""
        results = {"own": runs(floor=2.0, tabs=1.5, connect=0.1), "node": runs(tabs=6.0)}
        head, tabs, connect = goal_table(results, "own").splitlines()
        self.assertEqual(head.split(), ["load", "own", "goal", "node", "unit"])
        self.assertEqual(tabs.split()[0], "tabs")
        self.assertIn(" 0.75 (0% of 1)", tabs)
        self.assertIn(" 3 (0% of 1)", tabs)
        self.assertIn(" - ", connect)

    def test_other_servers(self) -> None:
        """A goal can be a multiple of what the same load costs a bare loop, or Node.js."""
        results = {
            "own": runs(**{"lone-200": 150.0}),
            "floor": runs(**{"lone-200": 60.0}),
            "node": runs(**{"lone-200": 300.0}),
        }
        for server, median in (("own", 0.3), ("node", 0.4)):
            results[server]["lone-200"][0].more["ms median"] = median
        head, cpu, wait = goal_table(results, "own").splitlines()
        self.assertEqual(head.split(), ["load", "own", "goal", "node", "unit"])
        self.assertIn(" 2.5 (", cpu)
        self.assertIn(" 5 (", cpu)
        self.assertIn("x floor", cpu)
        self.assertIn(" 0.75 (", wait)
        self.assertIn("x median of node", wait)

    def test_medians(self) -> None:
        """The median of several runs counts, and their spread is shown."""
        results = {"own": {"connect": [Result(value, "", 0.0) for value in (0.2, 0.4, 0.1)]}}
        self.assertIn(" 0.2 (300% of 3)", goal_table(results, "own"))

    def test_without_floor(self) -> None:
        """What is a ratio to the floor is left out where that was not measured."""
        self.assertEqual(len(goal_table({"own": runs(fanout=3.0)}, "own").splitlines()), 1)

    def test_twins(self) -> None:
        """A goal can be a multiple of another load of the same server, or of a further figure."""
        own = runs(**{"fanout": 10.0, "rt-fanout": 9.0, "storm": 3000.0})
        # Older results lack the figure.
        own["rt-storm"] = [Result(0.3, "ms CPU a reconnect", 0.0)]
        rows = {row.split()[0]: row for row in goal_table({"own": own}, "own").splitlines()[1:]}
        self.assertEqual(set(rows), {"storm", "rt-fanout"})
        self.assertIn(" 0.9 (", rows["rt-fanout"])
        own["storm"][0].more["ms CPU a reconnect"] = 0.2
        [storm] = [row for row in goal_table({"own": own}, "own").splitlines() if "rt-storm" in row]
        self.assertIn(" 1.5 (", storm)
        self.assertIn("MISSED", storm)
