"""What signals do: SIGTERM and SIGINT stop the server, the second time at once; SIGHUP reloads."""

import os
import signal
from collections.abc import Callable
from typing import Any


def handle_signals(reactor: Any, reload: Callable[[], None] | None) -> None:
    """Replace the reactor's own handlers; to be called once the reactor runs.

    With these, twistd reports the signal that stopped it as its exit status.
    A server that has said goodbye to all its clients has succeeded.

    Args:
        reactor: provides IReactorCore and IReactorFromThreads.
        reload: called for SIGHUP; if None that stops too, as when a terminal is closed.
    """
    is_stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal is_stopping
        if is_stopping:
            # As a shell reports a process that was ended by that signal.
            os._exit(128 + number)
        is_stopping = True
        reactor.callFromThread(reactor.stop)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    if reload is not None:
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reload))
