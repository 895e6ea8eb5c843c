"""Shows the progress of the load test on standard error."""

from collections.abc import Callable
from typing import TextIO

_STEPS = 30
_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.1


class Progress:
    """Shows a bar on a terminal, elsewhere a line every ten seconds and for each phase.

    Args:
        stream: the output.
        seconds: returns the time.
        prefix: the prefix of each line.
    """

    def __init__(self, stream: TextIO, seconds: Callable[[], float], prefix: str) -> None:
        self._stream = stream
        self._seconds = seconds
        self._prefix = prefix
        self._is_terminal = stream.isatty()
        self._has_bar = False
        self._phase = ""
        self._shown_at = 0.0

    def show(self, phase: str, share: float, detail: str) -> None:
        """Shows the progress of a phase.

        Args:
            phase: the phase.
            share: the share of it that is done, from 0 to 1.
            detail: the progress in numbers.
        """
        now = self._seconds()
        pause_seconds = _BAR_SECONDS if self._is_terminal else _LINE_SECONDS
        if phase == self._phase and now < self._shown_at + pause_seconds:
            return
        self._phase, self._shown_at = phase, now
        if self._is_terminal:
            self._show_bar(phase, share, detail)
        else:
            print(f"{self._prefix}{phase}: {detail}", file=self._stream, flush=True)

    def _show_bar(self, phase: str, share: float, detail: str) -> None:
        self._has_bar = True
        steps = int(min(share, 1.0) * _STEPS)
        bar = f"{'#' * steps}{'.' * (_STEPS - steps)}"
        # The rest of a longer line before it is cleared.
        print(f"\r{phase:10} [{bar}] {detail}\x1b[K", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Clears the bar."""
        if self._has_bar:
            self._has_bar = False
            print("\r\x1b[K", end="", file=self._stream, flush=True)
