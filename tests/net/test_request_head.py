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


class ReadHeadTests(SynchronousTestCase):
    """What is read of the bytes of a connection."""

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
        """Each reason that a request can be refused for arises here, but for the lack of files."""
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
        self.assertEqual(found, set(RequestReason) - {RequestReason.FILES})


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
