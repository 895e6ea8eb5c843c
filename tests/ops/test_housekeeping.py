"""Periodic work, with sockets in memory."""

import itertools
from collections.abc import Callable
from typing import Any, NoReturn

import txaio
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from gaq_twisted.core.metrics import REACTOR_STALL_SECONDS
from gaq_twisted.ops.housekeeping import Housekeeping
from tests.support.memory import Browser, MemoryServer
from tests.support.samples import settings


class HousekeepingTests(SynchronousTestCase):
    """A server with housekeeping."""

    def setUp(self) -> None:
        """Makes the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(self.clock)
        self.seconds: list[float] = []
        self.running: list[Housekeeping] = []

    def tearDown(self) -> None:
        """Stops what was started."""
        for one in self.running:
            one.stopService()

    def start(self, *tasks: Callable[[], None], **values: Any) -> Housekeeping:
        """Returns housekeeping that runs; it ends with the test."""
        housekeeping = Housekeeping(
            self.server.hub, [], tasks, self.server.metrics, settings(**values), self.clock
        )
        housekeeping.startService()
        self.running.append(housekeeping)
        return housekeeping

    def pass_time(self, seconds: float, *browsers: Browser) -> None:
        """Lets time pass, in which these clients answer pings."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            for browser in browsers:
                browser.pump.flush()
                browser.answer()

    def note_second(self) -> None:
        """A task of each second."""
        self.seconds.append(self.clock.seconds())

    def test_each_second(self) -> None:
        """Each second all tasks run, even if one of them fails."""

        def fail() -> NoReturn:
            raise RuntimeError("boom")

        self.start(fail, self.note_second)
        self.clock.pump([0.5] * 5)
        self.assertEqual(self.seconds, [0, 1, 2])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_stop(self) -> None:
        """Nothing happens after the stop."""
        self.start(self.note_second).stopService()
        self.clock.pump([1] * 3)
        self.assertEqual((self.seconds, self.clock.getDelayedCalls()), ([0], []))

    def test_pings(self) -> None:
        """Each socket is pinged once per interval; a silent one is dropped and logged."""
        alive, silent = self.server.open(), self.server.open()
        self.start(ping_sockets_interval_ms=1000, socket_response_timeout_ms=3000)
        with capturedLogs() as logs:
            self.pass_time(5.9, alive)
        silent.pump.flush()
        self.assertEqual((alive.lost, silent.lost), (False, True))
        self.assertAlmostEqual(len(list(alive.frames(Opcode.PING))), 6, delta=1)
        lines = [one for one in logs if one["log_level"] > LogLevel.debug]
        self.assertEqual(
            [(one["event"], one["count"], one["rounds"]) for one in lines],
            [("silent_sockets_ended", 1, 3)],
        )

    def assert_ping_turns(self, sockets: int, most_turns: int) -> None:
        """Checks in how many turns of the reactor all sockets are pinged."""
        for _ in range(sockets):
            self.server.open()
        turns: list[float] = []
        pinged: list[object] = []

        def note(socket: object) -> None:
            pinged.append(socket)
            if self.clock.seconds() not in turns:
                turns.append(self.clock.seconds())

        (kind,) = {type(one) for one in self.server.hub.sockets}
        self.patch(kind, "ping", note)
        self.start(ping_sockets_interval_ms=20_000)
        self.clock.pump([0.125] * 159)
        self.assertEqual(len(set(pinged)), sockets)
        self.assertEqual(len(turns), most_turns)

    def test_few_pings(self) -> None:
        """A server with few sockets wakes up a few times a round only."""
        self.assert_ping_turns(16, 2)

    def test_many_pings(self) -> None:
        """With many sockets the pings are spread over the whole round."""
        self.assert_ping_turns(1600, 160)

    def test_fewer_pings_after_stall(self) -> None:
        """Rounds are not shortened when most sockets have left after a stall."""
        for _ in range(800):
            self.server.open()
        self.start(ping_sockets_interval_ms=20_000)
        self.clock.pump([0.2] * 50)
        self.clock.advance(15.1)
        staying, *leaving = self.server.hub.sockets
        for socket in leaving:
            self.server.hub.leave(socket)
        turns: list[float] = []

        def answer(socket: Any) -> None:
            turns.append(self.clock.seconds())
            self.server.hub.pong(socket)

        self.patch(type(staying), "ping", answer)
        self.clock.pump([0.1] * 1000)
        gaps = [after - before for before, after in itertools.pairwise(turns)]
        self.assertGreater(len(gaps), 2)
        self.assertGreater(min(gaps), 19)

    def test_expiry(self) -> None:
        """Sockets are closed soon after they expire, and many at once without a long stall."""
        crowd = [self.server.open() for _ in range(450)]
        for one in self.server.hub.sockets:
            self.server.hub._expiring.add(one, 1)
        self.start()
        self.pass_time(0.9)
        self.assertEqual(self.server.hub.socket_count, 450)
        self.pass_time(0.4)
        for browser in crowd:
            browser.pump.flush()
        self.assertEqual(self.server.hub.socket_count, 0)

    def test_sweep(self) -> None:
        """Leftover sockets are removed, with a warning."""
        self.server.open()
        (socket,) = self.server.hub.sockets
        self.patch(type(socket), "can_send", lambda _: False)
        with capturedLogs() as logs:
            self.start(gc_channels_interval_ms=1000)
        self.assertEqual(self.server.hub.socket_count, 0)
        (line,) = [one for one in logs if one.get("event") == "swept"]
        self.assertEqual((line["log_level"], line["sockets"]), (LogLevel.warn, 1))

    def test_stall(self) -> None:
        """The delay of a timer is measured."""
        self.start()
        self.clock.advance(0.5)
        self.clock.advance(1.0)
        histogram = self.server.metrics.histograms(REACTOR_STALL_SECONDS)[""]
        self.assertEqual(histogram.count, 3)
        self.assertAlmostEqual(histogram.sum, 0.5)

    def test_new_intervals(self) -> None:
        """Changed intervals apply at once; loops with an unchanged interval are not restarted."""
        sweeps: list[float] = []

        def sweep() -> int:
            sweeps.append(self.clock.seconds())
            return 0

        self.patch(self.server.hub, "sweep", sweep)
        housekeeping = self.start(self.note_second, gc_channels_interval_ms=60_000)
        self.clock.pump([0.125] * 4)
        housekeeping.apply(settings(gc_channels_interval_ms=1000))
        self.clock.pump([0.125] * 16)
        self.assertEqual(sweeps, [0, 0.5, 1.5, 2.5])
        self.assertEqual(self.seconds, [0, 1, 2])
