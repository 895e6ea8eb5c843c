"""A connection to a Redis server: opened when needed, with a deadline for each operation.

It imports txredisapi, which imports the global reactor: import this module only where a
reactor is installed.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from gaq_twisted.redis.deadline import no_extension
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.protocol import RedisFactory, RedisProtocol
from gaq_twisted.redis.remedies import Remedies
from gaq_twisted.redis.session import ServerAddress, Session

_CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""How long a reply may take, unless the command itself waits."""
# How long the address of a server is used before it is looked up again.
_ADDRESS_SECONDS = 5.0

_T = TypeVar("_T")


class Credentials(NamedTuple):
    """How to log in to a server, and which database to use."""

    username: str
    password: str
    db: int
    must_be_master: bool
    """Whether replicas are rejected."""


class Connection:
    """A connection to Redis, opened when needed and replaced after a failure.

    It never retries: the caller decides when to retry.

    Args:
        locate: returns the server's present address; raises RedisError.
        credentials: how to log in.
        remedies: explains errors.
        clock: provides the time for deadlines.
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
        """How many times it was opened; a change means a new connection."""
        self.server_name = ""
        """The name of the last server that was connected; empty before the first."""
        self._connect_seconds = connect_seconds
        self._locate = locate
        self._credentials = credentials
        self._remedies = remedies
        self._clock = clock
        self._is_opening = False
        self._waiting: list[Deferred[None]] = []
        self._session: Session | None = None
        self._located_at = 0.0
        self.on_messages: Callable[[Sequence[bytes]], None] = _ignore
        """Called with the messages of a subscribed channel that arrived together."""
        self.on_loss: Callable[[], None] = _ignore
        """Called when the connection is lost."""

    async def ask(self, *command: object, within_seconds: float = ANSWER_SECONDS) -> Any:
        """Returns the reply to a command; see Session.ask."""
        session = await self._connected()
        return await session.ask(*command, within_seconds=within_seconds)

    async def converse(
        self,
        first: bytes,
        next_command: Callable[[Any], bytes | None],
        *,
        name: str,
        within_seconds: float,
    ) -> None:
        """Sends commands; see Session.converse."""
        session = await self._connected()
        await session.converse(first, next_command, name=name, within_seconds=within_seconds)

    async def ask_same(
        self,
        *command: object,
        within_seconds: float = ANSWER_SECONDS,
        extension: Callable[[], float] = no_extension,
    ) -> Any:
        """Returns the reply to a command as `ask` does, but never on a new connection.

        Args:
            command: the words of the command.
            within_seconds: how long the reply may take.
            extension: called when that is over; returns how many seconds more it may take.

        Raises:
            RedisError: also if the connection was lost.
        """
        if self._session is None:
            raise RedisError("the connection was closed")
        return await self._session.ask(*command, within_seconds=within_seconds, extension=extension)

    async def has_moved(self) -> bool:
        """Returns whether the server's address has changed; looks it up every few seconds."""
        return self._session is not None and await self._has_moved(self._session.address)

    def pause(self) -> None:
        """Stops reading from it."""
        if self._session is not None:
            self._session.protocol.pause()

    def resume(self) -> None:
        """Reads from it again."""
        if self._session is not None:
            self._session.protocol.resume()

    def close(self) -> None:
        """Closes the connection; running commands fail."""
        if self._session is not None:
            self._session.abort()
            self._session = None

    async def _connected(self) -> Session:
        while self._is_opening:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        self._is_opening = True
        try:
            session = self._session
            if session is not None and session.is_open:
                if not await self._has_moved(session.address):
                    return session
                self.close()
            address = await self._locate()
            self._located_at = self._clock.seconds()
            return await self._connect(address)
        finally:
            self._is_opening = False
            # All are woken here: a chain of thousands that each wake the next one would overflow
            # Python's stack.
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
            # Any server that replies is better than none.
            return False

    async def _connect(self, address: ServerAddress) -> Session:
        factory = RedisFactory(self._received, self._lost)
        connecting = _cancellable(address.endpoint.connect(factory))
        try:
            protocol = await connecting.addTimeout(self._connect_seconds, self._clock)
        except (ConnectError, DNSLookupError, ValueError) as error:
            raise RedisError(f"cannot connect to {address.name}: {_reason(error)}") from None
        except DeadlineError:
            raise RedisError(
                f"cannot connect to {address.name} within {self._connect_seconds:g} s"
            ) from None
        assert isinstance(protocol, RedisProtocol)
        self.server_name = address.name
        self._session = session = Session(address, protocol, self._remedies, self._clock)
        try:
            await self._log_in(session)
        except (RedisError, CancelledError):
            self.close()
            raise
        self.times_opened += 1
        return session

    async def _log_in(self, session: Session) -> None:
        ask = partial(session.ask, within_seconds=self._connect_seconds)
        username, password, db, must_be_master = self._credentials
        if password:
            # Redis before 6.0 has no users; later versions use the default user for this form.
            user = [username] if username not in ("", "default") else []
            await ask("AUTH", *user, password)
        if db:
            await ask("SELECT", db)
        if must_be_master:
            role = (await ask("ROLE"))[0]
            if role != b"master":
                name = session.address.name
                raise RedisError(f"{name} is not a master, but a {role.decode()}")

    def _received(self, protocol: RedisProtocol, messages: Sequence[bytes]) -> None:
        if self._uses(protocol):
            self.on_messages(messages)

    def _lost(self, protocol: RedisProtocol) -> None:
        if self._uses(protocol):
            self.on_loss()

    def _uses(self, protocol: RedisProtocol) -> bool:
        session = self._session
        return session is not None and session.protocol is protocol and not session.is_aborted


def _cancellable(deferred: "Deferred[_T]") -> "Deferred[_T]":
    """Returns a Deferred that fails with CancelledError when it is cancelled.

    Cancelled endpoints fail with other exceptions.
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


def _reason(error: Exception) -> str:
    """Returns why a connection could not be made, in the operating system's words."""
    number = getattr(error, "osError", None)
    return os.strerror(number) if isinstance(number, int) else str(error)


def _ignore(*_: object) -> None:
    pass
