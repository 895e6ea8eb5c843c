"""Child processes that end with the test that started them, and with them what they started.

Each leads a session of its own: whatever it starts is in that session too, be it in the
background or in a group of its own, unless it has made itself a daemon. Where the tests
themselves are killed, it gets a SIGTERM.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

DEADLINE_SECONDS = 60.0
"""How long a test waits for anything; a passing one on a busy machine needs a part of it."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def start(
    test: SynchronousTestCase, command: Sequence[str | Path], **more: Any
) -> "subprocess.Popen[Any]":
    """Start a process that ends with the test, and with the thread that calls this.

    Args:
        test: the test that it is for.
        command: the program and its arguments.
        more: further arguments for subprocess.Popen.
    """
    process = _started(command, **more)
    test.addCleanup(end, process)
    return process


def run(
    command: Sequence[str | Path],
    *,
    input: str | None = None,
    seconds: float = DEADLINE_SECONDS,
    **more: Any,
) -> "subprocess.CompletedProcess[str]":
    """Run a process to its end; return its exit code and its output.

    Args:
        command: the program and its arguments.
        input: what it can read; nothing if None.
        seconds: how long that may take.
        more: further arguments for subprocess.Popen.

    Raises:
        subprocess.TimeoutExpired: if it takes longer.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    standard_input = subprocess.DEVNULL if input is None else subprocess.PIPE
    with _started(command, stdin=standard_input, text=True, **streams) as process:
        try:
            output, errors = process.communicate(input, timeout=seconds)
        finally:
            end(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def end(process: "subprocess.Popen[Any]") -> None:
    """End a process and all of its session with SIGKILL, as far as they run."""
    process.kill()
    process.wait()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while members := _members(process.pid):
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} has left {members}, which do not end")
        time.sleep(0.01)


def _started(
    command: Sequence[str | Path],
    preexec_fn: Callable[[], object] = lambda: None,
    **more: Any,
) -> "subprocess.Popen[Any]":
    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        preexec_fn()

    return subprocess.Popen(command, start_new_session=True, preexec_fn=prepare, **more)


def _members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    members = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A name can hold anything, brackets and spaces too.
            _, _, facts = Path(entry.path, "stat").read_text().rpartition(")")
            state, _, _, its_session = facts.split()[:4]
            if int(its_session) == session and state not in "ZX":
                members.append(int(entry.name))
    return members
