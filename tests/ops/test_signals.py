"""Signals, as far as one process can send them to itself."""

import os
import signal
from functools import partial
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.ops.signals import Signals

IGNORED = (
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
)
NUMBERS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    *IGNORED,
)


class RecordingReactor:
    """Records what is called from threads, instead of calling it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Records the call."""
        self.calls.append(partial(call, *arguments))

    def stop(self) -> None:
        """Records the stop."""
        self.calls.append("stop")


class RecordingOutput:
    """Records what is asked of the log."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin_file(self) -> None:
        """Records the call."""
        self.calls.append("begin")

    def follow_file(self) -> None:
        """Records the call."""
        self.calls.append("follow")


class SignalTests(SynchronousTestCase):
    """Each signal, once and again."""

    def setUp(self) -> None:
        """Restores the handlers of the tests' own process afterwards."""
        for number in NUMBERS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.exits: list[int] = []
        self.patch(os, "_exit", self.exits.append)
        self.reloads = 0
        self.announced: list[str] = []
        self.start()

    def start(self, *, with_reload: bool = True) -> None:
        """Handles signals with another reactor."""
        self.recorder = RecordingReactor()
        reactor: Any = self.recorder
        self.output = RecordingOutput()
        reload = self.reload if with_reload else None
        Signals(reactor, reload, self.output, self.announced.append).install()

    def reload(self) -> None:
        """Counts the reload."""
        self.reloads += 1

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to this process."""
        signal.raise_signal(number)

    def assert_stops(self, number: signal.Signals) -> None:
        """Checks that a signal stops the reactor from its own loop, once it has been announced."""
        self.announced.clear()
        self.send(number)
        self.assertEqual(self.announced, [])
        (call,) = self.recorder.calls
        call()
        self.assertEqual(self.recorder.calls, [call, "stop"])
        self.assertEqual(self.announced, [number.name])

    def test_stop(self) -> None:
        """SIGTERM, SIGINT and SIGQUIT stop the reactor, from the reactor's own loop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.start()
            self.assert_stops(number)
        self.assertEqual(self.exits, [])

    def test_second_signal(self) -> None:
        """A second one ends the process at once, with the status that a shell would report."""
        for first, second in ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
            self.start()
            self.send(first)
            self.send(second)
        self.assertEqual(self.exits, [128 + signal.SIGINT, 128 + signal.SIGTERM])

    def test_reload(self) -> None:
        """SIGHUP reloads each time, from the reactor's own loop."""
        self.send(signal.SIGHUP)
        self.send(signal.SIGHUP)
        self.assertEqual(self.reloads, 0)
        for call in self.recorder.calls:
            call()
        self.assertEqual((self.reloads, self.exits), (2, []))

    def test_nothing_to_reload(self) -> None:
        """SIGHUP stops a server that has nothing to reload."""
        self.start(with_reload=False)
        self.assert_stops(signal.SIGHUP)

    def test_log_file(self) -> None:
        """SIGUSR1 begins a new log file; SIGHUP does so if the old one was moved away."""
        self.send(signal.SIGUSR1)
        self.send(signal.SIGHUP)
        for call in self.recorder.calls:
            call()
        self.assertEqual((self.output.calls, self.exits), (["begin", "follow"], []))

    def test_other_signals(self) -> None:
        """What else would end a process by default ends nothing, and has a line in the log."""
        for number in IGNORED:
            self.send(number)
        with capturedLogs() as logs:
            for call in self.recorder.calls:
                call()
        self.assertEqual(
            [(one["event"], one["signal"]) for one in logs],
            [("signal_ignored", number.name) for number in IGNORED],
        )
