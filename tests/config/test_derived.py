"""The protocol, and the defaults that follow from other settings."""

import json
from typing import Any

from gaq_twisted.config.derived import (
    DERIVED_KEYS,
    protocol_reason,
    serves_realtime,
    serves_streams,
)
from gaq_twisted.config.load import Loaded, load
from tests.config.case import SENTINELS, TLS, ConfigTestCase, expected, flat, for_realtime
from tests.config.node_defaults import (
    REALTIME_ENVIRONMENT,
    REALTIME_FILE,
    STREAMS_ENVIRONMENT,
    STREAMS_FILE,
)
from tests.support.samples import SECRET

OTHER = "another secret, which is long enough too"
OLD = "the secret that was there before this one"
OLDER = "a secret of Superset 7 that was before it"
REALTIME = {"protocol": "realtime"}
BOTH = {"protocol": "both"}


class ProtocolTests(ConfigTestCase):
    """Which protocol is served, and why."""

    def assert_protocol(self, loaded: Loaded, protocol: str, source: str, reason: str) -> None:
        """Checks the protocol, its source, and the reason that is logged."""
        self.assertEqual(loaded.settings.protocol, protocol)
        self.assertEqual(loaded.sources["protocol"], source)
        self.assertEqual(protocol_reason(loaded.sources), reason)

    def test_default(self) -> None:
        """Without a trace of Superset 7 it is streams."""
        for values in ({}, {"jwtCookieName": "x"}, {"realtimeJwtCookieName": "superset-ws-token"}):
            self.assert_protocol(self.load(values), "streams", "default", "default")

    def test_prefix(self) -> None:
        """A channel prefix, even an empty one in the file, means realtime."""
        reason = "because realtimeChannelPrefix is set"
        for loaded in (
            self.load({"realtimeChannelPrefix": ""}),
            self.load({"realtimeChannelPrefix": "a:", "jwtCookieName": "x"}),
            self.load({}, {"REALTIME_CHANNEL_PREFIX": "a:"}),
        ):
            self.assert_protocol(loaded, "realtime", reason, reason)
        blank = self.load({}, {"REALTIME_CHANNEL_PREFIX": ""})
        self.assert_protocol(blank, "streams", "default", "default")

    def test_cookie(self) -> None:
        """The cookie of Superset 7 means realtime."""
        reason = "because jwtCookieName is superset-ws-token"
        for loaded in (
            self.load({"jwtCookieName": "superset-ws-token"}),
            self.load({}, {"JWT_COOKIE_NAME": "superset-ws-token"}),
        ):
            self.assert_protocol(loaded, "realtime", reason, reason)

    def test_explicit(self) -> None:
        """A protocol that is set wins over all other signs."""
        hints = {"realtimeChannelPrefix": "a:", "jwtCookieName": "superset-ws-token"}
        for protocol in ("streams", "realtime", "both"):
            source = f"in {self.file}"
            loaded = self.load({"protocol": protocol, **hints})
            self.assert_protocol(loaded, protocol, source, f"set {source}")
            source = "PROTOCOL in the environment"
            loaded = self.load({"protocol": "both", **hints}, {"PROTOCOL": protocol})
            self.assert_protocol(loaded, protocol, source, f"set as {source}")

    def test_served(self) -> None:
        """Each protocol serves its Superset, and `both` serves all."""
        for protocol, streams, realtime in (
            ("streams", True, False),
            ("realtime", False, True),
            ("both", True, True),
        ):
            settings = self.load({"protocol": protocol}).settings
            served = (serves_streams(settings), serves_realtime(settings))
            self.assertEqual(served, (streams, realtime))


