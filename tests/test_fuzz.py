"""Input that nobody would send on purpose, for everything that reads what comes from outside.

`make test` tries some, always the same; `make fuzz` tries others, FUZZ_TIMES as
many, has Node.js read the payloads too where there is one, and tells how many
inputs there were. `python -m tests.test_fuzz` shows the input that failed. What
once failed stays here as an example.
"""

import base64
import codecs
import contextlib
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, MethodType
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import h11
import txaio
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.test.iosim import connect, makeFakeClient
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Opcode

from gaq_twisted.access.origins import OriginRules
from gaq_twisted.access.tokens import Authenticator
from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.forms import Network, OriginPattern
from gaq_twisted.config.load import load
from gaq_twisted.core.edition import Unauthorized
from gaq_twisted.core.metrics import CONNECTION_REJECTED
from gaq_twisted.net.forwarded import TrustedProxies
from gaq_twisted.net.request_head import BadRequest, Head, read_head
from gaq_twisted.streams.events import InvalidEvent, LastId, parse_event
from gaq_twisted.tools.check.settings import settings_table
from tests.support import fuzz_inputs as inputs
from tests.support.fakes import finish
from tests.support.fuzz_inputs import HIDDEN, TOKEN, cut
from tests.support.memory import PEER, MemoryServer, ServerTransport, shown
from tests.support.samples import CHANNEL, SECRET, cookie, job_event, settings, token

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
"""How many times as many inputs are tried as usual; 0 for the usual ones, always the same."""


