"""Divides long work into slices, between which the reactor can do other work."""

from collections.abc import Callable, Iterator


class Slices:
    """Work in many small steps.

    Args:
        steps: the steps.
        seconds: returns the time in seconds.
        slice_seconds: how long a slice lasts.
    """

    def __init__(
        self, steps: Iterator[None], seconds: Callable[[], float], slice_seconds: float
    ) -> None:
        self._steps = steps
        self._seconds = seconds
        self._slice_seconds = slice_seconds
        self.is_done = False
        """Whether all steps are done."""

    def advance(self) -> None:
        """Takes steps until the slice is over or all steps are done."""
        pause_at = self._seconds() + self._slice_seconds
        for _ in self._steps:
            if self._seconds() >= pause_at:
                return
        self.is_done = True
