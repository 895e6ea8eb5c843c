"""The HTTP side, asked through treq in memory."""

from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.web.site import Health, Start, resource_tree
from tests.support.memory import PEER, MemoryServer

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW")
TEXT = ["text/plain; charset=utf-8"]


class SiteTests(SynchronousTestCase):
    """Requests that are not upgrades."""

    def setUp(self) -> None:
        """Makes a client of the resources."""
        self.client: Any = StubTreq(
            resource_tree(
                {b"health": Health(), b"": Start("health", ["/health"])},
                not_found="not found: it is elsewhere",
            )
        )

    def request(self, method: str, path: str) -> tuple[Any, bytes]:
        """Returns the response and its body; checks that nothing above debug is logged."""
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
        """Other methods, known or not, get a list of the allowed ones."""
        for method in METHODS[2:]:
            response, content = self.request(method, "/health")
            self.assertEqual(response.code, 405, method)
            self.assertEqual(response.headers.getRawHeaders("allow"), ["GET, HEAD"])
            self.assertEqual(response.headers.getRawHeaders("content-type"), TEXT)
            self.assertEqual(content, b"only GET and HEAD are allowed here\n")

    def test_not_found(self) -> None:
        """There is nothing else, for no method."""
        for path in ("/health/", "/health/x", "/other", "/a/b/c", "/healthy", "/%ff"):
            for method in METHODS:
                response, content = self.request(method, path)
                self.assertEqual(response.code, 404, f"{method} {path}")
                self.assertEqual(response.headers.getRawHeaders("content-type"), TEXT)
                self.assertEqual(content == b"", method == "HEAD")

    def test_not_found_text(self) -> None:
        """The text of a port is answered wherever it has nothing, also at the base path itself."""
        for path in ("/other", "/a/b"):
            self.assertEqual(self.request("GET", path)[1], b"not found: it is elsewhere\n", path)
        self.client = StubTreq(resource_tree({}, "/a/b", not_found="no"))
        for path in ("/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/health"):
            response, content = self.request("GET", path)
            self.assertEqual((response.code, content), (404, b"no\n"), path)

    def test_start(self) -> None:
        """A redirect leads from the root to a page, and names all pages."""
        for method in ("GET", "HEAD"):
            response = self.successResultOf(
                self.client.request(method, "http://gaq.test/", allow_redirects=False)
            )
            self.assertEqual(response.code, 302)
            self.assertEqual(response.headers.getRawHeaders("location"), ["health"])
            body = b"/health\n" if method == "GET" else b""
            self.assertEqual(self.successResultOf(response.content()), body)
        self.assertEqual(self.request("GET", "/")[1], b"OK")

    def test_no_markup(self) -> None:
        """The answer does not repeat the request."""
        for method in ("GET", "BREW"):
            _, content = self.request(method, "/<script>")
            self.assertNotIn(b"script", content)

    def test_server_header(self) -> None:
        """No answer names the versions of the server's libraries."""
        for path in ("/health", "/other"):
            response, _ = self.request("GET", path)
            for server in response.headers.getRawHeaders("server", []):
                self.assertNotRegex(server, "[0-9]")


class RawTests(SynchronousTestCase):
    """Requests as bytes, to the site itself."""

    def setUp(self) -> None:
        """Connects."""
        self.browser = MemoryServer(Clock()).connect()

    def test_log(self) -> None:
        """A request has one line, of level debug, with its peer, method, path and code."""
        with capturedLogs() as logs:
            self.browser.send(b"GET /other?token=secret HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
        (line,) = [one for one in logs if one["log_namespace"].startswith("gaq_twisted")]
        self.assertIs(line["log_level"], LogLevel.debug)
        self.assertEqual((line["method"], line["path"], line["code"]), ("GET", "/other", 404))
        self.assertEqual(line["peer"], PEER.host)
        self.assertNotIn("secret", repr(logs))

    def test_end(self) -> None:
        """The wait for a client that does not confirm the end, as over TLS, is limited."""
        clock = Clock()
        browser = MemoryServer(clock).connect()
        self.patch(browser.line, "loseConnection", lambda: None)
        browser.send(b"GET /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
        self.assertTrue(browser.received.endswith(b"OK"))
        clock.advance(9)
        self.assertFalse(browser.line.aborted)
        clock.advance(1)
        self.assertTrue(browser.line.aborted)
        browser.pump.flush()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_head(self) -> None:
        """The answer to HEAD has the length of the body that it leaves out."""
        self.browser.send(b"HEAD /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n")
        head, _, body = self.browser.received.partition(b"\r\n\r\n")
        self.assertEqual(body, b"")
        self.assertIn(b"content-length: 2", head.lower().split(b"\r\n"))
