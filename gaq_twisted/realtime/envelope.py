"""Messages as Superset 7 publishes them, turned into frames for browsers.

A message is a JSON object with a topic, a scope, a payload and perhaps routes. A browser gets the
topic and the payload. The payload is sent byte for byte as it was published, so that numbers keep
their form.
"""

import json
from enum import StrEnum
from typing import Any, NoReturn

import msgspec

BROADCAST = "authenticated_global"
"""The scope of messages for every socket; with all others the routes decide."""


_Json = bytes | msgspec.Raw


class InvalidReason(StrEnum):
    """Why a message is dropped; a metric's label."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOPIC = "topic"
    SCOPE = "scope"
    ROUTES = "routes"
    NESTED_TOO_DEEPLY = "nested_too_deeply"


class InvalidMessage(Exception):
    """A message is dropped; the text says why, without quoting it.

    Args:
        reason: the metric's label.
    """

    def __init__(self, reason: InvalidReason) -> None:
        super().__init__(_TEXTS[reason])
        self.reason = reason


_TEXTS = {
    InvalidReason.NOT_JSON: "it is not JSON",
    InvalidReason.NOT_AN_OBJECT: "it is not a JSON object",
    InvalidReason.TOPIC: "its topic is not a non-empty string",
    InvalidReason.SCOPE: "its scope is not a non-empty string",
    InvalidReason.ROUTES: "its routes are not a list of non-empty strings",
    InvalidReason.NESTED_TOO_DEEPLY: "it is nested too deeply",
}


class Message(msgspec.Struct, frozen=True, gc=False):
    """A parsed message."""

    routes: tuple[str, ...] | None
    """The routes it is addressed to; None for every socket."""
    topic: str
    payload: _Json | None
    """The payload as it was written; None if there is none."""

    @property
    def frame(self) -> bytes:
        """The whole WebSocket text frame, built on each access."""
        text = b'{"topic":%b' % _encode(self.topic)
        if self.payload is None:
            return text_frame(text + b"}")
        return text_frame(b'%b,"payload":%b}' % (text, self.payload))


class _Envelope(msgspec.Struct, gc=False):
    """A message with valid fields; the last of duplicate keys counts, as in JavaScript."""

    topic: str
    scope: str
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    routes: list[str] | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.encode


def parse(published: bytes) -> Message:
    """Parses a published message.

    Bytes that are not UTF-8 are replaced (U+FFFD), as in Superset's Node.js server, because a text
    frame must be UTF-8 (RFC 6455 section 5.6).

    Args:
        published: the message.

    Raises:
        InvalidMessage: if the Node.js server would drop it too.
    """
    if not published.isascii():
        published = published.decode(errors="replace").encode()
    try:
        topic, scope, payload, routes = _fields(published)
    except msgspec.ValidationError:
        raise InvalidMessage(_what_is_wrong(published)) from None
    except msgspec.DecodeError:
        topic, scope, payload, routes = _by_slow_parser(published)
    except RecursionError:
        raise InvalidMessage(InvalidReason.NESTED_TOO_DEEPLY) from None
    if not topic:
        raise InvalidMessage(InvalidReason.TOPIC)
    if not scope:
        raise InvalidMessage(InvalidReason.SCOPE)
    if "" in routes:
        raise InvalidMessage(InvalidReason.ROUTES)
    return Message(None if scope == BROADCAST else tuple(routes), topic, payload)


def text_frame(text: bytes) -> bytes:
    """Returns a whole text frame: FIN, opcode 1, no mask (RFC 6455 section 5.2)."""
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 2**16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), text)


_Fields = tuple[str, str, _Json | None, list[str]]


def _fields(published: bytes) -> _Fields:
    envelope = _decode(published)
    payload, routes = envelope.payload, envelope.routes
    return (
        envelope.topic,
        envelope.scope,
        payload if isinstance(payload, msgspec.Raw) else None,
        routes if isinstance(routes, list) else [],
    )


def _by_slow_parser(published: bytes) -> _Fields:
    # msgspec rejects escaped lone surrogates, which Python's json writes and browsers accept. Here
    # the payload has to be encoded again. The last of duplicate keys counts here too.
    document = _document(published)
    reason = _fault(document)
    if reason is not None:
        raise InvalidMessage(reason)
    payload = None
    if "payload" in document:
        try:
            # A number too large for Python would become `Infinity`, which is not JSON.
            payload = json.dumps(document["payload"], allow_nan=False).encode()
        except ValueError:
            raise InvalidMessage(InvalidReason.NOT_JSON) from None
    topic = document["topic"].encode("utf-8", "replace").decode()
    return topic, document["scope"], payload, document.get("routes", [])


def _what_is_wrong(published: bytes) -> InvalidReason:
    return _fault(_document(published)) or InvalidReason.NOT_AN_OBJECT


def _document(published: bytes) -> Any:
    try:
        return json.loads(published.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidMessage(InvalidReason.NESTED_TOO_DEEPLY) from None
    except ValueError:
        raise InvalidMessage(InvalidReason.NOT_JSON) from None


def _fault(document: Any) -> InvalidReason | None:
    if not isinstance(document, dict):
        return InvalidReason.NOT_AN_OBJECT
    for key, reason in (("topic", InvalidReason.TOPIC), ("scope", InvalidReason.SCOPE)):
        if not isinstance(document.get(key), str) or not document[key]:
            return reason
    routes = document.get("routes", [])
    if not isinstance(routes, list) or not all(isinstance(one, str) and one for one in routes):
        return InvalidReason.ROUTES
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
