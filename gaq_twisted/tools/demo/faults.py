"""The faults that the demo causes."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import tcp
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from gaq_twisted.net.websocket import EventSocket
from gaq_twisted.server import Server
from gaq_twisted.tools.demo.ports import reserve
from gaq_twisted.tools.demo.valkey import Valkey
from gaq_twisted.tools.node.story import Span, Story

REDIS_SECONDS = 5.0
"""How long Redis is stopped."""
SERVER_SECONDS = 2.0
"""How long the server is stopped."""


class Fault(StrEnum):
    """What can happen while a dashboard loads."""

    NONE = "none"
    CUT = "cut"
    REDIS = "redis"
    RESTART = "restart"


class RestartingServer(MultiService):
    """A server that can be replaced by a new one with empty memory.

    Args:
        make: creates the next server, which listens at the same addresses.
        port: the public port, which stays reserved between servers.
    """

    def __init__(self, make: Callable[[], Server], port: int) -> None:
        super().__init__()
        self._make = make
        self._port = port

    def begin_with(self, server: Server) -> None:
        """Sets the first or the next server."""
        server.setServiceParent(self)

    def announce_stop(self, cause: str) -> None:
        """Logs why the server is about to stop for good."""
        for server in self:
            server.announce_stop(cause)

    async def stop(self) -> None:
        """Stops the server, which closes its WebSockets first."""
        for server in list(self):
            await maybeDeferred(server.disownServiceParent)

    async def restart(self, down_seconds: float, clock: IReactorTime) -> None:
        """Stops the server, and starts the next one after a pause."""
        await self.stop()
        with reserve(self._port):
            await deferLater(clock, down_seconds)
            self.begin_with(self._make())


class Faults:
    """Causes faults, and records their times in a story.

    Args:
        valkey: the Redis of the server.
        server: the server.
        reactor: has the connections, and provides the time.
    """

    def __init__(self, valkey: Valkey, server: RestartingServer, reactor: Any) -> None:
        self.restarted_at: float | None = None
        """When the server was started again, in the reactor's seconds; None if it was not."""
        self.is_busy = False
        """Whether a fault is planned or not yet over."""
        self._valkey = valkey
        self._server = server
        self._reactor = reactor

    async def cause(self, fault: Fault, story: Story, seconds: Callable[[], float]) -> None:
        """Causes a fault; returns when it is over.

        Args:
            fault: which one.
            story: where it is noted.
            seconds: returns the time of the story.
        """
        try:
            if fault is Fault.CUT:
                story.cut_at = seconds()
                self._cut()
            elif fault is Fault.REDIS:
                start = seconds()
                story.redis_down = Span(start, start + REDIS_SECONDS)
                await self._valkey.halt()
                await deferLater(self._reactor, REDIS_SECONDS)
                self._valkey.begin()
                story.redis_down = Span(start, seconds())
            elif fault is Fault.RESTART:
                start = seconds()
                story.server_down = Span(start, start + SERVER_SECONDS)
                await self._server.restart(SERVER_SECONDS, self._reactor)
                self.restarted_at = self._reactor.seconds()
                story.server_down = Span(start, seconds())
        finally:
            self.is_busy = False

    def _cut(self) -> None:
        """Ends all WebSockets without a close frame, as a network does."""
        for reader in self._reactor.getReaders():
            if isinstance(reader, tcp.Server) and isinstance(reader.protocol, EventSocket):
                reader.abortConnection()
