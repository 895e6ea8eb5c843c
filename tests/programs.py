"""Any program as a process of a test."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import DEADLINE_SECONDS, wait_until


class Program:
    """A process and its output."""

    def __init__(
        self,
        test: SynchronousTestCase,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Start it; the test ends it, with whatever it has started itself.

        Args:
            test: the test that it is for.
            command: the program and its arguments.
            environ: the environment variables for it, beside PATH.
            directory: where it runs; where the test runs if None.
        """
        temporary = tempfile.TemporaryDirectory()
        test.addCleanup(temporary.cleanup)
        self._output = Path(temporary.name) / "output"
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={"PATH": os.environ["PATH"], **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        test.addCleanup(self._end)

    def text(self) -> str:
        """Return what it has written so far."""
        return self._output.read_text()

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until a condition holds; fail at once if the process ends before.

        Args:
            condition: called until it returns True.
            otherwise: the text of the failure when it never does.
        """

        def over() -> bool:
            return condition() or self.process.poll() is not None

        wait_until(over, lambda: f"{otherwise}:\n{self.text()}")
        if not condition():
            raise AssertionError(f"{otherwise}, and it has ended:\n{self.text()}")

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
