"""How far the load test is, on standard error."""

from collections.abc import Callable
from typing import TextIO

_STEPS = 30
_LINE_SECONDS = 10.0


class Progress:
    """Shows a bar on a terminal, elsewhere a line every ten seconds and for each phase.

    Args:
        stream: where it is shown.
        seconds: returns the time.
        prefix: what each line begins with.
    """

    def __init__(self, stream: TextIO, seconds: Callable[[], float], prefix: str) -> None:
        self._stream = stream
        self._seconds = seconds
        self._prefix = prefix
        self._is_terminal = stream.isatty()
        self._shown = ""
        self._phase = ""
        self._line_at = 0.0

    def show(self, phase: str, share: float, detail: str) -> None:
        """Shows how far a phase is.

        Args:
            phase: the phase.
            share: which share of it is done, from 0 to 1.
            detail: what is done, in numbers.
        """
        if self._is_terminal:
            self._show_bar(phase, share, detail)
        elif phase != self._phase or self._seconds() >= self._line_at + _LINE_SECONDS:
            self._phase = phase
            self._line_at = self._seconds()
            print(f"{self._prefix}{phase}: {detail}", file=self._stream, flush=True)

    def _show_bar(self, phase: str, share: float, detail: str) -> None:
        steps = int(min(share, 1.0) * _STEPS)
        line = f"{phase:10} [{'#' * steps}{'.' * (_STEPS - steps)}] {detail}"
        if line != self._shown:
            # The rest of a longer line before it is cleared.
            print(f"\r{line}\x1b[K", end="", file=self._stream, flush=True)
            self._shown = line

    def clear(self) -> None:
        """Clears the bar."""
        if self._shown:
            self._shown = ""
            print("\r\x1b[K", end="", file=self._stream, flush=True)
