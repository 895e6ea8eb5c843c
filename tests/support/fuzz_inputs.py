"""Input that nobody would send on purpose, as strategies for hypothesis."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import strategies as st

from gaq_twisted.config.catalogue import all_settings
from tests.streams.test_events import ENTRIES
from tests.support.samples import SECRET, token

T = TypeVar("T")

TOKEN = token()
"""A token that opens a WebSocket."""
HIDDEN = "Hidden-text-of-which-nothing-may-be-shown"
"""Stands in settings wherever a secret may stand, or was meant to."""


def word(words: str) -> st.SearchStrategy[str]:
    """Make one of those words."""
    return st.sampled_from(words.split())


@st.composite
def mostly(draw: st.DrawFn, usual: st.SearchStrategy[T], odd: st.SearchStrategy[T]) -> T:
    """Make mostly what is usual; `one_of` would take each strategy as often as any other."""
    return draw(odd if draw(st.sampled_from((False, False, False, False, True))) else usual)


def nearly_always(usual: st.SearchStrategy[T], odd: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Make what is odd less often yet."""
    return mostly(usual, mostly(usual, odd))


@st.composite
def altered(draw: st.DrawFn, data: bytes, pieces: st.SearchStrategy[bytes]) -> bytes:
    """Put pieces into bytes, or take some out, or leave them alone."""
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 1, 2, 4)))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from((0, 0, 1, 2, 40)))
        data = data[:start] + draw(pieces | st.just(b"")) + data[end:]
    return data


CUTS = st.lists(st.integers(0, 2000), max_size=4)
"""Where a stream is cut into segments."""


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return the pieces of bytes that are cut at those places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


# Requests

