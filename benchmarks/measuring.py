"""The common parts of all loads: the cost of a load, and its measurement."""

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.clients import Clients
from benchmarks.target import Publisher, Target

DEADLINE_SECONDS = 120.0
# What a process needs beside its sockets, and those of the clients that look on.
_OTHER_FILES = 500

Progress = Callable[[float], None]
"""Called with the part that is done, from 0 to 1."""


@dataclass
class Result:
    """The cost of a load."""

    value: float
    unit: str
    generator_busy: float
    """The part of one core that the load generator used meanwhile."""
    more: dict[str, float] = field(default_factory=dict)
    """Further figures, by name and unit."""


class Meter:
    """The server's and the generator's CPU time over a stretch."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rss_bytes = target.rss_bytes()
        self._wakeups = target.wakeups()
        self._cpu, self._own, self._began = (
            target.cpu_seconds(),
            time.process_time(),
            time.perf_counter(),
        )

    def stop(self) -> None:
        """Ends the stretch, and notes what it cost."""
        self.cpu_seconds = self._target.cpu_seconds() - self._cpu
        self.seconds = time.perf_counter() - self._began
        self.generator_busy = (time.process_time() - self._own) / self.seconds
        self.server_busy = self.cpu_seconds / self.seconds
        self.wakeups = self._target.wakeups() - self._wakeups
        self.grown_mb = (self._target.rss_bytes() - self._rss_bytes) / 1e6

    def bulk_result(self, count: int, one: str, rate: str) -> Result:
        """Returns what a backlog cost.

        Args:
            count: how many events or frames it had.
            one: one of these, such as `a frame`.
            rate: the name of their rate, such as `frames/s`.
        """
        return Result(
            self.cpu_seconds / count * 1e6,
            f"µs CPU {one}",
            self.generator_busy,
            {
                rate: count / self.seconds,
                "% of a core": self.server_busy * 100,
                "MB more": self.grown_mb,
            },
        )


@contextmanager
def published(publisher: Publisher, commands: Sequence[bytes]) -> Iterator[None]:
    """Publishes in a thread, which spends its time outside of Python."""
    thread = threading.Thread(target=publisher.send, args=(commands,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def settle(crowd: Clients) -> None:
    """Waits until nothing more comes, but now and then a ping."""
    for _ in range(10):
        before = crowd.received
        crowd.poll(0.1)
        if crowd.received == before:
            return


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Returns the median, and what 99 of 100 are below."""
    cuts = statistics.quantiles(seconds, n=100)
    return statistics.median(seconds), cuts[98]


def most_sockets(wanted: int) -> int:
    """Returns that number, or a little less where a process may not have so many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, files - _OTHER_FILES)
