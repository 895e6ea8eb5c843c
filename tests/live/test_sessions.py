"""What a test starts ends with it; see tests/support/sessions.py."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import ROOT, wait_until
from tests.support.sessions import run, start

# Starts one process in its own group and one in another, writes their ids, and waits.
_PARENT = """
import subprocess, sys, time
from pathlib import Path
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
children = [subprocess.Popen(sleep, **quiet), subprocess.Popen(sleep, process_group=0, **quiet)]
file = Path(sys.argv[1])
file.with_suffix(".new").write_text(" ".join(str(child.pid) for child in children))
file.with_suffix(".new").rename(file)
time.sleep(float(sys.argv[2]))
"""


def runs(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class EndTests(SynchronousTestCase):
    """The end of a process and of what it has started."""

    def setUp(self) -> None:
        """Name the file with the ids of the grandchildren."""
        self.file = Path(self.mktemp()).resolve()

    def command(self, seconds: float) -> list[str]:
        """Return a program that has two children and ends after so many seconds."""
        return [sys.executable, "-c", _PARENT, str(self.file), str(seconds)]

    def children(self) -> list[int]:
        """Return the ids of the grandchildren."""
        return [int(pid) for pid in self.file.read_text().split()]

    def assert_gone(self) -> None:
        """Check that no grandchild runs."""
        self.assertEqual([pid for pid in self.children() if runs(pid)], [])

    def check_test(self, seconds: float, *, fails: bool) -> None:
        """Run a test that starts the program, and check what runs during it and after it."""
        outer = self

        class Inner(SynchronousTestCase):
            def test(self) -> None:
                process = start(self, outer.command(seconds))
                wait_until(outer.file.exists, lambda: "no file")
                outer.assertTrue(all(map(runs, outer.children())))
                if not seconds:
                    process.wait()
                if fails:
                    self.fail("as expected")

        result = unittest.TestResult()
        Inner("test").run(result)
        self.assertEqual((len(result.failures), len(result.errors)), (int(fails), 0))
        self.assert_gone()

    def test_passes(self) -> None:
        """Grandchildren end with a test that passes."""
        self.check_test(600.0, fails=False)

    def test_fails(self) -> None:
        """Grandchildren end with a test that fails."""
        self.check_test(600.0, fails=True)

    def test_orphans(self) -> None:
        """Grandchildren end with the test although their parent has ended before."""
        self.check_test(0.0, fails=False)

    def test_deadline(self) -> None:
        """Where a process takes too long, it ends with what it has started."""
        with self.assertRaises(subprocess.TimeoutExpired):
            run(self.command(600.0), seconds=5.0)
        self.assert_gone()

    def test_run(self) -> None:
        """A process that ends in time has its code and its output; its children end with it."""
        code = f"{_PARENT}\nprint('out'); print('err', file=sys.stderr); sys.exit(3)"
        done = run([sys.executable, "-c", code, str(self.file), "0"])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "out\n", "err\n"))
        self.assert_gone()

    def test_killed(self) -> None:
        """A process ends with the one that runs the tests, however that ends."""
        code = f"""
import time, unittest
from pathlib import Path
from twisted.trial.unittest import SynchronousTestCase
from tests.support.sessions import start

class Inner(SynchronousTestCase):
    def test(self):
        start(self, {self.command(600.0)!r})
        time.sleep(600)

unittest.main(argv=["tests", "Inner.test"])
"""
        tests = start(self, [sys.executable, "-c", code], cwd=ROOT)
        wait_until(self.file.exists, lambda: "no file")
        starter = parent(self.children()[0])
        for child in self.children():
            self.addCleanup(os.kill, child, signal.SIGKILL)
        tests.kill()
        wait_until(lambda: not runs(starter), lambda: "it has not ended")

    def test_own_session(self) -> None:
        """A process is in no terminal's group, so an interrupt there does not reach it first."""
        process = start(self, [sys.executable, "-c", "import time; time.sleep(600)"])
        self.assertEqual(os.getsid(process.pid), process.pid)