class FollowingTests(ConfigTestCase):
    """What realtime uses without settings of its own."""

    def assert_loads(
        self,
        values: dict[str, Any],
        follows: dict[str, Any],
        sources: dict[str, str] | None = None,
    ) -> None:
        """Checks what follows from values, and that each of it names its twin as the source.

        Args:
            values: what is in the file, by dotted key.
            follows: what has another value than its default by that.
            sources: the sources of these that are not their twins.
        """
        loaded = self.load(values)
        self.assertEqual(flat(loaded.settings), expected(values) | follows)
        self.assertEqual(loaded.warnings, [])
        for key in follows:
            twin = key.replace("realtimeRedis", "redis").replace("realtimeJ", "j")
            source = (sources or {}).get(key, f"as {twin.replace('RealtimeJwt', 'Jwt')}")
            self.assertEqual(loaded.sources[key], source, key)

    def test_secret(self) -> None:
        """The secrets are those of streams, unless realtime has one."""
        for protocol in (REALTIME, BOTH):
            self.assert_loads(protocol, {"realtimeJwtSecret": SECRET})
            self.assert_loads(
                {**protocol, "previousJwtSecret": OLD},
                {"realtimeJwtSecret": SECRET, "previousRealtimeJwtSecret": OLD},
            )
            own = {**protocol, "realtimeJwtSecret": OTHER, "previousJwtSecret": OLD}
            self.assert_loads(own, {})
            self.assert_loads({**own, "previousRealtimeJwtSecret": OLDER}, {})
            self.assert_loads(
                {**protocol, "previousRealtimeJwtSecret": OLDER, "previousJwtSecret": OLD},
                {"realtimeJwtSecret": SECRET},
            )

    def test_empty_secret(self) -> None:
        """An empty secret counts as not set: no token could be verified with it."""
        for protocol in (REALTIME, BOTH):
            self.assert_loads(
                {**protocol, "realtimeJwtSecret": "", "previousJwtSecret": OLD},
                {"realtimeJwtSecret": SECRET, "previousRealtimeJwtSecret": OLD},
            )

    def test_cookie_of_realtime(self) -> None:
        """With realtime alone, jwtCookieName names its cookie, with its own default."""
        self.assert_loads(
            {**REALTIME, "jwtCookieName": "x"},
            {"realtimeJwtSecret": SECRET, "realtimeJwtCookieName": "x"},
        )
        self.assert_loads(
            {**REALTIME, "jwtCookieName": "x", "realtimeJwtCookieName": "y"},
            {"realtimeJwtSecret": SECRET},
        )
        self.assert_loads({**REALTIME, "realtimeJwtCookieName": "y"}, {})

    def test_cookies_of_both(self) -> None:
        """With both, each protocol has a cookie of its own."""
        self.assert_loads({**BOTH, "jwtCookieName": "x"}, {"realtimeJwtSecret": SECRET})
        self.assert_loads({**BOTH, "realtimeJwtCookieName": "y"}, {"realtimeJwtSecret": SECRET})

    def test_redis(self) -> None:
        """Each setting of realtimeRedis equals its twin, unless it is set."""
        redis = {"redis.host": "one", "redis.port": 1, "redis.db": 2, "redis.password": "p", **TLS}
        secret = {"realtimeJwtSecret": SECRET}
        for protocol in (REALTIME, BOTH):
            self.assert_loads({**protocol, **redis}, {**for_realtime(redis), **secret})
            own = {"realtimeRedis.host": "two", "realtimeRedis.ssl": False}
            follows = {key: value for key, value in for_realtime(redis).items() if key not in own}
            self.assert_loads({**protocol, **redis, **own}, {**follows, **secret})

    def test_redis_elsewhere(self) -> None:
        """An address of its own is used, however `redis` is reached."""
        sentinels = {**SENTINELS, "redis.sentinelSsl": True, "redis.sentinelMaster": "m"}
        path = {"redis.unixSocketPath": "/redis.sock"}
        port = {"redis.port": 1}
        secret = {"realtimeJwtSecret": SECRET}
        for protocol in (REALTIME, BOTH):
            for redis, own in (
                (sentinels, {"realtimeRedis.host": "two"}),
                (path, {"realtimeRedis.host": "two"}),
                (sentinels, {"realtimeRedis.unixSocketPath": "/two.sock"}),
                (path, {"realtimeRedis.sentinels": ["two"]}),
            ):
                self.assert_loads(
                    {**protocol, **port, **redis, **own},
                    {**secret, "realtimeRedis.port": 1},
                )

    def test_tls_elsewhere(self) -> None:
        """If the other Redis is reached without TLS, no TLS setting is taken from `redis`."""
        tls = {"protocol": "both", "redis.ssl": True, "redis.sslCaCerts": "ca.pem"}
        for elsewhere in (
            {"realtimeRedis.host": "other", "realtimeRedis.ssl": False},
            {"realtimeRedis.unixSocketPath": "/redis.sock"},
            {"realtimeRedis.url": "unix:///redis.sock"},
            {"realtimeRedis.url": "redis://other"},
        ):
            redis = self.load(tls | elsewhere).settings.realtime_redis
            self.assertEqual((redis.ssl, redis.ssl_ca_certs), (False, ""))
        for elsewhere in (
            {"realtimeRedis.host": "other"},
            {"realtimeRedis.url": "rediss://other"},
        ):
            redis = self.load(tls | elsewhere).settings.realtime_redis
            self.assertEqual((redis.ssl, redis.ssl_ca_certs), (True, "ca.pem"))

    def test_no_path(self) -> None:
        """An empty path or list is no address: the host is that of redis."""
        values = {
            **BOTH,
            "redis.host": "one",
            "redis.unixSocketPath": "/redis.sock",
            "realtimeRedis.unixSocketPath": "",
        }
        self.assert_loads(values, {"realtimeJwtSecret": SECRET, "realtimeRedis.host": "one"})

    def test_other_sentinels(self) -> None:
        """Other Sentinels are asked in the same way as those of redis."""
        redis = {**SENTINELS, "redis.sentinelSsl": True, "redis.sentinelMaster": "m"}
        own = {"realtimeRedis.sentinels": ["two"]}
        follows = {
            "realtimeJwtSecret": SECRET,
            "realtimeRedis.sentinelSsl": True,
            "realtimeRedis.sentinelMaster": "m",
        }
        self.assert_loads({**BOTH, **redis, **own}, follows)

    def test_streams(self) -> None:
        """With streams alone nothing follows, so that a reload names only what changed."""
        values = {"redis.host": "one", "previousJwtSecret": OLD, "jwtCookieName": "x"}
        self.assert_loads(values, {})

    def test_derived_keys(self) -> None:
        """The list of derived settings contains exactly those that these tests cover."""
        others = ("protocol", "jwtCookieName")
        for key in DERIVED_KEYS:
            self.assertTrue(key in others or "realtime" in key.lower(), key)
        self.assertNotIn("realtimeChannelPrefix", DERIVED_KEYS)


