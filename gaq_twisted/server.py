"""The running server as one service, and the process that it runs in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.web.resource import IResource

from gaq_twisted.config.load import Loaded
from gaq_twisted.net.listeners import why_not_listening
from gaq_twisted.ops.drain import Drain
from gaq_twisted.ops.life import Life
from gaq_twisted.ops.logs import LogOutput
from gaq_twisted.ops.reload import Reloader
from gaq_twisted.ops.systemd import Notifier


def _ignore() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Host:
    """The process that a server runs in."""

    output: LogOutput | None = None
    """The log observer of the application; None if twistd provides it."""
    read_settings: Callable[[], Loaded] | None = None
    """Reads the settings again, for a reload; raises ConfigError."""
    file: Path | None = None
    """The configuration file, if there is one."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The source of each setting, by key, for the log."""
    notifier: Notifier = field(default_factory=lambda: Notifier({}))
    """Reports to the service manager."""
    max_files: int = 2**31
    """The limit on open files."""
    give_up: Callable[[], None] = _ignore
    """Called when the server cannot work, and has logged why."""


@dataclass(frozen=True, kw_only=True)
class Additions:
    """Parts of a server that do not come from the settings."""

    services: Sequence[IService] = ()
    """Services to start before all others."""
    resources: Mapping[bytes, IResource] = field(default_factory=dict)
    """Further HTTP resources by the first part of their path."""
    endpoint: IStreamServerEndpoint | None = None
    """The endpoints to listen at; None for those in the settings."""


class Server(MultiService):
    """The whole server as one service.

    Args:
        parts: the services that it consists of, in the order of their start.
        life: logs the start and the end; one of these.
        drain: closes the sockets before it stops.
        reloader: reads the settings again.
        host: the process.
    """

    _log = Logger()

    def __init__(
        self,
        parts: Sequence[IService],
        life: Life,
        drain: Drain,
        reloader: Reloader,
        host: Host,
    ) -> None:
        super().__init__()
        self._life = life
        self._drain = drain
        self._reloader = reloader
        self._output = host.output
        self._notifier = host.notifier
        for part in parts:
            part.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Joins the application, and gives it the log observer."""
        if self._output is not None:
            parent.setComponent(ILogObserver, self._output)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Opens the ports.

        Raises:
            SystemExit: if one cannot be opened.
        """
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            reason = why_not_listening(error)
            self._log.critical("{reason}", event="cannot_listen", reason=reason)
            # Without a text, because it would be logged twice.
            raise SystemExit(1) from None

    def startService(self) -> None:
        """Starts all parts; the ports are open by then."""
        super().startService()
        self._notifier.ready("serving")

    def reload(self) -> None:
        """Reads the settings and certificates again."""
        self._notifier.reloading()
        try:
            self._reloader.reload()
        finally:
            self._notifier.ready("serving")

    def announce_stop(self, cause: str) -> None:
        """Logs why the server is about to stop, such as for a signal."""
        self._life.stopping(cause)

    def stopService(self) -> "Deferred[Any]":
        """Closes the sockets, and then stops all parts."""
        self.announce_stop("no signal")
        self._notifier.stopping("closing all connections")
        stop_parts = super().stopService
        stopping = Deferred.fromCoroutine(self._drain.drain()).addBoth(lambda _: stop_parts())
        return stopping.addBoth(self._log_stopped)

    def _log_stopped(self, result: Any) -> Any:
        self._life.stopped()
        return result
