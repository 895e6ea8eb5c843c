"""The load test itself: connects clients, publishes, drops, and waits for what is missing.

Import this module only where a reactor is installed.
"""

import gc
import math
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from gaq_twisted.config.settings import Settings
from gaq_twisted.redis.errors import RedisError, RedisRefused
from gaq_twisted.redis.server import IClientReactor
from gaq_twisted.tools.loadtest.clients import Crowd
from gaq_twisted.tools.loadtest.realtime import RealtimeTraffic
from gaq_twisted.tools.loadtest.report import Load, Report
from gaq_twisted.tools.loadtest.sockets import Target
from gaq_twisted.tools.loadtest.streams import StreamsTraffic

CHANNEL_PREFIX = "load-"
# Longer than any settling takes.
_COOKIE_SECONDS = 24 * 3600
_SHORTEST_TICK_SECONDS = 0.001
_LONGEST_TICK_SECONDS = 0.1
# Time for duplicates to arrive once nothing is missing.
_CALM_SECONDS = 0.3

Progress = Callable[[str, float, str], None]
"""Called with the name of the phase, the share of it that is done, from 0 to 1, and numbers."""


class Plan(NamedTuple):
    """The parameters of a load test."""

    target: Target
    clients: int
    tabs: int
    """How many clients share a channel."""
    rate: float
    """Events per second."""
    seconds: float
    drops: float
    """Broken connections per second."""
    settle_seconds: float
    """At the end, how long to wait for missing events after the last frame."""
    origin: str | None
    protocol: str
    """`streams` or `realtime`."""
    broadcast_share: float
    """With realtime, the share of messages that are for every socket."""

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return math.ceil(self.clients / self.tabs)

    @property
    def events(self) -> int:
        """How many events are published."""
        return round(self.rate * self.seconds)


class CannotPublish(Exception):
    """Raised if Redis does not accept events; the text says why and what to do."""