_METHODS = nearly_always(st.just("GET"), word("HEAD POST OPTIONS CONNECT PRI TRACE get G~ G(T"))
_VERSIONS = nearly_always(
    st.just("HTTP/1.1"), word("HTTP/1.0 HTTP/1.2 HTTP/2.0 HTTP/0.9 http/1.1 ICY")
)
_VISIBLE = st.characters(min_codepoint=33, max_codepoint=126)
LAST_IDS = st.one_of(
    word(
        "0-0 1-0 1795406438721-3 1795406438721-03 %31-0 1%2D0 1-0%00 % %zz %ff %c3%a9 - $ 1+-0"
        " 1-0&last_id=2-0 1-0;x=1 1-0%0d%0aX:1 18446744073709551616-0"
        " 18446744073709551615-18446744073709551615"
    ),
    st.sampled_from(("", "9" * 5000, "1-" + "0" * 500)),
    st.from_regex(r"[0-9]{1,21}-[0-9]{1,22}", fullmatch=True),
    st.text(_VISIBLE, max_size=12),
)
_TARGETS = st.one_of(
    LAST_IDS.map("/?last_id={}".format),
    LAST_IDS.map("http://gaq.test:8080/ws?last_id={}".format),
    word(
        "/ /ws /health /health/ /health?x // /a/../health /%2e%2e * /#x /%00 /%ff%fe //[ /;x"
        " /?last_id /\\ http://gaq.test HTTPS://x/health ws://a?b wss://[::1]:1/ http://[/"
        " http://a:b/ http://:0/ http://a@b/ ftp://a/ http:/// gaq.test:80"
        " /ws#top /ws?a=b# http://gaq.test/#x http://gaq.test#x"
    ),
    st.just("/?" + "a=b&" * 900),
    st.text(_VISIBLE, max_size=20).map("/{}".format),
)
_HANDSHAKE = (
    ("Host", "gaq.test"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Origin", "http://gaq.test:8088"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Cookie", f"async-token={TOKEN}; session=.eJw"),
)
_NAMES = st.one_of(
    st.sampled_from([name for name, _ in _HANDSHAKE]),
    word(
        "Content-Length Transfer-Encoding Expect X-Forwarded-For Forwarded TE Trailer Range"
        " Sec-WebSocket-Protocol Sec-WebSocket-Extensions Sec-WebSocket-Origin Content-Type"
        " Authorization If-None-Match HTTP2-Settings"
    ),
    st.sampled_from(("X" * 3000, "x y", "\xe9", "", "a:b")),
)
ADDRESSES = st.one_of(
    word(
        "192.0.2.7 192.0.2.7:80 ::1 [::1] [::1]:80 ::ffff:1.2.3.4 fe80::1%eth0 unknown _hidden /a"
        " for=192.0.2.7 for=_x;by=1.2.3.4 1.2.3 01.2.3.4 1.2.3.4/8 fe80::1%% 1.2.3.4%x"
    ),
    st.sampled_from(('for="[fe80::1%x y]:1"', "fe80::1%\tby way of 1.2.3.4", "fe80::1%y, ::1")),
    st.text(st.sampled_from('0123456789abcf:.%[]", ;=/ \xe9'), max_size=20),
)
_HOST_VALUES = st.sampled_from(
    (
        *("a b", "a/b", "u@h", "a,b", "a:99999", "a:-1", "a:", ":80", "", "a?b", "a#b", "a\\b"),
        *("[::1", "::1", "[::1]x", "[::1]:99999", "[fe80::1%25eth0]", "*", "a..b", "a.", "a:80:80"),
    )
)
OFFERS = st.one_of(
    word(
        "foo x-webkit-deflate-frame permessage-bzip2;a=b permessage-deflate;server_no_context"
        " permessage-deflate;client_max_window_bits=99 permessage-deflate;;=; , ;= bbf-usp-protocol"
    ),
    st.sampled_from(
        (
            "",
            'foo; bar="a,b"',
            "permessage-deflate, permessage-deflate; server_max_window_bits=0",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        )
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
"""What clients offer as extensions and subprotocols, in the right form or not."""
ODD_ORIGINS = st.one_of(
    st.sampled_from(("", " ", "qrc://", "qrc:///", "file://", "app://localhost", "null", "*", "?")),
    word("chrome-extension://abcdef capacitor://localhost ionic: http:// about:blank https://a,b"),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
"""Origins of what is no page of the web, such as an application with a browser in it."""
HEADER_VALUES = st.one_of(
    ADDRESSES,
    _HOST_VALUES,
    OFFERS,
    ODD_ORIGINS,
    word("0 -0 00 1 13 8 7 14 0x0 1_3 \xb2 +13 NaN"),
    st.sampled_from(("", "9" * 5000, "a, b", "websocket, h2c", "Basic !", "\r\nX: 1", "\x1b[2J")),
    word(
        "null * http://[ http://a:b http://a:99999 file:// chrome://x gaq.test:0 gaq.test:x [ , ;"
        " [::1]:8080 close multipart/form-data multipart/form-data;boundary= application/json"
        " Basic Og== bytes=0- gzip 100-continue chunked permessage-deflate;;=;"
        " permessage-deflate;client_max_window_bits=99 async-token=a.b.c async-token="
    ),
    st.sampled_from((f'async-token="{TOKEN}"', f'a="; async-token={TOKEN}')),
    st.text(st.characters(max_codepoint=255), max_size=30),
)
_ODD_BYTES = st.one_of(
    st.sampled_from(
        (
            *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\x00", b"\x0b", b"\x85", b"\xa0"),
            *(b"\x7f", b"\t", b" ", b":", b",", b";", b'"', b"=", b"%0d%0a", b"\xff\xfe", b"\xc0"),
            *("\u2028".encode(), b"a: b\r\n" * 600, b"\xe9" * 20_000),
        )
    ),
    st.binary(max_size=4),
)


@st.composite
def _near_requests(draw: st.DrawFn) -> bytes:
    """Make requests that are a handshake, more or less."""
    lines = [f"{draw(_METHODS)} {draw(_TARGETS)} {draw(_VERSIONS)}"]
    headers = list(_HANDSHAKE)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(headers) - 1))
        name, value = headers.pop(place)
        changes: dict[str, list[tuple[str, str]]] = {
            "none": [(name, value)],
            "add": [(name, value), (draw(_NAMES), draw(HEADER_VALUES))],
            "double": [(name, value), (name, value)],
            "contradict": [(name, draw(HEADER_VALUES)), (name, value)],
            "alter": [(name, draw(HEADER_VALUES))],
            "change case": [(name.swapcase(), value.swapcase())],
            "drop": [],
        }
        headers[place:place] = changes[draw(st.sampled_from(list(changes)))]
        headers = headers or list(_HANDSHAKE)
    if draw(st.booleans()):
        headers = draw(st.permutations(headers))
    lines.extend(f"{name}: {value}" for name, value in headers)
    request = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return draw(mostly(st.just(request), altered(request, _ODD_BYTES)))


_OTHER_PROTOCOLS = st.one_of(
    # TLS records: a hello whole and cut, an older version, and an alert.
    st.binary(max_size=200).map(lambda body: b"\x16\x03\x01\x02\x00\x01" + body),
    st.sampled_from(
        (b"\x16", b"\x16\x03", b"\x16\x03\x00\x00\x2d\x01", b"\x15\x03\x01\x00\x02\x02\x30")
    ),
    # Headers of the PROXY protocol, with what follows them.
    st.builds(
        "{}\r\n{}".format,
        st.sampled_from(
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 80",
                "PROXY TCP6 2001:db8::1 2001:db8::2 56324 80",
                "PROXY UNKNOWN",
                "PROXY ",
            )
        ),
        st.sampled_from(("", "GET /health HTTP/1.1\r\nHost: gaq.test\r\n\r\n")),
    ).map(str.encode),
    st.binary(max_size=40).map(lambda body: b"\r\n\r\n\x00\r\nQUIT\n" + body),
    # Lines that end in LF alone, in some places or in all.
    _near_requests().map(lambda request: request.replace(b"\r\n", b"\n")),
    _near_requests().map(lambda request: request.replace(b"\r\n\r\n", b"\n\n")),
    # The greetings of other protocols.
    st.sampled_from(
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"EHLO a.test\r\n",
            b"\x00\x00\x00\x00",
        )
    ),
)
REQUESTS = mostly(_near_requests(), st.binary(max_size=200) | _OTHER_PROTOCOLS)
"""Bytes that a client begins with."""


