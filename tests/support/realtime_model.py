"""A model of Redis Pub/Sub, browsers and servers, of which the realtime edition is real."""

import json
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gaq_twisted.config.forms import SigningSecret
from gaq_twisted.core.close import REALTIME_GAP, Close
from gaq_twisted.core.edition import Ticket, Unavailable
from gaq_twisted.core.hub import Hub
from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime import edition as edition_module
from gaq_twisted.realtime.edition import RealtimeEdition
from gaq_twisted.redis.errors import RedisError
from tests.support.fakes import FakeSocket, payloads
from tests.support.samples import settings

ANSWER_SECONDS = 3.0


class ModelRedis:
    """A Redis server that may be away, or swallow what it is asked."""

    def __init__(self) -> None:
        self.is_away = False
        self.swallows = False
        self.reply_seconds = 0.0
        """How long each reply takes."""


class ModelSubscription:
    """A subscription on the model; the stand-in for redis.subscription.Subscription."""

    def __init__(self, redis: ModelRedis, clock: Clock, on_messages: Any) -> None:
        self._redis = redis
        self._clock = clock
        self._on_messages = on_messages
        self.is_attached = False
        """Whether Redis would send it a message."""
        self._is_silent = False
        self.is_paused = False

    def on_loss(self) -> None:
        """Is replaced by the subscriber."""

    async def open(self) -> None:
        """Subscribes."""
        self.is_attached = self._is_silent = self.is_paused = False
        await self._reply()
        self.is_attached = True

    async def probe(self) -> None:
        """Asks whether it holds."""
        if not self.is_attached and not self._is_silent:
            raise RedisError("the connection was lost")
        await self._reply()
        if not self.is_attached:
            raise RedisError("the connection was lost")

    async def _reply(self) -> None:
        if self._redis.is_away:
            raise RedisError("connection refused")
        swallowed = self._redis.swallows or self._is_silent
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        seconds = ANSWER_SECONDS if swallowed else self._redis.reply_seconds
        call = self._clock.callLater(seconds, waiting.callback, None)
        await waiting
        if swallowed or self._redis.is_away:
            raise RedisError("no reply in time")

    def lose(self, *, silently: bool) -> None:
        """Loses the connection; nobody notices that if it is silent."""
        if self.is_attached:
            self.is_attached = False
            self._is_silent = silently
            if not silently:
                self.on_loss()

    def publish(self, message: bytes) -> None:
        """Passes a message on, if the subscription holds."""
        if self.is_attached:
            self._on_messages([message])

    def pause(self) -> None:
        """Notes that too much waits."""
        self.is_paused = True

    def resume(self) -> None:
        """Notes that it may go on."""
        self.is_paused = False

    def close(self) -> None:
        """Ends it."""
        self.is_attached = False


class ModelSocket(FakeSocket):
    """A socket that knows what it is owed."""

    def __init__(self, server: "ModelServer", *routes: str) -> None:
        super().__init__(*routes)
        self.server = server
        self.owed: list[int] = []
        self.has_joined = False
        self.has_left = False
        self.waiting: Deferred[None] | None = None
        """Its upgrade, if that had to wait."""
        self.exposed_at: float | None = None
        """Since when it may have missed messages."""
        self.closes: list[Close] = []

    @property
    def is_open(self) -> bool:
        """Whether it is open, for the server and for the client."""
        return self.has_joined and not self.has_left and not self.closes and self.open

    @property
    def received(self) -> list[int]:
        """The messages that it was sent."""
        return [json.loads(one)["payload"] for one in payloads(b"".join(self.sent))]

    def send(self, frames: bytes) -> None:
        """Keeps the frames, which takes time."""
        self.server.check(self.is_open, "sent to a socket that is not open")
        self.server.clock.rightNow += self.server.send_seconds
        super().send(frames)

    def close(self, close: Close) -> None:
        """Checks that the close is one that the promise asks for."""
        self.closes.append(close)
        self.server.check(len(self.closes) == 1, "closed twice")
        self.server.check(close is REALTIME_GAP, str(close))
        self.server.check(self.exposed_at is not None, "closed, though it can have missed nothing")
        self.server.check(self.server.may_close, "closed too early")


