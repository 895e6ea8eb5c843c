"""A connection to a Redis server: opened when it is needed, with a deadline for everything.

It imports txredisapi, which imports the global reactor: import this module only where a
reactor is installed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import txredisapi
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from gaq_twisted.redis.deadline import in_time, never
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.protocol import RedisFactory, RedisProtocol
from gaq_twisted.redis.remedies import Remedies

_CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""How long a reply may take, unless the command itself waits."""
# How long the address of a server is used before it is looked up again.
_ADDRESS_SECONDS = 5.0

_T = TypeVar("_T")


class ServerAddress(NamedTuple):
    """Where a server is."""

    name: str
    """The name of the server in logs; another server has another name."""
    endpoint: IStreamClientEndpoint
    """How to reach it."""
    speaks_tls: bool = False


class Credentials(NamedTuple):
    """How to log in to a server, and which of its databases to use."""

    username: str
    password: str
    db: int
    must_be_master: bool
    """Whether a replica is not accepted."""


class Connection:
    """A connection to Redis, opened when it is needed and replaced after it failed.

    It never retries: the caller decides when to ask again.

    Args:
        locate: returns where the server is at this moment; raises RedisError.
        credentials: how to log in.
        remedies: explains errors.
        clock: the source of time for deadlines.
        connect_seconds: how long it may take to connect, and each command of the login.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[ServerAddress]],
        credentials: Credentials,
        remedies: Remedies,
        clock: IReactorTime,
        *,
        connect_seconds: float = _CONNECT_SECONDS,
    ) -> None:
        self.times_opened = 0
        """How many times it was opened; after a change the connection is another one."""
        self._connect_seconds = connect_seconds
        self._locate = locate
        self._credentials = credentials
        self._remedies = remedies
        self._clock = clock
        self._is_opening = False
        self._waiting: list[Deferred[None]] = []
        self._address: ServerAddress | None = None
        self._located_at = 0.0
        self._protocol: RedisProtocol | None = None
        self.on_messages: Callable[[Sequence[bytes]], None] = _ignore
        """Called with the messages of a subscribed channel that came together."""
        self.on_loss: Callable[[], None] = _ignore
        """Called when the connection is lost."""

    async def ask(self, *command: object, within_seconds: float = ANSWER_SECONDS) -> Any:
        """Returns the reply to a command.

        Args:
            command: the words of the command.
            within_seconds: how long the reply may take; after that the connection is aborted.

        Raises:
            RedisRefused: if Redis refuses the command for this key.
            RedisTooOld: if Redis does not know the command.
            RedisError: if there is no reply, or the reply is another error.
        """
        address, protocol = await self._connected()
        return await self._ask(address, protocol, command, within_seconds)

    async def ask_same(
        self,
        *command: object,
        within_seconds: float = ANSWER_SECONDS,
        may_extend: Callable[[], bool] = never,
    ) -> Any:
        """Returns the reply to a command as `ask` does, but never on a new connection.

        Args:
            command: the words of the command.
            within_seconds: how long the reply may take.
            may_extend: asked when that is over; whether the reply may take as long again.

        Raises:
            RedisError: also if the connection was lost.
        """
        if self._protocol is None or self._address is None:
            raise RedisError("the connection was closed")
        return await self._ask(self._address, self._protocol, command, within_seconds, may_extend)

    @property
    def server_name(self) -> str:
        """The name of the server that was connected to last; empty before that."""
        return self._address.name if self._address is not None else ""

    async def has_moved(self) -> bool:
        """Returns whether the server is another one by now, asking every few seconds only."""
        return self._address is not None and await self._has_moved(self._address)

    def pause(self) -> None:
        """Stops reading from it."""
        if self._protocol is not None:
            self._protocol.pause()

    def resume(self) -> None:
        """Reads from it again."""
        if self._protocol is not None:
            self._protocol.resume()

    def close(self) -> None:
        """Closes the connection; commands under way fail."""
        if self._protocol is not None:
            self._abort(self._protocol)

    async def _connected(self) -> "tuple[ServerAddress, RedisProtocol]":
        while self._is_opening:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        self._is_opening = True
        try:
            if self._protocol is not None and self._protocol.connected:
                assert self._address is not None
                if await self._has_moved(self._address):
                    self.close()
            if self._protocol is None or not self._protocol.connected:
                self._address = await self._locate()
                self._located_at = self._clock.seconds()
                await self._connect(self._address)
            assert self._address is not None and self._protocol is not None
            return self._address, self._protocol
        finally:
            self._is_opening = False
            # All are woken from here: a chain of thousands that each wake the next one
            # would overflow Python's stack.
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                turn.callback(None)

    async def _has_moved(self, address: ServerAddress) -> bool:
        if self._clock.seconds() < self._located_at + _ADDRESS_SECONDS:
            return False
        self._located_at = self._clock.seconds()
        try:
            return (await self._locate()).name != address.name
        except RedisError:
            # A server that replies is better than none.
            return False

    async def _connect(self, address: ServerAddress) -> None:
        factory = RedisFactory(self._received, self._lost)
        connecting = _cancellable(address.endpoint.connect(factory))
        try:
            protocol = await connecting.addTimeout(self._connect_seconds, self._clock)
        except (ConnectError, DNSLookupError, ValueError) as error:
            raise RedisError(f"cannot connect to {address.name}: {error}") from None
        except DeadlineError:
            raise RedisError(
                f"cannot connect to {address.name} within {self._connect_seconds:g} s"
            ) from None
        assert isinstance(protocol, RedisProtocol)
        self._protocol = protocol
        try:
            await self._log_in(address, protocol)
        except (RedisError, CancelledError):
            self.close()
            raise
        self.times_opened += 1

    async def _log_in(self, address: ServerAddress, protocol: "RedisProtocol") -> None:
        async def ask(*command: object) -> Any:
            return await self._ask(address, protocol, command, self._connect_seconds)

        username, password, db, must_be_master = self._credentials
        if password:
            # Redis before 6.0 knows no users; later ones take this form for the default user.
            user = [username] if username not in ("", "default") else []
            await ask("AUTH", *user, password)
        if db:
            await ask("SELECT", db)
        if must_be_master:
            role = (await ask("ROLE"))[0]
            if role != b"master":
                raise RedisError(f"{address.name} is not a master yet, but a {role.decode()}")

    async def _ask(
        self,
        address: ServerAddress,
        protocol: "RedisProtocol",
        command: Sequence[object],
        within_seconds: float,
        may_extend: Callable[[], bool] = never,
    ) -> Any:
        try:
            answer: Deferred[Any] = protocol.execute_command(*command)
            return await in_time(answer, within_seconds, self._clock, may_extend)
        except txredisapi.ResponseError as error:
            # Redis repeats the arguments of a command that it does not know: with AUTH, a password.
            reply = str(error).partition(", with args")[0]
            raise self._remedies.error_reply(address.name, str(command[0]), reply) from None
        except txredisapi.RedisError:
            reason = self._remedies.lost_connection(
                protocol.lost, speaks_tls=address.speaks_tls, has_answered=protocol.has_answered
            )
            raise RedisError(f"the connection to {address.name} was lost: {reason}") from None
        except (DeadlineError, CancelledError) as error:
            # The reply may still come, and would be taken for that of the next command.
            self._abort(protocol)
            if isinstance(error, CancelledError):
                raise
            hint = ""
            if address.speaks_tls and not protocol.is_secure:
                hint = self._remedies.no_tls_hint
            raise RedisError(
                f"{address.name} did not answer within {within_seconds:g} s{hint}",
                f"{address.name} does not answer",
            ) from None

    def _received(self, protocol: "RedisProtocol", messages: Sequence[bytes]) -> None:
        if protocol is self._protocol:
            self.on_messages(messages)

    def _lost(self, protocol: "RedisProtocol") -> None:
        if protocol is self._protocol:
            self.on_loss()

    def _abort(self, protocol: "RedisProtocol") -> None:
        if protocol is self._protocol:
            self._protocol = None
        if protocol.connected:
            protocol.transport.abortConnection()


def _cancellable(deferred: "Deferred[_T]") -> "Deferred[_T]":
    """Returns a Deferred that fails with CancelledError when it is cancelled.

    Cancelled endpoints fail with exceptions of their own.
    """
    is_cancelled = False

    def cancel(_: object) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        deferred.cancel()

    def pass_on(result: _T | Failure) -> None:
        if is_cancelled:
            return
        if isinstance(result, Failure):
            passed.errback(result)
        else:
            passed.callback(result)

    passed: Deferred[_T] = Deferred(cancel)
    deferred.addBoth(pass_on)
    return passed


def _ignore(*_: object) -> None:
    pass