def fuzz(count: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Return a decorator that calls a test with many inputs.

    Args:
        count: how many are usual.
        strategies: what makes the test's arguments.
    """
    budget = hypothesis_settings(
        max_examples=count * max(1, TIMES),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: budget(given(*strategies)(test))


class FuzzTestCase(SynchronousTestCase):
    """Counts the inputs, and looks at the log after each of them."""

    def setUp(self) -> None:
        """Have tried nothing; Autobahn's timers follow txaio's loop."""
        self.tried = 0
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)

    def execute_example(self, test: Callable[[], Any]) -> None:
        """Try one input; called by hypothesis."""
        self.tried += 1
        logs: list[LogEvent] = []
        # Twisted's capturedLogs would go on if hypothesis gives an input up.
        observer: Any = logs.append
        globalLogPublisher.addObserver(observer)
        try:
            test()
        finally:
            globalLogPublisher.removeObserver(observer)
        for event in logs:
            self.assertNotIn("log_failure", event)
            self.assertLess(event["log_level"], LogLevel.error, ascii(event))
            if event.get("log_namespace", "").startswith("gaq_twisted"):
                text = eventAsText(event, includeTimestamp=False)
                self.assertTrue(text.isprintable(), ascii(text))
        text = shown(logs)
        self.assertNotIn(TOKEN.rpartition(".")[2], text)
        self.assertNotIn(SECRET, text)

    def assert_gone(self, server: MemoryServer) -> None:
        """Check that nothing of a connection is left."""
        self.assertEqual(list(server.hub.sockets), [])
        self.assertEqual((server.site.channel_count, server.factory.countConnections), (0, 0))
        self.assertEqual(server.gateway._readers, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Client(Protocol):
    """Sends and keeps raw bytes."""

    def __init__(self, server: MemoryServer) -> None:
        """Connect."""
        self.received = b""
        self.lost = False
        reader = server.gateway.buildProtocol(PEER)
        self.line = ServerTransport(reader)
        self.pump = connect(reader, self.line, self, makeFakeClient(self), clock=server.clock)

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.lost = True

    def send(self, segments: Sequence[bytes]) -> None:
        """Send segments, as long as they are taken, and wait for what comes back."""
        transport: Any = self.transport
        for segment in segments:
            if not self.lost:
                transport.write(segment)
                self.pump.flush()

    def lose(self) -> None:
        """Go away without a word."""
        transport: Any = self.transport
        transport.loseConnection()
        self.pump.flush()


def _request(method: str = "GET", target: str = "/", more: Sequence[str] = ()) -> bytes:
    """Return a handshake, with further headers."""
    lines = (
        f"{method} {target} HTTP/1.1",
        "Host: gaq.test",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: async-token={TOKEN}",
        *more,
    )
    return "\r\n".join([*lines, "", ""]).encode()


class HandshakeTests(FuzzTestCase):
    """Requests of all kinds at the door."""

    @example(_request(method="HEAD"), [])
    @example(_request(method="HEAD", more=("X",)), [3])
    @example(_request(method="HEAD", target="/health", more=("Content-Length: 5",)), [])
    @example(_request(more=("Host: other.test",)), [])
    @example(_request(more=("Origin: http://other.test",)), [])
    @example(_request(more=(f"Cookie: {cookie()}",)), [])
    @example(_request(target="http://other.test/?last_id=1-0"), [])
    @example(_request(target="/?last_id=1%2D0", more=("Expect: 100-continue",)), [])
    @fuzz(300, inputs.REQUESTS, inputs.CUTS)
    def test_requests(self, request: bytes, places: list[int]) -> None:
        """Every request is answered by the rules of HTTP, or ended when its time is over."""
        server = MemoryServer(self.clock, trusted_proxies=(Network("192.0.2.0/24"),))
        client = Client(server)
        client.send(cut(request, places))
        if not client.received:
            self.assertNotIn(b"\r\n\r\n", request.removeprefix(b"\r\n"))
            self.assertFalse(client.lost)
            self.clock.advance(10.1)
            server.gateway.close_late()
            self.assertTrue(client.line.aborted)
        elif client.received.startswith(b"HTTP/1.1 101 "):
            self.assertIn(TOKEN.encode(), request)
            self.assert_upgraded(server, client)
        else:
            self.assert_whole(client, is_head=re.match(rb"(\r\n)?HEAD ", request) is not None)
        client.lose()
        self.clock.advance(10.1)
        self.assert_gone(server)

    @example("qrc://", "", "")
    @example(" ", "foo, permessage-deflate;client_max_window_bits=99", "graphql-ws")
    @fuzz(100, inputs.ODD_ORIGINS, inputs.OFFERS, inputs.OFFERS)
    def test_offers(self, origin: str, extensions: str, protocols: str) -> None:
        """Whatever a client offers, and wherever it comes from, it is upgraded without them."""
        server = MemoryServer(self.clock)
        client = Client(server)
        offers = (
            f"Origin: {origin}",
            f"Sec-WebSocket-Extensions: {extensions}",
            f"Sec-WebSocket-Protocol: {protocols}",
        )
        client.send([_request(more=offers)])
        self.assertTrue(client.received.startswith(b"HTTP/1.1 101 "), client.received)
        self.assertNotIn(b"Sec-WebSocket-Extensions", client.received)
        self.assertNotIn(b"Sec-WebSocket-Protocol", client.received)
        self.assert_upgraded(server, client)
        client.lose()
        self.clock.advance(10.1)
        self.assert_gone(server)

    def assert_upgraded(self, server: MemoryServer, client: Client) -> None:
        """Check that a WebSocket is one on which events come, unless it was closed since."""
        for one in server.history.readings:
            one.answer([], 0)
        finish(server.resumption.deliver([job_event("1-0")]))
        client.pump.flush()
        head, _, frames = client.received.partition(b"\r\n\r\n")
        self.assertIsInstance(_read(head + b"\r\n\r\n")[0], h11.InformationalResponse)
        self.assertTrue(b'{"id":"1-0",' in frames or frames.startswith(b"\x88"), frames)

    def assert_whole(self, client: Client, *, is_head: bool) -> None:
        """Check that what came is one response, and the connection's end."""
        self.assertTrue(client.lost, client.received)
        responses = [
            one
            for one in _read(client.received, b"HEAD" if is_head else b"GET")
            if isinstance(one, h11.Response)
        ]
        self.assertEqual(len(responses), 1, client.received)
        self.assertLess(responses[0].status_code, 506)
        self.assertNotEqual(responses[0].status_code, 500)


def _read(received: bytes, method: bytes = b"GET") -> list[Any]:
    """Return what an independent reader finds in the answer to a request, up to its end."""
    reader = h11.Connection(h11.CLIENT)
    headers = [("Host", "gaq.test")]
    if method == b"GET":
        headers += [("Connection", "upgrade"), ("Upgrade", "websocket")]
    reader.send(h11.Request(method=method, target="/", headers=headers))
    reader.send(h11.EndOfMessage())
    reader.receive_data(received)
    found: list[Any] = []
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            reader.receive_data(b"")
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return found
        else:
            found.append(event)


class Expected(NamedTuple):
    """What RFC 6455 says of what a client sent."""

    close_code: int | None
    """With which code it is to be closed, 0 for one without; None if it goes on."""
    pings: list[bytes]
    """The payloads of the pings before that."""


def expected_of(data: bytes, max_message_bytes: int) -> Expected:
    """Return what a server is to make of frames, read in the plainest way."""
    pings: list[bytes] = []
    in_message = 0
    decoder = None
    while True:
        if len(data) < 2:
            return Expected(None, pings)
        fin, opcode, length = data[0] & 0x80, data[0] & 0x0F, data[1] & 0x7F
        is_control = opcode >= 8
        if (
            data[0] & 0x70
            or not data[1] & 0x80
            or opcode not in (0, 1, 2, 8, 9, 10)
            or (is_control and (not fin or length > 125 or (opcode == 8 and length == 1)))
            or (not is_control and (opcode == 0) != bool(in_message))
        ):
            return Expected(1002, pings)
        size = {126: 2, 127: 8}.get(length, 0)
        if len(data) < 2 + size + 4:
            return Expected(None, pings)
        if size:
            length = int.from_bytes(data[2 : 2 + size], "big")
            if length < (126 if size == 2 else 65536) or length >= 2**63:
                return Expected(1002, pings)
        mask, data = data[2 + size : 6 + size], data[6 + size :]
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[: min(length, 5000)]))
        is_whole = len(data) >= length
        data = data[length:]
        if not is_control:
            if not in_message:
                in_message, total = opcode, 0
                decoder = _Utf8() if opcode == 1 else None
            total += length
            if total > max_message_bytes:
                return Expected(1009, pings)
            if decoder is not None and not decoder.takes(payload, is_whole and bool(fin)):
                return Expected(1007, pings)
        if not is_whole:
            return Expected(None, pings)
        if not is_control:
            in_message = 0 if fin else in_message
        elif opcode == 9:
            pings.append(payload)
        elif opcode == 8:
            # Without a code the answer has none either.
            code = int.from_bytes(payload[:2], "big")
            if payload and code not in CLOSE_CODES:
                return Expected(1002, pings)
            return Expected(code if _Utf8().takes(payload[2:], True) else 1007, pings)


