"""Notifications to systemd: ready, reloading, stopping, alive (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gaq_twisted.core.every import guarded

_TIMEOUT_SECONDS = 1.0


class Notifier:
    """Notifies the service manager named in the environment; does nothing without one.

    A message is a datagram. Each is sent from a new socket, so none must be kept open.

    Args:
        environ: the environment variables; NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are used.
        pid: the id of this process; determined if None.
        monotonic_seconds: the system's monotonic clock, which systemd compares with.
    """

    _log = Logger()

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = _address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic_seconds = monotonic_seconds
        self.watchdog_seconds: float | None = None
        """The longest time between two calls of `alive`; None if systemd expects none."""
        guarded = environ.get("WATCHDOG_PID", "")
        text = environ.get("WATCHDOG_USEC", "")
        is_ours = not guarded or guarded == str(os.getpid() if pid is None else pid)
        if self._socket is not None and is_ours and text.isdecimal() and int(text) > 0:
            self.watchdog_seconds = int(text) / 1_000_000

    def ready(self, status: str) -> None:
        """Reports the end of startup or of a reload, and the text for `systemctl status`."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Reports that settings are being read again; `ready` must follow."""
        # With this, systemd distinguishes this reload from one that it requested earlier.
        monotonic_usec = int(self._monotonic_seconds() * 1_000_000)
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """Reports that the server has begun to stop."""
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Reports that the process is not stuck."""
        # Waiting for room is pointless, because the next one follows soon.
        self._send("WATCHDOG=1", timeout_seconds=0.0)

    def timers(self, clock: IReactorTime) -> Iterator[TimerService]:
        """Yields the service that calls `alive` in time, if systemd expects it.

        The reactor calls it, so a stuck reactor does not.

        Args:
            clock: provides the time.
        """
        if self.watchdog_seconds is not None:
            timer = TimerService(self.watchdog_seconds / 2, guarded, self.alive, self._log)
            timer.clock = clock
            yield timer

    def _send(self, *lines: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        if self._socket is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # While a system boots, the queue can be full for a moment.
                sender.settimeout(timeout_seconds)
                sender.sendto("\n".join(lines).encode(), self._socket)
        except OSError as error:
            self._log.warn(
                "cannot notify systemd of {what}: {error}",
                event="systemd_unreachable",
                what=lines[0],
                error=error,
            )


def _address(text: str) -> str | None:
    """Returns the address of a datagram socket in Python's form, or None if there is none."""
    if text.startswith("@"):
        # An abstract name.
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
