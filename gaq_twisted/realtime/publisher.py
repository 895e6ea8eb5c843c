"""Publishes messages as Superset 7 does."""

import json
from collections.abc import Sequence

from gaq_twisted.realtime.envelope import BROADCAST
from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.remedies import Usage


def publisher_usage(channel: str) -> Usage:
    """Returns the rights that a publisher of a channel needs."""
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
            scope: `tab` or `principal`, matching the routes.
            payload: the value to encode as JSON.
            routes: the routes.

        Returns:
            The number of servers that received it.

        Raises:
            RedisError: if Redis does not accept it.
        """
        return await self._publish(
            {"topic": topic, "scope": scope, "payload": payload, "routes": list(routes)}
        )

    async def broadcast(self, topic: str, payload: object) -> int:
        """Publishes a message for every socket; see `publish`."""
        return await self._publish({"topic": topic, "scope": BROADCAST, "payload": payload})

    async def _publish(self, envelope: dict[str, object]) -> int:
        # Like Superset's, this JSON has spaces, and all non-ASCII characters are escaped.
        return int(await self._redis.ask("PUBLISH", self._channel, json.dumps(envelope)))