# What RFC 6455 section 7.4 lets a client say, and what was registered by 2012.
CLOSE_CODES = {*range(1000, 1004), *range(1007, 1014), *range(3000, 5000)}


class _Utf8:
    """Reads text that comes in pieces (RFC 3629)."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def takes(self, piece: bytes, is_last: bool) -> bool:
        """Return whether it can be text so far."""
        try:
            self._decoder.decode(piece, is_last)
        except UnicodeDecodeError:
            return False
        # Python waits for the third byte of a surrogate, which none can make good.
        return re.match(rb"\xed[\xa0-\xbf]", self._decoder.getstate()[0]) is None


class FrameTests(FuzzTestCase):
    """Whatever comes on a WebSocket once it is open."""

    @example(b"\x89\xff" + (2**62).to_bytes(8, "big") + b"mask" + b"x" * 9000, [5000])
    @example(b"\x80\x80mask\x83\xff" + (2**62).to_bytes(8, "big") + b"mask" + b"x" * 9000, [20])
    @example(b"\x82\xfe\x10\x01\0\0\0\0" + b"x" * 4097 + b"\x82\xff", [10, 3000])
    @example(b"\x01\x82\0\0\0\0\xed\xa9" + b"\x80\x01", [])
    @example(b"\x88\x82\0\0\0\0\x03\xe8" + b"\x81", [3])
    @fuzz(300, inputs.FRAMES, inputs.CUTS)
    def test_frames(self, stream: bytes, places: list[int]) -> None:
        """A socket goes on, or is closed with the right code; it keeps nothing, no other ends."""
        server = MemoryServer(self.clock, max_inbound_bytes_per_second=2**30)
        other, browser = server.open(), server.open()
        socket: Any = list(server.hub.sockets)[1]
        held_before = _held_bytes(socket)
        for segment in cut(stream, places):
            if not browser.lost:
                browser.send(segment)
        finish(server.resumption.deliver([job_event("1-0")]))
        other.pump.flush()
        browser.pump.flush()
        expected = expected_of(stream, 4096)
        self.assertEqual([bytes(one.data) for one in browser.frames(Opcode.PONG)], expected.pings)
        closes = [int.from_bytes(one.data[:2], "big") for one in browser.frames(Opcode.CLOSE)]
        if expected.close_code is None:
            self.assertEqual((closes, len(browser.texts), browser.lost), ([], 1, False))
            # Of what has not come whole, it keeps a header and a control frame.
            self.assertLess(_held_bytes(socket), held_before + 14 + 125)
        else:
            self.assertEqual((closes, browser.texts), ([expected.close_code], []))
            self.clock.advance(5.1)
            browser.pump.flush()
            self.assertTrue(browser.lost)
        self.assertLess(server.metrics.total(CONNECTION_REJECTED), 2)
        self.assertEqual((len(other.texts), other.lost), (1, False))
        for one in (other, browser):
            one.lose()
        self.assert_gone(server)


def _held_bytes(socket: Any) -> int:
    """Return the length of all bytes and texts that a socket holds for itself."""
    seen: dict[int, object] = {}
    objects = [value for name, value in vars(socket).items() if name not in SHARED]
    while objects:
        one = objects.pop()
        if id(one) not in seen and not isinstance(one, type | FunctionType | MethodType):
            seen[id(one)] = one
            objects.extend(gc.get_referents(one))
    return sum(len(one) for one in seen.values() if isinstance(one, bytes | bytearray | str))


# What leads to all else.
SHARED = {"factory", "transport", "_end_call", "is_closed"}


class EntryTests(FuzzTestCase):
    """Entries of a stream, of which browsers must never get one that they cannot parse."""

    def setUp(self) -> None:
        """Have no payloads for Node.js yet."""
        super().setUp()
        self.payloads: dict[bytes, str] = {}

    @example(b"[" * 60_000)
    @example(b'{"channel_id":"c","x":%b' % (b"[" * 60_000))
    @example(b'{"channel_id":"c","x":"%b"}' % (b"x" * 2**20))
    @example(rb'{"channel_id":"c","x":"\ud800","y":%b}' % (b"1" * 5000))
    @example(b'{"channel_id":"c"}{"channel_id":"c"}')
    @example(b'\xef\xbb\xbf{"channel_id":"c"}')
    @example(b'{"channel_id":"c","__proto__":{"channel_id":"d"},"id":"other"}')
    @fuzz(600, inputs.STREAM_ENTRIES)
    def test_entries(self, data: bytes) -> None:
        """An entry is an event exactly if a strict parser reads a text channel_id in it."""
        document = _strictly(data)
        try:
            event = parse_event(b"1-0", data)
        except InvalidEvent as error:
            self.assertTrue(document is None or "nested" in str(error), ascii(data))
            return
        self.assertIsNotNone(document)
        payload = b'{"id":"1-0",' + event.data[1:]
        self.assertTrue(event.frame().endswith(payload))
        self.assertEqual(_strictly(payload), [("id", "1-0"), *(document or ())])
        self.assertEqual(event.channel, dict(document or ())["channel_id"])
        self.payloads[payload] = event.channel

    def tearDown(self) -> None:
        """Have Node.js, as browsers do, parse all that would have been sent."""
        node = shutil.which("node")
        if TIMES and node and self.payloads:
            lines = [
                json.dumps([base64.b64encode(payload).decode(), channel])
                for payload, channel in self.payloads.items()
            ]
            command = [node, "-e", PARSE_ALL]
            told = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
            self.assertEqual(told.stdout, f"{len(lines)} are good\n")
            print(f"Node.js has parsed {len(lines):,} payloads")

    @fuzz(60, st.lists(inputs.STREAM_ENTRIES, max_size=20))
    def test_delivery(self, entries: list[bytes]) -> None:
        """The good ones among many entries reach their channel's browsers, each as one message."""
        server = MemoryServer(self.clock)
        channels = ("c", "d", CHANNEL)
        browsers = {}
        for channel in channels:
            browsers[channel] = server.connect()
            browsers[channel].upgrade(f"async-token={token(channel)}")
        events = []
        for number, entry in enumerate(entries):
            with contextlib.suppress(InvalidEvent):
                events.append(parse_event(b"1-%d" % number, entry))
        finish(server.resumption.deliver(events))
        for channel, browser in browsers.items():
            browser.pump.flush()
            expected = [
                b'{"id":"%b",%b' % (event.id, event.data[1:])
                for event in events
                if event.channel == channel
            ]
            self.assertEqual((browser.texts, browser.lost), (expected, False))


