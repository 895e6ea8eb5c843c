"""Signals: SIGTERM and SIGINT stop the server, the second one at once; SIGHUP reloads."""

import os
import signal
from collections.abc import Callable

from gaq_twisted.net.reactor import Reactor


def handle_signals(reactor: Reactor, reload: Callable[[], None] | None) -> None:
    """Replaces the reactor's own handlers; to be called once the reactor runs.

    With the reactor's handlers, twistd's exit status is the signal that stopped it. A server that
    has closed all its sockets properly has succeeded.

    Args:
        reactor: is stopped.
        reload: called for SIGHUP; if None that stops the server too, as when a terminal closes.
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
