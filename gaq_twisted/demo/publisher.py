"""Publishes jobs as Superset's workers do."""

import json
from typing import Any
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


class Publisher:
    """Writes events to both streams, the channel's first."""

    def __init__(self, redis: Connection, prefix: str) -> None:
        """Take the connection and the streams' prefix."""
        self._redis = redis
        self._prefix = prefix

    async def publish(self, channel: str, *, failed: bool = False) -> None:
        """Publish the end of one job.

        Args:
            channel: the channel of the browser that waits for it.
            failed: whether the job ended with an error.

        Raises:
            RedisError: if Redis does not take it.
        """
        data = json.dumps(_ended_job(channel, [_ERROR] if failed else []))
        await self._add(channel, _CHANNEL_STREAM_ENTRIES, data)
        await self._add("full", _GLOBAL_STREAM_ENTRIES, data)

    async def _add(self, stream: str, length: int, data: str) -> None:
        await self._redis.ask(
            "XADD", f"{self._prefix}{stream}", "MAXLEN", "~", length, "*", "data", data
        )


def _ended_job(channel: str, errors: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "channel_id": channel,
        "job_id": str(uuid4()),
        "user_id": 1,
        "status": "error" if errors else "done",
        "errors": errors,
        "result_url": None if errors else f"/api/v1/chart/data/qc-{uuid4().hex}",
    }