class ModelServer:
    """A server: the real edition and hub on a model of Redis.

    Args:
        redis: the model of Redis.
        clock: the time.
        send_seconds: how long it takes to send to one socket.
    """

    def __init__(self, redis: ModelRedis, clock: Clock, send_seconds: float) -> None:
        self.clock = clock
        self.send_seconds = send_seconds
        self.sockets: list[ModelSocket] = []
        self.lost_at = 0.0
        """When the subscription began to be lost last."""
        self._was_attached = False
        self.errors: list[str] = []
        """What was wrong; assertions would be caught by the server."""
        self.metrics = metrics = Metrics(CORE)
        chosen = settings(protocol="realtime", realtime_jwt_secret=SigningSecret("s" * 32))
        self.hub = Hub(metrics, clock.seconds, chosen)

        def subscription(_: object, __: str, on_messages: Any) -> ModelSubscription:
            return ModelSubscription(redis, clock, on_messages)

        with mock.patch.object(edition_module, "Subscription", subscription):
            reactor: Any = clock
            self.edition = RealtimeEdition(chosen, self.hub, metrics, reactor)
        self._subscriber = self.edition._subscriber
        self.subscription: Any = self._subscriber._subscription
        self._subscriber.startService()

    def stop(self) -> None:
        """Stops the edition."""
        self._subscriber.stopService()

    def connect(self, *routes: str) -> ModelSocket:
        """Returns the socket of a new client, which may have to wait before it opens."""
        socket = ModelSocket(self, *routes)
        self.sockets.append(socket)
        asked_at = self.clock.seconds()

        def join(_: None) -> None:
            self.check(self._subscriber.is_subscribed, "admitted while there is no subscription")
            if not socket.has_left:
                socket.has_joined = True
                self.edition.join(socket, Ticket(routes, None))

        def refuse(failure: Failure) -> None:
            socket.has_left = True
            if failure.check(CancelledError):
                return
            failure.trap(Unavailable)
            self.check(self.clock.seconds() >= asked_at + 10, "refused too early")
            self.check(not self._subscriber.is_subscribed, "refused though subscribed")

        waiting = self.edition.when_ready()
        if waiting is None:
            join(None)
        else:
            socket.waiting = waiting
            waiting.addCallbacks(join, refuse)
            waiting.addErrback(lambda failure: self.check(False, repr(failure)))
        return socket

    def leave(self, socket: ModelSocket) -> None:
        """Lets a client leave, or wait no longer."""
        socket.has_left = True
        if socket.has_joined:
            self.hub.leave(socket)
        elif socket.waiting is not None:
            socket.waiting.cancel()

    def publish(self, number: int, routes: tuple[str, ...] | None) -> None:
        """Receives a message, and notes which sockets are owed it."""
        if self.subscription.is_attached:
            for socket in self.sockets:
                if socket.is_open and (routes is None or set(routes) & set(socket.routes)):
                    socket.owed.append(number)
        scope = "authenticated_global" if routes is None else "principal"
        message = {"topic": "t", "scope": scope, "payload": number, "routes": routes or []}
        self.subscription.publish(json.dumps(message).encode())

    def note_exposed(self) -> None:
        """Notes which sockets may miss messages now."""
        was_attached, self._was_attached = self._was_attached, self.subscription.is_attached
        if self._was_attached:
            return
        if was_attached:
            self.lost_at = self.clock.seconds()
        for socket in self.sockets:
            if socket.is_open and socket.exposed_at is None:
                socket.exposed_at = self.clock.seconds()

    @property
    def may_close(self) -> bool:
        """Whether sockets may be closed now."""
        # A difference of two times is rounded.
        return self._subscriber.is_subscribed or self._subscriber.seconds_lost > 2 - 1e-6

    def check(self, holds: bool, text: str) -> None:
        """Keeps what is wrong."""
        if not holds:
            self.errors.append(text)
