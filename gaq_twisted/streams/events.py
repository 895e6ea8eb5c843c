"""Stream ids and entries, and entries turned into events and WebSocket frames.

Two streams carry each event, and their ids differ.  An event is identified by
its data, which is the same text in both.  The form of an id that a client
returns as `last_id` shows its stream:

    1795406438721-3     an id of the global stream (or from another server)
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

# How many bytes `"id":"",` adds to the data, without the id.
_SPLICED_BYTES = 8


class StreamId(NamedTuple):
    """A Redis stream id; ids compare as Redis compares them."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> "StreamId":
        """Returns the id that Redis wrote as `<ms>-<seq>`."""
        ms, _, seq = text.partition(b"-")
        return cls(int(ms), int(seq))

    def before(self) -> "StreamId":
        """Returns the greatest id below this one, which must not be 0-0."""
        if self.seq:
            return StreamId(self.ms, self.seq - 1)
        return StreamId(self.ms - 1, _UINT64_MAX)

    def after(self) -> "StreamId":
        """Returns the smallest id above this one."""
        if self.seq < _UINT64_MAX:
            return StreamId(self.ms, self.seq + 1)
        return StreamId(self.ms + 1, 0)

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


class LastId(NamedTuple):
    """The id of the last event that a client received, as the client sent it."""

    id: StreamId
    of_channel_stream: bool
    """Whether this server wrote the id, for an entry of a channel stream."""

    @classmethod
    def parse(cls, text: str) -> "LastId | None":
        """Returns the id, or None unless text is `<ms>-<seq>`, both unsigned 64-bit numbers."""
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


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry of a stream; a Struct, because a tuple costs four times as much."""

    id: bytes
    data: bytes | None
    """The value of the field `data`; None if there is no such field."""


BEGINNING = Entry(b"0-0", None)
"""Stands for the position before all entries of a stream."""


class ChannelEntries(NamedTuple):
    """The entries of a channel's stream from a given id on."""

    entries: list[Entry]
    """The entries in Redis, oldest first."""
    trimmed: int | None
    """How many older entries Redis has trimmed, if some from that id on may be among them; 0 if
    none is; None if unknown."""


class Event(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One step of one background job, from a stream entry."""

    id: bytes
    """The id that clients see, ASCII."""
    channel: str
    data: bytes
    """A JSON object, UTF-8, without surrounding white space; the same bytes in both streams."""

    def stream_id(self) -> StreamId:
        """Returns the id as numbers."""
        return StreamId.parse(self.id)

    def published_at(self) -> float:
        """Returns when Redis received it, in seconds since 1970 by Redis's clock."""
        return int(self.id.partition(b"-")[0]) / 1000

    def with_id(self, shown: bytes) -> "Event":
        """Returns the same event with another id."""
        return Event(shown, self.channel, self.data)

    def frame(self) -> bytes:
        """Returns the whole WebSocket text frame: the data with its stream id as first key.

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


def frames_of(events: Sequence[Event]) -> bytes:
    """Returns the frames of several events, to be sent in one write."""
    if len(events) == 1:
        return events[0].frame()
    return b"".join([event.frame() for event in events])


class Wanted(NamedTuple):
    """How many of the newest events a sink wants before the first `deliver`."""

    max_events: int
    max_bytes: int
    """The approximate limit on the size of their data."""


class EventSink(Protocol):
    """Receives the events of the global stream."""

    @property
    def wanted(self) -> Wanted:
        """How many events to pass to `start`."""

    def start(self, recent: Sequence[Event], *, whole_from: bytes) -> None:
        """Receives the events from before the first `deliver`, oldest first.

        Args:
            recent: the newest existing events.
            whole_from: the stream id from which on `recent` is complete.
        """

    def deliver(self, events: Sequence[Event]) -> Iterator[None]:
        """Receives the next events.

        Returns:
            The steps that send them, a few sockets a step. The events are taken
            when this method returns, and sent when all steps are done; only then
            may the next ones be delivered.
        """

    def gap(self) -> int:
        """Records that events may be missing here; the next ids may be lower than the last.

        Returns:
            How many channels have listeners that may miss them.
        """


class InvalidReason(StrEnum):
    """Why a stream entry is not a valid event; the values are labels of a metric."""

    NO_DATA = "no field data"
    INVALID_UTF_8 = "invalid UTF-8"
    NOT_JSON = "not JSON"
    NESTED_TOO_DEEPLY = "nested too deeply"
    NO_CHANNEL = "no text channel_id"
    EMPTY_CHANNEL = "empty channel_id"


class InvalidEvent(Exception):
    """Raised for an invalid stream entry; the text is the reason, without any of the data.

    Args:
        reason: why it is invalid.
    """

    def __init__(self, reason: InvalidReason) -> None:
        super().__init__(reason)
        self.reason = reason


class _ChannelOf(msgspec.Struct):
    """The only key of an event that this server needs."""

    channel_id: str


_decode_channel = msgspec.json.Decoder(_ChannelOf).decode


def parse_event(entry_id: bytes, data: bytes | None) -> Event:
    """Returns the event in a stream entry.

    Every browser must be able to parse the data: one JSON object (RFC 8259) in valid UTF-8.

    Args:
        entry_id: the stream id to show to clients.
        data: the entry's field `data`; None if there is no such field.

    Raises:
        InvalidEvent: if a browser could not parse it.
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
        raise InvalidEvent(InvalidReason.NESTED_TOO_DEEPLY) from None
    if not channel:
        raise InvalidEvent(InvalidReason.EMPTY_CHANNEL)
    return Event(entry_id, channel, data.strip())


def channel_stream_event(entry_id: bytes, data: bytes | None) -> Event:
    """Returns the event of a channel stream's entry, with an id in the form of a channel stream.

    Args and Raises: as for parse_event, except that entry_id is as Redis wrote it.
    """
    return parse_event(_spelt_for_channel_stream(entry_id), data)


def _spelt_for_channel_stream(stream_id: bytes) -> bytes:
    return stream_id.replace(b"-", b"-0")


def _channel_by_the_slow_parser(data: bytes) -> str:
    # msgspec rejects escaped lone surrogates, which Python's json writes and
    # browsers read. The standard parser accepts them, but also accepts NaN, and
    # rejects an int of very many digits.
    try:
        document = json.loads(data.decode(), parse_constant=_reject_constant, parse_int=float)
    except RecursionError:
        raise InvalidEvent(InvalidReason.NESTED_TOO_DEEPLY) from None
    except ValueError:
        raise InvalidEvent(InvalidReason.NOT_JSON) from None
    channel = document.get("channel_id") if isinstance(document, dict) else None
    if not isinstance(channel, str):
        raise InvalidEvent(InvalidReason.NO_CHANNEL)
    return channel


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)
