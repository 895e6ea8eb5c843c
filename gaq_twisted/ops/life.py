"""The log lines about the server's start, readiness and end."""

from collections.abc import Callable
from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gaq_twisted.config.derived import serves_realtime, serves_streams
from gaq_twisted.config.sections import Redis
from gaq_twisted.config.settings import Settings
from gaq_twisted.core.every import every
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CONNECTED_CLIENT, FRAMES_SENT, Metrics
from gaq_twisted.core.readiness import Readiness
from gaq_twisted.redis.server import host_and_port

_READY_SECONDS = 0.1


class Identity(NamedTuple):
    """The facts about a server before it starts."""

    version: str
    redis: str
    """The address and database of Redis."""
    protocol: str
    reason: str
    """Why it is that protocol."""
    configuration: str
    """The sources of the settings."""


class Life(Service):
    """Logs that the server starts, is ready for the first time, stops, and has stopped.

    Args:
        identity: the facts about the server.
        listening: returns where it listens, once it does.
        readiness: determines whether it is ready.
        hub: has the sockets.
        metrics: have the counts since the start.
        clock: provides the time.
    """

    _log = Logger()

    def __init__(
        self,
        identity: Identity,
        listening: Callable[[], str],
        readiness: Readiness,
        hub: Hub,
        metrics: Metrics,
        clock: IReactorTime,
    ) -> None:
        self._identity = identity
        self._listening = listening
        self._readiness = readiness
        self._hub = hub
        self._metrics = metrics
        self._clock = clock
        self._started_at = 0.0
        self._waiting: LoopingCall | None = None
        self._is_stopping = False

    def startService(self) -> None:
        """Logs the start; the ports are open by then."""
        super().startService()
        self._started_at = self._clock.seconds()
        self._log.info(
            "gaq-ws {version}: {listening}, Redis {redis}, protocol {protocol} ({reason}),"
            " configured by {configuration}",
            event="started",
            listening=self._listening(),
            **self._identity._asdict(),
        )
        self._waiting = every(_READY_SECONDS, self._log_ready, self._clock, self._log, now=False)

    def stopService(self) -> None:
        """Stops waiting until the server is ready."""
        super().stopService()
        self._end_waiting()

    def stopping(self, cause: str) -> None:
        """Logs that the server is stopping; only the first call counts.

        Args:
            cause: the name of the signal, or another reason.
        """
        if not self._is_stopping:
            self._is_stopping = True
            self._log.info(
                "stopping ({cause}): {connections} connections",
                event="stopping",
                cause=cause,
                connections=self._hub.socket_count,
            )

    def stopped(self) -> None:
        """Logs the server's counts since its start."""
        self._log.info(
            "stopped after {seconds} s: {connections} connections, {events} events sent",
            event="stopped",
            seconds=round(self._clock.seconds() - self._started_at),
            connections=round(self._metrics.total(CONNECTED_CLIENT)),
            events=round(self._metrics.total(FRAMES_SENT)),
        )

    def _log_ready(self) -> None:
        if not self._readiness.now().reasons:
            self._end_waiting()
            self._log.info("ready", event="ready")

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None


def redis_of(settings: Settings) -> str:
    """Returns the address of Redis, such as `redis:6379/0`, or of one Redis for each protocol."""
    sections = []
    if serves_streams(settings):
        sections.append(settings.redis)
    if serves_realtime(settings):
        sections.append(settings.realtime_redis)
    return " and ".join(dict.fromkeys(map(_place, sections)))


def _place(redis: Redis) -> str:
    if redis.sentinels:
        names = ", ".join(redis.sentinels)
        return f"{redis.sentinel_master} (Sentinels {names}) database {redis.db}"
    if redis.unix_socket_path:
        return f"{redis.unix_socket_path} database {redis.db}"
    return f"{host_and_port(redis.host, redis.port)}/{redis.db}"
