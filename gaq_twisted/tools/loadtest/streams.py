"""The events of a load test of streams, and its clients.

Import this module only where a reactor is installed.
"""

import json
import time
from random import Random

import msgspec
from twisted.internet.defer import CancelledError

from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.streams.publisher import COMMANDS, Publisher
from gaq_twisted.tools.cookies import Signer
from gaq_twisted.tools.loadtest.clients import Client, Crowd
from gaq_twisted.tools.loadtest.record import Channel, Listener, NumberedEvent, Record

_KEYS_AT_A_TIME = 500
_decode = msgspec.json.Decoder(NumberedEvent).decode


class StreamsTraffic:
    """Events of channels that only this test uses, and clients of these channels.

    Args:
        name: what the names of the channels begin with.
        settings: the settings of the server.
        reactor: connects to Redis.
        channels: how many channels there are.
        dice: choose the channel of each event.

    Raises:
        ConfigError: if the settings are unusable.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        reactor: IClientReactor,
        *,
        channels: int,
        dice: Random,
    ) -> None:
        self.name = name
        self._prefix = settings.redis_stream_prefix
        usage = stream_usage(self._prefix, (*COMMANDS, "+unlink"))
        self._redis = RedisServer(settings.redis, reactor, usage).connection()
        self._publisher = Publisher(self._redis, self._prefix)
        self._signer = Signer(settings)
        self._dice = dice
        self.counts = Record([f"{name}-{number}" for number in range(channels)])

    def announcement(self, events: int) -> str:
        """Describes the planned changes to Redis."""
        return (
            f"about {events:,} entries will be added to the stream {self._prefix}full, and as"
            f" many, together, to the streams {self._prefix}{self.name}-*, which are removed at"
            " the end"
        )

    async def neighbours(self) -> str:
        """Describes other users of the streams; empty if there are none.

        Raises:
            RedisError: if Redis does not say.
        """
        stream = f"{self._prefix}full"
        entries = await self._redis.ask("XLEN", stream)
        if not entries:
            return ""
        return f"Redis has the stream {stream} (length {entries:,}), which Superset may use"

    def add_clients(self, crowd: Crowd, count: int, expires_at: int) -> None:
        """Adds clients, which share the channels evenly."""
        channels = self.counts.channels
        headers = [
            {"Cookie": self._signer.cookie_header(channel.name, expires_at)} for channel in channels
        ]
        for number in range(count):
            at = number % len(channels)
            crowd.add(_StreamsClient(crowd, headers[at], self.counts, channels[at]))

    async def try_to_publish(self) -> None:
        """Publishes one event to an unused channel, to check the permission.

        Raises:
            RedisError: if Redis does not accept it.
        """
        await self._publisher.publish(self._trial_channel, _event(self._trial_channel, 0))

    async def publish(self) -> None:
        """Publishes an event to one of the channels."""
        channel = self._dice.choice(self.counts.channels)
        number = channel.next_number()
        try:
            await self._publisher.publish(channel.name, _event(channel.name, number))
        except (RedisError, CancelledError) as error:
            channel.unpublished.add(number)
            reason = error.state if isinstance(error, RedisError) else "Redis does not answer"
            self.counts.failed_publications[reason] += 1

    async def clean_up(self) -> str | None:
        """Removes the streams of the test's channels; returns the error if it cannot."""
        names = [self._trial_channel, *(channel.name for channel in self.counts.channels)]
        keys = [f"{self._prefix}{name}" for name in names]
        try:
            for start in range(0, len(keys), _KEYS_AT_A_TIME):
                await self._redis.ask("UNLINK", *keys[start : start + _KEYS_AT_A_TIME])
        except RedisError as error:
            return f"the streams {self._prefix}{self.name}-* could not be removed: {error}"
        finally:
            self._redis.close()
        return None

    @property
    def _trial_channel(self) -> str:
        return f"{self.name}-trial"


class _StreamsClient(Client):
    """A browser's tab of Superset 6.1, which comes back with the id of its last event."""

    def __init__(
        self, crowd: Crowd, headers: dict[str, str], record: Record, channel: Channel
    ) -> None:
        super().__init__(crowd, headers)
        self._record = record
        self._channel = channel
        self._listener: Listener | None = None
        self._last_id: str | None = None
        self._opened_ns = 0

    def query(self) -> str:
        return "" if self._last_id is None else f"last_id={self._last_id}"

    def may_drop(self) -> bool:
        # Others would reconnect without `last_id`, and would not be owed what they missed.
        return self._last_id is not None

    def note_open(self) -> None:
        self._opened_ns = time.monotonic_ns()
        if self._listener is None:
            self._listener = self._record.add_listener(self._channel)
        else:
            self._record.reconnects += 1

    def note_end(self, close_code: int | None) -> None:
        """Does nothing: it is owed all events, regardless of its connections."""

    def take(self, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        assert self._listener is not None
        try:
            event = _decode(payload)
        except msgspec.DecodeError:
            self._record.misdelivered += 1
            return
        self.crowd.note_frame()
        if self._record.take(self._listener, event, opened_ns=self._opened_ns, now_ns=now_ns):
            self._last_id = event.id


def _event(channel: str, number: int) -> bytes:
    """Returns an event as Superset writes it, numbered and timed for the clients."""
    event = {
        "channel_id": channel,
        "job_id": f"{channel}-{number}",
        "user_id": 1,
        "status": "done",
        "errors": [],
        "result_url": f"/api/v1/chart/data/{channel}-{number}",
        "number": number,
        "published_ns": time.monotonic_ns(),
    }
    return json.dumps(event).encode()
