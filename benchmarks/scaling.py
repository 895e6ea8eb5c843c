"""The tables of docs/scaling.md, and the arithmetic by which they follow from what was measured."""

import math
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.figures import Figures, short, table
from benchmarks.target import event_data

SOCKETS_A_PROCESS = 20_000
_EVENTS_A_SOCKET_AND_SECOND = 1 / 60
_SENT_BYTES_AN_EVENT = 300
_TAIL_EVENTS, _TAIL_BYTES_AN_EVENT = 20_000, 380
_DATA_BYTES = 240
_RATES = (1, 10, 100, 1_000, 5_000, 20_000)
_SOCKETS = (10, 1_000, 10_000, 100_000, 1_000_000)
_PROCESSES = (1, 10, 100)


def process(figures: Figures) -> str:
    """Returns what a process costs, by what it has to do."""
    data_bytes = len(event_data("steady-000"))
    few, many = (
        figures.median(load, "Redis bytes an event") - data_bytes
        for load in ("steady-10", "steady-20000")
    )
    handshake_ms, returns = figures.median("connect"), figures.median("storm")
    return table(
        ("", ""),
        [
            ("memory: the process", f"{_process_mb(figures):.0f} MB"),
            ("memory: each socket", f"{short(figures.median('memory'))} kB"),
            (
                "memory: the tail",
                f"`tailMaxEvents` times (data + {_TAIL_BYTES_AN_EVENT} bytes),"
                f" {_tail_mb():.0f} MB by default, `tailMaxBytes` at most",
            ),
            ("CPU: doing nothing", f"{short(figures.median('idle-0') / 10)} % of a core"),
            (
                "CPU: each 10,000 sockets that are pinged",
                f"{short(_pings_percent(figures))} % of a core",
            ),
            (
                "CPU: each handshake, without TLS",
                f"{short(handshake_ms)} ms, so {short(1000 / handshake_ms)} a second at most",
            ),
            (
                "reconnects at once, each with an event that it missed",
                f"{short(returns)} a second, so {SOCKETS_A_PROCESS:,} within"
                f" {SOCKETS_A_PROCESS / returns:.0f} s",
            ),
            (
                "CPU: each frame that is sent",
                f"{short(_frame_us(figures, 100))} µs at 100 a second,"
                f" {short(_frame_us(figures, 1_000))} at 1,000,"
                f" {short(figures.median('fanout'))} in a backlog",
            ),
            (
                "Redis: what it sends to a process that waits",
                f"{short(figures.median('idle-0', 'Redis bytes/s'))} bytes/s",
            ),
            (
                "Redis: what it sends for each event",
                f"its data and {short(many)} (many at a time) to {short(few)} bytes (one by one)",
            ),
        ],
    )


def reading(figures: Figures) -> str:
    """Returns the CPU that reading takes at several rates."""
    rows = [(f"{rate:,}", f"{short(_reading_percent(figures, rate))} %") for rate in _RATES]
    fastest = 1e6 / figures.median("discard")
    rows.append((f"as fast as it can, {short(fastest)}", "100 %"))
    return table(("events a second, all channels", "CPU for reading them, of a core"), rows)


def replicas(figures: Figures) -> str:
    """Returns how many processes some numbers of sockets need, and what these cost."""
    rows = []
    for sockets in _SOCKETS:
        events = sockets * _EVENTS_A_SOCKET_AND_SECOND
        processes = max(2, math.ceil(sockets / SOCKETS_A_PROCESS) + 1)
        each = sockets / processes
        frames = events / processes
        percent = (
            _reading_percent(figures, events)
            + each / 10_000 * _pings_percent(figures)
            + frames * _frame_us(figures, frames) / 1e4
        )
        megabytes = _process_mb(figures) + each * figures.median("memory") / 1e3 + _tail_mb()
        rows.append(
            (
                f"{sockets:,}",
                short(events),
                f"{processes}",
                f"{short(percent)} %",
                f"{math.ceil(megabytes / 10) * 10} MB",
                _per_second(processes * _redis_bytes(figures, events)),
            )
        )
    head = ("sockets", "events/s", "processes", "each: CPU of a core", "each: memory")
    return table((*head, "Redis sends in all"), rows)


def redis(figures: Figures) -> str:
    """Returns what Redis sends, by the number of processes."""
    return table(
        ("events/s", *(f"{count} process{'es' if count > 1 else ''}" for count in _PROCESSES)),
        (
            (
                short(sockets * _EVENTS_A_SOCKET_AND_SECOND),
                *(
                    _per_second(
                        count * _redis_bytes(figures, sockets * _EVENTS_A_SOCKET_AND_SECOND)
                    )
                    for count in _PROCESSES
                ),
            )
            for sockets in _SOCKETS
        ),
    )


def crowd(figures: Figures) -> str:
    """Returns what was seen of a crowd on five processes."""
    get = figures.median
    return table(
        ("", ""),
        [
            ("sockets, in all", f"{get('crowd', 'sockets'):,.0f}"),
            (
                "frames that were due, and lost",
                f"{get('crowd', 'frames'):,.0f}, {get('crowd', 'lost'):.0f}",
            ),
            ("connections that broke and came back", f"{get('crowd', 'reconnects'):,.0f}"),
            ("frames that came twice", f"{get('crowd', 'duplicated'):,.0f}"),
            ("frames that were sent after a return", f"{get('crowd', 'caught up'):,.0f}"),
            ("memory, each socket", f"{short(get('crowd'))} kB"),
            (
                "memory, all processes; the largest",
                f"{get('crowd', 'MB in all'):.0f} MB; {get('crowd', 'MB of the largest'):.0f} MB",
            ),
            (
                "CPU, all processes; the busiest",
                f"{short(get('crowd', '% of a core in all'))} % of a core;"
                f" {short(get('crowd', '% of a core, busiest'))} %",
            ),
            (
                "from XADD to the frame: median, 99 %, worst",
                f"{short(get('crowd', 'ms median'))}, {short(get('crowd', 'ms 99 %'))},"
                f" {short(get('crowd', 'ms worst'))} ms",
            ),
        ],
    )


def _process_mb(figures: Figures) -> float:
    return figures.median("start", "MB when idle")


def _tail_mb() -> float:
    return _TAIL_EVENTS * (_TAIL_BYTES_AN_EVENT + _DATA_BYTES) / 1e6


def _pings_percent(figures: Figures) -> float:
    """Returns the CPU of 10,000 sockets that are only pinged, in percent of a core."""
    return max(0.0, figures.median("idle-10000") - figures.median("idle-0")) / 10


def _reading_percent(figures: Figures, rate: float) -> float:
    points = [(0.0, figures.median("idle-0") / 10)]
    points.extend((at, figures.median(f"steady-{at}", "% of a core")) for at in _RATES)
    return _between(points, rate)


def _frame_us(figures: Figures, rate: float) -> float:
    """Returns the CPU of one more frame, at so many a second."""
    least = figures.median("fanout")
    points = [
        (float(at), max(least, figures.median(f"heard-{at}") - figures.median(f"steady-{at}")))
        for at in (100, 1_000)
    ]
    return _between(points, rate)


def _redis_bytes(figures: Figures, rate: float) -> float:
    return rate * _SENT_BYTES_AN_EVENT + figures.median("idle-0", "Redis bytes/s")


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """Returns the value at x on the lines through the points; outside, that of the nearest."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def _per_second(count_bytes: float) -> str:
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6)):
        if count_bytes >= size:
            return f"{short(count_bytes / size)} {unit}"
    return f"{short(count_bytes / 1e3)} kB/s"
