"""The hub: sockets that come, go and fall silent."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience, Dispatch
from gaq_twisted.core.close import GOING_AWAY, TOKEN_EXPIRED
from gaq_twisted.core.hub import Hub, NoRoom
from gaq_twisted.core.metrics import CLIENT_SEND_ERROR, CONNECTED_CLIENT, TOKEN_EXPIRED_DISCONNECT
from tests.support.fakes import FakeSocket, counted, finish
from tests.support.samples import settings, streams_metrics

RED = "red"
BLUE = "blue"


class HubTestCase(SynchronousTestCase):
    """Has a hub with an audience, on a clock that the test sets."""

    def setUp(self) -> None:
        """Make the hub."""
        self.now = 1000.0
        self.metrics = streams_metrics()
        self.left: list[object] = []
        self.hub = Hub(self.metrics, lambda: self.now, settings())
        self.audience = Audience(self.hub, self.metrics, lambda: self.now, self.left.append)

    def join(self, channel: str = RED, *, waits: bool = False) -> FakeSocket:
        """Let a socket enter, and perhaps wait there."""
        socket = FakeSocket(channel)
        self.audience.enter(socket)
        if not waits:
            self.audience.admit(socket)
        return socket

    @property
    def sockets(self) -> list[object]:
        """All sockets that are there."""
        return list(self.hub.sockets)


class RoundTests(HubTestCase):
    """What may happen between two steps of a round of pings."""

    def test_slow_round(self) -> None:
        """In a round of pings that takes its time nobody is pinged who left, or ended who lives."""
        first, second, third = self.join(), self.join(), self.join()
        for _ in range(2):
            finish(self.hub.ping(2))
            self.hub.pong(first)
        steps = self.hub.ping(2)
        self.assertFalse(next(steps))
        self.hub.leave(second)
        self.hub.pong(third)
        new = self.join()
        self.assertEqual(list(steps), [False])
        self.assertEqual([one.pings for one in (first, second, third, new)], [3, 2, 3, 0])
        self.assertTrue(third.open)


class PingTests(HubTestCase):
    """Sockets that are asked whether they live."""

    def test_all_are_pinged(self) -> None:
        """Every socket is pinged once, and none ended while there was time to answer."""
        sockets = [self.join(RED), self.join(BLUE), self.join(waits=True)]
        self.assertEqual(sum(self.hub.ping(1)), 0)
        self.assertEqual([socket.pings for socket in sockets], [1, 1, 1])

    def test_silence(self) -> None:
        """Sockets that left so many pings unanswered are dropped; a pong gives them all anew."""
        silent, alive = self.join(), self.join()
        self.assertEqual([sum(self.hub.ping(2)), sum(self.hub.ping(2))], [0, 0])
        self.hub.pong(alive)
        self.assertEqual(sum(self.hub.ping(2)), 1)
        self.assertEqual((silent.open, silent.pings), (False, 2))
        self.assertEqual((alive.open, alive.pings), (True, 3))
        self.assertEqual(self.sockets, [alive])
        self.assertEqual(sum(self.hub.ping(2)), 1)
        self.assertEqual((self.hub.socket_count, len(self.audience.routes)), (0, 0))

    def test_standstill(self) -> None:
        """Nobody is ended because this process stood still, however long that was."""
        socket = self.join()
        finish(self.hub.ping(2))
        self.hub.pong(socket)
        self.now += 3600
        self.assertEqual(sum(self.hub.ping(2)), 0)

    def test_unknown_pong(self) -> None:
        """A pong of a socket that has left does not bring it back."""
        socket = self.join()
        self.hub.leave(socket)
        self.hub.pong(socket)
        self.assertEqual(self.sockets, [])

    def test_broken_socket(self) -> None:
        """A socket that cannot be pinged is dropped and counted; the others are pinged."""
        broken, healthy = self.join(), self.join()
        broken.broken = True
        self.assertEqual(sum(self.hub.ping(3)), 0)
        self.assertEqual((broken.open, healthy.pings), (False, 1))
        self.assertEqual(self.metrics.total(CLIENT_SEND_ERROR), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class LeaveTests(HubTestCase):
    """Sockets that go."""

    def test_twice(self) -> None:
        """Leaving says whether the socket was known, and does no harm when it was not."""
        socket = self.join()
        self.assertTrue(self.hub.leave(socket))
        self.assertFalse(self.hub.leave(socket))
        self.assertFalse(self.hub.leave(FakeSocket("never seen")))
        self.assertTrue(socket.open, "who leaves is not dropped")

    def test_channel(self) -> None:
        """A channel is there from its first socket to its last."""
        self.assertEqual(len(self.audience.routes), 0)
        first, second, blue = self.join(), self.join(), self.join(BLUE)
        self.assertEqual((self.hub.socket_count, len(self.audience.routes)), (3, 2))
        self.hub.leave(first)
        self.assertEqual((self.hub.socket_count, len(self.audience.routes)), (2, 2))
        self.hub.leave(second)
        self.assertEqual((self.sockets, len(self.audience.routes)), ([blue], 1))

    def test_leaves_while_others_are_sent_to(self) -> None:
        """A socket that leaves from within a delivery does not disturb it."""
        hub = self.hub

        class Leaver(FakeSocket):
            def send(self, frames: bytes) -> None:
                hub.leave(self)

        leaver = Leaver(RED)
        self.audience.enter(leaver)
        self.audience.admit(leaver)
        socket = self.join()
        _, steps = self.audience.dispatch([Dispatch((RED,), b"frame", 1, None)])
        finish(steps)
        self.assertEqual((socket.sent, self.sockets), ([b"frame"], [socket]))

    def test_reported(self) -> None:
        """The audience of a socket hears that it has left, once."""
        socket = self.join()
        self.hub.leave(socket)
        self.hub.leave(socket)
        self.assertEqual(self.left, [socket])

    def test_connected_counter(self) -> None:
        """Every socket that joins is counted, whether or not it is served at once."""
        self.join()
        self.hub.leave(self.join(waits=True))
        self.assertEqual(counted(self.metrics)[CONNECTED_CLIENT], 2)


class SweepTests(HubTestCase):
    """What should not be there."""

    def test_clean(self) -> None:
        """Where all is well nothing is dropped."""
        socket = self.join()
        waiting = self.join(waits=True)
        self.assertEqual(self.hub.sweep(), 0)
        self.assertEqual(self.sockets, [socket, waiting])

    def test_closed_sockets(self) -> None:
        """Sockets that closed without leaving are forgotten, also waiting ones."""
        closed, waiting, healthy = self.join(), self.join(waits=True), self.join(BLUE)
        closed.open = waiting.open = False
        self.assertEqual(self.hub.sweep(), 2)
        self.assertEqual((self.sockets, len(self.audience.routes)), ([healthy], 1))
        self.assertEqual(self.left, [closed, waiting])
        self.assertEqual(self.hub.sweep(), 0)


class LimitTests(HubTestCase):
    """How many sockets there may be."""

    def assert_refused(self, reason: str, *routes: str) -> None:
        """Check that a socket of these routes is one too many, and is not counted."""
        before = self.sockets
        with self.assertRaises(NoRoom) as caught:
            self.audience.enter(FakeSocket(*routes))
        self.assertEqual((caught.exception.reason, self.sockets), (reason, before))

    def test_total(self) -> None:
        """All sockets count, whatever their channel, until they leave."""
        self.hub.apply(settings(max_total_connections=2))
        first, _ = self.join(), self.join(BLUE, waits=True)
        self.assert_refused("total", "green")
        self.hub.leave(first)
        self.join("green")

    def test_principal(self) -> None:
        """The sockets of a principal count together, whatever further routes they have."""
        self.hub.apply(settings(max_connections_per_channel=2))
        for tab in ("1", "2"):
            self.audience.enter(FakeSocket("user:5", f"user:5:{tab}"))
        self.assert_refused("channel", "user:5", "user:5:3")
        self.assertTrue(self.audience.enter(FakeSocket("user:6", "user:6:1")))

    def test_per_audience(self) -> None:
        """The same route in another audience is another principal."""
        self.hub.apply(settings(max_connections_per_channel=1))
        self.join(RED)
        other = Audience(self.hub, self.metrics, lambda: self.now)
        self.assertTrue(other.enter(FakeSocket(RED)))
        self.assert_refused("channel", RED)


class CloseTests(HubTestCase):
    """Sockets that the server closes."""

    def test_oldest_first(self) -> None:
        """Those that entered first are closed first, and hear nothing more."""
        first, second, third = self.join(), self.join(), self.join()
        self.hub.close_oldest(2, GOING_AWAY)
        self.assertEqual(
            [one.closed_with for one in (first, second, third)], [GOING_AWAY] * 2 + [None]
        )
        self.assertEqual(self.sockets, [third])

    def test_all(self) -> None:
        """Once all are closed, those that enter are closed too, and not counted."""
        socket = self.join()
        self.hub.close_all(GOING_AWAY)
        late = FakeSocket(RED)
        self.assertFalse(self.audience.enter(late))
        self.assertEqual([socket.closed_with, late.closed_with], [GOING_AWAY] * 2)
        self.assertEqual((self.sockets, len(self.audience.routes)), ([], 0))

    def test_expired(self) -> None:
        """A socket is closed with 1008 at the end of its time; one that left is not."""
        expiring, gone, endless = FakeSocket(RED), FakeSocket(RED), FakeSocket(RED)
        expiring.expires_at = gone.expires_at = 1009.5
        for socket in (expiring, gone, endless):
            self.audience.enter(socket)
        self.hub.leave(gone)
        self.now = 1009.4
        self.assertFalse(self.hub.expire(10))
        self.assertIsNone(expiring.closed_with)
        self.now = 1010.0
        self.assertTrue(self.hub.expire(1))
        self.assertEqual(expiring.closed_with, TOKEN_EXPIRED)
        self.assertEqual((gone.closed_with, endless.closed_with), (None, None))
        self.assertEqual(self.metrics.total(TOKEN_EXPIRED_DISCONNECT), 1)
