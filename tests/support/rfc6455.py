"""RFC 6455 as a table of cases for a server that only sends.

Nothing here uses a WebSocket package: frames are made and read by hand, and strictly.
`python -m tests.support.rfc6455` prints docs/conformance.md.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from tests.support.samples import cookie, settings

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL = 1000
PROTOCOL_ERROR = 1002
INVALID_PAYLOAD = 1007
TOO_BIG = 1009

# The RFC's own example (section 5.7).
_MASKING_KEY = bytes.fromhex("37fa213d")
_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Frame:
    """One frame that the server sent; it is whole and has no reserved bits."""

    opcode: int
    payload: bytes


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    key: bytes | None = _MASKING_KEY,
    length_bytes: int | None = None,
) -> bytes:
    """Returns a frame as a client sends it.

    Args:
        opcode: four bits.
        payload: what it carries, not masked yet.
        fin: whether it ends its message.
        reserved: the three reserved bits.
        key: the masking key; None to send without a mask.
        length_bytes: how many bytes the extended length has (0, 2 or 8); None for
            the fewest that can hold it.
    """
    length = len(payload)
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 2**16 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes((fin << 7 | reserved << 4 | opcode, (key is not None) << 7 | short))
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    return head + payload if key is None else head + key + _masked(payload, key)


def _masked(payload: bytes, key: bytes) -> bytes:
    pad = key * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, pad, strict=False))


def close(code: int, reason: bytes = b"") -> bytes:
    """Returns the payload of a close frame."""
    return code.to_bytes(2, "big") + reason


def parse(data: bytes) -> Iterator[Frame]:
    """Yields the whole frames at the beginning of what a server sent.

    Raises:
        AssertionError: the server may not send that.
    """
    while len(data) >= 2:
        opcode = data[0] & 0x0F
        assert data[0] & 0x80, "a fragment, though no event needs to be sent in pieces"
        assert not data[0] & 0x70, "a reserved bit"
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode}"
        assert not data[1] & 0x80, "a masked frame"
        length, start = data[1], 2
        if length > 125:
            assert opcode in (TEXT, BINARY), "a control frame with more than 125 bytes"
            start = 4 if length == 126 else 10
            if len(data) < start:
                return
            length = int.from_bytes(data[2:start], "big")
            assert length >= (126 if start == 4 else 2**16), "not the shortest length"
        if len(data) < start + length:
            return
        yield Frame(opcode, data[start : start + length])
        data = data[start + length :]


_PROBE = frame(PING, b"are you still open?")
_PROBED = Frame(PONG, b"are you still open?")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a client with an open WebSocket sends, and what must come back."""

    sent: str
    """In words; also the case's name."""
    section: str
    """Of RFC 6455."""
    suite: str = ""
    """Which case of the Autobahn test suite it is, if it is one."""
    writes: tuple[bytes, ...]
    """The bytes, one write each."""
    pongs: tuple[bytes, ...] = ()
    """The payloads of the pongs that must come back, in order."""
    echo: bytes | None = None
    """The payload of the close frame that must come back, as an answer to the client's."""
    fails: int | None = None
    """The code of the close frame by which the server must fail the connection."""

    @property
    def name(self) -> str:
        """The case's name, fit to be a part of a method's name."""
        return _identifier(self.sent)

    @property
    def frames(self) -> list[Frame]:
        """What must come back, with the pong that tells that the connection is open."""
        frames = [Frame(PONG, payload) for payload in self.pongs]
        if self.echo is not None:
            return [*frames, Frame(CLOSE, self.echo)]
        return [*frames, _PROBED if self.fails is None else Frame(CLOSE, close(self.fails))]

    @property
    def answer(self) -> str:
        """What must come back, in words."""
        parts = []
        if len(self.pongs) > 1:
            parts.append(f"{len(self.pongs)} pongs with the same payloads, in order")
        elif self.pongs:
            parts.append("a pong with the same payload")
        if self.echo is not None:
            parts.append("the same close frame")
        elif self.fails is not None:
            parts.append(f"close {self.fails}")
        return ", then ".join(parts) or "nothing"


