"""Redis connections, and the commands that read the event streams.

The only importer of txredisapi, which imports the global reactor: import this
module only where a reactor is installed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import txredisapi
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust
from twisted.python.failure import Failure

from gaq_twisted.config import Redis, Settings
from gaq_twisted.events import StreamId

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_PAGE_ENTRIES = 100
# Error replies that concern one key and that no waiting will change.
_REFUSALS = ("WRONGTYPE", "NOPERM")


class StreamsError(Exception):
    """Redis could not be asked or did not give an answer; its text says what happened."""


class StreamRefused(StreamsError):
    """Redis answers, but will not read this stream: the key is no stream, or not ours to read."""


class Entry(NamedTuple):
    """An entry of a stream."""

    id: bytes
    data: bytes | None
    """The value of the field `data`, or None if it has no such field."""


class Connection:
    """A connection to Redis, opened when it is needed and replaced when it failed.

    It never tries anything again by itself: whoever asked decides when to.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, settings: Redis, clock: Any) -> None:
        """Take where Redis is.

        Args:
            endpoint: how to reach it.
            settings: the user, password and database number; and the address for messages.
            clock: provides IReactorTime.
        """
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._lock = DeferredLock()
        self._protocol: Any = None

    async def ask(self, *command: object, within_seconds: float = _ANSWER_SECONDS) -> Any:
        """Return the reply to a command.

        Args:
            command: its words.
            within_seconds: how long the reply may take; the connection is given up then.

        Raises:
            StreamRefused: if Redis will not do this with this key.
            StreamsError: if there is no reply, or it is another error.
        """
        protocol = await self._connected()
        return await self._ask(protocol, command, within_seconds)

    def close(self) -> None:
        """Close the connection; commands under way fail."""
        if self._protocol is not None:
            self._give_up(self._protocol)

    async def _connected(self) -> Any:
        await self._lock.acquire()
        try:
            if self._protocol is None or not self._protocol.connected:
                self._protocol = await self._connect()
            return self._protocol
        finally:
            self._lock.release()

    async def _connect(self) -> Any:
        connecting = self._endpoint.connect(_Factory())
        try:
            protocol: Any = await connecting.addTimeout(
                _CONNECT_SECONDS, self._clock, _raise_deadline_error
            )
        except (ConnectError, DNSLookupError) as error:
            raise StreamsError(f"cannot connect to {self}: {error}") from None
        except DeadlineError:
            raise StreamsError(f"cannot connect to {self} within {_CONNECT_SECONDS:g} s") from None
        except ConnectingCancelledError:
            raise CancelledError from None
        try:
            await self._log_in(protocol)
        except StreamsError:
            self._give_up(protocol)
            raise
        return protocol

    async def _log_in(self, protocol: Any) -> None:
        if self._settings.password:
            # Redis before 6.0 knows no users; later ones take this form for the default user.
            user = [self._settings.username] if self._settings.username != "default" else []
            await self._ask(protocol, ("AUTH", *user, self._settings.password), _ANSWER_SECONDS)
        if self._settings.db:
            await self._ask(protocol, ("SELECT", self._settings.db), _ANSWER_SECONDS)

    async def _ask(self, protocol: Any, command: Sequence[object], within_seconds: float) -> Any:
        try:
            answer: Deferred[Any] = protocol.execute_command(*command)
            return await answer.addTimeout(within_seconds, self._clock)
        except txredisapi.ResponseError as error:
            refused = str(error).startswith(_REFUSALS)
            kind = StreamRefused if refused else StreamsError
            raise kind(f"{self} answered {command[0]} with: {error}") from None
        except txredisapi.RedisError:
            raise StreamsError(f"the connection to {self} was lost: {protocol.lost}") from None
        except (DeadlineError, CancelledError) as error:
            # Its reply may still come, so the connection is of no more use.
            self._give_up(protocol)
            if isinstance(error, CancelledError):
                raise
            raise StreamsError(f"{self} did not answer within {within_seconds:g} s") from None

    def _give_up(self, protocol: Any) -> None:
        if protocol is self._protocol:
            self._protocol = None
        if protocol.connected:
            protocol.transport.abortConnection()

    def __str__(self) -> str:
        return f"Redis at {self._settings.host}:{self._settings.port}"


def redis_connection(settings: Redis, reactor: Any) -> Connection:
    """Return a connection to the Redis server that the settings name, not yet opened."""
    return Connection(_endpoint(settings, reactor), settings, reactor)


