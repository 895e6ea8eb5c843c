"""Rejected clients: counts, log lines and the last ones."""

from http import HTTPStatus

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core import metrics as names
from gaq_twisted.core.peer import Peer
from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason
from gaq_twisted.core.rejections import Rejections
from tests.support.samples import streams_metrics

CLIENT = Peer("192.0.2.7", "10.0.0.1")


class RejectionsTests(SynchronousTestCase):
    """Each kind of rejection."""

    def setUp(self) -> None:
        """Starts without rejections."""
        self.clock = Clock()
        self.metrics = streams_metrics()
        self.rejections = Rejections(self.metrics, self.clock.seconds)

    def reject_each(self) -> None:
        """Records one of each kind."""
        self.rejections.request(CLIENT, HTTPStatus.BAD_REQUEST, RequestReason.HOST, "no host")
        self.rejections.upgrade(
            CLIENT, HTTPStatus.UNAUTHORIZED, UpgradeReason.NO_COOKIE, "no cookie"
        )
        self.rejections.connection(CLIENT, 1008, ConnectionReason.RATE, "too many bytes")
        self.rejections.slow_client(CLIENT, 65536)

    def test_counts(self) -> None:
        """Each kind is counted in its metric, under its reason."""
        self.reject_each()
        for metric, label in (
            (names.REQUEST_REJECTED, "host"),
            (names.UPGRADE_REJECTED, "no_cookie"),
            (names.CONNECTION_REJECTED, "rate"),
            (names.CLIENT_BACKPRESSURE_DISCONNECT, ""),
        ):
            self.assertEqual(self.metrics.counts(metric), {label: 1})

    def test_log(self) -> None:
        """Each kind has one line, in which client and proxy are spelled the same."""
        with capturedLogs() as logs:
            self.reject_each()
        client = "192.0.2.7 via 10.0.0.1"
        self.assertEqual(
            [(one["event"], formatEvent(one)) for one in logs],
            [
                ("request_refused", f"rejected a request from {client} with 400: no host"),
                ("upgrade_refused", f"rejected the upgrade from {client} with 401: no cookie"),
                ("socket_refused", f"closed the WebSocket of {client} with 1008: too many bytes"),
                (
                    "slow_client_dropped",
                    f"dropped {client}, which does not read: more than 65536 bytes were waiting"
                    " for it",
                ),
            ],
        )
        for one in logs:
            self.assertEqual((one["peer"], one["proxy"]), ("192.0.2.7", "10.0.0.1"))

    def test_recent(self) -> None:
        """The last ones are remembered by the client's network, with the newest first."""
        self.reject_each()
        self.assertEqual(
            [(one.kind, one.code, one.reason, one.peer) for one in self.rejections.newest_first()],
            [
                ("slow client", None, "does_not_read", "192.0.2.*"),
                ("socket", 1008, "rate", "192.0.2.*"),
                ("upgrade", 401, "no_cookie", "192.0.2.*"),
                ("request", 400, "host", "192.0.2.*"),
            ],
        )
        self.assertEqual(self.rejections.version, 4)

    def test_flood(self) -> None:
        """Of many rejections a few are logged, and then the number of the others."""
        with capturedLogs() as logs:
            for _ in range(100):
                self.rejections.connection(CLIENT, 1008, ConnectionReason.RATE, "too many bytes")
            self.rejections.summarise()
            self.clock.advance(10)
            self.rejections.summarise()
            self.rejections.summarise()
        self.assertEqual(len(logs), 11)
        self.assertEqual((logs[-1]["event"], logs[-1]["count"]), ("refusals_not_logged", 90))
