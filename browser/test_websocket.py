"""The browser's own WebSocket as a client of `twistd gaq-ws`, used by a script as Superset's is."""

import json
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from playwright.sync_api import Page

from browser.chromium import DEADLINE_MS, REFUSED, BrowserTestCase
from tests.support.processes import DEADLINE_SECONDS, PREFIX, Server, environment, free_port
from tests.support.samples import CHANNEL, job_data, token, upgrade_request

# Opens a socket and notes all that happens to it.
_CONNECT = """(url) => {
    const socket = new WebSocket(url);
    const seen = {socket, messages: [], errors: 0, close: null};
    socket.onmessage = (message) => seen.messages.push(message.data);
    socket.onerror = () => { seen.errors += 1; };
    socket.onclose = ({code, reason, wasClean}) => { seen.close = {code, reason, wasClean}; };
    window.seen = seen;
}"""


class PlainPage(BaseHTTPRequestHandler):
    """Answers with a page that holds nothing and asks for nothing."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<!doctype html><title>plain</title><link rel="icon" href="data:,">')

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class ScriptTestCase(BrowserTestCase):
    """A page with a socket; it is served on another port of the same host, as Superset's is."""

    def setUp(self) -> None:
        """Serve the page."""
        super().setUp()
        self.pages = ThreadingHTTPServer(("127.0.0.1", free_port()), PlainPage)
        self.addCleanup(self.pages.server_close)
        Thread(target=self.pages.serve_forever, daemon=True).start()
        self.addCleanup(self.pages.shutdown)

    def start(self, *, cookie_token: str | None = None, **values: str) -> tuple[Server, Page]:
        """Start a server with those settings and open a page for it; return both."""
        server = Server(self, environment(self.redis.port, **values))
        server.wait_until_ready()
        page = self.visitor(cookie_token).new_page()
        page.goto(f"http://127.0.0.1:{self.pages.server_port}")
        return server, page

    def connect(self, server: Server, page: Page, query: str = "") -> None:
        """Open a socket and wait until it is open or closed."""
        page.evaluate(_CONNECT, f"ws://127.0.0.1:{server.port}/{query}")
        self.wait_for(page, "seen.socket.readyState !== WebSocket.CONNECTING")

    def wait_for(self, page: Page, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        page.wait_for_function(condition, timeout=DEADLINE_MS)

    def closed(self, page: Page) -> dict[str, Any]:
        """Wait until the socket is closed; return what the script received."""
        self.wait_for(page, "seen.close !== null")
        close: dict[str, Any] = page.evaluate("seen.close")
        return close

    def messages(self, page: Page, count: int) -> list[str]:
        """Wait until there are so many messages; return all."""
        self.wait_for(page, f"seen.messages.length >= {count}")
        messages: list[str] = page.evaluate("seen.messages")
        return messages


class HandshakeTests(ScriptTestCase):
    """Upgrades."""

    def test_accepted(self) -> None:
        """The socket opens; compression is offered, and not taken."""
        server, page = self.start(cookie_token=token())
        handshakes: list[dict[str, Any]] = []
        session = page.context.new_cdp_session(page)
        session.on(
            "Network.webSocketHandshakeResponseReceived",
            lambda handshake: handshakes.append(handshake["response"]),
        )
        session.send("Network.enable")
        self.connect(server, page)
        self.assertEqual(page.evaluate("seen.socket.readyState"), 1)
        self.assertEqual(page.evaluate("[seen.socket.extensions, seen.socket.protocol]"), ["", ""])
        (handshake,) = handshakes
        self.assertEqual(handshake["status"], 101)
        offered = _lower(handshake["requestHeaders"])
        self.assertIn("permessage-deflate", offered["sec-websocket-extensions"])
        self.assertNotIn("sec-websocket-protocol", offered)
        taken = _lower(handshake["headers"])
        self.assertEqual(taken["upgrade"].lower(), "websocket")
        self.assertNotIn("sec-websocket-extensions", taken)
        self.assertNotIn("sec-websocket-protocol", taken)

    def test_refused(self) -> None:
        """Without a cookie the script receives 1006, and the console names the reason."""
        self.expected_complaints = (REFUSED,)
        server, page = self.start()
        self.connect(server, page)
        self.assertEqual(self.closed(page), {"code": 1006, "reason": "", "wasClean": False})
        self.assertEqual(page.evaluate("seen.errors"), 1)
        (complaint,) = self.complaints
        self.assertRegex(complaint, REFUSED)

    def test_last_id(self) -> None:
        """A script that asks with its last id is sent what came after it."""
        server, page = self.start(cookie_token=token())
        ids = self.redis.publish("1", "2", "3")
        self.connect(server, page, f"?last_id={ids[0]}")
        messages = self.messages(page, 2)
        self.assertEqual([json.loads(message)["id"] for message in messages], ids[1:])


class PingTests(ScriptTestCase):
    """The server's pings."""

    def test_answered(self) -> None:
        """A socket outlives every client that came after it and does not answer pings."""
        server, page = self.start(
            cookie_token=token(), PING_SOCKETS_INTERVAL_MS="500", SOCKET_RESPONSE_TIMEOUT_MS="1000"
        )
        self.connect(server, page)
        for _ in range(3):
            pings = self.pings_until_ended(server.port)
            self.assertGreaterEqual(pings, 2)
        self.redis.publish("1")
        (message,) = self.messages(page, 1)
        self.assertEqual(json.loads(message)["job_id"], "1")
        self.assertIsNone(page.evaluate("seen.close"))

    def pings_until_ended(self, port: int) -> int:
        """Connect without answering pings; return how many there were before the server's end."""
        with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as client:
            client.sendall(upgrade_request(channel="another channel"))
            received = b""
            try:
                while chunk := client.recv(4096):
                    received += chunk
            except ConnectionResetError:
                pass
        head, _, frames = received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(frames.replace(b"\x89\x00", b""), b"")
        return frames.count(b"\x89\x00")


class CloseTests(ScriptTestCase):
    """Who closes with which code."""

    def test_by_page(self) -> None:
        """A close by the script is answered and reaches the server."""
        server, page = self.start(cookie_token=token(), LOG_LEVEL="debug")
        self.connect(server, page)
        page.evaluate("seen.socket.close(1000, 'enough')")
        close = self.closed(page)
        self.assertEqual((close["code"], close["wasClean"]), (1000, True))
        server.wait_for_text("closed: 1000 enough")

    def test_by_leaving(self) -> None:
        """When the visitor leaves the page, the browser closes with 1001."""
        server, page = self.start(cookie_token=token(), LOG_LEVEL="debug")
        self.connect(server, page)
        page.goto("about:blank")
        server.wait_for_text("closed: 1001 ")

    def test_by_server(self) -> None:
        """When the server stops, the script receives 1001."""
        server, page = self.start(cookie_token=token())
        self.connect(server, page)
        server.stop()
        self.assertEqual(
            self.closed(page), {"code": 1001, "reason": "the server is stopping", "wasClean": True}
        )
        self.assertEqual(page.evaluate("seen.errors"), 0)


class TextTests(ScriptTestCase):
    """Events arrive unharmed."""

    def test_exact(self) -> None:
        """Large events and those with any characters arrive as they were published."""
        server, page = self.start(cookie_token=token())
        self.connect(server, page)
        message = 'naïve ☃ 😀 "q" </b> \\ \u2028 \u0000 \x7f ﷽ é \r\n\t'
        published = [
            job_data(job="large", status="error", errors=[{"message": "x" * 200_000}]),
            job_data(job="escaped", status="error", errors=[{"message": message}]),
            _unescaped(job_data(job="raw", status="error", errors=[{"message": message}])),
            _unescaped(job_data(job="both", status="error", errors=[{"message": message * 9_000}])),
        ]
        self.assertEqual([data.isascii() for data in published], [True, True, False, False])
        self.assertGreater(len(published[3]), 200_000)
        expected = []
        for data in published:
            fields: Any = {"data": data}
            self.redis.client.xadd(f"{PREFIX}{CHANNEL}", fields)
            stream_id: Any = self.redis.client.xadd(f"{PREFIX}full", fields)
            expected.append('{"id":"' + stream_id.decode() + '",' + data.decode()[1:])
        self.assertEqual(self.messages(page, len(expected)), expected)


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _unescaped(data: bytes) -> bytes:
    """Return the same JSON with all characters written as they are."""
    return json.dumps(json.loads(data), ensure_ascii=False).encode()
