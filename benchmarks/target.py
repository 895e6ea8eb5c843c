"""What is measured: a server process, by its port and pid, and the Redis that it follows."""

import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import jwt

EVENT_FIELDS = (
    '"job_id":"6bb0b3a8-2e5b-4b4e-9c1a-3f1c7d0a9e55","user_id":"1","status":"done","errors":[],'
    '"result_url":"/api/v1/chart/data/9f2c1c35b3f94a0c8a5d3a2f0a6f1e77"'
)
_OUTPUT_BYTES = re.compile(rb"total_net_output_bytes:(\d+)\r")


class Target:
    """A server under load.

    Args:
        url: where it takes upgrades, as `ws://host:port/path`.
        redis: where its Redis is, as `host:port`.
        pid: its process id, whose CPU time and memory are read from /proc.
        secret: signs the cookies.
        prefix: its redisStreamPrefix.
    """

    def __init__(self, url: str, redis: str, pid: int, secret: str, prefix: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path or "/"
        host, _, port = redis.rpartition(":")
        self.redis_address = (host, int(port))
        self.pid = pid
        self._secret = secret
        self._prefix = prefix
        self._sequence = 0

    def cpu_seconds(self) -> float:
        """Return the CPU time that all threads of the process have used."""
        return cpu_seconds(self.pid)

    def rss_bytes(self) -> int:
        """Return the process's resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def redis_output_bytes(self) -> int:
        """Return how much Redis has sent to all its clients; this question counts little."""
        with socket.create_connection(self.redis_address) as connection:
            connection.sendall(_command(b"INFO", b"stats"))
            answer = b""
            while (found := _OUTPUT_BYTES.search(answer)) is None:
                answer += connection.recv(2**16)
            return int(found[1])

    def request(self, channel: str, last_id: str | None = None) -> bytes:
        """Return an upgrade request as a browser of that channel would send it."""
        token = jwt.encode({"channel": channel, "sub": "1"}, self._secret, algorithm="HS256")
        query = "" if last_id is None else f"?last_id={last_id}"
        lines = (
            f"GET {self._path}{query} HTTP/1.1",
            "Host: {}:{}".format(*self.address),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Origin: http://127.0.0.1:8088",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "Accept-Language: en-US,en;q=0.9",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            f"Cookie: session=eyJfZnJlc2giOnRydWV9.x; async-token={token}",
        )
        return "\r\n".join([*lines, "", ""]).encode()

    def publisher(self) -> "Publisher":
        """Return a new connection that publishes to the server's streams."""
        return Publisher(self)

    def next_id(self) -> bytes:
        """Return the next stream id; all have the same length, and with them all frames."""
        self._sequence += 1
        return b"%d-%07d" % (int(time.time() * 1000), 1_000_000 + self._sequence)

    def key(self, name: str) -> bytes:
        """Return the name of a stream: `full`, or a channel."""
        return f"{self._prefix}{name}".encode()


class Publisher:
    """A connection to Redis that writes events faster than any server reads them."""

    def __init__(self, target: Target) -> None:
        """Connect, and ask Redis not to reply."""
        self._target = target
        self._socket = socket.create_connection(target.redis_address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_command(b"CLIENT", b"REPLY", b"OFF"))

    def command(self, channel: str) -> bytes:
        """Return the command that publishes an event to the global stream only.

        The channels' own streams are read by servers for clients that come back. Where there
        are none, Redis is spared the work.
        """
        return self._add("full", b"1000000", self._target.next_id(), event_data(channel))

    def command_to_both(self, channel: str, stream_id: bytes) -> bytes:
        """Return the commands that publish an event to the channel's stream and the global one.

        Superset's two ids differ. These are the same, so that a server which looks for the one
        id in the other stream finds it.
        """
        data = event_data(channel)
        return self._add(channel, b"1000", stream_id, data) + self._add(
            "full", b"1000000", stream_id, data
        )

    def commands(self, channels: Sequence[str]) -> list[bytes]:
        """Return the commands that publish an event to each of the channels."""
        return [self.command(channel) for channel in channels]

    def send(self, commands: Sequence[bytes]) -> None:
        """Send commands."""
        self._socket.sendall(b"".join(commands))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _add(self, stream: str, max_length: bytes, stream_id: bytes, data: bytes) -> bytes:
        key = self._target.key(stream)
        return _command(b"XADD", key, b"MAXLEN", b"~", max_length, stream_id, b"data", data)


def event_data(channel: str) -> bytes:
    """Return an event as Superset writes it, with the time in it."""
    sent = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return f'{{"channel_id":"{channel}",{EVENT_FIELDS},"sent":1{sent:019d}}}'.encode()


def frame_bytes(channel: str) -> int:
    """Return how long a frame of that channel is, header included."""
    payload = len(event_data(channel)) + len(b'"id":"",') + len(b"1795406438721-1000001")
    return payload + (2 if payload < 126 else 4)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _command(*words: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts.extend(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"".join(parts)
