"""Messages as they are published, and the frames that they become."""

import json
from typing import Any

from hypothesis import example
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.realtime.envelope import InvalidMessage, InvalidReason, parse, text_frame
from tests.support.properties import for_any

# From Python 3.14 on, the limit is the size of the stack, and no number.
TOO_DEEP = 1_000_000
TEXTS = st.text(st.characters(blacklist_categories=()), min_size=1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def message(**fields: Any) -> bytes:
    """Returns a message for all sockets, as Superset writes it, with some fields changed."""
    return json.dumps({"topic": "t", "scope": "authenticated_global", **fields}).encode()


def text_of(frame: bytes) -> bytes:
    """Returns the text of a frame shorter than 64 KiB."""
    assert frame[0] == 0x81
    return frame[4:] if frame[1] == 126 else frame[2:]


class ParseTests(SynchronousTestCase):
    """Valid messages."""

    def assert_means(self, published: bytes, routes: tuple[str, ...], frame: bytes) -> None:
        """Checks what a message means."""
        message = parse(published)
        self.assertEqual((message.routes, message.frame), (routes, frame))

    def test_as_published(self) -> None:
        """The payload's bytes are unchanged; the topic comes first, and there is nothing else."""
        published = (
            b'{"topic": "a", "scope": "tab", "payload": { "n": 1.0,\n"big": 12345678901234567890},'
            b' "routes": ["user:5:1", "x"], "id": "9"}'
        )
        frame = text_frame(b'{"topic":"a","payload":{ "n": 1.0,\n"big": 12345678901234567890}}')
        self.assert_means(published, ("user:5:1", "x"), frame)

    def test_payloads(self) -> None:
        """A payload can be any JSON, or be absent."""
        for payload, text in ((None, b"null"), ("x", b'"x"'), ([1], b"[1]"), ("é😀", None)):
            published = message(payload=payload)
            expected = text or json.dumps(payload).encode()
            frame = parse(published).frame
            self.assertEqual(text_of(frame), b'{"topic":"t","payload":%b}' % expected)
        self.assertEqual(text_of(parse(message()).frame), b'{"topic":"t"}')

    def test_routes(self) -> None:
        """Only one scope means all sockets; for all others, even unknown ones, the routes count."""
        for scope, routes, expected in (
            ("authenticated_global", ["user:5"], None),
            ("principal", ["user:5"], ("user:5",)),
            ("Authenticated_Global", ["a", "a"], ("a", "a")),
            ("whatever", [], ()),
        ):
            self.assertEqual(parse(message(scope=scope, routes=routes)).routes, expected)
        self.assertEqual(parse(message(scope="tab")).routes, ())

    def test_last_key_counts(self) -> None:
        """Of duplicate keys the last one counts."""
        published = b'{"topic":"a","topic":"b","scope":"s","routes":["x"],"routes":["y"]}'
        self.assert_means(published, ("y",), text_frame(b'{"topic":"b"}'))

    def test_bad_utf_8(self) -> None:
        """Bytes that are not UTF-8 are replaced, so that every browser can read the frame."""
        frame = parse(b'{"topic":"t","scope":"s","payload":"\xff"}').frame
        self.assertEqual(text_of(frame).decode(), '{"topic":"t","payload":"�"}')

    def test_lone_surrogate(self) -> None:
        """An escaped lone surrogate is JSON that browsers accept."""
        published = b'{"topic":"t","scope":"s","payload":["\\ud83d",1.0],"routes":["r"]}'
        frame = text_frame(b'{"topic":"t","payload":["\\ud83d", 1.0]}')
        self.assert_means(published, ("r",), frame)

    def test_long(self) -> None:
        """Frames of any length have the right header."""
        for size in (100, 125, 126, 65_535, 65_536, 3_000_000):
            text = b"x" * size
            frame = text_frame(text)
            self.assertTrue(frame.endswith(text))
            self.assertEqual(len(frame) - size, 2 if size < 126 else 4 if size < 65_536 else 10)

    @for_any(TEXTS, JSON)
    @example("\ud800", "\udfff")
    def test_any(self, topic: str, payload: object) -> None:
        """Whatever Python's json writes is read by a browser as the same payload."""
        text = text_of(parse(message(topic=topic, payload=payload)).frame.ljust(200_000)).strip()
        self.assertEqual(json.loads(text)["payload"], payload)


class DropTests(SynchronousTestCase):
    """Messages that are dropped."""

    def reason(self, published: bytes) -> InvalidReason:
        """Returns why a message is dropped."""
        error = self.assertRaises(InvalidMessage, parse, published)
        self.assertTrue(str(error))
        return InvalidReason(error.reason)

    def test_reasons(self) -> None:
        """Each fault has a reason of its own."""
        for published, reason in (
            (b"", "not_json"),
            (b"{", "not_json"),
            (message() + b"x", "not_json"),
            (b"\xef\xbb\xbf" + message(), "not_json"),
            (b'{"topic":"t","scope":"s","payload":NaN}', "not_json"),
            (b'{"topic":"t","scope":"s","payload":["\\ud83d",NaN]}', "not_json"),
            (b'{"topic":"t","scope":"s","payload":["\\ud83d",1e999]}', "not_json"),
            (b"[]", "not_an_object"),
            (b'"x"', "not_an_object"),
            (b"null", "not_an_object"),
            (message(topic=""), "topic"),
            (message(topic=1), "topic"),
            (b'{"scope":"s"}', "topic"),
            (message(scope=""), "scope"),
            (message(scope=None), "scope"),
            (b'{"topic":"t"}', "scope"),
            (message(routes=None), "routes"),
            (message(routes="user:5"), "routes"),
            (message(routes=[""]), "routes"),
            (message(routes=["user:5", 7]), "routes"),
            (message(payload="\ud800", routes=[""]), "routes"),
            (
                b'{"topic":"t","scope":"s","payload":%b%b}' % (b"[" * TOO_DEEP, b"]" * TOO_DEEP),
                None,
            ),
        ):
            expected = reason or "nested_too_deeply"
            self.assertEqual(self.reason(published), expected, published[:60])

    @for_any(st.binary() | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_anything(self, published: bytes) -> None:
        """No bytes raise anything else."""
        try:
            parse(published)
        except InvalidMessage as error:
            self.assertIsInstance(error.reason, InvalidReason)
