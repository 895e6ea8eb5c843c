"""What is worth a line among the samples: Redis lost and found, gaps, stalls, the end."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from gaq_twisted.web.status.sampler import Sample

_MOST = 50
_STALL_SECONDS = 0.25


class Level(Enum):
    """How bad something is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Incident:
    """One line."""

    at: float
    """When it was so last, in seconds since 1970."""
    count: int
    """In how many samples in a row."""
    level: Level
    kind: str
    text: str


class Incidents:
    """The last notes."""

    def __init__(self) -> None:
        """Have none."""
        self._notes: deque[Incident] = deque(maxlen=_MOST)
        self.version = 0
        """Another number whenever there is something new."""

    def compare(self, before: Sample | None, now: Sample) -> None:
        """Note what is new in a sample.

        Args:
            before: the sample before; None if it is the first.
            now: the sample.
        """
        for level, kind, text in _news(before, now):
            count, last = 1, self._notes[-1] if self._notes else None
            if last is not None and last.kind == kind:
                # Of what goes on, only the newest is kept.
                count += self._notes.pop().count
            self._notes.append(Incident(now.at, count, level, kind, text))
            self.version += 1

    def newest_first(self) -> Sequence[Incident]:
        """Return them."""
        return list(reversed(self._notes))


def _news(before: Sample | None, now: Sample) -> Iterator[tuple[Level, str, str]]:
    if now.redis_up and not (before and before.redis_up):
        yield Level.GOOD, "Redis up", "following the global stream"
    elif before and before.redis_up and not now.redis_up:
        yield Level.BAD, "Redis down", "the global stream cannot be read"
    if count := now.gaps - (before.gaps if before else 0):
        yield Level.BAD, "gap", f"events may be lost ({_times(count)}); the log tells which"
    if count := now.invalid_events - (before.invalid_events if before else 0):
        yield Level.WARN, "skipped", f"{count:,} stream entries were no good events"
    if count := now.send_errors - (before.send_errors if before else 0):
        yield Level.BAD, "send failed", f"writing to a WebSocket failed ({_times(count)})"
    if now.stall_seconds >= _STALL_SECONDS:
        yield Level.WARN, "stall", f"the process stood still for up to {now.stall_seconds:.2g} s"
    if now.is_draining and not (before and before.is_draining):
        yield Level.WARN, "draining", "the server is about to stop"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
