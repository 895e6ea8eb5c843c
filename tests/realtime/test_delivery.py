"""Messages on their way from the subscription to the sockets."""

import json

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.delivery import Delivery
from gaq_twisted.realtime.metrics import MESSAGES_DROPPED, MESSAGES_RECEIVED, REALTIME
from tests.support.fakes import FakeSocket
from tests.support.memory import shown
from tests.support.samples import settings


class SlowSocket(FakeSocket):
    """A socket to which sending takes a millisecond."""

    def __init__(self, clock: Clock, *routes: str) -> None:
        super().__init__(*routes)
        self._clock = clock

    def send(self, frames: bytes) -> None:
        """Takes a millisecond."""
        self._clock.rightNow += 0.001
        super().send(frames)


class FakeSource:
    """Records the calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        """Records the call."""
        self.asked.append("pause")

    def resume(self) -> None:
        """Records the call."""
        self.asked.append("resume")


def message(payload: object, *routes: str) -> bytes:
    """Returns a message for some routes, or for all sockets."""
    scope = "principal" if routes else "authenticated_global"
    return json.dumps({"topic": "t", "scope": scope, "payload": payload, "routes": routes}).encode()


class DeliveryTests(SynchronousTestCase):
    """A delivery to sockets on a clock."""

    def setUp(self) -> None:
        """Makes a delivery without sockets."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = Metrics((*CORE, *REALTIME))
        self.hub = Hub(self.metrics, self.clock.seconds, settings())
        self.audience = Audience(self.hub, self.metrics, self.clock.seconds)
        self.source = FakeSource()
        self.delivery = Delivery(self.audience, self.source, self.metrics, self.clock)

    def add(self, count: int) -> list[FakeSocket]:
        """Adds and returns sockets to which sending takes a millisecond."""
        sockets: list[FakeSocket] = [SlowSocket(self.clock, "user:1") for _ in range(count)]
        for socket in sockets:
            self.audience.enter(socket)
            self.audience.admit(socket)
        return sockets

    def test_order(self) -> None:
        """Messages that arrive during a broadcast are sent after it, to each socket."""
        sockets = self.add(40)
        self.delivery.receive(message(1))
        self.delivery.receive(message(2, "user:1"))
        self.assertEqual(sockets[0].sent, sockets[0].sent[:1])
        self.assertEqual(sockets[39].sent, [])
        self.clock.pump([0] * 20)
        for socket in sockets:
            self.assertEqual([b'"payload":1' in one for one in socket.sent], [True, False])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slices_of_many_messages(self) -> None:
        """Many small messages in one turn are sent in slices, too."""
        [socket] = self.add(1)
        for number in range(40):
            self.delivery.receive(message(number, "user:1"))
        self.assertLess(len(socket.sent), 20)
        self.clock.pump([0] * 20)
        self.assertEqual(len(socket.sent), 40)

    def test_clock_set_back(self) -> None:
        """A clock that was set back does not make the next slice longer."""
        sockets = self.add(40)
        self.delivery.receive(message(1))
        self.clock.pump([0] * 20)
        self.clock.rightNow -= 500
        self.delivery.receive(message(2))
        self.assertLess(sum(len(one.sent) for one in sockets), 40 + 20)
        self.clock.pump([0] * 20)
        self.assertEqual([len(one.sent) for one in sockets], [2] * 40)

    def test_joining_and_leaving_meanwhile(self) -> None:
        """A socket that leaves during a broadcast gets no more; one that joins gets no part."""
        sockets = self.add(40)
        self.delivery.receive(message(1))
        self.hub.leave(sockets[39])
        [late] = self.add(1)
        self.clock.pump([0] * 20)
        self.assertEqual(sockets[39].sent, [])
        self.assertEqual(late.sent, [])
        self.assertEqual(len(sockets[38].sent), 1)

    def test_backpressure(self) -> None:
        """The source is paused while more than 16 MiB wait, once, and resumed after that."""
        self.add(40)
        self.delivery.receive(message(1))
        for _ in range(20):
            self.delivery.receive(message("x" * 2**20))
        self.assertEqual(self.source.asked, ["pause"])
        self.clock.pump([0] * 200)
        self.assertEqual(self.source.asked, ["pause", "resume"])

    def test_dropped_messages(self) -> None:
        """Malformed messages are counted, and logged once in 10 s, with their number."""
        with capturedLogs() as events:
            for _ in range(5):
                self.delivery.receive(b'{"topic": "a secret"}')
            self.clock.advance(10)
            self.delivery.receive(b"a secret")
        self.assertEqual([event["count"] for event in events], [1, 5])
        self.assertNotIn("secret", shown(events))
        self.assertEqual(self.metrics.total(MESSAGES_DROPPED), 6)
        self.assertEqual(self.metrics.total(MESSAGES_RECEIVED), 6)

    def test_broken_socket(self) -> None:
        """If sending to one socket fails, the others get their messages."""
        broken = FakeSocket("user:1", broken=True)
        self.audience.enter(broken)
        self.audience.admit(broken)
        [fine] = self.add(1)
        self.delivery.receive(message(1))
        self.assertEqual(len(fine.sent), 1)
        self.assertFalse(broken.open)
        self.flushLoggedErrors(OSError)

    def test_stop(self) -> None:
        """Nothing is sent after the end."""
        self.add(40)
        self.delivery.receive(message(1))
        self.delivery.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
