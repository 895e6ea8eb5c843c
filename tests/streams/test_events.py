"""Stream ids, the check of stream entries, and the frames that browsers are sent."""

import json
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gaq_twisted.streams.events import (
    InvalidEvent,
    LastId,
    StreamId,
    channel_stream_event,
    parse_event,
)
from tests.support.properties import for_any

UINT64_MAX = 2**64 - 1
# From Python 3.14 on, the limit is the size of the stack, and no number.
TOO_DEEP = 1_000_000

# The entries that Superset 6.1 wrote for some jobs.
CHANNEL = "edc3b287-2984-4c6c-828e-b9873ad72488"
ENTRIES = [
    (
        b"1795406438721-0",
        rb'{"channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488", "job_id": "6d7bd8fd-f824-4fa9-b52'
        rb'5-0132d206d43b", "user_id": 1, "status": "running", "errors": [], "result_url": null}',
    ),
    (
        b"1795406438722-0",
        rb'{"channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488", "job_id": "6d7bd8fd-f824-4fa9-b52'
        rb'5-0132d206d43b", "user_id": 1, "status": "done", "errors": [], "result_url": "/api/v1/ch'
        rb'art/data/qc-c834ea7620ca4a468a8d8deb74ff8b4a"}',
    ),
    (
        b"1795406438722-1",
        rb'{"channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488", "job_id": "6d7bd8fd-f824-4fa9-b52'
        rb'5-0132d206d43b", "user_id": 1, "status": "error", "errors": [{"message": "Error: no such'
        rb' column: s.na\u00efve \u2603 \ud83d\ude00 \"q\" </b> \n"}], "result_url": null}',
    ),
    (
        b"1795406438723-0",
        rb'{"channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488", "job_id": "0d68cf9b-a409-4597-94c'
        rb'2-e1fc73f8ef7e", "user_id": null, "status": "error", "errors": [{"message": "Column \"na'
        rb'\u00efve\" does not exist", "error_type": "COLUMN_DOES_NOT_EXIST_ERROR", "level": "error'
        rb'", "extra": {"engine_name": "SQLite", "issue_codes": [{"code": 1003, "message": "Issue 1'
        rb"003 - There is a syntax error in the SQL query. Perhaps there was a misspelling or a typ"
        rb'o."}, {"code": 1004, "message": "Issue 1004 - The column was deleted or renamed in the d'
        rb'atabase."}]}}], "result_url": null}',
    ),
    (
        b"1795406438724-0",
        rb'{"channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488", "job_id": "9e0ae020-ee82-4b14-bf9'
        rb'2-0eb913d6ffa0", "user_id": 7, "status": "done", "errors": [], "result_url": "/superset/'
        rb'explore_json/data/ejr-0", "extra": [1.5, null, true, null]}',
    ),
]
# The frame of the first of them: FIN and opcode 1, a length in 16 bits, the id, the same text.
FIRST_FRAME = (
    b'\x81\x7e\x00\xc4{"id":"1795406438721-0","channel_id": "edc3b287-2984-4c6c-828e-b9873ad72488",'
    b' "job_id": "6d7bd8fd-f824-4fa9-b525-0132d206d43b", "user_id": 1, "status": "running",'
    b' "errors": [], "result_url": null}'
)
# Frames that Superset's Node.js server sent.
FRAMES_OF_NODE = [
    '{"id":"1795406306940-0","channel_id":"5138c7bf-bcbd-4a2e-a0e7-44436937b24c","job_id":"582e7dc9'
    '-dc27-4b9c-ae96-1d1ad2974e47","user_id":1,"status":"done","errors":[],"result_url":"/api/v1/ch'
    'art/data/qc-8693f7502f377e7582eba5266397115b05ee133055b0572953abdd47980c40f8"}',
    '{"id":"1795406318904-0","channel_id":"f85133bf-e705-4684-94b9-f3f8122913f7","job_id":"eb39ded7'
    '-42a5-4bc8-a887-970a61da3aa9","user_id":1,"status":"error","errors":[{"message":"Error: no suc'
    'h column: s.naïve ☃"}],"result_url":null}',
]

NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"hello",
    b'{"channel_id":"c"',
    b'{"channel_id":"c"}{"channel_id":"c"}',
    b'{"channel_id":"c"} {}',
    b'{"channel_id":"c"},',
    b'{"channel_id":"c",}',
    b"{'channel_id':'c'}",
    b'{"channel_id":"c"}\x00',
    b'\x0c{"channel_id":"c"}',
    b'{"channel_id":"c"}\x0b',
    b'{"channel_id":"c","x":NaN}',
    b'{"channel_id":"c","x":-Infinity}',
    b'{"channel_id":"c","x":01}',
    b'{"channel_id":"c","x":1.}',
    b'{"channel_id":"c","x":"a\nb"}',
    b'{"channel_id":"c","x":"\x00"}',
    b'{"channel_id":"c","x":"\\x41"}',
    b'{"channel_id":"c","x":"\\ud800","y":NaN}',
    b'{"channel_id":"c","x":"\\ud800","y":"\x1f"}',
]
NO_CHANNEL = [
    b"{}",
    b"[]",
    b"1",
    b'"channel_id"',
    b"null",
    b'[{"channel_id":"c"}]',
    b'{"channel":"c"}',
    b'{"x":{"channel_id":"c"}}',
    b'{"channel_id":1}',
    b'{"channel_id":null}',
    b'{"channel_id":["c"]}',
    b'{"channel_id":{"x":"c"}}',
    b'{"x":"\\ud800"}',
    b'{"x":"\\ud800","channel_id":1}',
    b'["\\ud800"]',
]
INVALID_UTF_8 = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"]


def _decoded(frame: bytes) -> bytes:
    """Return what an independent WebSocket implementation finds in a frame."""
    reader = StreamReader()
    reader.feed_data(frame)
    parser = Frame.parse(reader.read_exact, mask=False)
    try:
        next(parser)
    except StopIteration as stop:
        found: Frame = stop.value
    else:
        raise AssertionError("the frame is not complete")
    if (found.opcode, found.fin, len(reader.buffer)) != (Opcode.TEXT, True, 0):
        raise AssertionError(f"not one whole text frame: {found}")
    return bytes(found.data)


def _documents(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Make events with any JSON values under any keys."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
        lambda inner: st.lists(inner) | st.dictionaries(text, inner),
        max_leaves=8,
    ).filter(lambda value: "Infinity" not in json.dumps(value))
    return st.builds(
        lambda before, channel, after: {**before, "channel_id": channel, **after},
        st.dictionaries(text, values, max_size=3),
        st.text(min_size=1),
        st.dictionaries(text.filter(lambda key: key != "channel_id"), values, max_size=3),
    )


# Python's json escapes everything that is not ASCII, half surrogate pairs too, unless told not to.
ESCAPED = _documents(st.text(st.characters())).map(lambda d: (d, json.dumps(d).encode()))
UNESCAPED = _documents(st.text()).map(lambda d: (d, json.dumps(d, ensure_ascii=False).encode()))


class StreamIdTests(SynchronousTestCase):
    """Ids as Redis writes and orders them."""

    def test_parse_and_write(self) -> None:
        """An id is read and written as Redis writes it."""
        for text in (b"0-0", b"1795406438721-3", b"18446744073709551615-18446744073709551615"):
            stream_id = StreamId.parse(text)
            self.assertEqual((bytes(stream_id), str(stream_id)), (text, text.decode()))
        self.assertEqual(StreamId.parse(b"1795406438721-3"), StreamId(1795406438721, 3))

    def test_order(self) -> None:
        """Ids are ordered as numbers, not as text."""
        texts = [b"0-1", b"9-0", b"9-2", b"9-10", b"10-0", b"10-1"]
        ids = [StreamId.parse(text) for text in texts]
        self.assertEqual(sorted(reversed(ids)), ids)

    def test_neighbours(self) -> None:
        """The ids before and after another are its neighbours, also across milliseconds."""
        for lower, upper in (
            (StreamId(0, 0), StreamId(0, 1)),
            (StreamId(5, 7), StreamId(5, 8)),
            (StreamId(5, UINT64_MAX - 1), StreamId(5, UINT64_MAX)),
            (StreamId(5, UINT64_MAX), StreamId(6, 0)),
        ):
            self.assertEqual((lower.after(), upper.before()), (upper, lower))


