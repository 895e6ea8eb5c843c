"""One connection to Redis: commands, deadlines, and explained errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import txredisapi
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from gaq_twisted.redis.deadline import in_time, no_extension
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.protocol import RedisProtocol
from gaq_twisted.redis.remedies import Remedies


class ServerAddress(NamedTuple):
    """Where a server is."""

    name: str
    """The name of the server in logs; unique to each server."""
    endpoint: IStreamClientEndpoint
    """How to reach it."""
    speaks_tls: bool = False


class Session:
    """A connection to one server, from its opening until it is lost or aborted.

    Args:
        address: where the server is.
        protocol: the connection.
        remedies: explains errors.
        clock: provides the time for deadlines.
    """

    def __init__(
        self,
        address: ServerAddress,
        protocol: RedisProtocol,
        remedies: Remedies,
        clock: IReactorTime,
    ) -> None:
        self.address = address
        self.protocol = protocol
        self.is_aborted = False
        self._remedies = remedies
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return bool(self.protocol.connected) and not self.is_aborted

    async def ask(
        self,
        *command: object,
        within_seconds: float,
        extension: Callable[[], float] = no_extension,
    ) -> Any:
        """Returns the reply to a command.

        Args:
            command: the words of the command.
            within_seconds: how long the reply may take; after that the connection is aborted.
            extension: called when that is over; returns how many seconds more it may take.

        Raises:
            RedisRefused: if Redis rejects the command for this key.
            RedisTooOld: if Redis does not know the command.
            RedisError: if there is no reply, or the reply is another error.
        """
        return await self._answered(
            str(command[0]),
            lambda: self.protocol.execute_command(*command),
            within_seconds,
            extension,
        )

    async def converse(
        self,
        first: bytes,
        next_command: Callable[[Any], bytes | None],
        *,
        name: str,
        within_seconds: float,
    ) -> None:
        """Sends commands, each once the reply to the previous one has been handled.

        Until it ends, no other command may be sent on this connection.

        Args:
            first: the first command, as Redis reads it.
            next_command: takes a reply; returns the next command, or None to end.
            name: the name of the commands, for error messages.
            within_seconds: how long each reply may take; after that the connection is aborted.

        Raises:
            RedisError: as `ask` does.
            Exception: what `next_command` raises.
        """
        sent_at = self._clock.seconds()

        def handle(reply: Any) -> bytes | None:
            nonlocal sent_at
            command = next_command(reply)
            sent_at = self._clock.seconds()
            return command

        def remaining_seconds() -> float:
            # A timer for each reply would cost as much as reading it.
            return sent_at + within_seconds - self._clock.seconds()

        await self._answered(
            name,
            lambda: self.protocol.converse(first, handle),
            within_seconds,
            remaining_seconds,
        )

    def abort(self) -> None:
        """Closes the connection; running commands fail."""
        self.is_aborted = True
        if self.protocol.connected:
            self.protocol.transport.abortConnection()

    async def _answered(
        self,
        name: str,
        send: "Callable[[], Deferred[Any]]",
        within_seconds: float,
        extension: Callable[[], float],
    ) -> Any:
        address, protocol = self.address, self.protocol
        try:
            return await in_time(send(), within_seconds, self._clock, extension)
        except txredisapi.ResponseError as error:
            # Redis repeats the arguments of an unknown command: with AUTH, a password.
            reply = str(error).partition(", with args")[0]
            raise self._remedies.error_reply(address.name, name, reply) from None
        except txredisapi.RedisError:
            reason = self._remedies.lost_connection(
                protocol.lost, speaks_tls=address.speaks_tls, has_answered=protocol.has_answered
            )
            raise RedisError(f"the connection to {address.name} was lost: {reason}") from None
        except (DeadlineError, CancelledError) as error:
            # The reply may still arrive, and would be taken for the reply to the next command.
            self.abort()
            if isinstance(error, CancelledError):
                raise
            hint = ""
            if address.speaks_tls and not protocol.is_secure:
                hint = self._remedies.no_tls_hint
            raise RedisError(
                f"{address.name} did not answer within {within_seconds:g} s{hint}",
                f"{address.name} does not answer",
            ) from None
