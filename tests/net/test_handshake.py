"""Upgrades that wait for their edition."""

import txaio
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode
from websockets.typing import Origin

from gaq_twisted.config.forms import OriginPattern
from gaq_twisted.core.edition import Unavailable
from gaq_twisted.core.metrics import UPGRADE_REJECTED
from tests.support.memory import Browser, MemoryServer
from tests.support.samples import cookie

PING = b"\x89\x80\x00\x00\x00\x00"


class WaitingTests(SynchronousTestCase):
    """A server in memory whose edition makes upgrades wait."""

    def setUp(self) -> None:
        """Makes the server."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(
            self.clock, allowed_origins=(OriginPattern("https://good.test"),)
        )
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0
        self.patch(self.server.edition, "when_ready", self.when_ready)

    def when_ready(self) -> "Deferred[None]":
        """Makes an upgrade wait."""
        self.waiting.append(Deferred(self.note_cancelled))
        return self.waiting[-1]

    def note_cancelled(self, _: object) -> None:
        """Counts a cancelled upgrade."""
        self.cancelled += 1

    def upgrade(self, *, origin: str = "https://good.test", cookies: str = "") -> Browser:
        """Returns a browser that has requested a WebSocket."""
        browser = self.server.connect()
        browser.websocket.origin = Origin(origin)
        browser.upgrade(cookies or cookie())
        return browser

    def test_early_frames(self) -> None:
        """What the client sends while it waits is processed after the 101."""
        browser = self.upgrade()
        self.assertEqual(browser.received, b"")
        browser.send(PING[:3])
        browser.send(PING[3:])
        self.waiting[0].callback(None)
        browser.pump.flush()
        self.assertEqual(browser.response.status_code, 101)
        self.assertEqual(len(list(browser.frames(Opcode.PONG))), 1)
        self.assertEqual(self.server.hub.socket_count, 1)

    def test_refusal(self) -> None:
        """An upgrade whose wait fails gets a 503 that says why, and is counted."""
        browser = self.upgrade()
        self.waiting[0].errback(Unavailable("no connection to Redis for 10 s"))
        browser.pump.flush()
        self.assertEqual(browser.response.status_code, 503)
        self.assertIn(b"no connection to Redis for 10 s", browser.received)
        self.assertEqual(self.rejected(), {"no_subscription": 1})

    def test_client_leaves(self) -> None:
        """A client that leaves no longer waits, and is not counted as refused."""
        browser = self.upgrade()
        browser.lose()
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(self.rejected(), {})
        self.assertEqual(self.server.factory.connection_count, 0)

    def test_client_sends_too_much(self) -> None:
        """A client that sends more than 16 KiB before its 101 is dropped."""
        browser = self.upgrade()
        browser.send(bytes(16_384))
        self.assertFalse(browser.lost)
        browser.send(b"x")
        self.assertTrue(browser.line.aborted)
        # Before the connection is lost, so that no edition can let it pass in between.
        self.assertEqual(self.cancelled, 1)
        browser.lose()
        self.assertEqual(self.server.hub.socket_count, 0)
        self.assertEqual(self.server.factory.connection_count, 0)

    def test_checked_first(self) -> None:
        """A wrong origin or a bad token is refused at once, without a wait."""
        self.assertEqual(self.upgrade(origin="https://bad.test").response.status_code, 403)
        self.assertEqual(self.upgrade(cookies="a=b").response.status_code, 401)
        self.assertEqual(self.waiting, [])

    def rejected(self) -> dict[str, float]:
        """Returns the counts of refused upgrades by reason."""
        counts = self.server.metrics.counts(UPGRADE_REJECTED)
        return {reason: count for reason, count in counts.items() if count}
