"""Which Redis servers are checked, and for what; each protocol may have its own.

Import this module only where a reactor is installed.
"""

from collections.abc import AsyncIterator

from gaq_twisted.config.derived import serves_realtime, serves_streams
from gaq_twisted.config.settings import Settings
from gaq_twisted.realtime.edition import channel_of, subscriber_usage
from gaq_twisted.redis.server import IClientReactor, RedisServer
from gaq_twisted.streams.commands import stream_usage
from gaq_twisted.tools.check.findings import Finding
from gaq_twisted.tools.check.realtime import RealtimeCheck
from gaq_twisted.tools.check.redis import RedisCheck
from gaq_twisted.tools.check.streams import StreamsCheck


async def redis_findings(
    settings: Settings, channel: str | None, reactor: IClientReactor
) -> AsyncIterator[Finding]:
    """Yields what is found about the Redis of each protocol that is served.

    Args:
        settings: the settings, which can be used.
        channel: the channel of the streams protocol that a cookie names, if one was given.
        reactor: connects, and is the source of time.
    """
    if serves_streams(settings):
        async for finding in _of_streams(settings, channel, reactor):
            yield finding
    if serves_realtime(settings):
        async for finding in _of_realtime(settings, reactor):
            yield finding


async def _of_streams(
    settings: Settings, channel: str | None, reactor: IClientReactor
) -> AsyncIterator[Finding]:
    usage = stream_usage(settings.redis_stream_prefix)
    connection = RedisServer(settings.redis, reactor, usage).connection()
    streams = StreamsCheck(
        connection,
        prefix=settings.redis_stream_prefix,
        database=settings.redis.db,
        channel=channel,
        seconds=reactor.seconds,
    )
    redis = RedisCheck(settings.redis, connection, reactor.seconds)
    async for finding in redis.findings(streams.findings):
        yield finding


async def _of_realtime(settings: Settings, reactor: IClientReactor) -> AsyncIterator[Finding]:
    name = channel_of(settings)
    section = "redis" if settings.realtime_redis == settings.redis else "realtimeRedis"
    server = RedisServer(settings.realtime_redis, reactor, subscriber_usage(name), section=section)
    connection = server.connection()
    realtime = RealtimeCheck(
        connection, channel=name, name=name.removeprefix(settings.realtime_channel_prefix)
    )
    redis = RedisCheck(
        settings.realtime_redis, connection, reactor.seconds, section=section, has_streams=False
    )
    is_known = serves_streams(settings) and section == "redis"
    async for finding in redis.findings(realtime.findings, asks_server=not is_known):
        yield finding
