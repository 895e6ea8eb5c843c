"""The subject of a measurement: a server process and its Redis."""

import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import jwt

EVENT_FIELDS = (
    '"job_id":"6bb0b3a8-2e5b-4b4e-9c1a-3f1c7d0a9e55","user_id":"1","status":"done","errors":[],'
    '"result_url":"/api/v1/chart/data/9f2c1c35b3f94a0c8a5d3a2f0a6f1e77"'
)
_TOKEN_SECONDS = 24 * 3600
_WAITS = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)
_OUTPUT_BYTES = re.compile(rb"total_net_output_bytes:(\d+)\r")


class Target(ABC):
    """A server under load.

    Args:
        url: where it takes upgrades, as `ws://host:port/path`.
        redis: where its Redis is, as `host:port`.
        pid: its process id, whose CPU time and memory are read from /proc.
        secret: signs the cookies.
        prefix: the prefix of its streams, or of its realtime channel.
        started_at: when it was started for this load, by time.perf_counter.
    """

    def __init__(
        self,
        url: str,
        redis: str,
        pid: int,
        secret: str,
        prefix: str,
        *,
        started_at: float | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path or "/"
        host, _, port = redis.rpartition(":")
        self.redis_address = (host, int(port))
        self.pid = pid
        self._secret = secret
        self._prefix = prefix
        self.started_at = started_at
        self._info_bytes = 0

    @abstractmethod
    def request(self, channel: str) -> bytes:
        """Returns an upgrade request as a browser of that channel would send it."""

    @abstractmethod
    def command(self, channel: str) -> bytes:
        """Returns the command that publishes something to a channel's browsers."""

    @abstractmethod
    def frame_bytes(self, channel: str) -> int:
        """Returns how long a frame of that channel is, header included."""

    def commands(self, channels: Sequence[str]) -> list[bytes]:
        """Returns the commands that publish something to each of the channels."""
        return [self.command(channel) for channel in channels]

    def publisher(self) -> "Publisher":
        """Returns a new connection that publishes."""
        return Publisher(self.redis_address)

    def cpu_seconds(self) -> float:
        """Returns the CPU time that all threads of the process have used."""
        return cpu_seconds(self.pid)

    def wakeups(self) -> int:
        """Returns how often a thread of the process has waited for something and gone on."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int(_WAITS.findall((task / "status").read_text())[0]) for task in tasks)

    def rss_bytes(self) -> int:
        """Returns the process's resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def redis_output_bytes(self) -> int:
        """Returns how much Redis has sent to all its clients, but for the answers to this."""
        with socket.create_connection(self.redis_address) as connection:
            connection.sendall(_command(b"INFO", b"stats"))
            answer = b""
            # A bulk string: $LENGTH, the text, and two bytes.
            while (head := answer.find(b"\r\n")) < 0 or len(answer) < head + int(
                answer[1:head]
            ) + 4:
                answer += connection.recv(2**16)
        [found] = _OUTPUT_BYTES.findall(answer)
        asked_before, self._info_bytes = self._info_bytes, self._info_bytes + len(answer)
        return int(found) - asked_before

    def _upgrade(self, query: str, cookie_name: str, claims: dict[str, object]) -> bytes:
        token = jwt.encode(claims, self._secret, algorithm="HS256")
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
            f"Cookie: session=eyJfZnJlc2giOnRydWV9.x; {cookie_name}={token}",
        )
        return "\r\n".join([*lines, "", ""]).encode()


class StreamsTarget(Target):
    """A server that follows the streams of Superset 1.2 to 6.1.

    Args:
        url: where it takes upgrades, as `ws://host:port/path`.
        redis: where its Redis is, as `host:port`.
        pid: its process id, whose CPU time and memory are read from /proc.
        secret: signs the cookies.
        prefix: its redisStreamPrefix.
        started_at: when it was started for this load, by time.perf_counter.
    """

    _sequence = 0

    def request(self, channel: str, last_id: str | None = None) -> bytes:
        """Returns an upgrade request, perhaps of a browser that comes back."""
        query = "" if last_id is None else f"?last_id={last_id}"
        return self._upgrade(query, "async-token", {"channel": channel, "sub": "1"})

    def next_id(self) -> bytes:
        """Returns the next stream id; all have the same length, and with them all frames."""
        self._sequence += 1
        return b"%d-%07d" % (int(time.time() * 1000), 1_000_000 + self._sequence)

    def command(self, channel: str) -> bytes:
        """Returns the command that publishes an event to the global stream only.

        The channels' own streams are read by servers for clients that come back. Where there
        are none, Redis is spared the work.
        """
        return self._add("full", b"1000000", self.next_id(), event_data(channel))

    def command_to_both(self, channel: str, stream_id: bytes) -> bytes:
        """Returns the commands that publish an event to the channel's stream and the global one.

        Superset's two ids differ. These are the same, so that a server which looks for the one
        id in the other stream finds it.
        """
        data = event_data(channel)
        return self._add(channel, b"1000", stream_id, data) + self._add(
            "full", b"1000000", stream_id, data
        )

    def command_of(self, channel: str, data: bytes) -> bytes:
        """Returns the commands that publish an event as Superset does, with ids by Redis."""
        return self._add(channel, b"1000", b"*", data) + self._add("full", b"1000000", b"*", data)

    def frame_bytes(self, channel: str) -> int:
        """Returns how long a frame is: the event with its stream id."""
        return frame_bytes(channel)

    def _add(self, stream: str, max_length: bytes, stream_id: bytes, data: bytes) -> bytes:
        key = f"{self._prefix}{stream}".encode()
        return _command(b"XADD", key, b"MAXLEN", b"~", max_length, stream_id, b"data", data)


