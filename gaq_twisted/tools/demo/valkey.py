"""The demo's own Redis-compatible server, which can be stopped and started again."""

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from twisted.application.service import Service
from twisted.internet.threads import deferToThread

_HOST = "127.0.0.1"
_START_SECONDS = 10.0
_POLL_SECONDS = 0.02
# Ends Valkey and removes its files however the demo ends: then its end of the pipe is closed. A
# line on the pipe ends Valkey and keeps the files.
_SUPERVISOR = """
directory=$1
shift
"$@" >"$directory/log" 2>&1 &
read -r keep
kill $!
wait
[ -n "$keep" ] || rm -rf "$directory"
"""


class Valkey(Service):
    """A Valkey process; its data survive a stop, and its files are removed with the demo.

    Args:
        program: the path of the server program.
        port: a free port for it.
    """

    def __init__(self, program: Path, port: int) -> None:
        self._program = program
        self._port = port
        self._supervisor: subprocess.Popen[bytes] | None = None

    def privilegedStartService(self) -> None:
        """Starts it, and waits until it answers.

        Raises:
            SystemExit: if it does not.
        """
        self._directory = mkdtemp(prefix="gaq-demo-")
        self.begin()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise SystemExit(f"gaq-ws: Valkey did not start within {_START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    async def stopService(self) -> None:
        """Stops it and removes its files."""
        super().stopService()
        await self._end(b"")
        # They still exist if it was halted.
        rmtree(self._directory, ignore_errors=True)

    def begin(self) -> None:
        """Starts it with its present data, without waiting for it."""
        assert self._supervisor is None
        self._supervisor = subprocess.Popen(
            ["sh", "-c", _SUPERVISOR, "sh", self._directory, *self._command()],
            stdin=subprocess.PIPE,
            # A signal from the terminal would reach it before the server has closed.
            start_new_session=True,
        )

    async def halt(self) -> None:
        """Stops it and keeps its files."""
        await self._end(b"keep\n")

    async def _end(self, line: bytes) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await deferToThread(supervisor.communicate, line)

    def _command(self) -> Sequence[str]:
        options = {
            "bind": _HOST,
            "port": str(self._port),
            "dir": self._directory,
            "save": "",
            "appendonly": "yes",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [str(self._program), *words]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((_HOST, self._port), _START_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
