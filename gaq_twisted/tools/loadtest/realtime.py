"""The messages of a load test of the realtime protocol, and its clients.

Import this module only where a reactor is installed.
"""

import time
from random import Random

import msgspec
from twisted.internet.defer import CancelledError

from gaq_twisted.config.settings import Settings
from gaq_twisted.realtime.edition import channel_of
from gaq_twisted.realtime.publisher import Publisher, publisher_usage
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.tools.cookies import RealtimeSigner
from gaq_twisted.tools.loadtest.clients import Client, Crowd
from gaq_twisted.tools.loadtest.realtime_record import (
    EVERYBODY,
    Frame,
    Payload,
    RealtimeRecord,
    Tab,
)

_BROADCAST_TOPIC = "load-test"
_TOPIC = "task.status"
_GAP_CODE = 1012
# Equally many messages are for one tab and for all tabs of a user.
_TAB_SHARE = 0.5
_decode = msgspec.json.Decoder(Frame).decode


class RealtimeTraffic:
    """Messages for test users, a few of them for every socket, and these users' tabs.

    Args:
        name: what the ids of the users begin with.
        settings: the settings of the server.
        reactor: connects to Redis.
        clients: how many tabs there are.
        principals: how many users there are.
        broadcast_share: the share of messages that are for every socket.
        settle_seconds: how long a message may take at most.
        dice: choose the recipient of each message.

    Raises:
        ConfigError: if the settings are unusable.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        reactor: IClientReactor,
        *,
        clients: int,
        principals: int,
        broadcast_share: float,
        settle_seconds: float,
        dice: Random,
    ) -> None:
        self.name = name
        self._channel = channel_of(settings)
        self._signer = RealtimeSigner(settings)
        usage = publisher_usage(self._channel)
        self._redis = RedisServer(settings.realtime_redis, reactor, usage).connection()
        self._publisher = Publisher(self._redis, self._channel)
        self._broadcast_share = broadcast_share
        self._dice = dice
        tabs = [
            Tab(f"user:{name}-{number % principals}", str(1 + number // principals))
            for number in range(clients)
        ]
        self.counts = RealtimeRecord(tabs, int(settle_seconds * 1e9))
        self._routes = list(self.counts.routes())

    def announcement(self, events: int) -> str:
        """Describes the planned changes to Redis."""
        return (
            f"about {events:,} messages will be published on the channel {self._channel}, a share"
            f" of {self._broadcast_share:.0%} of them to every socket of every server, under the"
            f" topic {_BROADCAST_TOPIC}, which Superset's pages ignore"
        )

    async def neighbours(self) -> str:
        """Describes the channel's subscribers; empty if there are none.

        Raises:
            RedisError: if Redis does not say.
        """
        _, count = await self._redis.ask("PUBSUB", "NUMSUB", self._channel)
        if not count:
            return ""
        return (
            f"the channel {self._channel} has subscribers ({count:,}), and broadcasts reach all"
            " their sockets"
        )

    def add_clients(self, crowd: Crowd, count: int, expires_at: int) -> None:
        """Adds a client for each tab."""
        cookie_headers: dict[str, dict[str, str]] = {}
        for tab in self.counts.tabs[:count]:
            if tab.principal not in cookie_headers:
                header = self._signer.cookie_header(tab.principal, int(time.time()), expires_at)
                cookie_headers[tab.principal] = {"Cookie": header}
            crowd.add(_RealtimeClient(crowd, cookie_headers[tab.principal], self.counts, tab))

    async def try_to_publish(self) -> None:
        """Publishes one message without recipients, to check the permission.

        Raises:
            RedisError: if Redis does not accept it.
        """
        await self._send(Payload(0, f"user:{self.name}-trial", time.monotonic_ns()))

    async def publish(self) -> None:
        """Publishes a message for one tab, for all tabs of a user, or for every socket."""
        principal, tab = self._dice.choice(self._routes)
        route = tab if self._dice.random() < _TAB_SHARE else principal
        if self._dice.random() < self._broadcast_share:
            route = EVERYBODY
        payload = self.counts.publish(route, time.monotonic_ns())
        try:
            await self._send(payload)
        except (RedisError, CancelledError) as error:
            reason = error.state if isinstance(error, RedisError) else "Redis does not answer"
            self.counts.fail_publication(payload, reason)

    async def _send(self, payload: Payload) -> None:
        content = msgspec.to_builtins(payload)
        if payload.route == EVERYBODY:
            await self._publisher.broadcast(_BROADCAST_TOPIC, content)
        else:
            scope = "tab" if payload.route.count(":") == 2 else "principal"
            await self._publisher.publish(_TOPIC, scope, content, [payload.route])

    async def clean_up(self) -> None:
        """Ends the connection to Redis, which keeps nothing."""
        self._redis.close()


class _RealtimeClient(Client):
    """A browser's tab of Superset 7."""

    def __init__(
        self, crowd: Crowd, headers: dict[str, str], record: RealtimeRecord, tab: Tab
    ) -> None:
        super().__init__(crowd, headers)
        self._record = record
        self._tab = tab

    def query(self) -> str:
        return f"tab_id={self._tab.tab_id}"

    def may_drop(self) -> bool:
        return True

    def note_open(self) -> None:
        self._record.open(self._tab)

    def note_end(self, close_code: int | None) -> None:
        self._record.close(self._tab, time.monotonic_ns(), is_gap=close_code == _GAP_CODE)

    def take(self, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        try:
            frame = _decode(payload)
        except msgspec.DecodeError:
            # Superset's own broadcasts go to every socket.
            return
        self.crowd.note_frame()
        self._record.take(self._tab, frame.payload, now_ns)
