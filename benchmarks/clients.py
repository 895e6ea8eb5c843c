"""Many WebSocket clients in one process, which read and count and do little else."""

import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence

_SENT = re.compile(rb'"sent":"?1(\d{19})')
_SOURCES = 200
# Linux's number, which the socket module does not have before Python 3.13.
_IP_BIND_ADDRESS_NO_PORT = 24


class Client:
    """One WebSocket, which is connecting at first.

    Args:
        connection: its socket.
        request: the upgrade request to send.
    """

    __slots__ = ("begun_at", "connection", "received", "request", "upgraded_at")

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self.connection = connection
        self.request = request
        self.begun_at = time.perf_counter()
        self.upgraded_at = 0.0
        self.received: int = 0
        """Bytes after the answer to the upgrade."""


class Clients:
    """Clients that are served by one epoll loop.

    Args:
        address: where the server is.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = (socket.gethostbyname(address[0]), address[1])
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._opened = 0
        self.received = 0
        """Bytes that all clients got after their answers to the upgrade."""
        self.on_bytes: Callable[[Client, memoryview], None] = lambda client, chunk: None
        """Called with what a client got."""
        self.on_open: Callable[[Client], None] = lambda client: None
        """Called when a client's upgrade was accepted."""
        self.on_end: Callable[[Client, str], None] = _fail
        """Called with the reason when a connection failed or has ended; it is not closed yet."""
        self._buffer = memoryview(bytearray(2**18))

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def clients(self) -> list[Client]:
        """All that are open or opening, oldest first."""
        return list(self._clients.values())

    def oldest(self) -> Client:
        """Returns the client that began first."""
        return next(iter(self._clients.values()))

    def open(
        self,
        requests: Sequence[bytes],
        *,
        at_a_time: int = 64,
        enough_bytes: int = 0,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[Client]:
        """Opens a client for each request; returns them when all have what they want.

        Args:
            requests: the upgrade requests.
            at_a_time: how many may be under way.
            enough_bytes: how much each is to receive after its upgrade.
            progress: called with the number of those that are done.
        """
        waiting = list(reversed(requests))
        pending: dict[int, Client] = {}
        done: list[Client] = []
        while waiting or pending:
            while waiting and len(pending) < at_a_time:
                client = self.begin(waiting.pop())
                pending[client.connection.fileno()] = client
            self.poll(0.5)
            for number, client in list(pending.items()):
                if client.upgraded_at and client.received >= enough_bytes:
                    del pending[number]
                    done.append(client)
            progress(len(done))
        return done

    def begin(self, request: bytes) -> Client:
        """Begins to connect one client."""
        connection = socket.socket()
        connection.setblocking(False)
        # One address has not enough ports for all of them.
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self._opened += 1
        if self._address[0].startswith("127."):
            connection.bind((f"127.0.1.{1 + self._opened % _SOURCES}", 0))
        connection.connect_ex(self._address)
        client = Client(connection, request)
        self._clients[connection.fileno()] = client
        self._poll.register(connection, select.EPOLLOUT)
        return client

    def poll(self, seconds: float) -> None:
        """Handles what happens within that time."""
        for number, events in self._poll.poll(seconds):
            client = self._clients[number]
            if events & select.EPOLLOUT:
                self._ask(client)
            elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(client)

    def receive(self, total_bytes: int, progress: Callable[[int], None], deadline: float) -> None:
        """Reads until all clients together have so much.

        Raises:
            TimeoutError: if they do not by then, by time.monotonic.
        """
        while self.received < total_bytes:
            self.poll(0.5)
            progress(self.received)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.received} of {total_bytes} bytes arrived")

    def close(self, client: Client) -> None:
        """Closes one client."""
        del self._clients[client.connection.fileno()]
        client.connection.close()

    def close_all(self) -> None:
        """Closes all clients."""
        for client in self.clients:
            self.close(client)
        self.received = 0

    def _ask(self, client: Client) -> None:
        try:
            client.connection.send(client.request)
        except OSError as error:
            self.on_end(client, str(error))
        else:
            self._poll.modify(client.connection, select.EPOLLIN)

    def _read(self, client: Client) -> None:
        try:
            count = client.connection.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.on_end(client, str(error))
            return
        chunk = self._buffer[:count]
        if not client.upgraded_at:
            answer = bytes(chunk)
            head, end, rest = answer.partition(b"\r\n\r\n")
            if not end or not head.startswith(b"HTTP/1.1 101"):
                self.on_end(client, f"no upgrade: {answer[:200]!r}")
                return
            client.upgraded_at = time.perf_counter()
            client.request = b""
            self.on_open(client)
            chunk = memoryview(rest)
        elif not count:
            self.on_end(client, "the server closed a client")
            return
        if chunk:
            client.received += len(chunk)
            self.received += len(chunk)
            self.on_bytes(client, chunk)


class LatencyMeter:
    """Notes how old events are when they arrive."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, client: Client, chunk: memoryview) -> None:
        """Looks for events in what a client got; none is cut in two at these rates."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for found in _SENT.finditer(chunk):
            self.seconds.append((now - int(found[1])) / 1e9)


def answer_pings(client: Client, chunk: memoryview) -> None:
    """Answers the pings in a chunk, which holds whole frames."""
    for opcode, payload, _ in frames(bytes(chunk)):
        if opcode == 0x9:
            client.connection.send(pong(payload))


def frames(received: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields opcode and payload of each frame of a server, shorter than 64 kB, and what follows."""
    while len(received) >= 2:
        size, start = received[1], 2
        if size == 126:
            size, start = int.from_bytes(received[2:4]), 4
        if len(received) < start + size:
            return
        payload, rest = received[start : start + size], received[start + size :]
        yield received[0] & 0xF, payload, rest
        received = rest


def pong(payload: bytes) -> bytes:
    """Returns the answer to a ping; its mask is zeros."""
    return bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def _fail(client: Client, reason: str) -> None:
    raise ConnectionError(reason)
