"""What systemd hears of this process: ready, reloading, stopping, alive (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.application.internet import TimerService
from twisted.logger import Logger

_PATIENCE_SECONDS = 1.0


class Notifier:
    """Tells the service manager that the environment names; without one, does nothing.

    A message is a datagram. Each is sent from a socket of its own, so that
    nothing needs to be kept open or closed.
    """

    _log = Logger()

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what systemd has set.

        Args:
            environ: the environment variables, of which NOTIFY_SOCKET, WATCHDOG_USEC and
                WATCHDOG_PID count.
            pid: the id of this process; found out if None.
            monotonic_seconds: the system's monotonic clock, which systemd compares with.
        """
        self._socket = _address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic_seconds = monotonic_seconds
        self.watchdog_seconds: float | None = None
        """How soon systemd must hear of a living process again; None if it need not."""
        guarded = environ.get("WATCHDOG_PID", "")
        text = environ.get("WATCHDOG_USEC", "")
        is_ours = not guarded or guarded == str(os.getpid() if pid is None else pid)
        if self._socket is not None and is_ours and text.isdecimal() and int(text) > 0:
            self.watchdog_seconds = int(text) / 1_000_000

    def ready(self, status: str) -> None:
        """Tell that the start, or a reload, is over, and what `systemctl status` shows."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Tell that settings are being read again; `ready` must follow."""
        # As systemd wants it, to tell this reload from one that it asked for before.
        monotonic_usec = int(self._monotonic_seconds() * 1_000_000)
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """Tell that the end has begun."""
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Tell that the process is not stuck."""
        # The next one is not far, so nobody waits for this one.
        self._send("WATCHDOG=1", patience_seconds=0.0)

    def timers(self, clock: Any) -> Iterator[TimerService]:
        """Yield the service that calls `alive` in time, if systemd wants to hear of it.

        It does so from the reactor's own loop, so a reactor that is stuck does not.

        Args:
            clock: a clock that provides IReactorTime.
        """
        if self.watchdog_seconds is not None:
            timer = TimerService(self.watchdog_seconds / 2, self.alive)
            timer.clock = clock
            yield timer

    def _send(self, *lines: str, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        if self._socket is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # While systems start, its queue can be full for a moment.
                sender.settimeout(patience_seconds)
                sender.sendto("\n".join(lines).encode(), self._socket)
        except OSError as error:
            self._log.warn(
                "cannot notify systemd of {what}: {error}",
                event="systemd_unreachable",
                what=lines[0],
                error=error,
            )


def _address(text: str) -> str | None:
    """Return the address of a datagram socket as Python wants it, or None if there is none."""
    if text.startswith("@"):
        # An abstract name.
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