# What Node.js runs: each line has a payload and the channel that it must be of.
PARSE_ALL = """
const decoder = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true});
const lines = require("fs").readFileSync(0, "utf8").split("\\n");
let good = 0;
for (const line of lines) {
    const [encoded, channel] = JSON.parse(line);
    const text = decoder.decode(Buffer.from(encoded, "base64"));
    try {
        const event = JSON.parse(text);
        if (event.channel_id !== channel) throw new Error("of another channel");
        if (typeof event.id === "undefined") throw new Error("no id");
        good += 1;
    } catch (error) {
        console.log(`${error}: ${text}`);
    }
}
console.log(`${good} are good`);
"""


def _strictly(data: bytes) -> list[tuple[str, Any]] | None:
    """Return the keys and values of the JSON object that makes an event, or None if there is none.

    Objects become lists of pairs, so that neither order nor repetition is lost.
    """
    try:
        document = json.loads(
            data.decode(),
            parse_constant=_refuse,
            parse_int=lambda digits: ("number", digits),
            parse_float=lambda digits: ("number", digits),
            object_pairs_hook=_Pairs,
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, _Pairs):
        return None
    channels = [value for key, value in document if key == "channel_id"]
    # Of repeated keys the last one counts; but all must be good here.
    good = channels and all(isinstance(channel, str) for channel in channels) and channels[-1]
    return list(document) if good else None