class UrlTests(ConfigTestCase):
    """A URL together with other settings."""

    def test_sets(self) -> None:
        """A URL sets what it contains, and these settings name it as their source."""
        settings, warnings, sources = self.load({}, {"REDIS_URL": "rediss://app:p@redis:1/2"})
        redis = settings.redis
        self.assertEqual(
            (redis.host, redis.port, redis.username, redis.password, redis.db, redis.ssl),
            ("redis", 1, "app", "p", 2, True),
        )
        self.assertEqual(sources["redis.host"], "redis.url, REDIS_URL in the environment")
        self.assertEqual(warnings, [])

    def test_environment_wins(self) -> None:
        """The environment overrides the file, no matter which of them has the URL."""
        for values, environ, host in (
            ({"redis.host": "file"}, {"REDIS_URL": "redis://environment"}, "environment"),
            ({"redis.url": "redis://file"}, {"REDIS_HOST": "environment"}, "environment"),
            ({"redis.url": "redis://file"}, {"REDIS_URL": "redis://environment"}, "environment"),
            ({}, {"REDIS_URL": "redis://same", "REDIS_HOST": "same"}, "same"),
            ({"redis.url": "redis://one", "redis.host": "127.0.0.1"}, {}, "one"),
        ):
            self.assertEqual(self.load(values, environ).settings.redis.host, host)

    def test_contradiction(self) -> None:
        """Two values of equal rank that differ are a fault that names both."""
        for values, environ in (
            ({"redis.url": "redis://one", "redis.host": "two"}, {}),
            ({}, {"REDIS_URL": "redis://one", "REDIS_HOST": "two"}),
        ):
            (fault,) = self.faults(values, environ)
            self.assertIn("redis.url (", fault)
            self.assertIn("and redis.host (", fault)

    def test_realtime(self) -> None:
        """Superset 7's Redis can have a URL too; without one it is at the other one's address."""
        both = {"protocol": "both", "redis.url": "redis://:p@one:1/2"}
        redis = self.load(both).settings.realtime_redis
        self.assertEqual((redis.host, redis.port, redis.password, redis.db), ("one", 1, "p", 2))
        settings = self.load(both, {"REALTIME_REDIS_URL": "rediss://two"}).settings
        self.assertEqual((settings.redis.host, settings.redis.ssl), ("one", False))
        redis = settings.realtime_redis
        self.assertEqual((redis.host, redis.port, redis.ssl), ("two", 6379, True))