class Line(Protocol):
    """A connection to the server, whose upgrade was accepted."""

    def send(self, data: bytes) -> None:
        """Sends bytes, unless the server has ended the connection."""

    def read_until(self, is_last: Callable[[Frame], bool]) -> list[Frame]:
        """Returns all frames so far, up to the first that is the last."""

    def read_to_end(self) -> list[Frame]:
        """Returns all frames, once the server has ended the connection."""


def conduct(case: Case, line: Line) -> list[Frame]:
    """Sends what a case says; return what came back, which is to be the case's `frames`.

    After the case's bytes comes a ping, whose pong tells that the connection is still open,
    and whose absence that it has failed and that nothing is served any more.
    """
    for data in case.writes:
        line.send(data)
    if case.echo is None:
        line.send(_PROBE)
    frames = line.read_until(lambda one: one.opcode == CLOSE or one == _PROBED)
    if frames[-1].opcode == CLOSE:
        line.send(frame(CLOSE, close(NORMAL)))
        frames = line.read_to_end()
    if case.fails is not None and frames[-1].opcode == CLOSE:
        # The reason is for people, and free, but it is UTF-8.
        frames[-1].payload[2:].decode()
        frames[-1] = Frame(CLOSE, frames[-1].payload[:2])
    return frames


def _bytewise(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


def _fragments(opcode: int, *payloads: bytes) -> tuple[bytes, ...]:
    last = len(payloads) - 1
    return tuple(
        frame(CONTINUATION if index else opcode, payload, fin=index == last)
        for index, payload in enumerate(payloads)
    )


def _too_big(length: int, limit: int) -> int | None:
    return TOO_BIG if length > limit else None


def _lengths(limit: int) -> Iterator[Case]:
    lengths = (0, 125, 126, 127, 128, 65535, 65536)
    suite = {length: index for index, length in enumerate(lengths, 1)}
    for number, (opcode, kind) in enumerate(((TEXT, "text"), (BINARY, "binary")), 1):
        for length in sorted({*lengths, limit, limit + 1}):
            yield Case(
                sent=f"a {kind} message of {length} bytes",
                section="5.2",
                suite=f"1.{number}.{suite[length]}" if length in suite else "",
                writes=(frame(opcode, b"*" * length),),
                fails=_too_big(length, limit),
            )
        whole = frame(opcode, b"*" * 65536)
        yield Case(
            sent=f"a {kind} message of 65536 bytes, 997 at a time",
            section="5.2",
            suite=f"1.{number}.8",
            writes=tuple(whole[at : at + 997] for at in range(0, len(whole), 997)),
            fails=_too_big(65536, limit),
        )
    for length in (limit, limit + 1):
        fragments = (b"*" * min(100, length - at) for at in range(0, length, 100))
        yield Case(
            sent=f"a text message of {length} bytes in fragments of 100",
            section="5.4",
            writes=_fragments(TEXT, *fragments),
            fails=_too_big(length, limit),
        )
    for sent, data in (
        ("a text message of 125 bytes whose length takes 2 bytes", frame_long(125, 2)),
        ("a text message of 125 bytes whose length takes 8 bytes", frame_long(125, 8)),
        ("a text message of 65535 bytes whose length takes 8 bytes", frame_long(65535, 8)),
        (
            "a frame of 2^63 bytes, a length with its first bit set",
            b"\x82\xff\x80" + bytes(7) + _MASKING_KEY,
        ),
    ):
        yield Case(sent=sent, section="5.2", writes=(data,), fails=PROTOCOL_ERROR)


def frame_long(length: int, length_bytes: int) -> bytes:
    """Returns a text frame whose length takes more bytes than it needs."""
    return frame(TEXT, b"*" * length, length_bytes=length_bytes)


def _masks() -> Iterator[Case]:
    yield Case(
        sent="the RFC's example of a masked text",
        section="5.7",
        writes=(bytes.fromhex("818537fa213d7f9f4d5158"),),
    )
    yield Case(
        sent="the RFC's example of a masked ping",
        section="5.7",
        writes=(bytes.fromhex("898537fa213d7f9f4d5158"),),
        pongs=(b"Hello",),
    )
    yield Case(
        sent="a ping masked with zeros",
        section="5.3",
        writes=(frame(PING, b"Hello", key=bytes(4)),),
        pongs=(b"Hello",),
    )
    for sent, opcode, payload in (
        ("a text", TEXT, b"Hello"),
        ("an empty text", TEXT, b""),
        ("a ping", PING, b"Hello"),
        ("a close frame", CLOSE, close(NORMAL)),
    ):
        yield Case(
            sent=f"{sent} without a mask",
            section="5.1",
            writes=(frame(opcode, payload, key=None),),
            fails=PROTOCOL_ERROR,
        )


def _reserved() -> Iterator[Case]:
    for sent, suite, writes in (
        ("a text with reserved bits 001", "3.1", (frame(TEXT, b"*", reserved=1),)),
        (
            "a text, a text with reserved bits 010, a ping",
            "3.2",
            (frame(TEXT, b"*"), frame(TEXT, b"*", reserved=2), frame(PING)),
        ),
        (
            "a text, a text with reserved bits 011 and a ping in one write",
            "3.3",
            (frame(TEXT, b"*") + frame(TEXT, b"*", reserved=3) + frame(PING),),
        ),
        (
            "a text and a text with reserved bits 100 (compression, were it agreed), byte by byte",
            "3.4",
            _bytewise(frame(TEXT, b"*") + frame(TEXT, b"*", reserved=4)),
        ),
        ("binary with reserved bits 101", "3.5", (frame(BINARY, b"\x00\xff", reserved=5),)),
        ("a ping with reserved bits 110", "3.6", (frame(PING, b"*", reserved=6),)),
        ("a close frame with reserved bits 111", "3.7", (frame(CLOSE, reserved=7),)),
        (
            "a continuation with reserved bits 100",
            "",
            (frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", reserved=4)),
        ),
    ):
        yield Case(sent=sent, section="5.2", suite=suite, writes=writes, fails=PROTOCOL_ERROR)
    for number, opcodes in ((1, range(3, 8)), (2, range(11, 16))):
        for index, opcode in enumerate(opcodes, 1):
            for payload in (b"", b"*"):
                yield Case(
                    sent=f"opcode {opcode} with{'' if payload else 'out'} a payload",
                    section="5.2",
                    # The suite has the first of each five without, the others with a payload.
                    suite=f"4.{number}.{index}" if bool(payload) == (index > 1) else "",
                    writes=(frame(opcode, payload),),
                    fails=PROTOCOL_ERROR,
                )


def _pings() -> Iterator[Case]:
    for sent, suite, payload in (
        ("an empty ping", "2.1", b""),
        ("a ping with text", "2.2", b"Hello, world!"),
        ("a ping with bytes that are not text", "2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        ("a ping of 125 bytes", "2.4", b"\xfe" * 125),
    ):
        yield Case(
            sent=sent,
            section="5.5.2",
            suite=suite,
            writes=(frame(PING, payload),),
            pongs=(payload,),
        )
    yield Case(
        sent="a ping of 126 bytes",
        section="5.5",
        suite="2.5",
        writes=(frame(PING, b"\xfe" * 126),),
        fails=PROTOCOL_ERROR,
    )
    yield Case(
        sent="a ping of 125 bytes, byte by byte",
        section="5.5.2",
        suite="2.6",
        writes=_bytewise(frame(PING, b"\xfe" * 125)),
        pongs=(b"\xfe" * 125,),
    )
    yield Case(
        sent="a ping of 5 bytes whose length takes 2 bytes",
        section="5.5",
        writes=(frame(PING, b"Hello", length_bytes=2),),
        fails=PROTOCOL_ERROR,
    )
    for sent, suite, payload in (
        ("an unasked pong without a payload", "2.7", b""),
        ("an unasked pong with a payload", "2.8", b"unasked"),
        ("an unasked pong of 125 bytes", "", b"*" * 125),
    ):
        yield Case(sent=sent, section="5.5.3", suite=suite, writes=(frame(PONG, payload),))
    yield Case(
        sent="a pong of 126 bytes",
        section="5.5",
        writes=(frame(PONG, b"*" * 126),),
        fails=PROTOCOL_ERROR,
    )
    yield Case(
        sent="an unasked pong, then a ping",
        section="5.5.3",
        suite="2.9",
        writes=(frame(PONG, b"unasked"), frame(PING, b"asked")),
        pongs=(b"asked",),
    )
    payloads = tuple(b"payload %d" % number for number in range(10))
    pings = b"".join(frame(PING, payload) for payload in payloads)
    yield Case(
        sent="10 pings in one write", section="5.5.2", suite="2.10", writes=(pings,), pongs=payloads
    )
    yield Case(
        sent="10 pings, byte by byte",
        section="5.5.2",
        suite="2.11",
        writes=_bytewise(pings),
        pongs=payloads,
    )


def _fragmentation() -> Iterator[Case]:
    for sent, suite, opcode in (
        ("a ping", "5.1", PING),
        ("a pong", "5.2", PONG),
        ("a close frame", "", CLOSE),
    ):
        yield Case(
            sent=f"{sent} in two fragments",
            section="5.5",
            suite=suite,
            writes=_fragments(opcode, b"fragment1", b"fragment2"),
            fails=PROTOCOL_ERROR,
        )
    halves = _fragments(TEXT, b"fragment1", b"fragment2")
    ping = frame(PING, b"pongme")
    for sent, suite, writes, pongs in (
        ("a text in two fragments", "5.3", halves, 0),
        ("a text in two fragments in one write", "5.4", (b"".join(halves),), 0),
        ("a text in two fragments, byte by byte", "5.5", _bytewise(b"".join(halves)), 0),
        ("a ping between two fragments", "5.6", (halves[0], ping, halves[1]), 1),
        (
            "a ping between two fragments, in one write",
            "5.7",
            (b"".join((halves[0], ping, halves[1])),),
            1,
        ),
        (
            "a ping between two fragments, byte by byte",
            "5.8",
            _bytewise(b"".join((halves[0], ping, halves[1]))),
            1,
        ),
        ("a ping within a message that does not end", "", (halves[0], ping), 1),
        ("a text in three empty fragments", "6.1.2", _fragments(TEXT, b"", b"", b""), 0),
        ("binary in 100 fragments", "", _fragments(BINARY, *[b"*"] * 100), 0),
    ):
        yield Case(sent=sent, section="5.4", suite=suite, writes=writes, pongs=(b"pongme",) * pongs)
    five = _fragments(TEXT, *(b"fragment%d" % number for number in range(1, 6)))
    pings = [frame(PING, b"pongme %d!" % number) for number in (1, 2)]
    order = (*five[:2], pings[0], *five[2:4], pings[1], five[4])
    for sent, suite, writes in (
        ("a text in five fragments with two pings between them", "5.19", order),
        (
            "a text in five fragments with two pings between them, in one write",
            "5.20",
            (b"".join(order),),
        ),
    ):
        yield Case(
            sent=sent,
            section="5.4",
            suite=suite,
            writes=writes,
            pongs=(b"pongme 1!", b"pongme 2!"),
        )
    whole = frame(TEXT, b"Hello, world!")
    for final, suites in ((True, ("5.9", "5.10", "5.11")), (False, ("5.12", "5.13", "5.14"))):
        lone = frame(CONTINUATION, b"non-continuation payload", fin=final)
        kind = f"a {'last' if final else 'not last'} continuation of nothing, then a text"
        for sent, suite, writes in zip(
            (f"{kind}, in one write", kind, f"{kind}, byte by byte"),
            suites,
            ((lone + whole,), (lone, whole), _bytewise(lone + whole)),
            strict=True,
        ):
            yield Case(sent=sent, section="5.4", suite=suite, writes=writes, fails=PROTOCOL_ERROR)
    for sent, suite, writes in (
        (
            "a text in two fragments, a continuation of nothing, then a text",
            "5.15",
            (*halves, frame(CONTINUATION, b"fragment3", fin=False), whole),
        ),
        (
            "a not last continuation, a text's first fragment, its last; all that twice",
            "5.16",
            (frame(CONTINUATION, b"fragment1", fin=False), *halves) * 2,
        ),
        (
            "a last continuation, a text's first fragment, its last; all that twice",
            "5.17",
            (frame(CONTINUATION, b"fragment1"), *halves) * 2,
        ),
        (
            "a text in two fragments that are both called text",
            "5.18",
            (frame(TEXT, b"fragment1", fin=False), frame(TEXT, b"fragment2")),
        ),
        (
            "a text's first fragment, then binary",
            "",
            (frame(TEXT, b"fragment1", fin=False), frame(BINARY, b"fragment2")),
        ),
    ):
        yield Case(sent=sent, section="5.4", suite=suite, writes=writes, fails=PROTOCOL_ERROR)


# A Greek word of which one character has 3 bytes and the others 2.
_WORD = bytes.fromhex("cebae1bdb9cf83cebcceb5")
# From Markus Kuhn's UTF-8 stress test, as the suite has it.
_VALID_UTF8 = (
    ("2-byte, 3-byte and 4-byte characters", "6.5.2", "hello¢€𤭢world".encode()),
    ("the lowest characters of each length", "6.7.1", "\0\x80\u0800\U00010000".encode()),
    ("the highest characters of each length", "6.9.1", "\x7f\u07ff\uffff\U0010ffff".encode()),
    ("characters beside the surrogates", "6.11.1", "\ud7ff\ue000\ufffd".encode()),
    ("code points that are no characters", "6.22.1", "\ufffe\uffff\U0001fffe".encode()),
)
_INVALID_UTF8 = (
    ("a 5-byte sequence", "6.8.1", "f888808080"),
    ("a 6-byte sequence", "6.8.2", "fc8480808080"),
    ("a code point above U+10FFFF", "6.11.5", "f4908080"),
    ("a continuation byte alone", "6.12.1", "80"),
    ("start bytes alone", "6.13.1", "c020c120c220"),
    ("a character without its last byte", "6.14.7", "efbf"),
    ("the byte FE", "6.16.1", "fe"),
    ("the byte FF", "6.16.2", "ff"),
    ("an overlong slash", "6.17.1", "c0af"),
    ("an overlong slash of 3 bytes", "6.17.2", "e080af"),
    ("the longest overlong sequence of 2 bytes", "6.18.1", "c1bf"),
    ("an overlong NUL", "6.19.1", "c080"),
    ("a surrogate", "6.20.1", "eda080"),
    ("a pair of surrogates", "6.21.1", "eda080edb080"),
)


def _utf8() -> Iterator[Case]:
    for sent, suite, writes in (
        ("an empty text", "6.1.1", (frame(TEXT),)),
        ("a text with an empty fragment", "6.1.3", _fragments(TEXT, b"", _WORD, b"")),
        ("a text with characters of several bytes", "6.2.1", (frame(TEXT, _WORD),)),
        (
            "a text in fragments that end between characters",
            "6.2.2",
            _fragments(TEXT, _WORD[:5], _WORD[5:]),
        ),
        (
            "a text in fragments of one byte",
            "6.2.3",
            _fragments(TEXT, *_bytewise(_WORD)),
        ),
        *((f"text: {sent}", suite, (frame(TEXT, data),)) for sent, suite, data in _VALID_UTF8),
        ("binary that is not UTF-8", "", (frame(BINARY, b"\xff"),)),
    ):
        yield Case(sent=sent, section="5.6", suite=suite, writes=writes)
    bad = _WORD + bytes.fromhex("eda080") + b"edited"
    worse = (_WORD, bytes.fromhex("f4908080"), b"edited")
    for sent, suite, writes in (
        ("a text that is not UTF-8 in its middle", "6.3.1", (frame(TEXT, bad),)),
        (
            "a text that is not UTF-8, in fragments of one byte",
            "6.3.2",
            _fragments(TEXT, *_bytewise(bad)),
        ),
        (
            "a text whose second of three fragments is not UTF-8",
            "6.4.1",
            _fragments(TEXT, *worse),
        ),
        (
            "the first two of those fragments only",
            "6.4.2",
            _fragments(TEXT, *worse)[:2],
        ),
        (
            "a text that is not UTF-8, byte by byte",
            "6.4.3",
            _bytewise(frame(TEXT, b"".join(worse))),
        ),
        *(
            (f"text: {sent}", suite, (frame(TEXT, bytes.fromhex(data)),))
            for sent, suite, data in _INVALID_UTF8
        ),
    ):
        yield Case(sent=sent, section="8.1", suite=suite, writes=writes, fails=INVALID_PAYLOAD)


_VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
# Those that the suite calls invalid, and more of the same kinds.
_INVALID_CODES = {
    **{
        code: f"7.9.{number}"
        for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    },
    1015: "",
    5000: "7.13.1",
    65535: "7.13.2",
}


def _closing(limit: int) -> Iterator[Case]:
    normal = close(NORMAL)
    ending = frame(CLOSE, normal)
    for sent, suite, writes in (
        ("a text, then a close frame", "7.1.1", (frame(TEXT, b"Hello"), ending)),
        ("two close frames", "7.1.2", (ending + ending,)),
        ("a close frame, then a ping", "7.1.3", (ending + frame(PING, b"too late"),)),
        ("a close frame, then a text", "7.1.4", (ending + frame(TEXT, b"too late"),)),
        (
            "a close frame between two fragments",
            "7.1.5",
            (frame(TEXT, b"a", fin=False) + ending + frame(CONTINUATION, b"b"),),
        ),
        ("a close frame, then what is not a frame", "", (ending + b"\xff" * 20,)),
        ("a close frame, byte by byte", "", _bytewise(ending)),
    ):
        yield Case(sent=sent, section="5.5.1", suite=suite, writes=writes, echo=normal)
    long = 256 * 1024
    fails = _too_big(long, limit)
    yield Case(
        sent=f"a text of {long} bytes, another, then a close frame",
        section="5.5.1",
        suite="7.1.6",
        writes=(frame(TEXT, b"*" * long), frame(TEXT, b"Hello"), ending),
        echo=normal if fails is None else None,
        fails=fails,
    )
    for sent, suite, payload in (
        ("without a payload", "7.3.1", b""),
        ("with code 1000", "7.3.3", normal),
        ("with a reason", "7.3.4", close(NORMAL, b"Hello World!")),
        ("with a reason of 123 bytes", "7.3.5", close(NORMAL, b"*" * 123)),
        ("with a reason of characters of several bytes", "", close(NORMAL, _WORD)),
    ):
        yield Case(
            sent=f"a close frame {sent}",
            section="5.5.1",
            suite=suite,
            writes=(frame(CLOSE, payload),),
            echo=payload,
        )
    for sent, suite, payload, code in (
        ("of 1 byte", "7.3.2", b"\x03", PROTOCOL_ERROR),
        ("with a reason of 124 bytes", "7.3.6", close(NORMAL, b"*" * 124), PROTOCOL_ERROR),
        (
            "with a reason that is not UTF-8",
            "7.5.1",
            close(NORMAL, _WORD + b"\xed\xa0\x80edited"),
            INVALID_PAYLOAD,
        ),
        (
            "with a reason that ends within a character",
            "",
            close(NORMAL, _WORD[:-1]),
            INVALID_PAYLOAD,
        ),
    ):
        yield Case(
            sent=f"a close frame {sent}",
            section="5.5.1",
            suite=suite,
            writes=(frame(CLOSE, payload),),
            fails=code,
        )
    for number, code in enumerate(_VALID_CODES, 1):
        yield Case(
            sent=f"close {code}",
            section="7.4",
            suite=f"7.7.{number}",
            writes=(frame(CLOSE, close(code)),),
            echo=close(code),
        )
    for code, suite in sorted(_INVALID_CODES.items()):
        yield Case(
            sent=f"close {code}",
            section="7.4",
            suite=suite,
            writes=(frame(CLOSE, close(code)),),
            fails=PROTOCOL_ERROR,
        )


def cases() -> Mapping[str, Sequence[Case]]:
    """Returns all cases under the titles that they have in the docs."""
    limit = settings().max_inbound_message_bytes
    return {
        "Lengths": tuple(_lengths(limit)),
        "Masks": tuple(_masks()),
        "Reserved bits and opcodes": tuple(_reserved()),
        "Pings and pongs": tuple(_pings()),
        "Fragments": tuple(_fragmentation()),
        "Text": tuple(_utf8()),
        "Closing": tuple(_closing(limit)),
    }


# What the server answers to the key of the RFC's example (section 1.3).
_KEY, _ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """A request, and how it must be answered."""

    sent: str
    """In words; also the case's name."""
    section: str
    """Of RFC 6455."""
    status: int
    line: str = "GET /ws HTTP/1.1"
    changes: Mapping[str, str | None] = field(default_factory=dict)
    """Headers that differ from those of a good request; None to leave one out."""
    more: tuple[str, ...] = ()
    """Header lines besides."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers that the answer must have, or must not have if None."""

    @property
    def name(self) -> str:
        """The case's name, fit to be a part of a method's name."""
        return _identifier(self.sent)

    @property
    def answer(self) -> str:
        """What must come back, in words."""
        parts = [str(self.status)]
        parts.extend(f"`{name}: {value}`" for name, value in self.headers.items() if value)
        parts.extend(f"no `{name}`" for name, value in self.headers.items() if value is None)
        return ", ".join(parts)

    def request(self) -> bytes:
        """Returns the request's bytes."""
        headers: dict[str, str | None] = {
            "Host": "gaq.test",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": _KEY,
            "Sec-WebSocket-Version": "13",
            "Cookie": cookie(),
            **self.changes,
        }
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([self.line, *lines, *self.more, "", ""]).encode()

    def faults(self, answer: bytes) -> list[str]:
        """Returns what is wrong with the head of an answer."""
        head, end, _ = answer.partition(_END)
        match = re.match(r"HTTP/(1\.[01]) (\d{3}) ", head.decode())
        if not end or match is None:
            return [f"no answer, or not a whole one: {answer!r}"]
        version, status = match[1], int(match[2])
        if status != self.status or (status == 101 and version != "1.1"):
            return [head.decode()]
        got: dict[str, list[str]] = {}
        for line in head.decode().split("\r\n")[1:]:
            name, _, value = line.partition(":")
            got.setdefault(name.lower(), []).append(value.strip())
        if "upgrade" in got:
            # A word, whose case is free.
            got["upgrade"] = [value.lower() for value in got["upgrade"]]
        return [
            f"{name}: {got.get(name.lower())}"
            for name, wanted in self.headers.items()
            if got.get(name.lower(), []) != ([] if wanted is None else [wanted])
        ]


def _key(length: int) -> str:
    return base64.b64encode(b"*" * length).decode()


_ACCEPTED = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": _ACCEPT}
_ONLY_13 = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}


def handshakes() -> Sequence[Handshake]:
    """Returns all cases of the opening handshake."""
    return (
        Handshake(sent="a good request", section="4.2.2", status=101, headers=_ACCEPTED),
        Handshake(
            sent="a good request whose words are in other cases",
            section="4.2.1",
            status=101,
            changes={"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"},
            headers=_ACCEPTED,
        ),
        Handshake(
            sent="a good request for an absolute URI",
            section="4.2.1",
            status=101,
            line="GET http://gaq.test/ws HTTP/1.1",
            headers=_ACCEPTED,
        ),
        Handshake(
            sent="an offer of compression",
            section="9.1",
            status=101,
            more=("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",),
            headers={**_ACCEPTED, "Sec-WebSocket-Extensions": None},
        ),
        Handshake(
            sent="an offer of subprotocols",
            section="4.2.2",
            status=101,
            more=("Sec-WebSocket-Protocol: chat, superchat",),
            headers={**_ACCEPTED, "Sec-WebSocket-Protocol": None},
        ),
        *(
            Handshake(sent=sent, section="4.2.1", status=400, changes=changes, more=more)
            for sent, changes, more in (
                ("no Host", {"Host": None}, ()),
                ("no Connection", {"Connection": None}, ()),
                ("a Connection that names no upgrade", {"Connection": "keep-alive"}, ()),
                ("no Sec-WebSocket-Key", {"Sec-WebSocket-Key": None}, ()),
                ("a Sec-WebSocket-Key of 15 bytes", {"Sec-WebSocket-Key": _key(15)}, ()),
                ("a Sec-WebSocket-Key of 17 bytes", {"Sec-WebSocket-Key": _key(17)}, ()),
                (
                    "a Sec-WebSocket-Key that is not base64",
                    {"Sec-WebSocket-Key": "!" * 22 + "=="},
                    (),
                ),
                ("an empty Sec-WebSocket-Key", {"Sec-WebSocket-Key": ""}, ()),
                ("two Sec-WebSocket-Keys", {}, (f"Sec-WebSocket-Key: {_KEY}",)),
                ("no Sec-WebSocket-Version", {"Sec-WebSocket-Version": None}, ()),
                ("a Sec-WebSocket-Version that is no number", {"Sec-WebSocket-Version": "x"}, ()),
                ("two Sec-WebSocket-Versions", {}, ("Sec-WebSocket-Version: 13",)),
            )
        ),
        *(
            Handshake(
                sent=f"Sec-WebSocket-Version {version}",
                section="4.2.2",
                status=426,
                changes={"Sec-WebSocket-Version": str(version)},
                headers=_ONLY_13,
            )
            for version in (0, 7, 8, 12, 14)
        ),
        Handshake(
            sent="a URI with a fragment",
            section="3",
            status=400,
            line="GET /ws#fragment HTTP/1.1",
        ),
        Handshake(
            sent="an upgrade by HTTP/1.0",
            section="4.2.1",
            status=404,
            line="GET /ws HTTP/1.0",
            headers={"Upgrade": None},
        ),
        *(
            Handshake(
                sent=f"an upgrade by the method {method}",
                section="4.2.1",
                status=404,
                line=f"{method} /ws HTTP/1.1",
                headers={"Upgrade": None},
            )
            for method in ("POST", "PUT", "HEAD")
        ),
        Handshake(sent="no Upgrade", section="4.2.1", status=404, changes={"Upgrade": None}),
        Handshake(
            sent="an upgrade to something else",
            section="4.2.1",
            status=404,
            changes={"Upgrade": "h2c"},
            headers={"Upgrade": None},
        ),
        Handshake(sent="no cookie", section="4.2.2", status=401, changes={"Cookie": None}),
    )


def _identifier(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower()).strip("_")


_INTRODUCTION = """\
# Conformance

This page lists what [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455) requires of a server, as
the tests check it. Each row is a test of its own (`tests/net/test_conformance.py`) on the bytes of
the connection. All rows are also run against a server process. A number in the column "suite" is
the corresponding case of the [Autobahn test
suite](https://github.com/crossbario/autobahn-testsuite).

That suite expects an echo of every message. This server ignores messages: it does not answer an
accepted message, and it closes with 1009 if a message is longer than `maxInboundMessageBytes`.
Some cases need more bytes a second than the default allows, so the server of these tests allows
more.

After each row the client sends a ping. A pong shows that the connection is open. If the row ends
with a close frame of the server, no pong and nothing else may follow, and the server must close
the connection.

`python -m tests.support.rfc6455 > docs/conformance.md` writes this page; a test compares it.
"""


def document() -> str:
    """Returns the text of docs/conformance.md."""
    parts = [_INTRODUCTION, "## Handshake\n", "| RFC | the client sends | the server answers |"]
    parts.append("|---|---|---|")
    parts.extend(f"| {one.section} | {one.sent} | {one.answer} |" for one in handshakes())
    for title, group in cases().items():
        parts.append(f"\n## {title}\n")
        parts.append("| RFC | suite | the client sends | the server answers |")
        parts.append("|---|---|---|---|")
        parts.extend(
            f"| {one.section} | {one.suite} | {one.sent} | {one.answer} |" for one in group
        )
    return "\n".join(parts) + "\n"


def all_cases() -> Iterator[Case]:
    """Yields the cases of all groups."""
    return chain.from_iterable(cases().values())


if __name__ == "__main__":
    print(document(), end="")
