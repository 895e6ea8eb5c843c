"""The HTTP side, asked through treq in memory."""

from typing import Any

import txaio
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.site import Root, _is_whole_upgrade
from tests.fakes import finish
from tests.memory import PEER, MemoryServer
from tests.samples import cookie, job_event

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW")
TEXT = ["text/plain; charset=utf-8"]


class SiteTests(SynchronousTestCase):
    """Requests that are no upgrades."""

    def setUp(self) -> None:
        """Make a client of the resources."""
        self.client: Any = StubTreq(MemoryServer(Clock()).root)

    def request(self, method: str, path: str) -> tuple[Any, bytes]:
        """Return the response and its body; nothing that operators see may be logged."""
        with capturedLogs() as logs:
            response = self.successResultOf(self.client.request(method, f"http://gaq.test{path}"))
            body = self.successResultOf(response.content())
        ours = [one for one in logs if not one["log_namespace"].startswith("twisted.web.client")]
        shown = [one for one in ours if one["log_level"] > LogLevel.debug]
        self.assertEqual([one.get("log_format") for one in shown], [], f"{method} {path}")
        return response, body

    def test_health(self) -> None:
        """The health check answers OK, to HEAD without saying it."""
        for path in ("/health", "/health?x=1"):
            for method, body in (("GET", b"OK"), ("HEAD", b"")):
                response, content = self.request(method, path)
                self.assertEqual((response.code, content), (200, body), method)
                self.assertEqual(response.headers.getRawHeaders("content-type"), TEXT)

    def test_health_methods(self) -> None:
        """Other methods, known or not, are told which are allowed."""
        for method in METHODS[2:]:
            response, content = self.request(method, "/health")
            self.assertEqual(response.code, 405, method)
            self.assertEqual(response.headers.getRawHeaders("allow"), ["GET, HEAD"])
            self.assertEqual(response.headers.getRawHeaders("content-type"), TEXT)
            self.assertEqual(content, b"only GET and HEAD are allowed here\n")

    def test_not_found(self) -> None:
        """There is nothing else, for no method."""
        for path in ("/", "/health/", "/health/x", "/other", "/a/b/c", "/healthy", "/%ff"):
            for method in METHODS:
                response, content = self.request(method, path)
                self.assertEqual(response.code, 404, f"{method} {path}")
                self.assertEqual(response.headers.getRawHeaders("content-type"), TEXT)
                self.assertEqual(content == b"", method == "HEAD")

    def test_no_markup(self) -> None:
        """What was asked for is not repeated in the answer."""
        for method in ("GET", "BREW"):
            _, content = self.request(method, "/<script>")
            self.assertNotIn(b"script", content)

    def test_server_header(self) -> None:
        """No answer names the versions of what the server is made of."""
        for path in ("/health", "/other"):
            response, _ = self.request("GET", path)
            for server in response.headers.getRawHeaders("server", []):
                self.assertNotRegex(server, "[0-9]")


