"""Messages that arrive together, and how they are counted."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.audience import Audience
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.delivery import Delivery
from gaq_twisted.realtime.envelope import parse
from gaq_twisted.realtime.metrics import (
    MESSAGES_DELIVERED,
    MESSAGES_DROPPED,
    MESSAGES_RECEIVED,
    MESSAGES_WITHOUT_RECEIVER,
    REALTIME,
)
from tests.support.fakes import FakeSocket
from tests.support.samples import settings

MESSAGES = 100


def message(number: int, route: str) -> bytes:
    """Returns a message for a route."""
    return b'{"topic":"t","scope":"tab","payload":%d,"routes":["%b"]}' % (number, route.encode())


class NoSource:
    """A source that is never paused."""

    def pause(self) -> None:
        """Fails."""
        raise AssertionError("too much waits")

    resume = pause


class BatchTests(SynchronousTestCase):
    """Many messages in one call."""

    def test_together(self) -> None:
        """Each is sent in order to its sockets, or counted as dropped or without receiver."""
        clock = Clock()
        metrics = Metrics((*CORE, *REALTIME))
        audience = Audience(Hub(metrics, clock.seconds, settings()), metrics, clock.seconds)
        delivery = Delivery(audience, NoSource(), metrics, clock)
        socket = FakeSocket("user:1")
        audience.enter(socket)
        audience.admit(socket)
        heard = [message(number, "user:1") for number in range(MESSAGES)]
        mixed: list[bytes] = []
        for published in heard:
            mixed.extend((published, b"no JSON", message(0, "user:2"), message(1, "user:3")))
        delivery.receive(*mixed)
        # What a slice leaves over is sent in the next turn of the reactor.
        clock.advance(0)
        self.assertEqual(socket.sent, [parse(published).frame for published in heard])
        for metric, count in (
            (MESSAGES_RECEIVED, 4 * MESSAGES),
            (MESSAGES_DELIVERED, MESSAGES),
            (MESSAGES_WITHOUT_RECEIVER, 2 * MESSAGES),
            (MESSAGES_DROPPED, MESSAGES),
        ):
            self.assertEqual(metrics.total(metric), count, metric.name)