class _Pairs(list[Any]):
    """The keys and values of an object, which is no array."""


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


class CookieTests(FuzzTestCase):
    """Cookie headers."""

    @example("async-token=" + inputs.signed(b"[" * 9000, b"{}"))
    @example("async-token=" + inputs.signed(b'{"alg":"HS256"}', rb'{"channel":"\ud800"}'))
    @example("async-token=" + inputs.signed(b'{"alg":"HS256"}', b'{"channel":"c","exp":1e999}'))
    @example(f"async-token=a.b.c; async-token={TOKEN}")
    @fuzz(500, inputs.COOKIES)
    def test_cookies(self, header: str) -> None:
        """A Cookie header tells who a client is, or is refused; there is no third way."""
        try:
            identity = Authenticator(settings()).identify(header)
        except Unauthorized as error:
            self.assertTrue(str(error).isprintable())
            self.assertNotIn("eyJ", str(error))
            return
        self.assertTrue(identity.channel)
        identity.channel.encode()
        if identity.expires_at is not None:
            self.assertGreater(identity.expires_at, time.time() - 60)

    @example(inputs.signed(b'{"alg":"HS256"}', rb'{"channel":"\u001f"}'))
    @fuzz(150, inputs.TOKENS)
    def test_upgrades(self, signed: str) -> None:
        """A signed token of whatever claims opens a WebSocket or is refused with 401."""
        server = MemoryServer(self.clock)
        browser = server.connect()
        browser.upgrade(f"async-token={signed}")
        self.assertIn(browser.response.status_code, (101, 401, 431))
        server.hub.expire(10)
        browser.lose()
        self.clock.advance(10)
        self.assert_gone(server)


