"""Publishes messages as Superset 7 does."""

import json
from collections.abc import Sequence

from gaq_twisted.realtime.envelope import BROADCAST
from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.remedies import Usage


def publisher_usage(channel: str) -> Usage:
    """Returns what a publisher of a channel does on a Redis server."""
    return Usage(
        commands=("+publish",),
        patterns=(f"&{channel}",),
        unknown_command="PUBLISH must be neither renamed nor disabled",
    )


class Publisher:
    """Publishes messages on one channel.

    Args:
        redis: a connection to Redis.
        channel: the channel, its prefix included.
    """

    def __init__(self, redis: Connection, channel: str) -> None:
        self._redis = redis
        self._channel = channel

    async def publish(self, topic: str, scope: str, payload: object, routes: Sequence[str]) -> int:
        """Publishes a message for the sockets of some routes.

        Args:
            topic: what it is about.
            scope: `tab` or `principal`, as the routes are.
            payload: what is to be encoded as JSON.
            routes: the routes.

        Returns:
            How many servers it has reached.

        Raises:
            RedisError: if Redis does not accept it.
        """
        return await self._publish(
            {"topic": topic, "scope": scope, "payload": payload, "routes": list(routes)}
        )

    async def broadcast(self, topic: str, payload: object) -> int:
        """Publishes a message for every socket; otherwise as `publish`."""
        return await self._publish({"topic": topic, "scope": BROADCAST, "payload": payload})

    async def _publish(self, envelope: dict[str, object]) -> int:
        # Superset's json.dumps has spaces, and escapes all that is not ASCII, just so.
        return int(await self._redis.ask("PUBLISH", self._channel, json.dumps(envelope)))