class LastIdTests(SynchronousTestCase):
    """The ids that clients return as the last one that they received."""

    def test_of_the_global_stream(self) -> None:
        """An id without a superfluous zero is one of the global stream, up to 64 bits each."""
        for text, expected in (
            ("0-0", (0, 0)),
            ("1795406438721-3", (1795406438721, 3)),
            ("1-10", (1, 10)),
            ("0001-5", (1, 5)),
            (f"{UINT64_MAX}-{UINT64_MAX}", (UINT64_MAX, UINT64_MAX)),
        ):
            self.assertEqual(LastId.parse(text), (expected, False), text)

    def test_of_a_channel_stream(self) -> None:
        """A zero before the sequence number marks an id of a channel stream."""
        for text, expected in (("7-00", (7, 0)), ("7-03", (7, 3)), ("7-010", (7, 10))):
            self.assertEqual(LastId.parse(text), (expected, True), text)

    def test_malformed(self) -> None:
        """Any other text is not an id."""
        for text in (
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1--1",
            "1-2-3",
            "+1-0",
            "1-+0",
            "1_0-0",
            " 1-0",
            "1-0 ",
            "1-0\n",
            "1 -0",
            "1.0-0",
            "0x1-0",
            "$",
            "*",
            "(1-0",
            "\u0661-0",
            "1-\u0662",
            "\uff11-0",
            "\u00b2-0",
            "1\u22120",
            "1-0\x00",
            f"{UINT64_MAX + 1}-0",
            f"0-{UINT64_MAX + 1}",
            f"0-0{UINT64_MAX + 1}",
            "9" * 20 + "-0",
            "1-" + "0" * 1000,
            "1" * 100_000 + "-0",
        ):
            self.assertIsNone(LastId.parse(text), text[:50])

    def test_comes_back(self) -> None:
        """Both spellings of any id that Redis can write are parsed when clients return them."""
        for ms in (0, 1795406438721, UINT64_MAX):
            for seq in (0, 9, 10, 10**19, UINT64_MAX):
                stream_id = StreamId(ms, seq)
                event = channel_stream_event(bytes(stream_id), b'{"channel_id":"c"}')
                self.assertEqual(LastId.parse(str(stream_id)), (stream_id, False))
                self.assertEqual(LastId.parse(event.id.decode()), (stream_id, True))


class GoodEventTests(SynchronousTestCase):
    """Entries that a browser can use."""

    def test_entries_of_superset(self) -> None:
        """The entries of a real Superset are events of their channel, the data untouched."""
        for entry_id, data in ENTRIES:
            event = parse_event(entry_id, data)
            self.assertEqual((event.id, event.channel, event.data), (entry_id, CHANNEL, data))
            payload = json.loads(_decoded(event.frame()))
            self.assertEqual(payload, {"id": entry_id.decode(), **json.loads(data)})
        self.assertEqual(parse_event(*ENTRIES[0]).frame(), FIRST_FRAME)

    def test_frames_of_node(self) -> None:
        """A browser gets the objects that the Node.js server sent, their keys in that order."""
        for frame in FRAMES_OF_NODE:
            document = json.loads(frame)
            entry_id = document.pop("id").encode()
            payload = _decoded(parse_event(entry_id, json.dumps(document).encode()).frame())
            self.assertEqual(json.dumps(json.loads(payload)), json.dumps(json.loads(frame)))

    def test_white_space(self) -> None:
        """White space around the object is removed, and white space within it is kept."""
        event = parse_event(b"1-0", b'\r\n\t { "channel_id" : "c" }\n \t\r')
        self.assertEqual(event.data, b'{ "channel_id" : "c" }')
        self.assertEqual(_decoded(event.frame()), b'{"id":"1-0", "channel_id" : "c" }')

    def test_not_ascii(self) -> None:
        """Text that is not escaped passes as it is, in the channel's name too."""
        data = '{"channel_id":"naïve ☃","x":"😀\x7f"}'.encode()
        event = parse_event(b"1-0", data)
        self.assertEqual((event.channel, event.data), ("naïve ☃", data))
        self.assertEqual(_decoded(event.frame()), b'{"id":"1-0",' + data[1:])

    def test_lone_surrogates(self) -> None:
        """Halves of surrogate pairs, which browsers read when escaped, pass as they are."""
        for data in (
            rb'{"channel_id":"c","x":"\ud800"}',
            rb'{"x":["\uDFFF\ud800"],"channel_id":"c"}',
            rb'{"\udc00":1,"channel_id":"c"}',
            '{"channel_id":"c","x":"é\\ud800"}'.encode(),
        ):
            event = parse_event(b"1-0", b" %b\n" % data)
            self.assertEqual((event.channel, event.data), ("c", data))

    def test_odd_numbers(self) -> None:
        """Numbers that Python cannot hold are accepted, because a browser can read them."""
        for number in (b"1e999", b"-0", b"1E+2", b"1" * 5000):
            for other in (rb'"a"', rb'"\ud800"'):
                parse_event(b"1-0", b'{"channel_id":"c","x":%b,"y":%b}' % (number, other))

    def test_escaped_and_repeated_keys(self) -> None:
        """The channel is the one that a browser would find."""
        for data in (
            rb'{"channel\u005fid":"c"}',
            b'{"channel_id":"other","channel_id":"c"}',
            rb'{"channel_id":"other","x":"\ud800","channel_id":"c"}',
            b'{"x":{"channel_id":"other"},"channel_id":"c"}',
        ):
            self.assertEqual(parse_event(b"1-0", data).channel, "c", data)

    def test_id_in_the_data(self) -> None:
        """An id that the data has itself wins, as with the Node.js server."""
        for data in (b'{"id":"own","channel_id":"c"}', b'{"channel_id":"c","id":"own"}'):
            payload = _decoded(parse_event(b"1-0", data).frame())
            self.assertTrue(payload.startswith(b'{"id":"1-0",'), payload)
            self.assertEqual(json.loads(payload)["id"], "own")

    def test_other_id(self) -> None:
        """An event of a channel stream shows an id that is the same number, spelt differently."""
        for entry_id, shown in ((b"7-0", b"7-00"), (b"7-3", b"7-03"), (b"7-10", b"7-010")):
            event = channel_stream_event(entry_id, b'{"channel_id":"c","x":"-"}')
            self.assertEqual((event.id, event.channel), (shown, "c"))
            self.assertEqual(event.stream_id(), StreamId.parse(entry_id))
            self.assertEqual(
                _decoded(event.frame()), b'{"id":"%b","channel_id":"c","x":"-"}' % shown
            )

    @for_any(ESCAPED | UNESCAPED)
    def test_any_document(self, written: tuple[dict[str, Any], bytes]) -> None:
        """Any event is read by the browser with the stream id as first key."""
        document, data = written
        event = parse_event(b"1-0", data)
        self.assertEqual(event.channel, document["channel_id"])
        payload = _decoded(event.frame())
        self.assertTrue(payload.startswith(b'{"id":"1-0",'))
        self.assertEqual(
            json.dumps(json.loads(payload)), json.dumps({"id": "1-0", **document}), payload
        )


