"""A program that hands on lone events and does nothing else: `python -m benchmarks.floor`.

It is the cheapest that Python can do for one event: one read from Redis, one look at the bytes,
one `send`. It checks no cookie, pings nobody, knows no JSON and survives no fault.
"""

import base64
import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hiredis

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"(?i)^sec-websocket-key: *(\S+)\r$", re.MULTILINE)
_CLAIMS = re.compile(rb"token=[\w-]+\.([\w-]+)\.")
# User and tab of a route are those of the channel in the cookie.
_CHANNEL = re.compile(rb'"channel": ?"(?:user:)?([^"]+)"')
_BUFFER_BYTES = 2**16


def main(environ: Mapping[str, str]) -> None:
    """Serves as the environment says, until the process is killed."""
    sockets: dict[bytes, socket.socket] = {}
    listener = socket.create_server(("127.0.0.1", int(environ["PORT"])), backlog=1024)
    threading.Thread(target=_accept, args=(listener, sockets), daemon=True).start()
    redis = socket.create_connection(("127.0.0.1", int(environ["REDIS_PORT"])))
    redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if "REALTIME_CHANNEL_PREFIX" in environ:
        _follow_channel(redis, f"{environ['REALTIME_CHANNEL_PREFIX']}realtime".encode(), sockets)
    else:
        _follow_stream(redis, f"{environ['REDIS_STREAM_PREFIX']}full".encode(), sockets)


def _accept(listener: socket.socket, sockets: dict[bytes, socket.socket]) -> None:
    """Opens WebSockets; waits otherwise, which costs nothing."""
    while True:
        connection, _ = listener.accept()
        request = connection.recv(_BUFFER_BYTES)
        key, claims = _KEY.search(request), _CLAIMS.search(request)
        if key is None or claims is None:
            connection.close()
            continue
        channel = _CHANNEL.search(base64.urlsafe_b64decode(claims[1] + b"=="))
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[channel[1] if channel else b""] = connection
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )


def _replies(connection: socket.socket) -> Iterator[Callable[[], Any]]:
    """Yields the parser's `gets` each time that Redis has sent something."""
    reader = hiredis.Reader()
    while received := connection.recv(_BUFFER_BYTES):
        reader.feed(received)
        yield reader.gets


def _follow_stream(
    redis: socket.socket, stream: bytes, sockets: Mapping[bytes, socket.socket]
) -> None:
    read = b"*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$%d\r\n%b\r\n" % (
        len(stream),
        stream,
    )
    redis.sendall(read + b"$1\r\n$\r\n")
    for gets in _replies(redis):
        while reply := gets():
            for stream_id, (_, data) in reply[0][1]:
                # An event begins with {"channel_id":".
                connection = sockets.get(data[15 : data.index(b'"', 15)])
                if connection is not None:
                    connection.send(_frame(b'{"id":"%b",%b' % (stream_id, data[1:])))
            redis.send(b"%b$%d\r\n%b\r\n" % (read, len(stream_id), stream_id))


def _follow_channel(
    redis: socket.socket, channel: bytes, sockets: Mapping[bytes, socket.socket]
) -> None:
    redis.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(channel), channel))
    for gets in _replies(redis):
        while reply := gets():
            message = reply[2]
            if reply[0] != b"message":
                continue
            # A message is {"topic": "task.status", …, "payload": …, "routes": ["user:…:1"]}.
            payload, routes = message.index(b'"payload": ') + 11, message.rindex(b', "routes": ["')
            connection = sockets.get(message[routes + 19 : message.index(b":", routes + 19)])
            if connection is not None:
                topic = message[1 : message.index(b",")].replace(b": ", b":")
                connection.send(_frame(b'{%b,"payload":%b}' % (topic, message[payload:routes])))


def _frame(text: bytes) -> bytes:
    """Returns a WebSocket frame with a text of less than 64 kB."""
    size = len(text)
    return (
        b"\x81%c%b" % (size, text)
        if size < 126
        else b"\x81\x7e%b%b"
        % (
            size.to_bytes(2),
            text,
        )
    )


if __name__ == "__main__":
    main(os.environ)
