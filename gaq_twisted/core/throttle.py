"""What may happen very often, let through a few times only."""

from collections.abc import Callable


class Throttle:
    """Admits the first few of many within a while, and counts the others."""

    def __init__(
        self, seconds: Callable[[], float], *, most: int = 10, window_seconds: float = 10.0
    ) -> None:
        """Have admitted nothing.

        Args:
            seconds: returns the time in seconds.
            most: how many are admitted in a window.
            window_seconds: how long a window lasts; it begins with what is admitted first.
        """
        self._seconds = seconds
        self._most = most
        self._window_seconds = window_seconds
        self._ends_at = 0.0
        self._admitted = 0
        self._withheld = 0

    def admits(self) -> bool:
        """Return whether this one is among the first few."""
        now = self._seconds()
        if now >= self._ends_at:
            self._ends_at = now + self._window_seconds
            self._admitted = 0
        if self._admitted < self._most:
            self._admitted += 1
            return True
        self._withheld += 1
        return False

    def suppressed(self) -> int:
        """Return how many were not admitted, once the window is over; 0 before, and after that."""
        if self._seconds() < self._ends_at:
            return 0
        count, self._withheld = self._withheld, 0
        return count