class RealtimeTarget(Target):
    """A server that follows the realtime channel of Superset 7.

    A channel is here one tab of a user of its own.

    Args:
        url: where it takes upgrades, as `ws://host:port/path`.
        redis: where its Redis is, as `host:port`.
        pid: its process id, whose CPU time and memory are read from /proc.
        secret: signs the cookies.
        prefix: its realtimeChannelPrefix.
        started_at: when it was started for this load, by time.perf_counter.
    """

    def request(self, channel: str) -> bytes:
        """Returns an upgrade request of the tab."""
        claims: dict[str, object] = {
            "aud": "superset-websocket",
            "iss": "superset",
            "sub": channel,
            "principal_type": "user",
            "channel": f"user:{channel}",
            "iat": int(time.time()),
            "exp": int(time.time()) + _TOKEN_SECONDS,
        }
        return self._upgrade("?tab_id=1", "superset-ws-token", claims)

    def command(self, channel: str) -> bytes:
        """Returns the command that publishes the end of a task that the tab waits for."""
        return self._publish(
            f'{{"topic": "task.status", "scope": "tab", "payload": {_task_status()},'
            f' "routes": ["user:{channel}:1"]}}'
        )

    def broadcast(self) -> bytes:
        """Returns the command that publishes a message for every socket."""
        return self._publish(
            '{"topic": "task.status", "scope": "authenticated_global",'
            f' "payload": {_task_status()}}}'
        )

    def kill_subscribers(self) -> None:
        """Has Redis end the connections of all subscribers, this server's among them."""
        with socket.create_connection(self.redis_address) as connection:
            connection.sendall(_command(b"CLIENT", b"KILL", b"TYPE", b"pubsub"))
            connection.recv(100)

    def frame_bytes(self, channel: str) -> int:
        """Returns how long a frame is: topic and payload."""
        payload = len(f'{{"topic":"task.status","payload":{_task_status()}}}')
        return payload + (2 if payload < 126 else 4)

    def _publish(self, message: str) -> bytes:
        return _command(b"PUBLISH", f"{self._prefix}realtime".encode(), message.encode())


class Publisher:
    """A connection to Redis that writes commands faster than any server reads their effects.

    Args:
        address: where Redis is.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_command(b"CLIENT", b"REPLY", b"OFF"))

    def send(self, commands: Sequence[bytes]) -> None:
        """Sends commands."""
        self._socket.sendall(b"".join(commands))

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()


def event_data(channel: str) -> bytes:
    """Returns an event as Superset writes it, with the time in it."""
    sent = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return f'{{"channel_id":"{channel}",{EVENT_FIELDS},"sent":1{sent:019d}}}'.encode()


def frame_bytes(channel: str) -> int:
    """Returns how long a frame of that channel is, header included."""
    payload = len(event_data(channel)) + len(b'"id":"",') + len(b"1795406438721-1000001")
    return payload + (2 if payload < 126 else 4)


def _task_status() -> str:
    sent = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    # Without spaces, and the number as text, so that all servers send the same bytes.
    return (
        '{"task_id":"6bb0b3a8-2e5b-4b4e-9c1a-3f1c7d0a9e55","status":"success",'
        f'"sent":"1{sent:019d}"}}'
    )


def set_redis_option(port: int, name: str, value: str) -> None:
    """Configures a Redis on this machine."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_command(b"CONFIG", b"SET", name.encode(), value.encode()))
        answer = connection.recv(100)
        if answer != b"+OK\r\n":
            raise ValueError(f"{name} cannot be set: {answer!r}")


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that all threads of a process have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _command(*words: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts.extend(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"".join(parts)
