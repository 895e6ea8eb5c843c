"""A connection to a Redis server: opened when it is needed, with a deadline for everything.

The only importer of txredisapi, which imports the global reactor: import this
module only where a reactor is installed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import txredisapi
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from gaq_twisted.redis.tls import WrongHostName

_CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""How long an answer may take, unless the command itself waits."""
# How long a server is taken to be where it was found before it is looked for again.
_PLACE_SECONDS = 5.0


class RedisError(Exception):
    """Redis could not be asked or did not give an answer; its text says what happened."""

    def __init__(self, fact: str, state: str = "", remedy: str = "") -> None:
        """Take what it tells.

        Args:
            fact: what happened.
            state: the state of Redis that other errors may share, if not only this.
            remedy: what to do about it, if that is known.
        """
        super().__init__(f"{fact} ({remedy})" if remedy else fact)
        self.fact = fact
        self.state = state or fact
        self.remedy = remedy


class RedisRefused(RedisError):
    """Redis answers, but not to this for this key, and no waiting will change that."""


class RedisTooOld(RedisError):
    """Redis does not know a command that is needed."""


class ServerAddress(NamedTuple):
    """Where a server is."""

    name: str
    """What the log calls it; another server has another name."""
    endpoint: IStreamClientEndpoint
    """How to reach it."""
    speaks_tls: bool = False


class Credentials(NamedTuple):
    """How a connection begins."""

    username: str
    password: str
    db: int
    must_be_master: bool
    """Whether a replica will not do."""
    acl_rule: str
    """What the user must be allowed, as ACL SETUSER takes it; for messages, as are the next."""
    password_key: str
    """Where the password is set."""
    without_command: str
    """What it means that a command is not known."""


