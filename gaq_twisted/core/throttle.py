"""Limits how often something may happen, such as a line in the log."""

from collections.abc import Callable


class Throttle:
    """Admits the first few occurrences within a time window, and counts the others.

    Args:
        seconds: returns the time in seconds.
        most: how many are admitted in a window.
        window_seconds: how long a window lasts; it begins with the first admitted occurrence.
    """

    def __init__(
        self, seconds: Callable[[], float], *, most: int = 10, window_seconds: float = 10.0
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._window_seconds = window_seconds
        self._ends_at = 0.0
        self._admitted = 0
        self._suppressed = 0

    def admits(self) -> bool:
        """Returns whether this occurrence is among the first few."""
        now = self._seconds()
        if now >= self._ends_at:
            self._ends_at = now + self._window_seconds
            self._admitted = 0
        if self._admitted < self._most:
            self._admitted += 1
            return True
        self._suppressed += 1
        return False

    def suppressed(self) -> int:
        """Returns how many were not admitted, once, after the window has ended; until then 0."""
        if self._seconds() < self._ends_at:
            return 0
        count, self._suppressed = self._suppressed, 0
        return count
