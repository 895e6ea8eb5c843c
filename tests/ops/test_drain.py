"""The end of a server, with sockets in memory."""

from typing import Any

import txaio
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from gaq_twisted.core.readiness import Readiness
from gaq_twisted.ops.drain import Drain
from tests.support.fakes import finish
from tests.support.memory import Browser, MemoryServer
from tests.support.samples import cookie, job_event, settings


class DrainTests(SynchronousTestCase):
    """Times and sockets."""

    def setUp(self) -> None:
        """Makes the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(self.clock)
        self.readiness = Readiness([])
        self.listening = Service()
        self.listening.startService()
        self.browsers: list[Browser] = []
        self.listened: list[bool] = []

    def open(self, count: int) -> None:
        """Opens sockets."""
        self.browsers.extend(self.server.open() for _ in range(count))

    def begin(self, **values: Any) -> "Deferred[None]":
        """Begins to drain."""
        drain = Drain(
            self.server.hub,
            self.readiness,
            [self.listening],
            [lambda: self.listened.append(bool(self.listening.running))],
            self.server.factory.when_all_closed,
            settings(**values),
            self.clock,
        )
        return Deferred.fromCoroutine(drain.drain())

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, in which clients answer."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.answer()

    def answer(self) -> None:
        """Lets the clients answer."""
        for browser in self.browsers:
            browser.pump.flush()
            browser.answer()

    def closed(self) -> int:
        """Returns how many sockets were sent a close frame; checks that it is one, with 1001."""
        frames = [list(browser.frames(Opcode.CLOSE)) for browser in self.browsers]
        for one in frames:
            self.assertLessEqual(len(one), 1)
        codes = {bytes(frame.data[:2]) for one in frames for frame in one}
        self.assertLessEqual(codes, {(1001).to_bytes(2, "big")})
        return sum(map(len, frames))

    def test_without_sockets(self) -> None:
        """Without sockets it ends at once, and no client can connect any more."""
        self.assertIsNone(self.successResultOf(self.begin()))
        self.assertTrue(self.readiness.is_draining)
        self.assertFalse(self.listening.running)
        self.assertEqual(self.readiness.now().reasons, ["draining"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting_upgrades(self) -> None:
        """Upgrades that wait are refused at once, when no more can come."""
        self.open(1)
        self.begin()
        self.assertEqual(self.listened, [False])

    def test_few_sockets(self) -> None:
        """A few sockets are closed at once, and it ends when they have answered."""
        self.open(3)
        done = self.begin()
        self.pass_time(0.05)
        self.assertEqual(self.closed(), 3)
        self.assertIsNone(self.successResultOf(done))

    def test_evenly(self) -> None:
        """Many are closed in even batches, and events flow meanwhile."""
        self.open(200)
        done = self.begin(drain_ms=1000)
        self.answer()
        for tenth in range(10):
            self.assertAlmostEqual(self.closed(), 200 * (tenth + 0.5) / 10, delta=10)
            finish(self.server.resumption.deliver([job_event(f"{tenth + 1}-0")]))
            self.pass_time(0.1)
        self.assertEqual(self.closed(), 200)
        self.assertIsNone(self.successResultOf(done))
        counts = [len(browser.texts) for browser in self.browsers]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual((counts[0], counts[-1]), (0, 10))

    def test_nothing_after_the_close_frame(self) -> None:
        """A socket that was sent a close frame is sent no event."""
        self.open(1)
        done = self.begin()
        finish(self.server.resumption.deliver([job_event("1-0")]))
        self.answer()
        self.assertEqual(self.browsers[0].texts, [])
        self.assertIsNone(self.successResultOf(done))

    def test_delay(self) -> None:
        """In the delay all goes on but readiness; clients that connect then are closed as well."""
        self.open(1)
        with capturedLogs() as logs:
            done = self.begin(drain_delay_ms=2000)
        self.assertEqual([one["event"] for one in logs], ["drain_delayed"])
        self.assertTrue(self.readiness.is_draining)
        self.pass_time(1.9)
        self.assertEqual((self.listening.running, self.closed()), (1, 0))
        self.open(1)
        self.pass_time(0.2)
        self.assertEqual((self.listening.running, self.closed()), (0, 2))
        self.pass_time(0.1)
        self.assertIsNone(self.successResultOf(done))

    def test_half_a_request(self) -> None:
        """A client whose request comes whole only while sockets are closed is not forgotten."""
        self.open(100)
        late = self.server.connect()
        done = self.begin(drain_ms=1000)
        self.pass_time(0.5)
        late.upgrade(cookie())
        self.browsers.append(late)
        self.pass_time(0.6)
        self.assertEqual(self.closed(), 101)
        self.assertIsNone(self.successResultOf(done))

    def test_after_the_last_one(self) -> None:
        """A client whose request is complete only after that is closed as well."""
        for count in (0, 1):
            self.open(count)
            late = self.server.connect()
            done = self.begin(drain_ms=0)
            late.upgrade(cookie())
            (close,) = late.frames(Opcode.CLOSE)
            self.assertEqual(bytes(close.data[:2]), (1001).to_bytes(2, "big"))
            self.assertEqual(self.server.hub.socket_count, 0)
            late.answer()
            self.pass_time(1.1)
            self.assertIsNone(self.successResultOf(done))
            self.setUp()

    def test_no_answer(self) -> None:
        """Clients that do not answer have one second."""
        self.open(1)
        done = self.begin(drain_ms=0)
        self.clock.advance(0.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(done))

    def test_quiet(self) -> None:
        """The log has one line, and no warning."""
        self.open(3)
        with capturedLogs() as logs:
            self.begin()
            self.pass_time(2)
        shown = [one for one in logs if one["log_level"] > LogLevel.debug]
        self.assertEqual([(one["event"], one["count"]) for one in shown], [("drain", 3)])
