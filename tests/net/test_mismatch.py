"""Clients and servers that speak different protocols because of a setting."""

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.metrics import REQUEST_REJECTED
from gaq_twisted.core.reasons import RequestReason
from gaq_twisted.net.mismatch import mismatch_of_bytes, mismatch_of_tls
from tests.support.memory import MemoryServer

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"


class ByteTests(SynchronousTestCase):
    """What the first bytes show."""

    def test_known(self) -> None:
        """TLS and PROXY headers are recognised, and the setting is named."""
        for received, reason, words in (
            (CLIENT_HELLO, RequestReason.TLS, "ssl:"),
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 4000 8080\r\n",
                RequestReason.PROXY_HEADER,
                "haproxy:",
            ),
            (PROXY_V2, RequestReason.PROXY_HEADER, "haproxy:"),
        ):
            mismatch = mismatch_of_bytes(received)
            assert mismatch is not None
            self.assertEqual(mismatch.reason, reason)
            self.assertIn(words, mismatch.text)

    def test_others(self) -> None:
        """Anything else is left to the reader of requests."""
        for received in (b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"PROXY", b"\x16", b"\r\n\r\n\x00"):
            self.assertIsNone(mismatch_of_bytes(received), received)


class TlsTests(SynchronousTestCase):
    """What OpenSSL's errors mean."""

    def test_errors(self) -> None:
        """Each error becomes a sentence; none is shown by itself."""
        for text, reason, words in (
            ("http request", RequestReason.NO_TLS, "plain HTTP"),
            ("tlsv1 alert unknown ca", RequestReason.TLS_HANDSHAKE, "chain"),
            ("sslv3 alert certificate expired", RequestReason.TLS_HANDSHAKE, "expired"),
            ("unsupported protocol", RequestReason.TLS_HANDSHAKE, "too old"),
            ("wrong version number", RequestReason.NO_TLS, "TLS"),
            ("something new", RequestReason.TLS_HANDSHAKE, "something new"),
        ):
            mismatch = mismatch_of_tls(Failure(SSL.Error([("SSL routines", "", text)])))
            assert mismatch is not None
            self.assertEqual(mismatch.reason, reason)
            self.assertIn(words, mismatch.text)

    def test_others(self) -> None:
        """Other reasons for the end of a connection are not a mismatch."""
        for error in (ConnectionDone(), SSL.Error(), SSL.SysCallError(-1, "Unexpected EOF")):
            self.assertIsNone(mismatch_of_tls(Failure(error)))


class GatewayTests(SynchronousTestCase):
    """What the server does."""

    def test_at_once(self) -> None:
        """The connection ends at once, and is counted; the number of warnings is limited."""
        server = MemoryServer(Clock())
        with capturedLogs() as logs:
            for _ in range(10):
                browser = server.connect()
                browser.send(CLIENT_HELLO)
                self.assertTrue(browser.lost)
        lines = [one for one in logs if one.get("event") == "protocol_mismatch"]
        self.assertEqual([one["log_level"] for one in lines], [LogLevel.warn] * 3)
        self.assertEqual(server.metrics.counts(REQUEST_REJECTED), {"tls": 10})
