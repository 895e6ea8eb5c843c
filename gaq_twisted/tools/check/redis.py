"""Checks Redis for any protocol: which server it is, and its clock.

Import this module only where a reactor is installed.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.connection import Connection
from gaq_twisted.redis.errors import RedisError, RedisRefused, RedisTooOld
from gaq_twisted.tools.check.findings import CLOCK_TOLERANCE_SECONDS, Finding, Mark

ProtocolCheck = Callable[[Sequence[str]], AsyncIterator[Finding]]
"""Yields what is found about the keys of one protocol.

It takes the names of the databases that hold keys, as far as they are known, and raises
RedisError if the connection fails.
"""


class RedisCheck:
    """Checks a Redis server.

    Args:
        redis: the settings that lead to it.
        connection: a connection to it; closed at the end.
        seconds: returns the time in seconds.
        section: the name of the section of these settings.
        has_streams: whether Superset keeps streams there.
    """

    def __init__(
        self,
        redis: Redis,
        connection: Connection,
        seconds: Callable[[], float],
        *,
        section: str = "redis",
        has_streams: bool = True,
    ) -> None:
        self._redis = redis
        self._connection = connection
        self._seconds = seconds
        self._section = section
        self._has_streams = has_streams

    async def findings(
        self, *protocols: ProtocolCheck, asks_server: bool = True
    ) -> AsyncIterator[Finding]:
        """Yields findings until the first failure of the server or the connection.

        Args:
            protocols: what to check once the server is found to be usable.
            asks_server: whether to ask which server it is; not if that is known already.
        """
        try:
            databases: list[str] = []
            if asks_server:
                async for finding in self._server(databases):
                    yield finding
                    if finding.mark is Mark.FAIL:
                        return
            for protocol in protocols:
                async for finding in protocol(databases):
                    yield finding
        except RedisError as error:
            yield Finding(Mark.FAIL, self._section, error.fact, error.remedy or self._remedy())
        finally:
            self._connection.close()

    async def _server(self, databases: list[str]) -> AsyncIterator[Finding]:
        """Yields what the server says of itself, and adds the databases that hold keys."""
        facts = await self._facts()
        databases.extend(sorted(one for one in facts if one[:2] == "db" and one[2:].isdigit()))
        for finding in about_server(facts, self._section, has_streams=self._has_streams):
            yield finding
        if self._has_streams:
            yield await self._clock()

    def _remedy(self) -> str:
        section = self._section
        keys = f"{section}.host and {section}.port"
        if self._redis.sentinels:
            keys = f"{section}.sentinels"
        elif self._redis.unix_socket_path:
            keys = f"{section}.unixSocketPath"
        superset = "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"
        if not self._has_streams:
            superset = "DISTRIBUTED_COORDINATION_CONFIG"
        return (
            "check that Redis is running and reachable from this host (try redis-cli), and that"
            f" {keys} name the server in Superset's {superset}"
        )

    async def _facts(self) -> dict[str, str]:
        """Returns the answer to INFO by name; empty if this user may not use it."""
        try:
            text = await self._connection.ask("INFO")
        except (RedisRefused, RedisTooOld):
            if not self._connection.times_opened:
                # The login was rejected, not this command.
                raise
            return {}
        pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
        return {name: value.strip() for name, found, value in pairs if found}

    async def _clock(self) -> Finding:
        """Returns the difference of the clocks, as accurately as the round trip allows."""
        asked_at = self._seconds()
        try:
            seconds, microseconds = await self._connection.ask("TIME")
        except (RedisRefused, RedisTooOld):
            return Finding(
                Mark.NOTE, "clock", "not compared (no permission for TIME; not required)"
            )
        answered_at = self._seconds()
        difference = int(seconds) + int(microseconds) / 1e6 - (asked_at + answered_at) / 2
        certain = abs(difference) - (answered_at - asked_at) / 2
        text = f"Redis's is {abs(difference):.2f} s {'ahead of' if difference > 0 else 'behind'}"
        if certain <= CLOCK_TOLERANCE_SECONDS:
            return Finding(Mark.OK, "clock", f"{text} this machine's")
        return Finding(
            Mark.WARN,
            "clock",
            f"{text} this machine's, so initialReplayMs covers a different period",
            "synchronise the clocks",
        )


def about_server(
    facts: Mapping[str, str], section: str = "redis", *, has_streams: bool = True
) -> Iterator[Finding]:
    """Yields what INFO says about a server.

    Args:
        facts: the answer to INFO by name; empty if it was refused.
        section: the name of the section of the settings that lead to it.
        has_streams: whether Superset keeps streams there.
    """
    if not facts:
        yield Finding(
            Mark.OK,
            section,
            "reachable; version unknown (no permission for INFO; not required)",
        )
        return
    yield _about_kind(facts, section)
    if facts.get("role") == "slave":
        yield Finding(
            Mark.WARN,
            section,
            "this is a replica, which may lag behind or lose its master",
            f"set {section}.host to the master, or set {section}.sentinels",
        )
    policy = facts.get("maxmemory_policy", "")
    may_evict = policy.startswith("allkeys") and facts.get("maxmemory", "0") != "0"
    if has_streams and may_evict:
        yield Finding(
            Mark.WARN,
            section,
            f"Redis evicts streams when memory is short (maxmemory-policy is {policy})",
            "set maxmemory-policy to one that begins with volatile, or use a separate Redis for"
            " the streams",
        )


def _about_kind(facts: Mapping[str, str], section: str) -> Finding:
    name, version = "Redis", facts.get("redis_version", "of unknown version")
    if "valkey_version" in facts:
        name, version = "Valkey", facts["valkey_version"]
    mode = facts.get("redis_mode") or facts.get("server_mode", "of unknown mode")
    if mode == "sentinel":
        return Finding(
            Mark.FAIL,
            section,
            f"this is a Sentinel ({version}), which has neither streams nor Superset's messages",
            f"put its address into {section}.sentinels, and the master's name into"
            f" {section}.sentinelMaster",
        )
    return Finding(Mark.OK, section, f"{name} {version}, {mode}")
