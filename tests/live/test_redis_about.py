"""Which Redis server it is, asked of real servers."""

from collections.abc import Mapping

from gaq_twisted.config.forms import Secret, SentinelAddress
from gaq_twisted.config.sections import Redis
from gaq_twisted.redis.about import RedisAbout
from gaq_twisted.redis.server import RedisServer
from tests.live.test_connection import REACTOR, USAGE, ReachingTestCase
from tests.live.test_sentinel import Sentinels
from tests.support.processes import RedisProcess, free_port

VERSION = r"(Redis|Valkey) \d+\.\d+\.\d+"


class AboutTests(ReachingTestCase):
    """What a server says of itself."""

    async def ask(self, redis: Redis) -> Mapping[str, str]:
        """Returns the facts."""
        return await RedisAbout(RedisServer(redis, REACTOR, USAGE), redis, "redis").ask()

    async def test_narrow_rights(self) -> None:
        """A user who may read a stream only is enough, nothing is denied, nothing stays open."""
        process = RedisProcess(self)
        client = process.client
        client.acl_setuser(
            "gaq", enabled=True, passwords=["+sesame"], reset_keys=True, commands=["+xread"]
        )
        before = len(client.client_list())
        redis = Redis(port=process.port, username="gaq", password=Secret("sesame"))
        facts = await self.ask(redis)
        self.assertEqual(list(facts), ["redisVersion"])
        self.assertRegex(facts["redisVersion"], f"^{VERSION}$")
        self.assertEqual(client.acl_log(), [])
        await self.eventually(lambda: len(client.client_list()) == before)

    async def test_unknown_command(self) -> None:
        """A server without the command is one whose version is not known."""
        process = RedisProcess(self, "--rename-command", "HELLO", "")
        self.assertEqual(await self.ask(Redis(port=process.port)), {})

    async def test_away(self) -> None:
        """A server that cannot be reached is not an error."""
        self.assertEqual(await self.ask(Redis(port=free_port())), {})

    async def test_wrong_password(self) -> None:
        """A server that lets nobody in is not an error either."""
        process = RedisProcess(self)
        redis = Redis(port=process.port, username="gaq", password=Secret("sesame"))
        self.assertEqual(await self.ask(redis), {})

    async def test_sentinel(self) -> None:
        """Of a master that Sentinels know, the place is where it is now."""
        master = RedisProcess(self)
        sentinels = Sentinels(self, master)
        (port, *_) = sentinels.ports
        facts = await self.ask(Redis(sentinels=(SentinelAddress(f"127.0.0.1:{port}"),)))
        self.assertEqual(facts["redisServer"], f"mymaster at 127.0.0.1:{master.port}, db 0")
