"""Messages on their way to the sockets, in slices."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.delivery import Delivery
from gaq_twisted.realtime.envelope import parse
from gaq_twisted.realtime.metrics import REALTIME
from tests.support.fakes import FakeSocket
from tests.support.samples import envelope, settings

SOCKETS = 100


class SlowSocket(FakeSocket):
    """A socket to which sending takes a millisecond."""

    def __init__(self, clock: Clock, route: str) -> None:
        super().__init__(route)
        self._clock = clock

    def send(self, frames: bytes) -> None:
        """Keeps the frames."""
        super().send(frames)
        self._clock.rightNow += 0.001


class FakeSource:
    """A delivery.Source that is never paused."""

    def pause(self) -> None:
        """Fails."""
        raise AssertionError("too much waits")

    resume = pause


class SliceTests(SynchronousTestCase):
    """What takes long is sent in slices."""

    def test_complete(self) -> None:
        """Every socket gets all messages, in order, also those that come between two slices."""
        clock = Clock()
        metrics = Metrics((*CORE, *REALTIME))
        audience = Audience(Hub(metrics, clock.seconds, settings()), metrics, clock.seconds)
        delivery = Delivery(audience, FakeSource(), metrics, clock)
        sockets = [SlowSocket(clock, f"user:{number}") for number in range(SOCKETS)]
        for socket in sockets:
            audience.enter(socket)
            audience.admit(socket)
        messages = [envelope(payload=number) for number in range(3)]
        for message in messages:
            delivery.receive(message)
        self.assertFalse(sockets[-1].sent)
        clock.advance(0)
        frames = [parse(message).frame for message in messages]
        for socket in sockets:
            self.assertEqual(socket.sent, frames)
