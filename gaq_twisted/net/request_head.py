"""HTTP request heads, read strictly, and answers of one line.

A request that two parsers could read differently is rejected here, so that later code does not have
to handle one (RFC 9112 sections 3, 5, 6 and 11.2).
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from gaq_twisted.core.reasons import RequestReason

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_HEAD = re.compile(
    rb"(%b) ([!-~]+) HTTP/1\.([01])\r\n((?:%b:[\t -~\x80-\xff]*\r\n)*)\r\n" % (_TOKEN, _TOKEN)
)
_ABSOLUTE = re.compile(rb"(?:https?|wss?)://([^/?#@]+)(.*)", re.IGNORECASE)
_END = b"\r\n\r\n"
_END_WITHOUT_RETURNS = re.compile(rb"\n\r?\n")
# A name or address as in a URI (RFC 3986 section 3.2.2), but without a comma, which could have
# joined two values.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._~!$&'()*+;=%]*)(?::([0-9]{0,5}))?")
_MAX_PORT = 65535
# Some parsers treat this character of ISO 8859-1 as the end of a line.
_NEXT_LINE = b"\x85"

Header = tuple[bytes, bytes]


class BadRequest(Exception):
    """A request is rejected; the text is one line that quotes nothing from the request.

    Args:
        status: the status to answer with.
        reason: the label it is counted under.
        text: why.
    """

    def __init__(self, status: HTTPStatus, reason: RequestReason, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """A complete request; it has no body."""

    method: bytes
    target: bytes
    """The requested path, perhaps with a query, or `*`."""
    minor_version: bytes
    """`1` for HTTP/1.1, `0` for HTTP/1.0."""
    headers: Sequence[Header]
    """Names in lower case, and values without white space around them; at most one cookie."""

    def values(self, name: bytes) -> list[bytes]:
        """Returns the values of all headers of that name, which is in lower case."""
        return [value for header, value in self.headers if header == name]

    def asks_for_websocket(self) -> bool:
        """Returns whether this asks to switch to the WebSocket protocol (RFC 6455 section 4.1).

        Only GET with HTTP/1.1 can; with HTTP/1.0 it must be ignored (RFC 9110 section 7.8).
        """
        if self.method != b"GET" or self.minor_version != b"1":
            return False
        return any(
            token.strip().lower() == b"websocket"
            for value in self.values(b"upgrade")
            for token in value.split(b",")
        )

    def without_offers(self) -> "Head":
        """Returns it without the headers that a WebSocket's handshake does not need."""
        kept = [header for header in self.headers if header[0] not in _NOT_FOR_AUTOBAHN]
        return self._replace(headers=kept)

    def __bytes__(self) -> bytes:
        lines = [b"%b %b HTTP/1.%b" % (self.method, self.target, self.minor_version)]
        lines.extend(b"%b: %b" % header for header in self.headers)
        return b"\r\n".join([*lines, b"", b""])


def read_head(received: bytes, max_bytes: int) -> tuple[Head, bytes] | None:
    """Returns the first request, and the data after it; None if it is not complete.

    Args:
        received: all bytes of a connection so far.
        max_bytes: the maximum length of a head.

    Raises:
        BadRequest: if it is not HTTP/1.1, or not allowed here.
    """
    # An empty line may come first (RFC 9112 section 2.2).
    start = 2 if received.startswith(b"\r\n") else 0
    end = received.find(_END, start)
    size = (end + len(_END) if end >= 0 else len(received)) - start
    if size > max_bytes:
        raise BadRequest(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestReason.LONG_HEADERS,
            f"the headers are longer than {max_bytes} bytes",
        )
    if end < 0:
        if _END_WITHOUT_RETURNS.search(received, start):
            raise _bad(RequestReason.NOT_HTTP, "lines must end in CR LF")
        return None
    match = _HEAD.fullmatch(received, start, start + size)
    if match is None:
        raise _bad(RequestReason.NOT_HTTP, "not an HTTP/1.1 request")
    method, target, minor_version, fields = match.groups()
    headers = list(_headers(fields))
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # The host in the target takes precedence (RFC 9112 section 3.2.2).
        others = [(name, value) for name, value in headers if name != b"host"]
        headers = [(b"host", absolute[1]), *others]
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if b"#" in target:
        raise _bad(RequestReason.TARGET, "the request's target has a fragment")
    if absolute is None and not target.startswith(b"/") and target != b"*":
        raise _bad(RequestReason.TARGET, "the request's target is not a path")
    head = Head(method, target, minor_version, headers)
    _check(head)
    return head, received[start + size :]


# Autobahn rejects some forms of these that RFC 6455 and this server allow: origins without a host,
# offers of extensions that it does not know. The server uses none of them in the handshake.
_NOT_FOR_AUTOBAHN = (b"origin", b"sec-websocket-extensions", b"sec-websocket-protocol")


def asks_for_no_body(received: bytes) -> bool:
    """Returns whether the answer must have no body, because the method is HEAD."""
    return received.removeprefix(b"\r\n").startswith(b"HEAD ")


def answer(
    status: HTTPStatus,
    text: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    without_body: bool = False,
) -> bytes:
    """Returns a whole response that ends the connection.

    Args:
        status: its status.
        text: its body, one line without the line end.
        headers: further headers.
        without_body: whether to omit the body, as in an answer to HEAD (RFC 9110 section 9.3.2).
    """
    body = f"{text}\n".encode()
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines.extend(
        f"{name}: {value}"
        for name, value in (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *headers,
        )
    )
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if without_body else body)


def _headers(fields: bytes) -> Iterable[Header]:
    cookies = []
    for line in fields.replace(_NEXT_LINE, b"?").split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"cookie":
            # An empty one would leave trailing white space.
            cookies.extend([value] if value else [])
        else:
            yield name, value
    if cookies:
        # Cookies are not joined by commas, unlike other headers (RFC 6265 section 5.4).
        yield b"cookie", b"; ".join(cookies)


def _check(head: Head) -> None:
    hosts = head.values(b"host")
    if len(hosts) > 1 or (not hosts and head.minor_version == b"1"):
        raise _bad(RequestReason.HOST, "there must be exactly one Host header")
    for host in hosts:
        match = _HOST.fullmatch(host)
        if match is None or int(match[1] or 0) > _MAX_PORT:
            # RFC 9112 section 3.2.
            raise _bad(RequestReason.HOST, "the Host header must be a host with an optional port")
    lengths = head.values(b"content-length")
    if head.values(b"transfer-encoding") or any(length != b"0" for length in lengths):
        raise BadRequest(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            RequestReason.BODY,
            "request bodies are not accepted",
        )


def _bad(reason: RequestReason, text: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, reason, text)
