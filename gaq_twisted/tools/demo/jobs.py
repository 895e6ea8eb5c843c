"""The jobs and tasks of the demo's buttons."""

import json
from typing import Any, NamedTuple
from uuid import uuid4

from gaq_twisted.realtime.publisher import Publisher as MessagePublisher
from gaq_twisted.streams.publisher import Publisher as EventPublisher

_ERROR = {
    "message": "Error: no such column: naïve ☃",
    "error_type": "GENERIC_DB_ENGINE_ERROR",
    "level": "error",
}


class Published(NamedTuple):
    """A published job: with this, a page notices that its event is late or lost."""

    job_id: str
    id: str
    """The id of the event in the global stream."""


async def publish_job(publisher: EventPublisher, channel: str, *, failed: bool) -> Published:
    """Publishes the end of one job.

    Args:
        publisher: writes it to Redis.
        channel: the channel of the browser that waits for it.
        failed: whether the job ended with an error.

    Raises:
        RedisError: if Redis does not accept it.
    """
    job = _ended_job(channel, [_ERROR] if failed else [])
    stream_id = await publisher.publish(channel, json.dumps(job))
    return Published(job["job_id"], stream_id)


async def publish_task(
    publisher: MessagePublisher, task_id: str, scope: str, route: str | None
) -> int:
    """Publishes the end of one task; returns how many servers it has reached.

    Args:
        publisher: publishes it.
        task_id: names the task.
        scope: the scope of the route.
        route: the sockets that it is for; None for all.

    Raises:
        RedisError: if Redis does not accept it.
    """
    payload = {"task_id": task_id, "status": "success"}
    if route is None:
        return await publisher.broadcast("task.status", payload)
    return await publisher.publish("task.status", scope, payload, [route])


def _ended_job(channel: str, errors: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "channel_id": channel,
        "job_id": str(uuid4()),
        "user_id": 1,
        "status": "error" if errors else "done",
        "errors": errors,
        "result_url": None if errors else f"/api/v1/chart/data/qc-{uuid4().hex}",
    }