class RawTests(SynchronousTestCase):
    """Requests as bytes, to the site itself."""

    def setUp(self) -> None:
        """Connect."""
        self.browser = MemoryServer(Clock()).connect()

    def test_log(self) -> None:
        """A request has one line, of level debug, with its peer, method, path and code."""
        with capturedLogs() as logs:
            self.browser.send(b"GET /other?token=secret HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
        (line,) = [one for one in logs if one["log_namespace"].startswith("gaq_twisted")]
        self.assertIs(line["log_level"], LogLevel.debug)
        self.assertEqual((line["method"], line["path"], line["code"]), ("GET", "/other", 404))
        self.assertIn(PEER.host, line["peer"])
        self.assertNotIn("secret", repr(logs))

    def test_head(self) -> None:
        """The answer to HEAD has the length of the body that it leaves out."""
        self.browser.send(b"HEAD /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
        head, _, body = self.browser.received.partition(b"\r\n\r\n")
        self.assertEqual(body, b"")
        self.assertIn(b"content-length: 2", head.lower().split(b"\r\n"))

    def test_one_connection(self) -> None:
        """Several requests, the last an upgrade, may use one connection."""
        for _ in range(3):
            self.browser.send(b"GET /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
            self.assertTrue(self.browser.received.endswith(b"\r\n\r\nOK"))
            self.browser.received = b""
        self.browser.upgrade(cookie())
        self.assertTrue(self.browser.received.startswith(b"HTTP/1.1 101 "))


class DoorTests(SynchronousTestCase):
    """Who serves a new connection."""

    def setUp(self) -> None:
        """Make the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(self.clock)

    def served(self, *segments: bytes) -> tuple[int, bool]:
        """Send segments; return the answer's code, and whether the Site had to do with it."""
        asked: list[object] = []
        self.patch(self.server.root, "getChildWithDefault", self.noting(asked))
        browser = self.server.connect()
        for segment in segments:
            browser.send(segment)
        code = int(browser.received.split(b" ", 2)[1])
        if code == 101:
            finish(self.server.hub.deliver([job_event("1-0")]))
            browser.pump.flush()
            self.assertEqual(browser.received.count(b'{"id":"1-0"'), 1)
        browser.lose()
        self.assertEqual((self.server.hub.socket_count, self.clock.getDelayedCalls()), (0, []))
        return code, bool(asked)

    def noting(self, asked: list[object]) -> Any:
        """Return the root's own method, which notes that it was called."""
        own = Root.getChildWithDefault

        def note(path: bytes, request: Any) -> Any:
            asked.append(path)
            return own(self.server.root, path, request)

        return note

    def test_whole_upgrade(self) -> None:
        """What browsers send does not need the Site."""
        self.assertEqual(self.served(upgrade_request()), (101, False))

    def test_refusals(self) -> None:
        """Both ways refuse alike."""
        request = upgrade_request().replace(b"async-token", b"another")
        self.assertEqual(self.served(request), (401, False))
        self.assertEqual(self.served(request[:9], request[9:]), (401, True))

    def test_unusual(self) -> None:
        """All else is looked at by the Site, and let in if it is an upgrade all the same."""
        request = upgrade_request()
        cookie_line = f"Cookie: {cookie()}\r\n".encode()
        for segments in (
            (request[:1], request[1:]),
            (request[:-1], request[-1:]),
            (*(request[at : at + 1] for at in range(len(request))),),
            (request.replace(cookie_line, b"Cookie: x=1\r\n" + cookie_line),),
            (request.replace(b"Upgrade: websocket", b"Upgrade:  WebSocket "),),
            (b"GET /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n" + request,),
        ):
            code, by_site = self.served(*segments)
            self.assertTrue(by_site, segments)
            self.assertIn(code, (101, 200), segments)

    def test_long(self) -> None:
        """Headers of more than 16 KiB are refused."""
        long = (b"X-Long: " + b"x" * 9_000 + b"\r\n") * 2
        self.assertEqual(self.served(upgrade_request()[:-2] + long + b"\r\n")[0], 400)

    def test_smuggling(self) -> None:
        """A body, folded lines, bare line ends and control characters are left to the Site."""
        end = b"\r\n\r\n"
        for odd in (
            b"\r\nContent-Length: 4",
            b"\r\nTransfer-Encoding: chunked",
            b"\r\nX: 1\r\n folded",
            b"\nX: 1",
            b"\r\nX : 1",
            b"\r\nX: \x00",
        ):
            self.assertFalse(_is_whole_upgrade(upgrade_request().replace(end, odd + end)), odd)
        self.assertFalse(_is_whole_upgrade(upgrade_request() + b"\x89\x80" + end))

    def test_silence(self) -> None:
        """A client that says nothing is not waited for for ever; one that left, no more."""
        silent, gone = self.server.connect(), self.server.connect()
        gone.lose()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(60)
        self.assertTrue(silent.line.aborted)
        self.assertFalse(gone.line.aborted)


def upgrade_request() -> bytes:
    """Return what a browser sends."""
    lines = (
        "GET /ws HTTP/1.1",
        "Host: gaq.test",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: {cookie()}",
    )
    return "\r\n".join([*lines, "", ""]).encode()
