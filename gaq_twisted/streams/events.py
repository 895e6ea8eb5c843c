"""Stream ids, and stream entries turned into events and WebSocket frames.

Two streams carry each event, and their ids differ.  An event is known by its
data, which is the same text in both.  The ids that clients hand back as
`last_id` are told apart by their spelling:

    1795406438721-3     an id of the global stream (or one that some other
                        server handed out)
    1795406438721-03    an id of a channel stream, as this server writes it

Both are the same number to Redis, to Superset's polling API and to the Node.js
server, so clients can move freely between all of them.
"""

import json
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, NoReturn, Protocol

import msgspec

_LAST_ID = re.compile(r"([0-9]{1,20})-(0?[0-9]{1,20})")
_UINT64_MAX = 2**64 - 1

# How much longer the data are with an id in them: by `"id":"",`.
_SPLICED_BYTES = 8

PING = b"\x89\x00"
"""A whole ping without payload (RFC 6455 section 5.5.2)."""


class StreamId(NamedTuple):
    """A Redis stream id; ids compare as Redis compares them."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> "StreamId":
        """Return the id that Redis wrote as `<ms>-<seq>`."""
        ms, _, seq = text.partition(b"-")
        return cls(int(ms), int(seq))

    def before(self) -> "StreamId":
        """Return the greatest id below this one, which must not be 0-0."""
        if self.seq:
            return StreamId(self.ms, self.seq - 1)
        return StreamId(self.ms - 1, _UINT64_MAX)

    def after(self) -> "StreamId":
        """Return the least id above this one."""
        if self.seq < _UINT64_MAX:
            return StreamId(self.ms, self.seq + 1)
        return StreamId(self.ms + 1, 0)

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


class LastId(NamedTuple):
    """The id of the last event that a client received, as the client said it."""

    id: StreamId
    of_channel_stream: bool
    """True when this server wrote the id for an entry of a channel stream."""

    @classmethod
    def parse(cls, text: str) -> "LastId | None":
        """Return the id, or None unless text is `<ms>-<seq>`, both unsigned 64-bit numbers."""
        match = _LAST_ID.fullmatch(text)
        if match is None:
            return None
        ms, seq = match.groups()
        if int(ms) > _UINT64_MAX or int(seq) > _UINT64_MAX:
            return None
        return cls(StreamId(int(ms), int(seq)), len(seq) > 1 and seq.startswith("0"))

    def __bytes__(self) -> bytes:
        text = bytes(self.id)
        return _spelt_for_channel_stream(text) if self.of_channel_stream else text


class Event(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One step of one background job, as a stream entry told it."""

    id: bytes
    """The id to show to clients, ASCII."""
    channel: str
    data: bytes
    """A JSON object, UTF-8, without white space around it; the same bytes in both streams."""

    def stream_id(self) -> StreamId:
        """Return the id as numbers."""
        return StreamId.parse(self.id)

    def with_id(self, shown: bytes) -> "Event":
        """Return the same event under another id."""
        return Event(shown, self.channel, self.data)

    def frame(self) -> bytes:
        """Return the whole WebSocket text frame: the data with its stream id as first key.

        RFC 6455 section 5.2: FIN with opcode 1, a length of 7, 16 or 64 bits, no mask.
        The id is spliced into the text, so a key `id` of the data comes later
        and wins in the browser, as it does with the Node.js server.
        """
        stream_id, data = self.id, self.data
        length = len(stream_id) + len(data) + _SPLICED_BYTES
        if length < 126:
            return b'\x81%c{"id":"%b",%b' % (length, stream_id, data[1:])
        if length < 2**16:
            return b'\x81\x7e%b{"id":"%b",%b' % (length.to_bytes(2, "big"), stream_id, data[1:])
        return b'\x81\x7f%b{"id":"%b",%b' % (length.to_bytes(8, "big"), stream_id, data[1:])


class EventSink(Protocol):
    """Takes events from whatever their source is: a stream or, one day, a subscription."""

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Take the events that came before the first `deliver`, oldest first.

        Args:
            recent: the newest events that exist.
            whole_from: the stream id from which on `recent` lacks nothing.
        """

    def deliver(self, events: Sequence[Event]) -> Iterator[None]:
        """Take the next events.

        Returns:
            What sends them: a step for each socket. They are taken when this
            method returns, and all sent when the steps are done; the next ones
            must wait for that.
        """

    def gap(self) -> int:
        """Note that events may be missing here; the next ids may be lower than the last.

        Returns:
            How many channels have listeners that may miss them.
        """


class InvalidReason(StrEnum):
    """Why a stream entry is not a usable event, without any of its data."""

    NO_DATA = "no field data"
    INVALID_UTF_8 = "invalid UTF-8"
    NOT_JSON = "not JSON"
    NO_CHANNEL = "no text channel_id"
    EMPTY_CHANNEL = "empty channel_id"
    TOO_DEEP = "nested too deeply"


class InvalidEvent(Exception):
    """A stream entry is not a usable event; its text is an InvalidReason."""


class _ChannelOf(msgspec.Struct):
    """The one key of an event that this server needs."""

    channel_id: str


_decode_channel = msgspec.json.Decoder(_ChannelOf).decode


def parse_event(entry_id: bytes, data: bytes | None) -> Event:
    """Return the event that a stream entry carries.

    The data is checked to be what every browser can parse: one JSON object
    (RFC 8259) in valid UTF-8.

    Args:
        entry_id: the entry's stream id, as it is to be shown to clients.
        data: the entry's field `data`, or None if it has no such field.

    Raises:
        InvalidEvent: if a browser could not use it.
    """
    if data is None:
        raise InvalidEvent(InvalidReason.NO_DATA)
    try:
        if not data.isascii():
            data.decode()
        channel = _decode_channel(data).channel_id
    except UnicodeDecodeError:
        raise InvalidEvent(InvalidReason.INVALID_UTF_8) from None
    except msgspec.ValidationError:
        raise InvalidEvent(InvalidReason.NO_CHANNEL) from None
    except msgspec.DecodeError:
        channel = _channel_by_the_slow_parser(data)
    except RecursionError:
        raise InvalidEvent(InvalidReason.TOO_DEEP) from None
    if not channel:
        raise InvalidEvent(InvalidReason.EMPTY_CHANNEL)
    return Event(entry_id, channel, data.strip())


def channel_stream_event(entry_id: bytes, data: bytes | None) -> Event:
    """Return the event of a channel stream's entry, its id spelt as one of a channel stream.

    Args and Raises: as parse_event, but for entry_id, which is as Redis wrote it.
    """
    return parse_event(_spelt_for_channel_stream(entry_id), data)


def _spelt_for_channel_stream(stream_id: bytes) -> bytes:
    return stream_id.replace(b"-", b"-0")


def _channel_by_the_slow_parser(data: bytes) -> str:
    # msgspec refuses escaped lone surrogates, which Python's json writes and
    # browsers read; the standard parser takes them, but also takes NaN, and no int
    # of very many digits.
    try:
        document = json.loads(data.decode(), parse_constant=_refuse_constant, parse_int=float)
    except RecursionError:
        raise InvalidEvent(InvalidReason.TOO_DEEP) from None
    except ValueError:
        raise InvalidEvent(InvalidReason.NOT_JSON) from None
    channel = document.get("channel_id") if isinstance(document, dict) else None
    if not isinstance(channel, str):
        raise InvalidEvent(InvalidReason.NO_CHANNEL)
    return channel


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
