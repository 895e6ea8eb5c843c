"""The loads that hold many sockets, on which little happens."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.clients import Clients, answer_pings
from benchmarks.lone import latencies
from benchmarks.measuring import (
    Meter,
    Progress,
    Result,
    most_sockets,
    quantiles,
    settle,
)
from benchmarks.target import Target

# What the clients that only wait are called by.
_IDLE_CHANNELS = 1000
_SETTLE_SECONDS = 3.0


def memory(target: Target, progress: Progress, *, sockets: int = 5_000) -> Result:
    """Holds idle connections; memory each."""
    requests = [target.request(f"memory-{index}") for index in range(sockets + 1_000)]
    crowd = Clients(target.address)
    # The first ones make the server's own caches.
    crowd.open(requests[:1_000])
    settle(crowd)
    before = target.rss_bytes()
    crowd.open(requests[1_000:], progress=lambda done: progress(done / sockets))
    settle(crowd)
    used = target.rss_bytes() - before
    crowd.close_all()
    return Result(used / sockets / 1e3, "kB a socket", 0.0)


def idle(target: Target, progress: Progress, *, sockets: int, seconds: int = 20) -> Result:
    """Holds sockets that are only pinged, each once in 20 s; CPU a second."""
    sockets = most_sockets(sockets)
    with _idle_sockets(target, sockets) as waiting:
        # What the handshakes have left to do is not counted.
        time.sleep(_SETTLE_SECONDS)
        sent_before = target.redis_output_bytes()
        meter = Meter(target)
        for second in range(seconds):
            time.sleep(1)
            progress((second + 1) / seconds)
        meter.stop()
        output_bytes = target.redis_output_bytes() - sent_before
        rss_bytes = target.rss_bytes()
    return Result(
        meter.server_busy * 1e3,
        "ms CPU a second",
        waiting.busy,
        {
            "sockets": sockets,
            "wake-ups a second": meter.wakeups / meter.seconds,
            "MB in all": rss_bytes / 1e6,
            "Redis bytes/s": output_bytes / meter.seconds,
        },
    )


def sweep(target: Target, progress: Progress) -> Result:
    """Publishes 100 events a second beside 10,000 idle sockets that are pinged; the worst wait."""
    return _beside_idle(target, progress, sockets=10_000, churn_per_second=0)


def churn(target: Target, progress: Progress) -> Result:
    """Does as `sweep`, beside 20,000 sockets and 200 connects and closes a second."""
    return _beside_idle(target, progress, sockets=20_000, churn_per_second=200)


def _beside_idle(
    target: Target, progress: Progress, *, sockets: int, churn_per_second: int
) -> Result:
    sockets = most_sockets(sockets)
    with _idle_sockets(target, sockets, churn_per_second) as waiting:
        waits, meter = latencies(target, progress, sockets=100, rate=100, seconds=25)
    median, high = quantiles(waits)
    return Result(
        max(waits) * 1e3,
        "ms worst",
        max(meter.generator_busy, waiting.busy),
        {
            "ms median": median * 1e3,
            "ms 99 %": high * 1e3,
            "% of a core": meter.server_busy * 100,
            "sockets": sockets,
        },
    )


@dataclass
class _Waiting:
    """Sockets that another process holds."""

    busy: float = 0.0
    """The part of one core that the process used; known at its end."""


@contextmanager
def _idle_sockets(target: Target, sockets: int, churn_per_second: int = 0) -> Iterator[_Waiting]:
    """Holds sockets that answer pings, until the block ends."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(
        target=_stay_idle, args=(target, sockets, churn_per_second, there), daemon=True
    )
    process.start()
    there.close()
    here.recv()
    waiting = _Waiting()
    try:
        yield waiting
        here.send("end")
        waiting.busy = here.recv()
    finally:
        process.kill()
        process.join()


def _stay_idle(target: Target, sockets: int, churn_per_second: int, pipe: Any) -> None:
    """Holds sockets that answer pings, and replaces some, until the pipe says to end."""
    crowd = Clients(target.address)
    crowd.on_bytes = answer_pings
    requests = [target.request(f"idle-{index % _IDLE_CHANNELS}") for index in range(sockets)]
    crowd.open(requests)
    pipe.send("ready")
    own, began, replaced = time.process_time(), time.perf_counter(), 0
    while not pipe.poll():
        crowd.poll(0.005)
        due = int((time.perf_counter() - began) * churn_per_second)
        while replaced < due:
            oldest = crowd.oldest()
            if oldest.upgraded_at:
                crowd.close(oldest)
            crowd.begin(requests[replaced % sockets])
            replaced += 1
    pipe.recv()
    pipe.send((time.process_time() - own) / (time.perf_counter() - began))
    crowd.close_all()
