"""The load of a crowd: several processes of the server hold all the sockets that they can."""

import math
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from benchmarks.measuring import Meter, Progress, Result
from benchmarks.part import Plan, Tally, take_part
from benchmarks.target import StreamsTarget

_SETTLE_SECONDS = 3.0


def crowd(
    targets: Sequence[StreamsTarget],
    progress: Progress,
    *,
    sockets: int = 97_500,
    tabs: int = 10,
    rate: float = 200.0,
    drops: float = 200.0,
    seconds: float = 120.0,
) -> Result:
    """Holds 97,500 sockets at 200 events a second, 200 of which break a second; memory each.

    Raises:
        ValueError: if a client did not get all its events, or got others.
    """
    parts = len(targets)
    plan = Plan(math.ceil(sockets / parts), tabs, rate / parts, drops / parts, seconds)
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    before = sum(target.rss_bytes() for target in targets)
    for number, target in enumerate(targets):
        here, there = context.Pipe()
        process = context.Process(target=take_part, args=(target, f"crowd-{number}", plan, there))
        process.daemon = True
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    began = time.perf_counter()
    _wait(pipes)
    opening_seconds = time.perf_counter() - began
    progress(0.3)
    time.sleep(_SETTLE_SECONDS)
    rss_bytes = [target.rss_bytes() for target in targets]
    for pipe in pipes:
        pipe.send("go on")
    _wait(pipes)
    progress(0.4)
    meters = [Meter(target) for target in targets]
    for pipe in pipes:
        pipe.send("go on")
    _wait(pipes)
    for meter in meters:
        meter.stop()
    progress(0.9)
    tallies: list[Tally] = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return _result(
        tallies,
        {
            "sockets": plan.sockets * parts,
            "MB in all": sum(rss_bytes) / 1e6,
            "MB of the largest": max(rss_bytes) / 1e6,
            "connects/s": plan.sockets * parts / opening_seconds,
            "% of a core in all": sum(meter.server_busy for meter in meters) * 100,
            "% of a core, busiest": max(meter.server_busy for meter in meters) * 100,
        },
        (sum(rss_bytes) - before) / plan.sockets / parts / 1e3,
    )


def _wait(pipes: Sequence[Connection]) -> None:
    """Waits until all processes have come so far."""
    for pipe in pipes:
        pipe.recv()


def _result(tallies: Sequence[Tally], more: dict[str, float], kb_a_socket: float) -> Result:
    reports = [tally.report for tally in tallies]
    lost = sum(report.lost for report in reports)
    misdelivered = sum(report.misdelivered for report in reports)
    if lost or misdelivered:
        raise ValueError(f"{lost} frames were lost, and {misdelivered} were for others: {reports}")
    return Result(
        kb_a_socket,
        "kB a socket",
        sum(tally.busy for tally in tallies),
        {
            **more,
            "frames": sum(report.frames_expected for report in reports),
            "lost": lost,
            "duplicated": sum(report.duplicated for report in reports),
            "reconnects": sum(report.reconnects for report in reports),
            "caught up": sum(report.caught_up for report in reports),
            "failed connects": sum(sum(report.failed_connects.values()) for report in reports),
            # Of the part of the crowd that had to wait longest.
            "ms median": max(report.latency_median_ms or 0.0 for report in reports),
            "ms 99 %": max(report.latency_99_ms or 0.0 for report in reports),
            "ms worst": max(report.latency_worst_ms or 0.0 for report in reports),
        },
    )