class Connection:
    """A connection to Redis, opened when it is needed and replaced when it failed.

    It never tries anything again by itself: whoever asked decides when to.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[ServerAddress]],
        login: Credentials,
        clock: Any,
        *,
        connect_seconds: float = _CONNECT_SECONDS,
    ) -> None:
        """Take where Redis is.

        Args:
            locate: returns where the server is at this moment; raises RedisError.
            login: who to be there.
            clock: provides IReactorTime.
            connect_seconds: how long it may take to connect, and then to log in.
        """
        self.times_opened = 0
        """How many times it was opened; another number is another connection."""
        self._connect_seconds = connect_seconds
        self._locate = locate
        self._login = login
        self._clock = clock
        self._is_opening = False
        self._waiting: list[Deferred[None]] = []
        self._place: ServerAddress | None = None
        self._located_at = 0.0
        self._protocol: Any = None

    async def ask(self, *command: object, within_seconds: float = ANSWER_SECONDS) -> Any:
        """Return the reply to a command.

        Args:
            command: its words.
            within_seconds: how long the reply may take; the connection is given up then.

        Raises:
            RedisRefused: if Redis will not do this with this key.
            RedisTooOld: if Redis does not know the command.
            RedisError: if there is no reply, or it is another error.
        """
        place, protocol = await self._connected()
        return await self._ask(place, protocol, command, within_seconds)

    def close(self) -> None:
        """Close the connection; commands under way fail."""
        if self._protocol is not None:
            self._give_up(self._protocol)

    async def _connected(self) -> tuple[ServerAddress, Any]:
        while self._is_opening:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        self._is_opening = True
        try:
            if self._protocol is not None and self._protocol.connected:
                assert self._place is not None
                if await self._has_moved(self._place):
                    self.close()
            if self._protocol is None or not self._protocol.connected:
                self._place = await self._locate()
                self._located_at = self._clock.seconds()
                await self._connect(self._place)
            assert self._place is not None
            return self._place, self._protocol
        finally:
            self._is_opening = False
            # From here, one after the other: thousands that wake the next one each would be
            # too deep for Python's stack.
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                turn.callback(None)

    async def _has_moved(self, place: ServerAddress) -> bool:
        if self._clock.seconds() < self._located_at + _PLACE_SECONDS:
            return False
        self._located_at = self._clock.seconds()
        try:
            return (await self._locate()).name != place.name
        except RedisError:
            # Better the server that answers than none.
            return False

    async def _connect(self, place: ServerAddress) -> None:
        connecting = _cancellable(place.endpoint.connect(_Factory()))
        try:
            self._protocol = await connecting.addTimeout(self._connect_seconds, self._clock)
        except (ConnectError, DNSLookupError, ValueError) as error:
            raise RedisError(f"cannot connect to {place.name}: {error}") from None
        except DeadlineError:
            raise RedisError(
                f"cannot connect to {place.name} within {self._connect_seconds:g} s"
            ) from None
        try:
            await self._log_in(place, self._protocol)
        except (RedisError, CancelledError):
            self.close()
            raise
        self.times_opened += 1

    async def _log_in(self, place: ServerAddress, protocol: Any) -> None:
        async def ask(*command: object) -> Any:
            return await self._ask(place, protocol, command, self._connect_seconds)

        if self._login.password:
            # Redis before 6.0 knows no users; later ones take this form for the default user.
            user = [self._login.username] if self._login.username not in ("", "default") else []
            await ask("AUTH", *user, self._login.password)
        if self._login.db:
            await ask("SELECT", self._login.db)
        if self._login.must_be_master:
            role = (await ask("ROLE"))[0]
            if role != b"master":
                raise RedisError(f"{place.name} is not a master yet, but a {role.decode()}")

    async def _ask(
        self, place: ServerAddress, protocol: Any, command: Sequence[object], within_seconds: float
    ) -> Any:
        try:
            answer: Deferred[Any] = protocol.execute_command(*command)
            return await answer.addTimeout(within_seconds, self._clock)
        except txredisapi.ResponseError as error:
            # Of a command that it does not know Redis repeats the arguments: a password, with AUTH.
            reply = str(error).partition(", with args")[0]
            raise self._answered(place, str(command[0]), reply) from None
        except txredisapi.RedisError:
            why = _explained(protocol, place)
            raise RedisError(f"the connection to {place.name} was lost: {why}") from None
        except (DeadlineError, CancelledError) as error:
            # Its reply may still come, so the connection is of no more use.
            self._give_up(protocol)
            if isinstance(error, CancelledError):
                raise
            hint = _TLS_HINT if place.speaks_tls and not protocol.is_secure else ""
            raise RedisError(
                f"{place.name} did not answer within {within_seconds:g} s{hint}",
                f"{place.name} does not answer",
            ) from None

    def _answered(self, place: ServerAddress, command: str, reply: str) -> RedisError:
        text = f"{place.name} answered {command} with: {reply}"
        for beginnings, kind, remedy in _REMEDIES:
            if reply.startswith(beginnings):
                needed = remedy.format(login=self._login)
                return kind(text, f"{place.name}: {beginnings[0]}", needed)
        return RedisError(text, f"{place.name}: {reply}")

    def _give_up(self, protocol: Any) -> None:
        if protocol is self._protocol:
            self._protocol = None
        if protocol.connected:
            protocol.transport.abortConnection()


# How error replies begin, what to raise for them, and what to tell the operator.
_REMEDIES: tuple[tuple[tuple[str, ...], type[RedisError], str], ...] = (
    (("NOPERM",), RedisRefused, "the user {login.username} needs {login.acl_rule}"),
    (("WRONGTYPE",), RedisRefused, "the key holds something else than a stream: delete it"),
    (("NOAUTH",), RedisError, "set {login.password_key}"),
    (
        ("WRONGPASS", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH"),
        RedisError,
        "correct {login.password_key} or the user name",
    ),
    (
        ("MOVED", "CROSSSLOT"),
        RedisError,
        "this is a Redis Cluster: put a hash tag into redisStreamPrefix,"
        " and let redis.host be the node that has its slot",
    ),
    (("ERR unknown command",), RedisTooOld, "{login.without_command}"),
)


_TLS_HINT = "; perhaps it speaks no TLS (redis.ssl)"
_NO_TLS_HINT = "; perhaps it expects TLS (redis.ssl)"


@implementer(IHandshakeListener)
class _Protocol(txredisapi.HiredisProtocol):  # type: ignore[misc]
    """Gives replies as Redis wrote them, and remembers why the connection was lost."""

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.lost: Failure | None = None
        self.is_secure = False
        self.has_answered = False

    def tryConvertData(self, data: Any) -> Any:
        """Return the data as it is: ids and events are not numbers, even where they look so."""
        return data

    def handshakeCompleted(self) -> None:
        """Note that TLS is there."""
        self.is_secure = True

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Take replies, or end the connection to something that is not Redis."""
        self.has_answered = True
        try:
            super().dataReceived(data, unpause)
        except txredisapi.InvalidData:
            self.lost = Failure()
            self.transport.abortConnection()

    def connectionLost(self, why: Failure) -> None:
        """Keep the reason and fail what waits for replies."""
        self.lost = self.lost or why
        super().connectionLost(why)


class _Factory(Factory):
    protocol = _Protocol
    noisy = False


def _explained(protocol: _Protocol, place: ServerAddress) -> str:
    """Return why a connection was lost."""
    if protocol.lost is None:
        return "it was not connected"
    if isinstance(protocol.lost.value, WrongHostName):
        return str(protocol.lost.value)
    hint = ""
    if "wrong version number" in str(protocol.lost.value):
        hint = _TLS_HINT
    elif not place.speaks_tls and not protocol.has_answered:
        hint = _NO_TLS_HINT
    return f"{protocol.lost.getErrorMessage()}{hint}"


def _cancellable(deferred: "Deferred[Any]") -> "Deferred[Any]":
    """Return a Deferred that fails with CancelledError when it is cancelled.

    Endpoints that are cancelled fail in ways of their own.
    """
    is_cancelled = False

    def cancel(_: object) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        deferred.cancel()

    def pass_on(result: Any) -> None:
        if is_cancelled:
            return
        if isinstance(result, Failure):
            passed.errback(result)
        else:
            passed.callback(result)

    passed: Deferred[Any] = Deferred(cancel)
    deferred.addBoth(pass_on)
    return passed