# Frames


def _frame(first: int, payload: bytes, mask: bytes, length: int, form: int) -> bytes:
    """Return a frame that says that its payload has that length, in so many bits."""
    short = {7: length & 127, 16: 126, 64: 127}[form]
    extended = length.to_bytes(8, "big")[8 - form // 8 :] if form > 7 else b""
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    return bytes((first, (128 if mask else 0) | short)) + extended + mask + masked


def _form(length: int) -> int:
    return 7 if length < 126 else 16 if length < 2**16 else 64


_MASKS = st.binary(min_size=4, max_size=4)
_CONTROL_PAYLOADS = st.binary(max_size=10) | st.sampled_from((b"", b"x" * 125))
_TEXTS = st.text(max_size=10).map(str.encode) | st.just("é☃😀".encode() * 400)
_BINARIES = st.binary(max_size=10) | st.sampled_from((b"x" * 126, b"x" * 4096, b"\xff" * 2000))
_ENDS = st.sampled_from((b"", b"", b"", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xff", b"x" * 4097))
_CLOSE_PAYLOADS = st.one_of(
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason,
        st.sampled_from((1000, 1001, 1011, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000)),
        st.sampled_from((b"", "é".encode(), b"x" * 123, b"\xc3", b"\xff")),
    ),
    st.sampled_from((b"", b"\x03")),
)


@st.composite
def _good_frames(draw: st.DrawFn) -> bytes:
    """Make a whole message, in one frame or more, with control frames between them."""
    opcode = draw(st.sampled_from((1, 2, 9, 10)))
    if opcode > 8:
        payload = draw(_CONTROL_PAYLOADS)
        return _frame(0x80 | opcode, payload, draw(_MASKS), len(payload), _form(len(payload)))
    pieces = cut(draw(_TEXTS if opcode == 1 else _BINARIES), draw(CUTS)) or [b""]
    frames = []
    for number, piece in enumerate(pieces):
        first = (0 if number else opcode) | (0x80 if number == len(pieces) - 1 else 0)
        frames.append(_frame(first, piece, draw(_MASKS), len(piece), _form(len(piece))))
        if draw(st.booleans()) and number < len(pieces) - 1:
            frames.append(_frame(0x89, b"?", draw(_MASKS), 1, 7))
    return b"".join(frames)


@st.composite
def _odd_frames(draw: st.DrawFn) -> bytes:
    """Make a frame that may break any rule."""
    opcode = draw(mostly(st.sampled_from((1, 1, 2, 8, 8, 8, 9, 10)), st.integers(0, 15)))
    if opcode == 8:
        payload = draw(_CLOSE_PAYLOADS)
    else:
        payload = draw(_TEXTS | _BINARIES)[: 125 if opcode > 8 else None] + draw(_ENDS)
    length = draw(
        mostly(
            st.just(len(payload)),
            st.sampled_from((0, 125, 126, 4097, 65535, 65536, 2**32, 2**63 - 1, 2**63)),
        )
    )
    form = draw(mostly(st.just(_form(length)), st.sampled_from((7, 16, 64))))
    first = opcode | draw(mostly(st.just(0x80), st.sampled_from((0, 0xC0, 0xA0, 0x90, 0xF0))))
    return _frame(first, payload, draw(mostly(_MASKS, st.just(b""))), length, form)


FRAMES = st.builds(
    lambda good, *odd: b"".join((*good, *odd)),
    st.lists(_good_frames(), max_size=5),
    st.just(b"") | _odd_frames() | st.binary(max_size=6),
    st.just(b"") | _odd_frames() | _good_frames(),
)
"""What comes on a WebSocket."""


# Stream entries

_JSON_PIECES = st.sampled_from(
    [
        *rb"""
            "channel_id":"c" "channel_id":1 "channel_id":"" "channel_id": "id":"x" "channel\u005fid"
            \ud800 \udc00 \ud83d\ude00 \u0000 \u00zz \u12 \\ \x41 \/ " ' , : { } [ ] }{ {} [] [,]
            NaN Infinity -Infinity nan 1. 01 - -01 +1 .5 1e 1e5 1E+ 0e0 -0.0e-0 1e999 0x1 1_0 1.e1
            true tru null nul None undefined /**/ // "__proto__":{"channel_id":"d"}, "x":"y",
        """.split(),
        *(b"\x00", b"\x1f", b"\x7f", b"\n", b"\t", b"\x0b", b"\x0c", b" ", b"\r", b"\xff", b"\xc3"),
        *("\x85\xa0\u2028\ufeff☃😀".encode(), b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"),
        *(b"9" * 5000, b"[" * 200 + b"]" * 200, b'{"a":' * 2000 + b"1" + b"}" * 2000),
    ]
)


def _json_texts() -> st.SearchStrategy[bytes]:
    """Make JSON as it may be written, with a fault here and there."""
    space = mostly(
        st.just(""), nearly_always(st.sampled_from(" \n\t\r"), st.sampled_from("\x0b\xa0\ufeff"))
    )
    escaped = word(r"channel_id id c é \n \/ \ud800 \u00e9 \ud83d\ude00")
    unescaped = st.text(max_size=4)
    text = st.one_of(
        nearly_always(escaped, unescaped | st.just("\\v")),
        unescaped.map(lambda text: json.dumps(text)[1:-1]),
    ).map('"{}"'.format)
    digits = r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,2})?([eE][-+]?[0-9]{1,2})?"
    number = st.from_regex(digits, fullmatch=True)
    odd = word("NaN True -Infinity 01 1. .5 1e - +1 ' [} {")
    leaf = nearly_always(text | number | word("true false null [] {}"), odd)
    comma = nearly_always(st.just(","), st.sampled_from((" , ", ",,")))

    def inner(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.lists(st.builds("{}{}:{}".format, text, space, value), max_size=3)
        array = st.builds(lambda comma, all_: f"[{comma.join(all_)}]", comma, st.lists(value))
        return array | st.builds(lambda comma, all_: f"{{{comma.join(all_)}}}", comma, pairs)

    value = st.recursive(leaf, inner, max_leaves=4)
    pairs = st.lists(st.builds("{}:{}".format, text, value), max_size=3)
    channel = mostly(
        st.just('"channel_id":"c"'), st.sampled_from(('"channel_id":1', '"channel_id":"d"', ""))
    )
    return st.builds(
        lambda before, channel, rest, after: f"{before}{{{','.join((channel, *rest))}}}{after}",
        *(space, channel, pairs, space),
    ).map(lambda text: text.encode("utf-8", "surrogatepass"))


STREAM_ENTRIES = st.one_of(
    _json_texts(),
    _json_texts().flatmap(lambda data: altered(data, _JSON_PIECES)),
    st.sampled_from([data for _, data in ENTRIES]).flatmap(
        lambda data: altered(data, _JSON_PIECES)
    ),
    mostly(_json_texts(), st.binary(max_size=40)),
)
"""What a stream entry has as data."""


# Cookies

_JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=5),
        st.sampled_from(("c", "HS256", "none", "", "JWT", "\ud800", "9" * 5000)),
        st.sampled_from((0, 1, 2**31, 2**63, 2**64, 10**300, -1, 1e300, 1.5, float("inf"))),
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_CLAIMS = word("channel exp nbf iat sub aud iss jti alg typ kid crit b64")


def signed(header: bytes, claims: bytes) -> str:
    """Return a token that is signed with the secret, whatever else it is."""
    parts = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = hmac.new(SECRET.encode(), parts, hashlib.sha256).digest()
    return f"{parts.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _part(usual: dict[str, str]) -> st.SearchStrategy[bytes]:
    """Make a token's header or claims."""
    changed = st.dictionaries(_CLAIMS, _JSON_VALUES, max_size=2).map(lambda more: usual | more)
    texts = mostly(st.just(usual), changed).map(lambda part: json.dumps(part).encode())
    return mostly(texts, texts.flatmap(lambda text: altered(text, _JSON_PIECES)))


TOKENS = st.builds(signed, _part({"alg": "HS256", "typ": "JWT"}), _part({"channel": "c"}))
"""Tokens that are signed, whatever they say."""
COOKIES = st.lists(
    st.one_of(
        TOKENS.map("async-token={}".format),
        altered(TOKEN.encode(), _ODD_BYTES).map(lambda one: f"async-token={one.decode('latin-1')}"),
        st.text(st.characters(max_codepoint=255), max_size=20),
        st.sampled_from(("async-token", "async-token=", "async-token=..", 'a="', "[]={}", "=")),
    ),
    min_size=1,
    max_size=3,
).map("; ".join)
"""Cookie headers."""


# Settings

_SETTINGS = list(all_settings())


def _nested(depth: int) -> list[Any]:
    """Return an empty list in so many others."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


_ODD_SETTINGS = st.sampled_from(
    (
        *("tcp://10.0.0.1:6379", "true", "1", "0x1", "1,2", "a:b", "HS256", "https://*.a.test"),
        *("10.0.0.0/8", "::/0", "1.2.3.4/99", "x" * 200, "\x1b[0m", "a\nb", "\u2028", "\x85"),
    )
)
_SETTING_VALUES = st.one_of(
    _JSON_VALUES,
    _ODD_SETTINGS,
    st.lists(_ODD_SETTINGS, max_size=2),
    st.sampled_from((["HS256", "RS256"], ["*"], ["same-host", 1], ["[::1]:1"], {"a": [{}]})),
    st.integers(1, 1100).map(_nested),
)


CREDENTIALS = st.one_of(
    st.builds(
        "{}://{}{}@{}".format,
        word("redis rediss valkey http https udp unix REDISS tcp"),
        word("user: : default: user%40a: a:"),
        st.sampled_from((HIDDEN, f"{HIDDEN}@x", f"{HIDDEN}/x", f"{HIDDEN}:#?", f"{HIDDEN}%zz")),
        word("h.test h.test:6379/0 [::1]:6380 h.test:x /run/redis.sock"),
    ),
    st.sampled_from((f"user:{HIDDEN}@h.test:6379", f":{HIDDEN}@h.test", f"//u:{HIDDEN}@h.test")),
    st.just(f"-----BEGIN PRIVATE KEY-----\n{HIDDEN}\n-----END PRIVATE KEY-----"),
)
"""Values that hold a secret, which may stand by mistake where none belongs."""


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    """Make configuration files, or what might be taken for one."""
    document: dict[str, Any] = {"jwtSecret": HIDDEN}
    for setting in draw(st.lists(st.sampled_from(_SETTINGS), max_size=4)):
        section, _, name = setting.key.rpartition(".")
        inner = document.setdefault(section, {}) if section else document
        is_simple = isinstance(setting.default, bool | int | str)
        usual = st.just(setting.default if is_simple else [])
        inner[name] = HIDDEN if setting.is_secret else draw(mostly(usual, _SETTING_VALUES))
    document |= draw(
        mostly(
            st.just({}),
            st.dictionaries(st.text(st.characters(), max_size=6), st.just(HIDDEN), max_size=2)
            | st.sampled_from(
                ({"redis": [HIDDEN]}, {"jwtSecert": HIDDEN}, {"jwtSecret": [HIDDEN]})
            ),
        )
    )
    text = json.dumps(document, default=str).encode()
    return draw(mostly(st.just(text), altered(text, _JSON_PIECES)))


CONFIG_FILES = mostly(_documents(), st.binary(max_size=40))
"""What is in a configuration file."""
_VARIABLES = st.dictionaries(
    st.sampled_from([one.environment_name for one in _SETTINGS if not one.is_secret]),
    st.one_of(
        # What the system gives cannot hold NUL, and need not be UTF-8.
        st.binary(max_size=8).map(lambda data: os.fsdecode(data.replace(b"\x00", b""))),
        st.sampled_from(("9" * 5000, "-1", "TRUE", ",,", "tcp://a\nb", " ")),
        _ODD_SETTINGS,
    ),
    max_size=2,
)
_SECRET_VARIABLES = st.sampled_from(
    (
        {},
        {"JWT_SECRET": HIDDEN},
        {"REDIS_PASSWORD": HIDDEN + "\udcff"},
        {"JWT_SECRET": HIDDEN, "PREVIOUS_JWT_SECRET": HIDDEN[:8] + "\udcff"},
        {"JWT_SECRET_FILE": "/no\n/such\udcff"},
        {"JWT_SECRET_FILE": "/" + "x" * 5000},
        {"JWT_SECRET_FILE": "/"},
    )
)
PLACES = st.sampled_from([one.environment_name for one in _SETTINGS])
"""The names of all settings in the environment."""
ENVIRONMENTS = st.builds(lambda some, more: {**some, **more}, _VARIABLES, _SECRET_VARIABLES)
"""Environment variables."""


# Origins

HOSTS = st.one_of(
    word("a.test *.a.test b.a.test a.test. [::1] * .a.test A.TEST a.test:80"),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
ORIGINS = st.one_of(
    HOSTS.map("http://{}".format),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(("http", "https", "HTTP", "chrome-extension", "file", "", "h\xe9")),
        mostly(st.just(""), st.sampled_from(("u@", "u:p@"))),
        HOSTS,
        mostly(
            st.just(""), st.sampled_from((":80", ":0", ":99999", ":", "/", "#", "?", "\\", "\n"))
        ),
    ),
    st.sampled_from(("null", "*", "same-host", "")),
)
