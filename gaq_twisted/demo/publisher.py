"""Publishes jobs as Superset's workers do."""

import json
from typing import Any, NamedTuple
from uuid import uuid4

from gaq_twisted.connection import Connection

# Superset 6.1 lets Redis trim the streams near these lengths.
_CHANNEL_STREAM_ENTRIES = 1_000
_GLOBAL_STREAM_ENTRIES = 1_000_000
_ERROR = {
    "message": "Error: no such column: naïve ☃",
    "error_type": "GENERIC_DB_ENGINE_ERROR",
    "level": "error",
}


class Published(NamedTuple):
    """What a page needs to tell whether an event is late or lost."""

    job_id: str
    id: str
    """Of the event in the global stream."""


class Publisher:
    """Writes events to both streams, the channel's first."""

    def __init__(self, redis: Connection, prefix: str) -> None:
        """Take the connection and the streams' prefix."""
        self._redis = redis
        self._prefix = prefix

    async def publish(self, channel: str, *, failed: bool = False) -> Published:
        """Publish the end of one job.

        Args:
            channel: the channel of the browser that waits for it.
            failed: whether the job ended with an error.

        Raises:
            RedisError: if Redis does not take it.
        """
        job = _ended_job(channel, [_ERROR] if failed else [])
        data = json.dumps(job)
        await self._add(channel, _CHANNEL_STREAM_ENTRIES, data)
        stream_id = await self._add("full", _GLOBAL_STREAM_ENTRIES, data)
        return Published(job["job_id"], stream_id)

    async def _add(self, stream: str, length: int, data: str) -> str:
        stream_id: bytes = await self._redis.ask(
            "XADD", f"{self._prefix}{stream}", "MAXLEN", "~", length, "*", "data", data
        )
        return stream_id.decode()


def _ended_job(channel: str, errors: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "channel_id": channel,
        "job_id": str(uuid4()),
        "user_id": 1,
        "status": "error" if errors else "done",
        "errors": errors,
        "result_url": None if errors else f"/api/v1/chart/data/qc-{uuid4().hex}",
    }
