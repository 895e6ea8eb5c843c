"""The loads of a server that starts."""

import http.client
import subprocess
import sys
import time

from benchmarks.measuring import DEADLINE_SECONDS, Progress, Result
from benchmarks.target import Target

_IMPORTS = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import gaq_twisted.cli, twisted.internet.reactor, gaq_twisted.tap, gaq_twisted.service
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
_IDLE_SECONDS = 3.0
_POLL_SECONDS = 0.005


def start(target: Target, progress: Progress) -> Result:
    """Starts the server; how long until it is ready, and its memory when it has nothing to do."""
    if target.started_at is None:
        raise SystemExit("start: a server that runs already cannot be measured")
    while not _is_ready(target):
        if time.perf_counter() - target.started_at > DEADLINE_SECONDS:
            raise TimeoutError(f"not ready after {DEADLINE_SECONDS} s")
        time.sleep(_POLL_SECONDS)
    seconds, cpu_seconds = time.perf_counter() - target.started_at, target.cpu_seconds()
    progress(0.5)
    time.sleep(_IDLE_SECONDS)
    return Result(
        seconds * 1e3,
        "ms until ready",
        0.0,
        {"ms CPU until ready": cpu_seconds * 1e3, "MB when idle": target.rss_bytes() / 1e6},
    )


def import_modules(target: Target, progress: Progress) -> Result:
    """Imports what this project's server does, in a Python of its own, with its bytecode there."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], check=True, capture_output=True, text=True
    )
    seconds, cpu_seconds = map(float, done.stdout.split())
    return Result(seconds * 1e3, "ms", 0.0, {"ms CPU": cpu_seconds * 1e3})


def _is_ready(target: Target) -> bool:
    """Returns what the server says of itself; one that has no such page is ready if it answers."""
    connection = http.client.HTTPConnection(*target.address, timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status in {200, 404}
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()