class Streams(Service):
    """The event streams of one Superset; a service, so that its connections are closed.

    The global stream is followed on a connection of its own, because a blocking
    read holds up whatever comes after it.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        """Take where the streams are; nothing is connected yet.

        Args:
            settings: the Redis server, the streams' prefix, and count and block time of a read.
            reactor: provides IReactorTime and what TCP endpoints need.
        """
        self._following = redis_connection(settings.redis, reactor)
        self._reading = redis_connection(settings.redis, reactor)
        self._prefix = settings.redis_stream_prefix
        self._global = f"{settings.redis_stream_prefix}full"
        self._read_count = settings.redis_stream_read_count
        self._block_ms = settings.redis_stream_read_block_ms

    def stopService(self) -> None:
        """Close the connections; reads under way fail."""
        super().stopService()
        self._following.close()
        self._reading.close()

    async def newest(self, *, count: int, max_bytes: int) -> list[Entry]:
        """Return the newest entries of the global stream, oldest first.

        Args:
            count: how many at most.
            max_bytes: no more pages are read once their data are so large together.

        Raises:
            StreamsError: if Redis does not give them.
        """
        newest_first: list[Entry] = []
        end = "+"
        size_bytes = 0
        while len(newest_first) < count and size_bytes < max_bytes:
            wanted = min(_PAGE_ENTRIES, count - len(newest_first))
            page = _entries(
                await self._following.ask("XREVRANGE", self._global, end, "-", "COUNT", wanted)
            )
            newest_first.extend(page)
            size_bytes += sum(len(entry.data or b"") for entry in page)
            if len(page) < wanted:
                break
            end = str(StreamId.parse(page[-1].id).before())
        newest_first.reverse()
        return newest_first

    async def after(self, cursor: bytes) -> list[Entry]:
        """Return the next entries of the global stream; wait for one for at most the block time.

        Args:
            cursor: the id of the last entry that was read.

        Raises:
            StreamsError: if Redis does not give them.
        """
        reply = await self._following.ask(
            *("XREAD", "COUNT", self._read_count, "BLOCK", self._block_ms),
            *("STREAMS", self._global, cursor),
            within_seconds=self._block_ms / 1000 + _ANSWER_SECONDS,
        )
        return _entries(reply[0][1]) if reply else []

    async def of_channel(self, channel: str, start: StreamId) -> list[Entry]:
        """Return the entries of a channel's stream, oldest first.

        Args:
            channel: the channel's id.
            start: the first id to return.

        Raises:
            StreamsError: if Redis does not give them.
        """
        entries: list[Entry] = []
        while True:
            page = _entries(
                await self._reading.ask(
                    *("XRANGE", f"{self._prefix}{channel}", start, "+", "COUNT", _PAGE_ENTRIES)
                )
            )
            entries.extend(page)
            if len(page) < _PAGE_ENTRIES:
                return entries
            start = StreamId.parse(page[-1].id).after()


class _Protocol(txredisapi.HiredisProtocol):  # type: ignore[misc]
    """Gives replies as Redis wrote them, and remembers why the connection was lost."""

    lost = "not connected"

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)

    def tryConvertData(self, data: Any) -> Any:
        """Return the data as it is: ids and events are not numbers, even where they look so."""
        return data

    def connectionLost(self, why: Failure) -> None:
        """Keep the reason and fail what waits for replies."""
        self.lost = why.getErrorMessage()
        super().connectionLost(why)


class _Factory(Factory):
    protocol = _Protocol
    noisy = False


def _raise_deadline_error(cancelled: object, seconds: float) -> NoReturn:
    # Endpoints that are cancelled fail in ways of their own.
    raise DeadlineError(seconds)


def _endpoint(settings: Redis, reactor: Any) -> IStreamClientEndpoint:
    host = settings.host
    tcp = HostnameEndpoint(reactor, host, settings.port)
    if not settings.ssl:
        return tcp
    if settings.validate_hostname:
        return wrapClientTLS(optionsForClientTLS(host), tcp)
    return wrapClientTLS(CertificateOptions(trustRoot=platformTrust()), tcp)


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [Entry(entry_id, _data(fields)) for entry_id, fields in reply]


def _data(fields: Sequence[bytes]) -> bytes | None:
    # Nearly always the one field there is.
    for index in range(0, len(fields), 2):
        if fields[index] == b"data":
            return fields[index + 1]
    return None
