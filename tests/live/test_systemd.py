"""What systemd receives, over a real datagram socket."""

import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.ops.systemd import Notifier
from tests.support.processes import RedisProcess, Server, environment, health, wait_until

HALF_WATCHDOG_SECONDS = 15
WATCHDOG_USEC = str(2 * HALF_WATCHDOG_SECONDS * 1_000_000)


class ServiceManager:
    """systemd's end of the notification socket."""

    def __init__(self, test: SynchronousTestCase, address: str) -> None:
        """Listen until the test is over."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        test.addCleanup(self._socket.close)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def messages(self) -> list[str]:
        """Return what has come since the last time."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages


class NotifierTestCase(SynchronousTestCase):
    """Has a service manager."""

    def setUp(self) -> None:
        """Listen at a path."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "notify")
        self.manager = ServiceManager(self, self.path)

    def notifier(self, **environ: str) -> Notifier:
        """Return a notifier in an environment such as systemd makes."""
        return Notifier(
            {"NOTIFY_SOCKET": self.path, **environ}, pid=4711, monotonic_seconds=lambda: 12.5
        )


class MessageTests(NotifierTestCase):
    """Messages, one datagram each."""

    def test_life(self) -> None:
        """Each step of a life is one message of the lines that sd_notify(3) names."""
        notifier = self.notifier()
        notifier.ready("listening")
        notifier.reloading()
        notifier.ready("reloaded")
        notifier.stopping("draining")
        self.assertEqual(
            self.manager.messages(),
            [
                "READY=1\nSTATUS=listening",
                "RELOADING=1\nMONOTONIC_USEC=12500000\nSTATUS=reloading",
                "READY=1\nSTATUS=reloaded",
                "STOPPING=1\nSTATUS=draining",
            ],
        )

    def test_system_clock(self) -> None:
        """A reload is dated by the clock that systemd uses."""
        before_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notifier({"NOTIFY_SOCKET": self.path}).reloading()
        after_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        (message,) = self.manager.messages()
        told_usec = int(message.splitlines()[1].removeprefix("MONOTONIC_USEC="))
        self.assertTrue(before_usec - 1 <= told_usec <= after_usec, message)

    def test_status_is_one_line(self) -> None:
        """A status cannot smuggle in a line of its own."""
        self.notifier().ready("a\nSTOPPING=1")
        self.assertEqual(self.manager.messages(), ["READY=1\nSTATUS=a STOPPING=1"])

    def test_abstract_name(self) -> None:
        """A name that begins with @ is of the abstract namespace."""
        name = f"gaq-test-{os.getpid()}"
        manager = ServiceManager(self, f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("x")
        self.assertEqual(manager.messages(), ["READY=1\nSTATUS=x"])

    def test_without_systemd(self) -> None:
        """Without NOTIFY_SOCKET, or with an address of another kind, nothing happens."""
        with capturedLogs() as logs:
            for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
                notifier = Notifier({**environ, "WATCHDOG_USEC": WATCHDOG_USEC})
                notifier.ready("x")
                self.assertEqual(list(notifier.timers(Clock())), [])
        self.assertEqual(logs, [])

    def test_nobody_listens(self) -> None:
        """A message that cannot be sent is a warning, and nothing more."""
        Path(self.path).unlink()
        with capturedLogs() as logs:
            self.notifier().stopping("x")
        (event,) = logs
        self.assertEqual((event["log_level"], event["what"]), (LogLevel.warn, "STOPPING=1"))

    def test_nobody_reads(self) -> None:
        """Signs of life do not wait for a service manager whose queue is full."""
        notifier = self.notifier()
        with capturedLogs() as logs:
            while not logs:
                notifier.alive()
        self.assertIn("temporarily unavailable", str(logs[0]["error"]))
        self.assertEqual(set(self.manager.messages()), {"WATCHDOG=1"})


class WatchdogTests(NotifierTestCase):
    """Signs of life."""

    def test_interval(self) -> None:
        """They come at once and then at half of the time, until the service stops."""
        clock = Clock()
        (timer,) = self.notifier(WATCHDOG_USEC=WATCHDOG_USEC).timers(clock)
        timer.startService()
        self.assertEqual(self.manager.messages(), ["WATCHDOG=1"])
        for _ in range(3):
            clock.advance(HALF_WATCHDOG_SECONDS - 0.5)
            self.assertEqual(self.manager.messages(), [])
            clock.advance(0.5)
            self.assertEqual(self.manager.messages(), ["WATCHDOG=1"])
        self.successResultOf(timer.stopService())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_goes_on_after_trouble(self) -> None:
        """A sign of life that could not be sent does not end the next ones."""
        clock = Clock()
        (timer,) = self.notifier(WATCHDOG_USEC=WATCHDOG_USEC).timers(clock)
        Path(self.path).unlink()
        timer.startService()
        manager = ServiceManager(self, self.path)
        clock.advance(HALF_WATCHDOG_SECONDS)
        self.assertEqual(manager.messages(), ["WATCHDOG=1"])

    def test_whose(self) -> None:
        """They are sent if they are asked for, and asked of this process."""
        for asked, environ in (
            (True, {"WATCHDOG_USEC": WATCHDOG_USEC, "WATCHDOG_PID": "4711"}),
            (False, {"WATCHDOG_USEC": WATCHDOG_USEC, "WATCHDOG_PID": "4712"}),
            (False, {"WATCHDOG_USEC": "0"}),
            (False, {"WATCHDOG_USEC": "soon"}),
            (False, {}),
        ):
            timers = list(self.notifier(**environ).timers(Clock()))
            self.assertEqual(len(timers), int(asked), environ)

    def test_own_process(self) -> None:
        """Without such a setting the notifier knows the id of its process."""
        for pid, asked in ((os.getpid(), True), (os.getpid() + 1, False)):
            notifier = Notifier(
                {
                    "NOTIFY_SOCKET": self.path,
                    "WATCHDOG_USEC": WATCHDOG_USEC,
                    "WATCHDOG_PID": str(pid),
                }
            )
            self.assertEqual(notifier.watchdog_seconds is not None, asked)


class ProcessTests(NotifierTestCase):
    """The whole server."""

    def start(self, **environ: str) -> Server:
        """Start a server as systemd does, and wait until it is ready."""
        server = Server(
            self,
            environment(
                RedisProcess(self).port,
                NOTIFY_SOCKET=self.path,
                WATCHDOG_USEC="100000",
                **environ,
            ),
        )
        self.wait_for(server, "READY=1")
        return server

    def wait_for(self, server: Server, *states: str) -> None:
        """Wait until just these states were sent since the last time, in this order."""
        told: list[str] = []

        def all_told() -> bool:
            states_now = (message.partition("\n")[0] for message in self.manager.messages())
            told.extend(state for state in states_now if state != "WATCHDOG=1")
            return len(told) >= len(states)

        wait_until(all_told, lambda: f"{told}\n{server.text()}")
        self.assertEqual(told, list(states))

    def test_life(self) -> None:
        """It is ready when the port is open, reports each reload, and when it begins to stop."""
        server = self.start()
        self.assertEqual(health(server.port), 200)
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
            self.wait_for(server, "RELOADING=1", "READY=1")
        self.assertEqual(server.stop(), 0)
        self.wait_for(server, "STOPPING=1")

    def test_alive_while_draining(self) -> None:
        """It goes on reporting that it is alive while it closes clients."""
        server = self.start(DRAIN_DELAY_MS="600000")
        server.process.send_signal(signal.SIGTERM)
        self.wait_for(server, "STOPPING=1")
        for _ in range(3):
            wait_until(lambda: self.manager.messages() == ["WATCHDOG=1"], server.text)
        self.assertIsNone(server.process.poll())
