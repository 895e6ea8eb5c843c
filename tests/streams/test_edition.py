"""The streams edition as the server sees it, without a Redis."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import SigningSecret
from gaq_twisted.core.edition import Unauthorized, Upgrade
from gaq_twisted.core.hub import Hub
from gaq_twisted.streams.edition import StreamsEdition, reasons
from gaq_twisted.streams.firehose import Progress as Position
from gaq_twisted.streams.metrics import TAIL_EVENTS
from tests.support.fakes import FakeSocket
from tests.support.samples import CHANNEL, cookie, settings, streams_metrics

INFINITY = float("inf")


class EditionTests(SynchronousTestCase):
    """What upgrades are worth, and what is reported."""

    def setUp(self) -> None:
        """Make an edition that was not started."""
        reactor: Any = Clock()
        metrics = streams_metrics()
        self.hub = Hub(metrics, reactor.seconds, settings())
        self.edition = StreamsEdition(settings(), self.hub, metrics, reactor, lambda: None)

    def test_ticket(self) -> None:
        """A good cookie is worth its channel, from the last_id on that the client sends."""
        ticket = self.edition.ticket(Upgrade(cookie(), {"last_id": "1-0", "tab_id": "1"}))
        self.assertEqual((ticket.routes, ticket.resume_from), ((CHANNEL,), "1-0"))
        self.assertIsNone(self.edition.ticket(Upgrade(cookie(), {})).resume_from)
        with self.assertRaises(Unauthorized):
            self.edition.ticket(Upgrade("", {}))

    def test_new_secret(self) -> None:
        """New settings are checked before they are used."""
        new = settings(jwt_secret=SigningSecret("n" * 32))
        self.edition.validate(new)
        self.edition.ticket(Upgrade(cookie(), {}))
        self.edition.apply(new)
        with self.assertRaises(Unauthorized):
            self.edition.ticket(Upgrade(cookie(), {}))
        with self.assertRaises(ConfigError):
            self.edition.validate(settings(jwt_algorithms=("RS256",)))

    def test_progress(self) -> None:
        """Before the first answer of Redis it says so; sockets wait meanwhile."""
        socket = FakeSocket(CHANNEL)
        self.edition.join(socket, self.edition.ticket(Upgrade(cookie(), {})))
        progress = self.edition.progress()
        self.assertEqual(progress.reasons, ["the global stream has not been read yet"])
        self.assertEqual(
            progress.facts, {"cursor": "", "lagSeconds": 0, "readAgeSeconds": None, "channels": 0}
        )
        self.assertEqual((socket.sent, self.hub.socket_count), ([], 1))

    def test_gauges(self) -> None:
        """Its gauges can be read at any time."""
        values = {metric: read() for metric, read in self.edition.gauges().items()}
        self.assertEqual(values[TAIL_EVENTS], 0)

    def test_reasons(self) -> None:
        """Why it cannot serve browsers, from how far it has read."""
        for position, expected in (
            (Position(True, "5-1", 0.0, 10.0), []),
            (Position(False, "", 0.0, INFINITY), ["the global stream has not been read yet"]),
            (Position(False, "5-1", 0.0, 1.0), ["Redis cannot be read"]),
            (Position(True, "5-1", 0.0, 12.0), ["Redis has not answered for 12 s"]),
        ):
            self.assertEqual(reasons(position, 11), expected)
