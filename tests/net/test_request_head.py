"""Request heads and answers, as functions of bytes."""

from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.reasons import RequestReason
from gaq_twisted.net.request_head import (
    BadRequest,
    Head,
    answer,
    asks_for_no_body,
    read_head,
)

HOST = (b"host", b"a.test")


MISMATCHES = {
    RequestReason.TLS,
    RequestReason.NO_TLS,
    RequestReason.TLS_HANDSHAKE,
    RequestReason.PROXY_HEADER,
    RequestReason.NO_PROXY_HEADER,
}
"""What net/mismatch.py finds."""


class ReadHeadTests(SynchronousTestCase):
    """What is read from the bytes of a connection."""

    def test_whole(self) -> None:
        """A whole head is returned with what follows it."""
        found = read_head(b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX:  y \r\n\r\nrest", 1000)
        head = Head(b"GET", b"/a?b", b"1", [HOST, (b"x", b"y")])
        self.assertEqual(found, (head, b"rest"))

    def test_part(self) -> None:
        """Each part of a head is waited for."""
        request = b"\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
        for count in range(len(request)):
            self.assertIsNone(read_head(request[:count], 1000), count)
        self.assertIsNotNone(read_head(request, 1000))

    def test_cookies(self) -> None:
        """Several Cookie headers become one; empty ones vanish."""
        cookies = b"Cookie: a=1\r\nCookie:\r\ncookie: b=2\r\n"
        found = read_head(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + cookies + b"\r\n", 1000)
        assert found is not None
        self.assertEqual(found[0].values(b"cookie"), [b"a=1; b=2"])

    def test_absolute_target(self) -> None:
        """The host of an absolute target replaces the header."""
        found = read_head(b"GET http://b.test?x HTTP/1.1\r\nHost: a.test\r\n\r\n", 1000)
        assert found is not None
        self.assertEqual((found[0].target, found[0].values(b"host")), (b"/?x", [b"b.test"]))

    def test_each_reason(self) -> None:
        """Each reason occurs here, except those that are found elsewhere."""
        host = b"Host: a.test\r\n"
        found = set()
        for request, max_bytes in (
            (b"x\r\n\r\n", 1000),
            (b"GET a HTTP/1.1\r\n" + host + b"\r\n", 1000),
            (b"GET / HTTP/1.1\r\n\r\n", 1000),
            (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\n\r\n", 1000),
            (b"GET / HTTP/1.1\r\n" + host, 10),
        ):
            error = self.assertRaises(BadRequest, read_head, request, max_bytes)
            self.assertGreaterEqual(error.status, 400)
            found.add(error.reason)
        self.assertEqual(found, set(RequestReason) - {RequestReason.FILES, *MISMATCHES})


class UpgradeTests(SynchronousTestCase):
    """Which requests ask for a WebSocket."""

    def test_asks(self) -> None:
        """Method, version and header must all fit."""
        upgrade = (b"upgrade", b"h2c, WebSocket")
        for method, version, headers, expected in (
            (b"GET", b"1", [HOST, upgrade], True),
            (b"POST", b"1", [HOST, upgrade], False),
            (b"GET", b"0", [HOST, upgrade], False),
            (b"GET", b"1", [HOST, (b"upgrade", b"h2c")], False),
            (b"GET", b"1", [HOST], False),
        ):
            head = Head(method, b"/", version, headers)
            self.assertIs(head.asks_for_websocket(), expected, head)


class AnswerTests(SynchronousTestCase):
    """Answers of one line."""

    def test_answer(self) -> None:
        """An answer has its length, and announces the end of the connection."""
        head, _, body = answer(HTTPStatus.NOT_FOUND, "nothing", [("X", "y")]).partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 404 Not Found")
        for line in (b"Content-Length: 8", b"Connection: close", b"X: y"):
            self.assertIn(line, lines)
        self.assertEqual(body, b"nothing\n")

    def test_without_body(self) -> None:
        """An answer to HEAD has the same head and no body."""
        whole = answer(HTTPStatus.NOT_FOUND, "nothing")
        self.assertEqual(
            answer(HTTPStatus.NOT_FOUND, "nothing", without_body=True), whole[: -len("nothing\n")]
        )
        for received, expected in ((b"HEAD / x", True), (b"\r\nHEAD /", True), (b"GET /", False)):
            self.assertIs(asks_for_no_body(received), expected)


class StrictTests(SynchronousTestCase):
    """What is refused although some servers accept it (RFC 9112 sections 2.2, 3 and 3.2)."""

    def refusal(self, request: bytes) -> str:
        """Returns why a request is refused."""
        return str(self.assertRaises(BadRequest, read_head, request, 1000))

    def test_hosts(self) -> None:
        """The Host header is a name or an address, perhaps with a port."""
        for host in ("a b", "a/b", "u@h", "a,b", "h:99999", "h:x", "[::1", "h:80:80", "a?b"):
            request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            self.assertIn("Host", self.refusal(request), host)
        for host in ("", "h", "h:", "h:65535", "[::1]:80", "a_b.test:1", "1.2.3.4"):
            request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            self.assertIsNotNone(read_head(request, 1000), host)

    def test_fragment(self) -> None:
        """A target has no fragment."""
        for target in (b"/a#b", b"/#", b"http://a.test/#x"):
            request = b"GET " + target + b" HTTP/1.1\r\nHost: a.test\r\n\r\n"
            self.assertIn("fragment", self.refusal(request))

    def test_bare_line_feeds(self) -> None:
        """Lines that end in LF alone are answered at once."""
        for end in (b"\n\n", b"\n\r\n"):
            self.assertIn("CR LF", self.refusal(b"GET / HTTP/1.1\nHost: a.test" + end))


class OfferTests(SynchronousTestCase):
    """Headers that are not passed to Autobahn."""

    def test_without_offers(self) -> None:
        """Origins and offers are left out; everything else stays, in order."""
        offers = [(b"origin", b"qrc://"), (b"sec-websocket-extensions", b"a;b=")]
        head = Head(b"GET", b"/", b"1", [HOST, *offers, (b"cookie", b"x")])
        self.assertEqual(list(head.without_offers().headers), [HOST, (b"cookie", b"x")])