class SettingsTests(FuzzTestCase):
    """Configuration files and environments."""

    @example(b"{}", {"JWT_SECRET": HIDDEN, "PORT": "\udc80"})
    @example(b"{}", {"JWT_SECRET": HIDDEN, "REDIS_HOST": "\udc80"})
    @example(b"{}", {"JWT_SECRET": HIDDEN, "REDIS_PORT": "tcp://a\nb"})
    @example(b"{}", {"JWT_SECRET_FILE": "/no\n/such\udcff"})
    @example(b'{"\\u001b[2J\\ud800": 1}', {"JWT_SECRET": HIDDEN})
    @fuzz(300, inputs.CONFIG_FILES, inputs.ENVIRONMENTS)
    def test_settings(self, document: bytes, environ: dict[str, str]) -> None:
        """There are settings, or faults of one line each that show no secret."""
        with TemporaryDirectory() as directory:
            file = Path(directory, "ws.json")
            file.write_bytes(document)
            try:
                loaded = load(file, environ)
            except ConfigError as error:
                self.assertTrue(error.faults)
                lines = error.faults
            else:
                lines = [*loaded.warnings, repr(loaded.settings)]
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))
            self.assertNotIn(HIDDEN[:8], line)

    @example("REDIS_HOST", f"rediss://user:{HIDDEN}@h.test")
    @example("REDIS_URL", f"redis://user:{HIDDEN}@h.test:x")
    @example("REDIS_SSL_KEYFILE", f"-----BEGIN PRIVATE KEY-----\n{HIDDEN}")
    @fuzz(300, inputs.PLACES, inputs.CREDENTIALS)
    def test_credentials(self, name: str, value: str) -> None:
        """A secret is not shown, whichever setting it is put into, nor a key of a file."""
        try:
            loaded = load(None, {"JWT_SECRET": SECRET, name: value})
        except ConfigError as error:
            lines = list(error.faults)
        else:
            lines = [*loaded.warnings, *settings_table(loaded)]
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))
            self.assertNotIn(HIDDEN, line)


