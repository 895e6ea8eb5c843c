"""WebSockets from the first byte of the upgrade to the last of the closing handshake."""

import gc
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn

import txaio
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from websockets.typing import Origin

from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.forms import OriginPattern
from gaq_twisted.core.close import Close
from gaq_twisted.core.metrics import (
    CLIENT_BACKPRESSURE_DISCONNECT,
    CONNECTION_REJECTED,
    UPGRADE_REJECTED,
)
from tests.support.fakes import finish
from tests.support.memory import PEER, Browser, MemoryServer, shown
from tests.support.samples import CHANNEL, cookie, job_event, token

MASK = b"\x00\x00\x00\x00"
CLOSE = b"\x88"


def ids(browser: Browser) -> list[bytes]:
    """Returns the ids of the events that a browser was sent."""
    return [text.split(b'"')[3] for text in browser.texts]


def above_debug(events: Iterable[LogEvent]) -> list[LogEvent]:
    """Returns the log events that an operator sees."""
    return [event for event in events if event["log_level"] > LogLevel.debug]


class ProtocolTestCase(SynchronousTestCase):
    """Has a server whose network and time are the test's."""

    def setUp(self) -> None:
        """Makes the server; Autobahn's timers follow txaio's loop."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)
        self.server = MemoryServer(self.clock)
        self.hub = self.server.hub

    def deliver(self, stream_id: str, browser: Browser) -> None:
        """Delivers an event and lets it travel."""
        finish(self.server.resumption.deliver([job_event(stream_id)]))
        browser.pump.flush()


class UpgradeTests(ProtocolTestCase):
    """Clients that are accepted."""

    def test_any_path(self) -> None:
        """An upgrade is taken on every path, that of the health check too."""
        finish(self.server.resumption.deliver([job_event("1-2")]))
        for target in ("/ws?last_id=1-2", "/", "/ws", "/health", "/a/b/", "/?last_id="):
            browser = self.server.open(target)
            self.deliver("7-0", browser)
            self.assertEqual(ids(browser), [b"7-0"], target)
            browser.lose()

    def test_response(self) -> None:
        """The answer is a plain 101: no compression though it is offered, no cookie of ours."""
        response = self.server.open().response
        self.assertEqual(response.status_code, 101)
        self.assertEqual(
            {name.lower() for name in response.headers},
            {"server", "upgrade", "connection", "sec-websocket-accept"},
        )
        self.assertEqual(response.headers["Server"], "gaq-twisted")

    def test_last_id(self) -> None:
        """What came after the query's last_id follows the answer at once."""
        for number in range(1, 5):
            finish(self.server.resumption.deliver([job_event(f"{number}-0")]))
        self.assertEqual(ids(self.server.open("/ws?x=1&last_id=2-0")), [b"3-0", b"4-0"])

    def test_frame(self) -> None:
        """An event arrives as one text message: its data with the stream's id as first key."""
        browser = self.server.open()
        event = job_event("1795406438721-3")
        finish(self.server.resumption.deliver([event]))
        browser.pump.flush()
        self.assertEqual(browser.texts, [b'{"id":"1795406438721-3",' + event.data[1:]])

    def test_cookie_in_two_headers(self) -> None:
        """A cookie is found whichever of several Cookie headers has it."""
        for cookies in (("a=1, 2", cookie()), (cookie(), "a=1, 2")):
            browser = self.server.connect()
            browser.upgrade(*cookies)
            self.assertEqual(browser.response.status_code, 101)

    def test_sweep(self) -> None:
        """A sweep leaves open sockets alone, and finds nothing that has closed."""
        browsers = [self.server.open() for _ in range(3)]
        self.assertEqual(self.hub.sweep(), 0)
        browsers[1].lose()
        self.assertEqual(self.hub.sweep(), 0)
        self.assertEqual(self.hub.socket_count, 2)

    def test_memory(self) -> None:
        """An open socket keeps nothing of its handshake, nor a copy of what is equal for all."""
        browser = self.server.open("/ws?last_id=1-0")
        (socket,) = self.hub.sockets
        self.assertLess(len(vars(socket)), 20)
        kept = {name: value for name, value in vars(socket).items() if name != "factory"}
        self.assertNotIn("Sec-WebSocket-Key".lower(), repr(kept).lower())
        self.assertNotIn("async-token", repr(kept))
        browser.lose()

    def test_nothing_for_the_collector(self) -> None:
        """A socket is freed when it closes, by whichever end, without the garbage collector."""
        for end in ("lost", "close frame", "dropped"):
            browser = self.server.open()
            (socket,) = self.hub.sockets
            gone = weakref.ref(socket)
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            if end == "close frame":
                browser.send(bytes((0x88, 0x82, 0, 0, 0, 0, 3, 0xE9)))
            elif end == "dropped":
                socket.drop()
                browser.pump.flush()
            browser.lose()
            self.assertEqual(list(self.hub.sockets), [], end)
            # The transport in memory, unlike a real one, holds its protocol for ever.
            browser.line.protocol = browser.pump.server = None
            self.server.factory.begin_second()
            del socket
            self.assertIsNone(gone(), end)
            gc.enable()

    def test_quiet(self) -> None:
        """A socket's life shows neither its token nor anything above debug in the log."""
        with capturedLogs() as logs:
            browser = self.server.open("/?last_id=1-2")
            self.deliver("1-0", browser)
            browser.lose()
        self.assertEqual(above_debug(logs), [])
        self.assertNotIn("eyJ", shown(logs))

    def test_idle(self) -> None:
        """HTTP's time limit for an idle connection does not concern a WebSocket."""
        browser = self.server.open()
        self.clock.advance(3600)
        browser.pump.flush()
        self.assertEqual((browser.lost, self.clock.getDelayedCalls()), (False, []))

    def test_joining_fails(self) -> None:
        """A socket that the hub cannot take is closed, with the fault in the log."""

        def fail(*_: object) -> NoReturn:
            raise RuntimeError("no room")

        self.patch(self.hub, "enter", fail)
        browser = self.server.connect()
        browser.upgrade(cookie())
        (close,) = browser.frames(Opcode.CLOSE)
        self.assertEqual(bytes(close.data[:2]), (1011).to_bytes(2, "big"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class RefusalTests(ProtocolTestCase):
    """Clients that are refused."""

    def refused(self, code: int, reason: str, act: Callable[[Browser], None]) -> list[LogEvent]:
        """Checks the whole answer and its line in the log; return what was logged before that."""
        browser = self.server.connect()
        with capturedLogs() as logs:
            act(browser)
        body = f"{reason}\n".encode()
        head, _, rest = browser.received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.assertEqual(lines[0], f"HTTP/1.1 {code} {HTTPStatus(code).phrase}")
        self.assertEqual(rest, body)
        self.assertIn(f"Content-Length: {len(body)}", lines)
        self.assertIn("Content-Type: text/plain; charset=utf-8", lines)
        self.assertEqual((browser.lost, self.hub.socket_count), (True, 0))
        *before, event = above_debug(logs)
        self.assertIs(event["log_level"], LogLevel.info)
        self.assertEqual(event["peer"], PEER.host)
        self.assertEqual((event["code"], event["reason"]), (code, reason))
        self.assertNotIn("eyJ", shown(logs) + browser.received.decode())
        return before

    def test_cookies(self) -> None:
        """The answer to a client that may not connect is 401 with the reason."""
        cases = (
            ("no cookie named async-token", ""),
            ("no cookie named async-token", f"other={token()}"),
            ("the token has expired", f"async-token={token(exp=1)}"),
            ("the token is not valid yet", f"async-token={token(nbf=int(time.time()) + 3600)}"),
            (
                "bad signature: the token is not signed with jwtSecret",
                f"async-token={token(secret='another secret, long enough to sign with')}",
            ),
            ("the cookie async-token is not a valid JWT", "async-token=eyJx.eyJy.eyJz"),
            (
                "no channel: the claim channel is missing or not a valid string",
                f"async-token={token(7)}",
            ),
        )
        for reason, header in cases:

            def upgrade(browser: Browser, header: str = header) -> None:
                browser.upgrade(*[header] if header else [])

            self.assertEqual(self.refused(401, reason, upgrade), [])

    def test_authenticator_fails(self) -> None:
        """A fault of ours is answered with 500 and no details, and logged once as a failure."""

        class Broken(Authenticator):
            def __init__(self) -> None:
                pass

            def identify(self, cookie_header: str) -> NoReturn:
                raise RuntimeError("boom")

        self.server.edition.authenticator = Broken()
        (failure,) = self.refused(500, "internal error", lambda browser: browser.upgrade(cookie()))
        self.assertIs(failure["log_level"], LogLevel.critical)
        self.assertIn(PEER.host, failure["peer"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_bad_handshakes(self) -> None:
        """Requests that are no WebSocket handshake are answered with 4xx and the reason as text."""
        good = {
            "Host": "gaq.test",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "Cookie": cookie(),
        }
        cases: tuple[tuple[int, str, dict[str, str | None]], ...] = (
            (400, "HTTP Sec-WebSocket-Key header missing", {"Sec-WebSocket-Key": None}),
            (
                426,
                "WebSocket version 12 not supported (supported versions: 13)",
                {"Sec-WebSocket-Version": "12"},
            ),
            (400, "HTTP Connection header missing", {"Connection": None}),
            (400, "HTTP Sec-WebSocket-Version header missing", {"Sec-WebSocket-Version": None}),
        )
        for code, reason, changes in cases:
            headers = [f"{key}: {value}" for key, value in {**good, **changes}.items() if value]
            request = "\r\n".join(["GET /ws HTTP/1.1", *headers, "", ""]).encode()

            def send(browser: Browser, request: bytes = request) -> None:
                browser.send(request)

            self.assertEqual(self.refused(code, reason, send), [])


class IncomingTests(ProtocolTestCase):
    """What clients send on an open socket."""

    def setUp(self) -> None:
        """Opens a socket."""
        super().setUp()
        self.browser = self.server.open()

    @property
    def socket(self) -> Any:
        """The server's side of the socket."""
        (socket,) = self.hub.sockets
        return socket

    def send_frame(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        """Sends a frame as browsers do."""
        self.browser.send(Frame(opcode, data, fin).serialize(mask=True))

    def assert_healthy(self) -> None:
        """Checks that the socket hears events and holds nothing of what came."""
        self.assertEqual(bytes(self.socket.data), b"")
        self.assertFalse(hasattr(self.socket, "message_data") and self.socket.message_data)
        self.assertFalse(getattr(self.socket, "frame_data", None))
        self.deliver("1-0", self.browser)
        self.assertEqual(ids(self.browser)[-1:], [b"1-0"])
        self.assertEqual((self.browser.lost, list(self.browser.frames(Opcode.CLOSE))), (False, []))

    def test_messages_are_ignored(self) -> None:
        """Text, binary, empty messages and those of the size that is allowed change nothing."""
        for opcode in (Opcode.TEXT, Opcode.BINARY):
            for data in (b"", b"hello", b"x" * 4096):
                self.send_frame(opcode, data)
                self.assert_healthy()

    def test_fragments_are_ignored(self) -> None:
        """Nor does a message in many frames, between which control frames are served."""
        self.send_frame(Opcode.TEXT, b"a", fin=False)
        for _ in range(100):
            self.send_frame(Opcode.CONT, b"b" * 40, fin=False)
            self.assert_healthy()
        self.send_frame(Opcode.PING, b"?")
        self.assertEqual([bytes(f.data) for f in self.browser.frames(Opcode.PONG)], [b"?"])
        self.send_frame(Opcode.CONT, b"")
        self.assert_healthy()

    def test_half_a_message_is_not_kept(self) -> None:
        """What has arrived of a frame is thrown away before the rest comes."""
        self.browser.send(b"\x82\xfe" + (4096).to_bytes(2, "big") + MASK)
        for _ in range(4):
            self.browser.send(b"x" * 1000)
            self.assert_healthy()

    def assert_closed(self, code: int, reason: str) -> None:
        """Checks how the socket was closed, and that this was counted."""
        (close,) = self.browser.frames(Opcode.CLOSE)
        self.assertEqual(bytes(close.data[:2]), code.to_bytes(2, "big"))
        self.assertEqual(self.server.metrics.counts(CONNECTION_REJECTED), {reason: 1})
        self.assertEqual(self.hub.socket_count, 0)
        self.clock.advance(5)
        self.browser.pump.flush()
        self.assertTrue(self.browser.lost)

    def test_large_message(self) -> None:
        """A message that is too large is refused by its first frame's header."""
        self.browser.send(b"\x82\xff" + (2**40).to_bytes(8, "big") + MASK)
        self.assert_closed(1009, "message_size")

    def test_large_message_in_fragments(self) -> None:
        """Nor may it come in frames of which each would be allowed; messages do not add up."""
        self.send_frame(Opcode.TEXT, b"x" * 4000)
        self.send_frame(Opcode.TEXT, b"x" * 4000, fin=False)
        self.send_frame(Opcode.CONT, b"x" * 96, fin=False)
        self.assert_healthy()
        self.send_frame(Opcode.CONT, b"x", fin=True)
        self.assert_closed(1009, "message_size")

    def test_rate(self) -> None:
        """A client may send so much in each second and no more, of whatever kind."""
        pong = Frame(Opcode.PONG, b"").serialize(mask=True)
        for _ in range(3):
            self.browser.send(pong * (16_384 // len(pong)))
            self.assert_healthy()
            self.server.factory.begin_second()
        self.browser.send(pong * (16_384 // len(pong)))
        self.browser.send(pong)
        self.assert_closed(1008, "rate")

    def test_flood_is_not_read(self) -> None:
        """A client that goes on and on after the close frame is not read any more."""
        paused: list[bool] = []
        self.patch(self.browser.line, "pauseProducing", lambda: paused.append(True))
        self.browser.send(Frame(Opcode.PONG, b"").serialize(mask=True) * 4000)
        self.assertEqual(paused, [])
        for _ in range(2):
            self.browser.send(Frame(Opcode.BINARY, b"x" * 600_000).serialize(mask=True))
        self.assertEqual(paused, [True])
        self.assert_closed(1008, "rate")

    def test_answer_behind_a_flood(self) -> None:
        """The client's own close frame is found behind what it had sent before."""
        pong = Frame(Opcode.PONG, b"").serialize(mask=True)
        self.browser.send(pong * 30_000)
        self.assertFalse(self.browser.lost)
        self.browser.send(pong * 30_000 + Frame(Opcode.CLOSE, b"\x03\xf0").serialize(mask=True))
        self.assertTrue(self.browser.lost)
        self.assertFalse(self.browser.line.aborted)

    def test_flood_after_a_fault(self) -> None:
        """After a fault that Autobahn finds, a flood does not fill the memory."""
        endless = (2**62).to_bytes(8, "big") + MASK
        for fault in (
            b"\x82\xff" + endless,  # a message without an end
            b"\x89\xff" + endless,  # a ping without an end
            b"\x83\xff" + endless,  # something else without an end
            b"\x89\xfe" + b"\xff" * 2 + MASK + b"\x83\xff" + endless,
            b"\x80\x80" + MASK + b"\x80\x80" + MASK,  # two faults
            Frame(Opcode.CLOSE, b"").serialize(mask=True),
        ):
            browser = self.server.open()
            paused: list[bool] = []
            self.patch(browser.line, "pauseProducing", partial(paused.append, True))
            self.patch(browser.line, "loseConnection", lambda: None)
            browser.send(fault)
            socket: Any = browser.line.protocol
            for _ in range(4):
                browser.send(b"x" * 300_000)
                self.assertLessEqual(len(socket.data), 1024)
            self.assertEqual(paused, [True])

    def test_large_messages_after_another(self) -> None:
        """One refusal is enough for a client."""
        for _ in range(3):
            self.send_frame(Opcode.TEXT, b"x" * 4097)
        self.assert_closed(1009, "message_size")

    def test_others_rate(self) -> None:
        """What one client sends is not counted for another."""
        other = self.server.open()
        pings = Frame(Opcode.PING, b"").serialize(mask=True) * 2000
        for browser in (self.browser, other):
            browser.send(pings)
            self.assertEqual(len(list(browser.frames(Opcode.PONG))), 2000)

    def test_not_a_pong(self) -> None:
        """Bytes that look like an empty pong are none in the middle of a frame."""
        pongs: list[object] = []
        self.patch(self.server.hub, "pong", pongs.append)
        looks_like_pong = Frame(Opcode.PONG, b"").serialize(mask=True)
        whole = Frame(Opcode.PING, b"12345678").serialize(mask=True)
        payload_at = len(whole) - 8
        for start in (2, payload_at, payload_at + 2):
            parts = whole[:start], looks_like_pong, whole[start + 6 :]
            for part in parts:
                self.browser.send(part)
        self.assertEqual(pongs, [])
        self.assertEqual(len(list(self.browser.frames(Opcode.PONG))), 3)
        self.browser.send(looks_like_pong)
        self.assertEqual(len(pongs), 1)

    def test_bytes_one_by_one(self) -> None:
        """Frames may arrive in the smallest pieces."""
        for byte in Frame(Opcode.PING, b"ping").serialize(mask=True):
            self.browser.send(bytes([byte]))
        self.assertEqual([bytes(f.data) for f in self.browser.frames(Opcode.PONG)], [b"ping"])

    def test_ping(self) -> None:
        """A ping is answered with its payload."""
        self.send_frame(Opcode.PING, b"are you there")
        (pong,) = self.browser.frames(Opcode.PONG)
        self.assertEqual(bytes(pong.data), b"are you there")

    def test_close(self) -> None:
        """A close frame is answered by the same one, and nothing follows it."""
        self.send_frame(Opcode.CLOSE, b"\x03\xe9bye")
        self.assertEqual((self.hub.socket_count, self.server.resumption.channel_count), (0, 0))
        self.deliver("1-0", self.browser)
        self.assertEqual(self.browser.line.writes[-1], CLOSE + b"\x05\x03\xe9bye")
        self.assertEqual(self.browser.received[-7:], CLOSE + b"\x05\x03\xe9bye")
        self.assertTrue(self.browser.lost)

    def test_event_between_close_frames(self) -> None:
        """The hub has forgotten a socket by the time its close frame is written."""
        counts: list[int] = []

        def send_frame(*_: object, **__: object) -> None:
            counts.append(self.hub.socket_count)

        self.patch(self.socket, "sendFrame", send_frame)
        self.send_frame(Opcode.CLOSE, b"")
        self.assertEqual(counts, [0])

    def test_protocol_violations(self) -> None:
        """A violation is answered by close 1002, and no event follows it."""
        for data in (
            b"\x81\x02hi",  # not masked
            b"\xc1\x80" + MASK,  # a reserved bit
            b"\x83\x80" + MASK,  # a reserved opcode
            b"\x80\x80" + MASK,  # a continuation of nothing
        ):
            browser = self.server.open()
            before = self.hub.socket_count
            browser.send(data)
            self.assertEqual(self.hub.socket_count, before - 1)
            self.deliver("1-0", browser)
            (close,) = browser.frames(Opcode.CLOSE)
            self.assertEqual(bytes(close.data[:2]), (1002).to_bytes(2, "big"), data)
            self.assertEqual(browser.line.writes[-1][:1], CLOSE)
            self.assertEqual(browser.texts, [])
            self.clock.advance(5)
            browser.pump.flush()
            self.assertTrue(browser.lost, "the client does not answer the close frame")

    def test_forbidden_close_frames(self) -> None:
        """A close frame with a fault is answered by one that names the fault."""
        for payload, code in (
            (b"\x03", 1002),
            (b"\x03\xed", 1002),  # 1005
            (b"\x03\xe7", 1002),  # 999
            (b"\x03\xe8\xff", 1007),
        ):
            browser = self.server.open()
            browser.send(Frame(Opcode.CLOSE, payload).serialize(mask=True))
            (close,) = browser.frames(Opcode.CLOSE)
            self.assertEqual(bytes(close.data[:2]), code.to_bytes(2, "big"), payload)
            self.clock.advance(5)
            browser.pump.flush()
            self.assertTrue(browser.lost)

    def test_answered_close_frame(self) -> None:
        """Once the client has answered the server's close frame, the connection is not reset."""
        (socket,) = self.hub.sockets
        socket.close(Close(1001, "bye"))
        self.browser.pump.flush()
        self.assertFalse(self.browser.lost)
        self.browser.answer()
        self.assertTrue(self.browser.lost)
        self.assertFalse(self.browser.line.aborted)

    def test_closing_client_does_not_read(self) -> None:
        """A client that closes but does not take what it was sent is not kept for ever."""
        self.patch(self.browser.line, "loseConnection", lambda: None)
        self.send_frame(Opcode.CLOSE, b"")
        self.assertFalse(self.browser.line.aborted)
        self.clock.advance(5)
        self.assertTrue(self.browser.line.aborted)

    def test_connection_lost(self) -> None:
        """The hub forgets a client whose connection is lost."""
        other = self.server.open()
        self.browser.lose()
        self.assertEqual(self.hub.socket_count, 1)
        self.deliver("1-0", other)
        self.assertEqual(ids(other), [b"1-0"])
        other.lose()
        self.assertEqual((self.hub.socket_count, self.server.resumption.channel_count), (0, 0))


class AdmissionTests(ProtocolTestCase):
    """Pages that may connect, and how many, and for how long."""

    def test_origins(self) -> None:
        """A page of another origin is refused with 403, and clients without an origin are not."""
        self.server = MemoryServer(self.clock, allowed_origins=(OriginPattern("https://a.test"),))
        for origin, status in (("https://a.test", 101), ("https://b.test", 403), ("", 101)):
            browser = self.server.connect()
            browser.websocket.origin = Origin(origin) if origin else None
            with capturedLogs() as logs:
                browser.upgrade(cookie())
            self.assertEqual(browser.response.status_code, status, origin)
            if status == 403:
                text = "the origin https://b.test is not among allowedOrigins"
                self.assertEqual(browser.response.body, f"{text}\n".encode())
                self.assertEqual([one["reason"] for one in above_debug(logs)], [text])
        self.assertEqual(self.server.metrics.counts(UPGRADE_REJECTED), {"origin": 1})

    def test_origin_comes_first(self) -> None:
        """A page of another origin does not learn whether the cookie was good."""
        self.server = MemoryServer(self.clock, allowed_origins=(OriginPattern("https://a.test"),))
        browser = self.server.connect()
        browser.websocket.origin = Origin("https://b.test")
        browser.upgrade()
        self.assertEqual(browser.response.status_code, 403)

    def assert_closed(self, browser: Browser, code: int, text: str) -> None:
        """Checks how a socket was closed."""
        (close,) = browser.frames(Opcode.CLOSE)
        self.assertEqual(bytes(close.data), code.to_bytes(2, "big") + text.encode())
        self.assertEqual(browser.texts, [])

    def test_limits(self) -> None:
        """A socket too many is let in and closed with 1013; one that closes frees its place."""
        for values, text in (
            ({"max_total_connections": 2}, "there are already 2 connections"),
            ({"max_connections_per_channel": 2}, "the channel already has 2 connections"),
        ):
            self.server = MemoryServer(self.clock, **values)
            first, second, third = (self.server.open() for _ in range(3))
            self.assert_closed(third, 1013, text)
            self.assertEqual(list(second.frames(Opcode.CLOSE)), [])
            third.lose()
            self.assertEqual(self.server.hub.socket_count, 2)
            first.send(Frame(Opcode.CLOSE, b"").serialize(mask=True))
            fourth = self.server.open()
            self.assertEqual(list(fourth.frames(Opcode.CLOSE)), [])

    def test_other_channel(self) -> None:
        """A limit for each channel is none for all together."""
        self.server = MemoryServer(self.clock, max_connections_per_channel=1)
        for channel in ("a", "b", "c"):
            browser = self.server.connect()
            browser.upgrade(cookie(channel))
            self.assertEqual(list(browser.frames(Opcode.CLOSE)), [])

    def test_expiry(self) -> None:
        """A socket is closed with 1008 when its token expires, and others are not."""
        # The clock of the test is at 1970, and that by which tokens are checked is not.
        self.clock.advance(int(time.time()) - self.clock.seconds())
        expiring, later = self.server.connect(), self.server.connect()
        expiring.upgrade(f"async-token={token(exp=int(self.clock.seconds()) + 60)}")
        later.upgrade(cookie())
        self.clock.advance(59.9)
        self.assertFalse(self.hub.expire(10))
        self.assertEqual(self.hub.socket_count, 2)
        self.clock.advance(0.1)
        self.hub.expire(10)
        expiring.pump.flush()
        self.assert_closed(expiring, 1008, "token expired")
        self.assertEqual(self.hub.socket_count, 1)
        expiring.answer()
        self.assertTrue(expiring.lost)
        later.lose()
        self.hub.expire(10)
        self.assertEqual(self.hub.socket_count, 0)


class SlowClientTests(ProtocolTestCase):
    """Clients that do not read, as far as a transport in memory can be full."""

    limit = 2**16

    def setUp(self) -> None:
        """Opens a socket whose transport may keep little."""
        super().setUp()
        self.server = MemoryServer(self.clock, max_socket_buffer_bytes=self.limit)
        self.hub = self.server.hub
        self.browser = self.server.open()
        assert self.browser.line.producer is not None
        self.producer = self.browser.line.producer
        self.size = len(job_event("1000-0").frame())

    def fill(self, events: int) -> None:
        """Delivers events."""
        for number in range(1000, 1000 + events):
            finish(self.server.resumption.deliver([job_event(f"{number}-0")]))

    def test_dropped(self) -> None:
        """A client for which too much waits is dropped, counted, and has others unharmed."""
        other = self.server.open()
        self.producer.pauseProducing()
        with capturedLogs() as logs:
            self.fill(self.limit // self.size)
            self.assertEqual(self.hub.socket_count, 2)
            self.fill(1)
        self.assertTrue(self.browser.line.aborted)
        self.assertEqual(self.hub.socket_count, 1)
        self.assertEqual(self.server.metrics.total(CLIENT_BACKPRESSURE_DISCONNECT), 1)
        self.assertEqual([one["max_bytes"] for one in above_debug(logs)], [self.limit])
        other.pump.flush()
        self.assertEqual(len(other.texts), self.limit // self.size + 1)

    def test_full_at_each_write(self) -> None:
        """A transport that is full reports it at each write; the bytes still add up."""
        socket: Any
        (socket,) = self.hub.sockets
        own_write = socket._write

        def write(transport: Any, data: bytes) -> None:
            own_write(transport, data)
            self.producer.pauseProducing()

        self.patch(socket, "_write", write)
        self.fill(1 + self.limit // self.size)
        self.assertFalse(self.browser.line.aborted)
        self.fill(1)
        self.assertTrue(self.browser.line.aborted)

    def test_nothing_is_kept(self) -> None:
        """A client that was dropped, or went away, counts for nothing any more."""
        other = self.server.open()
        for browser in (self.browser, other):
            assert browser.line.producer is not None
            browser.line.producer.pauseProducing()
        self.assertEqual(len(self.server.factory.slow_sockets), 2)
        self.fill(self.limit // self.size + 1)
        for browser in (self.browser, other):
            browser.pump.flush()
            browser.lose()
        self.assertEqual(self.server.factory.slow_sockets, {})
        self.assertEqual(self.server.factory.unsent_bytes(), 0)

    def test_large_event(self) -> None:
        """What fills the transport, be it larger than the limit, is not held against a client."""
        socket: Any
        (socket,) = self.hub.sockets
        own_write = socket._write

        def write(transport: Any, data: bytes) -> None:
            own_write(transport, data)
            self.producer.pauseProducing()

        self.patch(socket, "_write", write)
        finish(self.server.resumption.deliver([job_event("1-0", job="x" * 2 * self.limit)]))
        self.assertFalse(self.browser.line.aborted)
        self.assertEqual(self.hub.socket_count, 1)

    def test_pings(self) -> None:
        """A client that does not read is not answered pings, which would wait for it as well."""
        ping = Frame(Opcode.PING, b"?").serialize(mask=True)
        self.producer.pauseProducing()
        self.browser.send(ping * 100)
        self.assertEqual(list(self.browser.frames(Opcode.PONG)), [])
        self.producer.resumeProducing()
        self.browser.send(ping)
        self.assertEqual(len(list(self.browser.frames(Opcode.PONG))), 1)

    def test_catches_up(self) -> None:
        """What was sent while the transport had room, or before it had room again, is no matter."""
        self.fill(self.limit // self.size + 1)
        for _ in range(3):
            self.producer.pauseProducing()
            self.fill(self.limit // self.size)
            self.producer.resumeProducing()
        self.fill(self.limit // self.size + 1)
        self.assertFalse(self.browser.line.aborted)

    def test_large_replay(self) -> None:
        """However much a client missed, it gets it, or it would come back for it for ever."""
        for number in range(1, 100):
            finish(self.server.resumption.deliver([job_event(f"{number}-0", job="x" * 2000)]))
        browser = self.server.open("/?last_id=1-0")
        self.assertEqual(len(browser.texts), 98)
        self.assertFalse(browser.line.aborted)

    def test_end_of_a_full_transport(self) -> None:
        """A full transport no longer waits for its producer when it is to end."""
        self.producer.pauseProducing()
        (socket,) = self.hub.sockets
        socket.close(Close(1001, "bye"))
        self.browser.pump.flush()
        self.browser.answer()
        self.assertIsNone(self.browser.line.producer)
        self.assertTrue(self.browser.lost)


class OutgoingTests(ProtocolTestCase):
    """What the server starts by itself."""

    def test_pings(self) -> None:
        """Clients that answer pings stay; a silent one is aborted, without a close frame."""
        alive, silent = self.server.open(), self.server.open()
        for _ in range(3):
            finish(self.hub.ping(2))
            alive.pump.flush()
            silent.pump.flush()
            alive.answer()
        self.assertEqual([len(list(alive.frames(Opcode.PING))), alive.lost], [3, False])
        self.assertEqual([len(list(silent.frames(Opcode.PING))), silent.lost], [2, True])
        self.assertTrue(silent.line.aborted)
        self.assertEqual(list(silent.frames(Opcode.CLOSE)), [])
        self.assertEqual(self.hub.socket_count, 1)

    def test_write_fails(self) -> None:
        """A socket that cannot be written to is aborted and forgotten."""
        browser = self.server.open()

        def fail(data: bytes) -> NoReturn:
            raise OSError("broken pipe")

        self.patch(browser.line, "write", fail)
        self.deliver("1-0", browser)
        self.assertTrue(browser.line.aborted and browser.lost)
        self.assertEqual(self.hub.socket_count, 0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_channels(self) -> None:
        """An event reaches the sockets of its channel only."""
        mine, other = self.server.open(), self.server.connect()
        other.upgrade(cookie("another channel"))
        finish(self.server.resumption.deliver([job_event("1-0", CHANNEL)]))
        finish(self.server.resumption.deliver([job_event("2-0", "another channel")]))
        mine.pump.flush()
        other.pump.flush()
        self.assertEqual((ids(mine), ids(other)), ([b"1-0"], [b"2-0"]))
