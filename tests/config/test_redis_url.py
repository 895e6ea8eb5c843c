"""Redis URLs, and the settings that they contain."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.redis_url import RedisUrl


class RedisUrlTests(SynchronousTestCase):
    """The parts of a URL."""

    def test_parts(self) -> None:
        """Every form that providers and clients write is understood."""
        at_redis = {"host": "redis", "port": 6379}
        for text, parts in (
            ("", {}),
            ("redis://redis", at_redis),
            ("redis://redis/", at_redis),
            ("valkey://redis", at_redis),
            ("redis://redis:1/2", {"host": "redis", "port": 1, "db": 2}),
            ("redis://redis?db=2", {**at_redis, "db": 2}),
            ("rediss://redis", {**at_redis, "ssl": True}),
            ("redis://:p%40ss@redis", {**at_redis, "password": "p@ss"}),
            ("redis://app:p@redis", {**at_redis, "username": "app", "password": "p"}),
            ("redis://[2001:db8::1]:1", {"host": "2001:db8::1", "port": 1}),
            ("unix:///run/redis.sock?db=3", {"unixSocketPath": "/run/redis.sock", "db": 3}),
            ("unix://:p@/run/redis.sock", {"unixSocketPath": "/run/redis.sock", "password": "p"}),
        ):
            self.assertEqual(RedisUrl(text).parts, parts)
            self.assertNotIn("p%40ss", repr(RedisUrl(text)))

    def test_bad(self) -> None:
        """A text that is not such a URL, or asks for something unsupported, is refused."""
        for text in (
            "redis",
            "redis:6379",
            "http://redis",
            "redis://",
            "redis://redis:port",
            "redis://redis:65536",
            "redis://redis/name",
            "redis://redis/1/2",
            "redis://redis?ssl_cert_reqs=none",
            "redis://redis#1",
            "redis://a b",
            "redis://redis\n",
            "redis://one,two",
            "redis+cluster://redis",
            "unix:redis.sock",
            "redis://:%ff@redis",
        ):
            self.assertRaises(ValueError, RedisUrl, text)
