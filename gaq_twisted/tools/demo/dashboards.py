"""Dashboards whose charts are completed one after another, as by Superset's workers."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gaq_twisted.realtime.publisher import Publisher as MessagePublisher
from gaq_twisted.redis.errors import RedisError
from gaq_twisted.streams.events import StreamId
from gaq_twisted.streams.publisher import Publisher as EventPublisher
from gaq_twisted.tools.demo.faults import Fault, Faults
from gaq_twisted.tools.node.realtime import realtime_outcomes
from gaq_twisted.tools.node.story import Outcome, Position, Publication, Story
from gaq_twisted.tools.node.streams import streams_outcomes

END_SECONDS = (0.8, 1.1, 1.5, 1.9, 2.2, 2.6, 3.0, 3.3, 3.7, 4.1, 4.4, 4.8)
"""When the query of each chart ends, since the dashboard began to load."""
_FAULT_SECONDS = 0.4
_RETRY_SECONDS = 0.2
_MOST_RETRIES = 300
_MOST_DASHBOARDS = 100


class Dashboard:
    """One load of a dashboard.

    Args:
        clock: provides the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.id = uuid4().hex
        self.charts = [str(uuid4()) for _ in END_SECONDS]
        """The job or task of each chart."""
        self.story = Story()
        self._clock = clock
        self._began_at = clock.seconds()

    def seconds(self) -> float:
        """Returns the time in seconds since the dashboard began to load."""
        return self._clock.seconds() - self._began_at

    async def end(self, chart: str) -> None:
        """Ends the query of a chart, and publishes that."""
        self.story.ended[chart] = self.seconds()
        await self.publish(chart)

    async def publish(self, chart: str) -> None:
        """Publishes the end of a chart's query."""
        raise NotImplementedError

    def outcomes(self) -> Mapping[str, Outcome]:
        """Returns what Superset's Node.js server would have made of the charts."""
        raise NotImplementedError


class StreamsWorkers:
    """Publishes events as the workers of Superset 1.2 to 6.1.

    Args:
        publisher: writes them to Redis.
        faults: knows when the server was started again; None if it never is.
        clock: provides the time.
    """

    def __init__(
        self, publisher: EventPublisher, faults: Faults | None, clock: IReactorTime
    ) -> None:
        self._publisher = publisher
        self._faults = faults
        self.clock = clock
        # A server that has run for a while has read at least one event.
        self._newest = StreamId(0, 0)
        self._newest_at = clock.seconds()

    def position(self) -> Position:
        """Returns where a server of the same age would be in the global stream, as of now."""
        now = self.clock.seconds()
        restarted_at = None if self._faults is None else self._faults.restarted_at
        if restarted_at is not None and self._newest_at < restarted_at:
            return Position(None, restarted_at - now)
        return Position(self._newest, self._newest_at - now)

    async def publish(self, channel: str, chart: str) -> tuple[StreamId, StreamId]:
        """Publishes the end of a job, once Redis accepts it; returns its ids.

        Raises:
            RedisError: if Redis does not accept it for too long.
        """
        data = json.dumps(_ended_job(channel, chart))
        for _ in range(_MOST_RETRIES):
            try:
                published = await self._publisher.publish(channel, data)
                break
            except RedisError:
                await deferLater(self.clock, _RETRY_SECONDS)
        else:
            published = await self._publisher.publish(channel, data)
        self._newest = StreamId.parse(published.global_id.encode())
        self._newest_at = self.clock.seconds()
        return StreamId.parse(published.channel_id.encode()), self._newest


class StreamsDashboard(Dashboard):
    """A dashboard of Superset 1.2 to 6.1.

    Args:
        workers: publish the ends of its jobs.
        channel: the channel of the browser.
        last_id: the id of the last event that the browser had.
    """

    def __init__(self, workers: StreamsWorkers, channel: str, last_id: StreamId | None) -> None:
        super().__init__(workers.clock)
        self._workers = workers
        self._channel = channel
        self._last_id = last_id
        self._position = workers.position()

    async def publish(self, chart: str) -> None:
        """Publishes the end of a chart's job."""
        channel_id, global_id = await self._workers.publish(self._channel, chart)
        publication = Publication(chart, self.seconds(), channel_id, global_id)
        self.story.publications.append(publication)

    def outcomes(self) -> Mapping[str, Outcome]:
        """Returns what Superset's Node.js server would have made of the charts."""
        return streams_outcomes(self.story, self._last_id, self._position)


class RealtimeDashboard(Dashboard):
    """A dashboard of Superset 7.

    Args:
        publisher: publishes the ends of its tasks.
        route: the route of the browser's tab.
        clock: provides the time.
    """

    def __init__(self, publisher: MessagePublisher, route: str, clock: IReactorTime) -> None:
        super().__init__(clock)
        self._publisher = publisher
        self._route = route

    async def publish(self, chart: str) -> None:
        """Publishes the end of a chart's task; without Redis, it is lost."""
        payload = {"task_id": chart, "status": "success"}
        with suppress(RedisError):
            await self._publisher.publish("task.status", "tab", payload, [self._route])

    def outcomes(self) -> Mapping[str, Outcome]:
        """Returns what Superset's Node.js server would have made of the charts."""
        return realtime_outcomes(self.story)


class Loads:
    """Loads dashboards, and causes faults during the load.

    Args:
        faults: causes faults; None if it is not possible.
        clock: provides the time.
    """

    _log = Logger()

    def __init__(self, faults: Faults | None, clock: IReactorTime) -> None:
        self.faults = faults
        self._clock = clock
        self._dashboards: OrderedDict[str, Dashboard] = OrderedDict()

    def begin(self, dashboard: Dashboard, fault: Fault) -> None:
        """Starts loading a dashboard."""
        self._dashboards[dashboard.id] = dashboard
        if len(self._dashboards) > _MOST_DASHBOARDS:
            self._dashboards.popitem(last=False)
        for chart, seconds in zip(dashboard.charts, END_SECONDS, strict=True):
            self._later(seconds, dashboard.end, chart)
        if self.faults is not None and fault is not Fault.NONE:
            self.faults.is_busy = True
            self._later(
                _FAULT_SECONDS, self.faults.cause, fault, dashboard.story, dashboard.seconds
            )

    def get(self, id_: str) -> Dashboard | None:
        """Returns the dashboard with that id."""
        return self._dashboards.get(id_)

    def _later(self, seconds: float, function: Any, *arguments: object) -> None:
        def call() -> None:
            done: Deferred[None] = Deferred.fromCoroutine(function(*arguments))
            done.addErrback(
                lambda failure: self._log.failure("the demo failed", failure, event="demo_failed")
            )

        self._clock.callLater(seconds, call)


def _ended_job(channel: str, job: str) -> dict[str, Any]:
    return {
        "channel_id": channel,
        "job_id": job,
        "user_id": 1,
        "status": "done",
        "errors": [],
        "result_url": f"/api/v1/chart/data/qc-{uuid4().hex}",
    }
