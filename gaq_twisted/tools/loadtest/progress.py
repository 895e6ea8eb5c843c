"""The progress bar of the load test."""

from typing import TextIO

_STEPS = 40


class ProgressBar:
    """Shows the progress, on a terminal only.

    Args:
        stream: where it is shown.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = ""

    def show(self, phase: str, share: float) -> None:
        """Shows which share of a phase is done, from 0 to 1."""
        if not self._is_terminal:
            return
        steps = int(min(share, 1.0) * _STEPS)
        line = f"{phase:10} [{'#' * steps}{'.' * (_STEPS - steps)}]"
        if line != self._shown:
            self._shown = line
            print(f"\r{line}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Clears the line."""
        if self._shown:
            self._shown = ""
            print("\r\x1b[K", end="", file=self._stream, flush=True)
