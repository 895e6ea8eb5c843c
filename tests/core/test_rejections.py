"""The list of the latest rejections."""

from http import HTTPStatus

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.core.rejections import Rejections, shortened


class RecentRefusalsTests(SynchronousTestCase):
    """The latest rejections."""

    def setUp(self) -> None:
        """Makes an empty list."""
        self.clock = Clock()
        self.refusals = Rejections(Metrics(CORE), self.clock.seconds)

    def test_alike(self) -> None:
        """Rejections of one network for one reason are one line, placed by the newest."""
        for peer, reason in (("192.0.2.7", "host"), ("192.0.2.7", "body"), ("192.0.2.8", "host")):
            self.clock.advance(1)
            self.refusals.request(peer, HTTPStatus.BAD_REQUEST, reason, "for the log")
        first, second = self.refusals.newest_first()
        self.assertEqual(
            (first.at, first.count, first.kind, first.reason, first.peer),
            (3, 2, "request", "host", "192.0.2.*"),
        )
        self.assertEqual((second.at, second.count, second.reason), (2, 1, "body"))

    def test_bound(self) -> None:
        """The last 50 are remembered."""
        for number in range(60):
            self.refusals.connection(f"10.0.{number}.1", 1008, "rate", "too much")
        peers = [refusal.peer for refusal in self.refusals.newest_first()]
        self.assertEqual(peers, [f"10.0.{number}.*" for number in range(59, 9, -1)])

    def test_networks(self) -> None:
        """Only the network of an address is shown."""
        for peer, network in (
            ("192.0.2.7", "192.0.2.*"),
            ("tcp4:192.0.2.7:4711", "192.0.2.*"),
            ("::ffff:192.0.2.7", "192.0.2.*"),
            ("2001:db8:7:8:9::1", "2001:db8:7:*"),
            ("2001:db8::1", "2001:db8:0:*"),
            ("tcp6:[2001:db8:7::1]:4711", "2001:db8:7:*"),
            ("tcp6:2001:db8:7::1:4711", "2001:db8:7:*"),
            ("198.51.100.3 by way of tcp4:10.0.0.1:80", "198.51.100.*"),
            ("UNIXAddress(None)", "local"),
            ("<script>", "local"),
        ):
            self.assertEqual(shortened(peer), network, peer)