class InvalidEventTests(SynchronousTestCase):
    """Entries that a browser could not parse."""

    def assert_invalid(self, data: bytes | None, reason: str) -> None:
        """Check that the reason is exactly that one, without any of the data."""
        for parse in (parse_event, channel_stream_event):
            error = self.assertRaises(InvalidEvent, parse, b"1-0", data)
            self.assertEqual((str(error), error.reason), (reason, reason), (data or b"")[:60])

    def test_no_field(self) -> None:
        """An entry without the field is no event."""
        self.assert_invalid(None, "no field data")

    def test_not_json(self) -> None:
        """What JSON.parse rejects is rejected, also in parts that this server does not use."""
        for data in NOT_JSON:
            self.assert_invalid(data, "not JSON")

    def test_other_encodings(self) -> None:
        """JSON in any encoding but UTF-8, or behind a byte order mark, cannot be framed."""
        text = '{"channel_id":"c"}'
        for encoding in ("utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            self.assert_invalid(text.encode(encoding), "not JSON")
        self.assert_invalid(text.encode("utf-16"), "invalid UTF-8")

    def test_no_channel(self) -> None:
        """JSON that is not an object with a text as channel is rejected."""
        for data in NO_CHANNEL:
            self.assert_invalid(data, "no text channel_id")
        self.assert_invalid(b'{"channel_id":""}', "empty channel_id")
        self.assert_invalid(rb'{"channel_id":"","x":"\ud800"}', "empty channel_id")

    def test_invalid_utf_8(self) -> None:
        """Bytes that are not UTF-8 are never framed: they would end the connection."""
        for piece in INVALID_UTF_8:
            self.assert_invalid(b'{"channel_id":"c","x":"%b"}' % piece, "invalid UTF-8")
            self.assert_invalid(b'{"channel_id":"%b"}' % piece, "invalid UTF-8")
            self.assert_invalid(b'{"channel_id":"c"}%b' % piece, "invalid UTF-8")

    def test_nested_too_deeply(self) -> None:
        """Too deep nesting is rejected with a reason, by either parser."""
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            nested = opening * TOO_DEEP + b"1" + closing * TOO_DEEP
            for other in (rb'"a"', rb'"\ud800"'):
                data = b'{"channel_id":"c","x":%b,"y":%b}' % (other, nested)
                self.assert_invalid(data, "nested too deeply")
        self.assert_invalid(b"[" * TOO_DEEP, "no text channel_id")


class FrameTests(SynchronousTestCase):
    """Frame headers."""

    def test_lengths(self) -> None:
        """Payloads of every length class are framed in the shortest way and decoded whole."""
        shortest = len(parse_event(b"1-0", b'{"channel_id":"c"}').frame()) - 2
        for length, header in (
            (shortest, 2),
            (shortest + 1, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (2**20, 10),
        ):
            channel = b"c" * (length - shortest + 1)
            frame = parse_event(b"1-0", b'{"channel_id":"%b"}' % channel).frame()
            self.assertEqual(len(frame), header + length)
            self.assertEqual(_decoded(frame), b'{"id":"1-0","channel_id":"%b"}' % channel)