class UnusedTests(ConfigTestCase):
    """Settings that have no effect with the protocol."""

    def test_streams(self) -> None:
        """Settings of Superset 7 are reported, with where they are set and what to do."""
        values = {"realtimeJwtSecret": OTHER, "realtimeRedis.db": 1}
        for protocol in ({}, {"protocol": "streams"}):
            loaded = self.load({**protocol, **values}, {"REALTIME_JWT_COOKIE_NAME": "x"})
            self.assertEqual(
                loaded.warnings,
                [
                    f"{key} ({source}) is not used with protocol streams: set protocol to both or"
                    " realtime"
                    for key, source in (
                        ("realtimeJwtSecret", f"in {self.file}"),
                        ("realtimeJwtCookieName", "REALTIME_JWT_COOKIE_NAME in the environment"),
                        ("realtimeRedis.db", f"in {self.file}"),
                    )
                ],
            )
        (warning,) = self.load({"protocol": "streams", "realtimeChannelPrefix": ""}).warnings
        self.assertIn("realtimeChannelPrefix", warning)

    def test_realtime(self) -> None:
        """Settings of streams are not, because a file from before the upgrade may contain them."""
        values = {
            "redisStreamPrefix": "x-",
            "redisStreamReadCount": 1,
            "jwtChannelIdKey": "sid",
            "initialReplayMs": 0,
            "tailMaxEvents": 1,
        }
        for protocol in (REALTIME, BOTH):
            self.assertEqual(self.load({**protocol, **values}).warnings, [])


class NodeDefaultsTests(ConfigTestCase):
    """The configurations of Superset's two Node.js servers."""

    def assert_values(self, loaded: Loaded, document: dict[str, Any]) -> None:
        """Checks that all values in a Node.js server's file were taken over."""
        self.assertEqual(loaded.warnings, [])
        ours = flat(loaded.settings)
        for key, value in document.items():
            if isinstance(value, dict):
                for name, inner in value.items():
                    self.assertEqual(ours[f"{key}.{name}"], inner, name)
            elif key != "eventYieldBatchSize":
                self.assertEqual(ours[key], value, key)

    def test_files(self) -> None:
        """Every default, written out, is accepted silently and served with the right protocol."""
        for document, protocol in ((STREAMS_FILE, "streams"), (REALTIME_FILE, "realtime")):
            self.file.write_text(json.dumps(document))
            loaded = load(self.file, {})
            self.assertEqual(loaded.settings.protocol, protocol)
            self.assert_values(loaded, document)

    def test_environments(self) -> None:
        """The same as environment variables."""
        for environ, document, protocol in (
            (STREAMS_ENVIRONMENT, STREAMS_FILE, "streams"),
            (REALTIME_ENVIRONMENT, REALTIME_FILE, "realtime"),
        ):
            loaded = load(None, environ)
            self.assertEqual(loaded.settings.protocol, protocol)
            self.assert_values(loaded, document)

    def test_each_realtime_setting(self) -> None:
        """The old names in the file of Superset 7's server set what realtime uses."""
        document = {
            **REALTIME_FILE,
            "previousJwtSecret": OLD,
            "jwtCookieName": "x",
            "realtimeChannelPrefix": "a:",
            "redis": {**REALTIME_FILE["redis"], "host": "one", "db": 3, "ssl": True},
        }
        self.file.write_text(json.dumps(document))
        settings = load(self.file, {}).settings
        self.assertEqual(settings.realtime_jwt_secret, SECRET)
        self.assertEqual(settings.previous_realtime_jwt_secret, OLD)
        self.assertEqual(settings.realtime_jwt_cookie_name, "x")
        self.assertEqual(settings.realtime_channel_prefix, "a:")
        self.assertEqual(settings.realtime_redis, settings.redis)
        self.assertEqual(settings.realtime_redis.host, "one")

    def test_counts(self) -> None:
        """The older server has 29 settings, the newer one 26; none is forgotten here."""
        sizes = [
            sum(len(value) if isinstance(value, dict) else 1 for value in document.values())
            for document in (STREAMS_FILE, REALTIME_FILE)
        ]
        self.assertEqual(sizes, [29, 26])