class LoadTest:
    """A load test; nothing is connected before it runs.

    Args:
        plan: its parameters.
        settings: the settings of the server.
        reactor: provides IReactorTime and what client endpoints need.
        progress: shows the progress.

    Raises:
        ConfigError: if the settings are unusable.
    """

    def __init__(
        self, plan: Plan, settings: Settings, reactor: IClientReactor, progress: Progress
    ) -> None:
        self.name = f"{CHANNEL_PREFIX}{uuid4().hex[:8]}"
        """The prefix of its channels' names."""
        self._plan = plan
        self._settings = settings
        self._reactor = reactor
        self._progress = progress
        self._dice = Random()
        self._traffic = self._new_traffic()
        self._counts = self._traffic.counts
        self._has_published = False
        self._under_way: set[Deferred[None]] = set()
        self._wants_end = False
        self._wants_end_now = False
        self._crowd = Crowd(
            self._counts, plan.target, origin=plan.origin, reactor=reactor, dice=self._dice
        )
        expires_at = int(time.time() + plan.seconds) + _COOKIE_SECONDS
        self._traffic.add_clients(self._crowd, plan.clients, expires_at)

    def _new_traffic(self) -> StreamsTraffic | RealtimeTraffic:
        plan = self._plan
        if plan.protocol == "streams":
            return StreamsTraffic(
                self.name, self._settings, self._reactor, channels=plan.channels, dice=self._dice
            )
        return RealtimeTraffic(
            self.name,
            self._settings,
            self._reactor,
            clients=plan.clients,
            principals=plan.channels,
            broadcast_share=plan.broadcast_share,
            settle_seconds=plan.settle_seconds,
            dice=self._dice,
        )

    def announcement(self) -> str:
        """Describes the planned changes to Redis."""
        return self._traffic.announcement(self._plan.events)

    async def neighbours(self) -> str:
        """Describes other users of the streams or channel; empty if there are none.

        Raises:
            CannotPublish: if Redis does not answer.
        """
        try:
            return await self._traffic.neighbours()
        except RedisRefused as error:
            return f"it is unknown whether Superset uses this Redis, because {error.fact}"
        except RedisError as error:
            raise CannotPublish(str(error)) from None

    async def start(self) -> None:
        """Publishes an event without recipients, and connects the first client.

        Raises:
            CannotPublish: if Redis does not accept events.
            CannotConnect: if the server rejects the client.
        """
        self._progress("starting", 0.0, "publishing a test event without recipients")
        try:
            await self._traffic.try_to_publish()
        except RedisError as error:
            raise CannotPublish(str(error)) from None
        self._has_published = True
        self._show_connected(0)
        await self._crowd.connect_first()

    async def run(self) -> Report:
        """Runs all phases; returns the result."""
        try:
            await self._connect()
            await self._publish_and_drop()
            await self._settle()
            return self._counts.report()
        finally:
            self._crowd.close()

    async def clean_up(self) -> str | None:
        """Removes the test's data from Redis; returns the error if it cannot."""
        return await self._traffic.clean_up() if self._has_published else None

    def interrupt(self) -> None:
        """Stops publishing and waits for missing events; the second call stops waiting, too."""
        self._counts.is_interrupted = True
        self._wants_end_now = self._wants_end
        self._wants_end = True

    async def _connect(self) -> None:
        meter = _Meter()
        await self._crowd.connect_others(self._show_connected, lambda: self._wants_end)
        self._counts.connecting = meter.load()
        # Otherwise garbage collections would traverse all clients again and again, delaying frames.
        gc.freeze()

    def _show_connected(self, count: int) -> None:
        clients = self._plan.clients
        self._progress("connecting", count / clients, f"{count:,} of {clients:,} clients")

    async def _publish_and_drop(self) -> None:
        plan, clock = self._plan, self._reactor
        meter = _Meter()
        begun_at = now = clock.seconds()
        given = 0
        next_drop_at = begun_at + self._seconds_to_drop()
        while not self._wants_end and (now < begun_at + plan.seconds or given < plan.events):
            due = min(int((now - begun_at) * plan.rate) + 1, plan.events)
            for _ in range(given, due):
                self._publish()
            given = max(given, due)
            while next_drop_at <= now:
                self._crowd.drop_one()
                next_drop_at += self._seconds_to_drop()
            seconds = now - begun_at
            self._progress(
                "running",
                seconds / plan.seconds,
                f"{min(seconds, plan.seconds):.0f} of {plan.seconds:g} s, {given:,} published",
            )
            next_at = min(begun_at + given / plan.rate, next_drop_at, now + _LONGEST_TICK_SECONDS)
            await deferLater(clock, max(_SHORTEST_TICK_SECONDS, next_at - now))
            now = clock.seconds()
        self._counts.running = meter.load()

    def _seconds_to_drop(self) -> float:
        return self._dice.expovariate(self._plan.drops) if self._plan.drops else math.inf

    def _publish(self) -> None:
        publishing = Deferred.fromCoroutine(self._traffic.publish())
        self._under_way.add(publishing)
        publishing.addBoth(self._published, publishing)

    def _published(self, result: object, publishing: "Deferred[None]") -> object:
        self._under_way.discard(publishing)
        return result

    async def _settle(self) -> None:
        """Waits until nothing is missing, or no event has arrived for a while."""
        begun_at = self._reactor.seconds()
        while not self._wants_end_now:
            now = self._reactor.seconds()
            quiet_seconds = now - max(begun_at, self._crowd.last_frame_at)
            lost = self._counts.lost()
            share = quiet_seconds / self._plan.settle_seconds
            self._progress("settling", share, f"{lost:,} missing")
            if quiet_seconds > self._plan.settle_seconds:
                break
            is_calm = not (self._under_way or self._crowd.away()) and quiet_seconds > _CALM_SECONDS
            if is_calm and not lost:
                break
            await deferLater(self._reactor, _LONGEST_TICK_SECONDS)
        for publishing in list(self._under_way):
            publishing.cancel()


class _Meter:
    """Measures the CPU time of this process since its construction."""

    def __init__(self) -> None:
        self._cpu_seconds = time.process_time()
        self._begun_at = time.monotonic()

    def load(self) -> Load:
        """Returns the load since then."""
        seconds = time.monotonic() - self._begun_at
        return Load(seconds, (time.process_time() - self._cpu_seconds) / seconds)