class ReaderTests(FuzzTestCase):
    """Readers without a network."""

    @example(_request(target="http://other.test"), 1000)
    @example(_request(more=("Cookie:", "Cookie: a=b; ")), 1000)
    @fuzz(300, inputs.REQUESTS, st.sampled_from((16_384, 16_384, 400, 40)))
    def test_heads(self, received: bytes, max_bytes: int) -> None:
        """A head that was read is the same when it is read again; less than it is none yet."""
        try:
            found = read_head(received, max_bytes)
        except BadRequest as error:
            self.assertTrue(str(error).isprintable())
            return
        if found is None:
            self.assertNotIn(b"\r\n\r\n", received.removeprefix(b"\r\n"))
            return
        head, rest = found
        self.assertTrue(received.endswith(b"\r\n\r\n" + rest))
        self.assertLessEqual(len(received) - len(rest), max_bytes + 2)
        for name, value in head.headers:
            self.assertEqual((name.lower(), value.strip()), (name, value))
            self.assertNotRegex(name + value, b"[\r\n\x85\x00]")
        self.assertEqual(read_head(bytes(head), 2**20), (head, b""))
        self.assertIsNone(read_head(received[: len(received) - len(rest) - 1], 2**20))

    @example(["same-host"], "http://[::1]", "[::1]:8080")
    @fuzz(500, st.lists(inputs.ORIGINS, max_size=3), inputs.ORIGINS, inputs.HOSTS)
    def test_origins(self, allowed: list[str], origin: str, host: str) -> None:
        """An origin is allowed only if what is allowed names its host, as others read it."""
        patterns = []
        for text in allowed:
            with contextlib.suppress(ValueError):
                patterns.append(OriginPattern(text))
        is_allowed = OriginRules(patterns).allow(origin, host)
        if not is_allowed or not patterns or "*" in patterns or origin == "null":
            return
        name = (urlsplit(origin).hostname or "").removesuffix(".")
        hosts = [urlsplit(pattern).hostname or "" for pattern in patterns]
        if "same-host" in patterns:
            with contextlib.suppress(ValueError):
                hosts.append(urlsplit(f"//{host}").hostname or "")
        self.assertTrue(
            any(
                name.endswith(one[1:]) if one.startswith("*.") else one.removesuffix(".") == name
                for one in hosts
            ),
            ascii((patterns, origin)),
        )

    @example([("x-forwarded-for", "fe80::1%y by way of 1.2.3.4")], "192.0.2.7")
    @fuzz(
        500,
        st.lists(
            st.tuples(
                st.sampled_from(("x-forwarded-for", "forwarded")),
                inputs.ADDRESSES | inputs.HEADER_VALUES,
            ),
            min_size=1,
            max_size=3,
        ),
        inputs.mostly(inputs.word("192.0.2.7 ::1 fe80::1%eth0"), inputs.ADDRESSES),
    )
    def test_proxies(self, headers: list[tuple[str, str]], peer: str) -> None:
        """What proxies say of a client is an address or nothing."""
        proxies = TrustedProxies([Network(one) for one in ("0.0.0.0/0", "::/0", "fe80::/10")])
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        client = proxies.client(peer, Head(b"GET", b"/", b"1", pairs))
        self.assertTrue(client is None or re.fullmatch("[0-9a-f:.]+", client), ascii(client))

    @fuzz(
        200,
        st.ip_addresses(v=4) | st.ip_addresses(v=6),
        st.sampled_from(("", ":1", ":443", ":65535")),
        st.sampled_from(("x-forwarded-for", "forwarded")),
    )
    def test_ports(self, address: IPv4Address | IPv6Address, port: str, header: str) -> None:
        """The port that some proxies write behind an address is no part of it, in both families."""
        text = f"[{address}]{port}" if address.version == 6 and port else f"{address}{port}"
        if header == "forwarded":
            text = f'for="[{address}]{port}"' if address.version == 6 else f'for="{text}"'
        head = Head(b"GET", b"/", b"1", [(header.encode(), text.encode())])
        client = TrustedProxies([Network("192.0.2.7")]).client("192.0.2.7", head)
        mapped = getattr(address, "ipv4_mapped", None)
        self.assertEqual(client, str(mapped or address))

    @fuzz(300, inputs.mostly(inputs.LAST_IDS, st.text()))
    def test_last_ids(self, text: str) -> None:
        """The id of an event is read as that number or not at all."""
        last_id = LastId.parse(text)
        if last_id is not None:
            self.assertEqual(LastId.parse(bytes(last_id).decode()), last_id)
            ms, _, seq = text.partition("-")
            self.assertEqual(tuple(last_id.id), (int(ms), int(seq)))
            self.assertLess(max(last_id.id), 2**64)


def main() -> int:
    """Run the tests of this file and tell how many inputs each tried; return 0 if all passed."""
    kinds = (CookieTests, EntryTests, FrameTests, HandshakeTests, ReaderTests, SettingsTests)
    loader = unittest.defaultTestLoader
    cases = [kind(name) for kind in kinds for name in loader.getTestCaseNames(kind)]
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(cases))
    for case in cases:
        print(f"{case.tried:>10,}  {case.id().partition('.')[2]}")
    print(f"{sum(case.tried for case in cases):>10,}  inputs in all")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
