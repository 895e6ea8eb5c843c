"""Keeps a subscription to the realtime channel, and detects when it is lost."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.redis.errors import RedisError

_PROBE_SECONDS = 3.0
# The first retry is immediate, because waiting upgrades have only 10 s.
_RETRY_SECONDS = (0.0, 0.25, 0.5)
_MOST_RETRY_SECONDS = 1.0


class Subscription(Protocol):
    """The part of redis.subscription.Subscription that is needed here."""

    on_loss: Callable[[], None]
    """Called when the connection is lost."""

    async def open(self) -> None:
        """Subscribes on a new connection; raises RedisError."""

    async def probe(self) -> None:
        """Raises RedisError if the subscription no longer holds."""

    def close(self) -> None:
        """Ends the subscription."""


class SubscriptionSink(Protocol):
    """Is notified of changes of the subscription."""

    def subscribed(self) -> None:
        """There is a subscription; messages arrive from now on."""

    def lost(self) -> None:
        """The subscription is lost; messages may have been missed for some seconds already."""

    def stopped(self) -> None:
        """There will be no further subscription."""


class Subscriber(Service):
    """Subscribes, probes the subscription every 3 s, and subscribes again after each loss.

    A connection that a firewall drops silently, or whose server hangs, looks like an idle one. So
    Redis is probed, and a reply that takes more than 3 s counts as a loss.

    Args:
        subscription: the subscription, not yet open.
        sink: notified of changes.
        clock: times probes and retries.
    """

    _log = Logger()

    def __init__(
        self, subscription: Subscription, sink: SubscriptionSink, clock: IReactorTime
    ) -> None:
        self._subscription = subscription
        self._sink = sink
        self._clock = clock
        self._failures = 0
        self._lost_at: float | None = clock.seconds()
        self._subscribed_at = clock.seconds()
        # The states of Redis that were logged in this outage.
        self._logged: set[str] = set()
        # Whether the connection was lost since the last probe.
        self._is_suspect = False
        self._wake: Deferred[None] | None = None
        self._following: Deferred[None] | None = None
        subscription.on_loss = self._wake_up

    @property
    def is_subscribed(self) -> bool:
        """Whether the subscription holds, as far as is known."""
        return self._lost_at is None

    @property
    def seconds_lost(self) -> float:
        """How long there has been no subscription; 0 if there is one."""
        return 0.0 if self._lost_at is None else self._clock.seconds() - self._lost_at

    def startService(self) -> None:
        """Subscribes."""
        super().startService()
        self._lost_at = self._clock.seconds()
        self._following = Deferred.fromCoroutine(self._follow())
        self._following.addErrback(
            lambda failure: self._log.failure(
                "stopped following the realtime channel", failure, event="subscriber_stopped"
            )
        )

    def stopService(self) -> "Deferred[Any] | None":
        """Ends the subscription."""
        super().stopService()
        if self._following is not None:
            self._following.cancel()
        self._subscription.close()
        self._sink.stopped()
        return self._following

    async def _follow(self) -> None:
        with suppress(CancelledError):
            while self.running:
                error = await self._hold()
                if self.running:
                    self._note_lost(error)
                    await deferLater(self._clock, self._next_delay())

    async def _hold(self) -> RedisError:
        """Subscribes, and probes until the subscription is lost; returns why it was."""
        try:
            self._is_suspect = False
            await self._subscription.open()
            self._note_subscribed()
            await self._watch()
        except RedisError as error:
            return error
        except Exception:
            if self.running:
                self._log_internal_error()
        return RedisError("internal error, logged separately")

    async def _watch(self) -> None:
        while True:
            if not self._is_suspect:
                self._wake = Deferred()
                await self._wake.addTimeout(_PROBE_SECONDS, self._clock, lambda *_: None)
            self._is_suspect = False
            await self._subscription.probe()

    def _wake_up(self) -> None:
        self._is_suspect = True
        if self._wake is not None and not self._wake.called:
            self._wake.callback(None)

    def _next_delay(self) -> float:
        tries, self._failures = self._failures, self._failures + 1
        return _RETRY_SECONDS[tries] if tries < len(_RETRY_SECONDS) else _MOST_RETRY_SECONDS

    def _note_subscribed(self) -> None:
        seconds, self._lost_at = self.seconds_lost, None
        self._subscribed_at = self._clock.seconds()
        self._logged.clear()
        self._log.info(
            "subscribed to the realtime channel after {seconds} s without a subscription",
            event="subscribed",
            seconds=round(seconds, 3),
        )
        self._sink.subscribed()

    def _note_lost(self, error: RedisError) -> None:
        is_new = self._lost_at is None
        if is_new:
            self._lost_at = self._clock.seconds()
        if error.state not in self._logged:
            self._logged.add(error.state)
            self._log.warn(
                "no subscription to the realtime channel, retrying until there is one: {error}",
                event="cannot_subscribe",
                error=str(error),
            )
        if is_new:
            # Otherwise a server that accepts a subscription and closes at once would be retried
            # without delay.
            if self._clock.seconds() >= self._subscribed_at + _MOST_RETRY_SECONDS:
                self._failures = 0
            try:
                self._sink.lost()
            except Exception:
                self._log_internal_error()

    def _log_internal_error(self) -> None:
        self._log.failure("following the realtime channel failed", event="subscriber_failed")
