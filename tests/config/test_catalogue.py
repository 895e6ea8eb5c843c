"""The list of settings, and which contradict each other."""

from collections.abc import Mapping

from gaq_twisted.config.catalogue import all_settings, doubts, values_by_key
from gaq_twisted.config.forms import OriginPattern
from tests.config.case import DEFAULTS, SENTINELS, TLS, ConfigTestCase, flat, for_realtime
from tests.support.samples import settings


class SettingTests(ConfigTestCase):
    """The properties of each setting."""

    def test_documented(self) -> None:
        """Each setting has a description and a text about its allowed values."""
        for setting in all_settings():
            self.assertTrue(setting.meaning and setting.allowed, setting.key)
            self.assertNotIn("None", (setting.meaning, setting.allowed))

    def test_values(self) -> None:
        """The values are found by the keys that the file has."""
        values = values_by_key(settings(reuse_port=True))
        self.assertEqual(set(values), set(DEFAULTS))
        self.assertEqual((values["reusePort"], values["redis.port"]), (True, 6379))


class ContradictionTests(ConfigTestCase):
    """Settings that contradict each other."""

    def test_ping_interval_and_timeout(self) -> None:
        """A timeout not longer than the ping interval would drop every socket."""
        for timeout, interval in ((60000, 60000), (1, 2)):
            (fault,) = self.faults(
                {"socketResponseTimeoutMs": timeout, "pingSocketsIntervalMs": interval}
            )
            self.assertIn(f"socketResponseTimeoutMs is {timeout}", fault)
            self.assertIn(f"pingSocketsIntervalMs ({interval})", fault)
        self.load({"socketResponseTimeoutMs": 2, "pingSocketsIntervalMs": 1})

    def test_contradictions(self) -> None:
        """Settings that contradict each other are a fault that names them."""
        path, ca = {"redis.unixSocketPath": "/redis.sock"}, {"redis.sslCaCerts": "ca.pem"}
        certificate, key = {"redis.sslCertfile": "c.pem"}, {"redis.sslKeyfile": "k.pem"}
        for values, named in (
            (path | SENTINELS, ["redis.unixSocketPath", "redis.sentinels"]),
            (path | TLS, ["redis.unixSocketPath", "redis.ssl"]),
            ({"redis.sentinelSsl": True}, ["redis.sentinelSsl", "redis.sentinels"]),
            (ca, ["redis.sslCaCerts", "redis.ssl"]),
            (ca | SENTINELS, ["redis.sslCaCerts", "redis.ssl"]),
            (certificate, ["redis.sslCertfile", "redis.ssl"]),
            (certificate | key, ["redis.sslCertfile", "redis.ssl"]),
            (TLS | key, ["redis.sslKeyfile", "redis.sslCertfile"]),
            (TLS | ca | key, ["redis.sslKeyfile", "redis.sslCertfile"]),
        ):
            self.assert_names(self.faults(values), named)
            named = [one.replace("redis.", "realtimeRedis.") for one in named]
            for protocol in ("both", "realtime"):
                faults = self.faults({"protocol": protocol, **for_realtime(values)})
                self.assert_names(faults, named)
            self.load({"protocol": "streams", **for_realtime(values)})

    def assert_names(self, faults: list[str], named: list[str]) -> None:
        """Checks that there is one fault, a line, that names those settings."""
        (fault,) = faults
        self.assertEqual(len(fault.splitlines()), 1)
        for one in named:
            self.assertIn(f"{one} ", f"{fault} ".replace(",", " ").replace(":", " "))

    def test_inherited_contradiction(self) -> None:
        """A contradiction that realtimeRedis inherits from redis is reported once."""
        self.assertEqual(
            self.faults({"protocol": "both", "redis.sslCaCerts": "ca.pem"}),
            self.faults({"redis.sslCaCerts": "ca.pem"}),
        )

    def test_what_goes_together(self) -> None:
        """TLS may be for the master, for the Sentinels or for both, with files or without."""
        files = {
            "redis.sslCaCerts": "ca.pem",
            "redis.sslCertfile": "c.pem",
            "redis.sslKeyfile": "k.pem",
        }
        secret_sentinels = {**SENTINELS, "redis.sentinelSsl": True}
        for values in (
            TLS | files,
            TLS | SENTINELS | files,
            secret_sentinels | files,
            TLS | secret_sentinels | files,
            secret_sentinels,
        ):
            self.assertEqual(flat(self.load(values).settings), DEFAULTS | values)

    def test_several_contradictions(self) -> None:
        """Each contradiction is reported."""
        faults = self.faults(
            {
                "redis.unixSocketPath": "/redis.sock",
                "redis.sentinelSsl": True,
                "redis.sslKeyfile": "k.pem",
                "socketResponseTimeoutMs": 1,
            }
        )
        self.assertEqual(len(faults), 3, faults)


class DoubtTests(ConfigTestCase):
    """Settings that work but are probably unintended."""

    def test_origins(self) -> None:
        """An empty list of origins is doubtful; an explicit `*` is not."""
        (doubt,) = doubts(settings())
        self.assertIn("allowedOrigins is empty", doubt)
        self.assertEqual(list(doubts(settings(allowed_origins=(OriginPattern("*"),)))), [])

    def test_guessable_secrets(self) -> None:
        """A published or repeated secret is doubtful, and is not shown; it is named once."""
        published = "CHANGE-ME-IN-PRODUCTION-GOTTA-BE-LONG-AND-SECRET"
        for key, protocol in (
            ("jwtSecret", "streams"),
            ("jwtSecret", "both"),
            ("previousJwtSecret", "streams"),
            ("realtimeJwtSecret", "both"),
        ):
            loaded = self.load({key: published, "protocol": protocol, "allowedOrigins": ["*"]})
            (doubt,) = (one for one in doubts(loaded.settings) if "published example" in one)
            self.assertTrue(doubt.startswith(f"{key} contains words from a published"), doubt)
            self.assertNotIn(published, doubt)

    def test_small_buffer(self) -> None:
        """A limit below what Twisted detects is doubtful; no limit is not."""
        origins = (OriginPattern("*"),)
        for limit, count in ((0, 0), (1, 1), (65535, 1), (65536, 0)):
            found = list(doubts(settings(allowed_origins=origins, max_socket_buffer_bytes=limit)))
            self.assertEqual(len(found), count, limit)
            if count:
                self.assertIn(f"maxSocketBufferBytes is {limit}, but 65536 is used", found[0])

    def cookie_doubts(self, values: Mapping[str, object]) -> list[str]:
        """Returns the doubts about otherwise good settings."""
        return list(doubts(self.load({"allowedOrigins": ["*"], **values}).settings))

    def test_one_cookie_for_both(self) -> None:
        """One cookie for both protocols is doubtful, because browsers keep one per name."""
        for names in (
            {"jwtCookieName": "superset-ws-token"},
            {"realtimeJwtCookieName": "async-token"},
            {"jwtCookieName": "x", "realtimeJwtCookieName": "x"},
        ):
            (doubt,) = self.cookie_doubts({"protocol": "both", **names})
            self.assertIn("jwtCookieName and realtimeJwtCookieName are both", doubt)
        self.assertEqual(self.cookie_doubts({"protocol": "both"}), [])

    def test_old_cookie_for_realtime(self) -> None:
        """The old cookie with the new protocol is doubtful: an old file may have named it."""
        (doubt,) = self.cookie_doubts({"protocol": "realtime", "jwtCookieName": "async-token"})
        self.assertIn("remove jwtCookieName", doubt)
        for cookie in ("superset-ws-token", "other"):
            values = {"protocol": "realtime", "jwtCookieName": cookie}
            self.assertEqual(self.cookie_doubts(values), [])
        self.assertEqual(self.cookie_doubts({"jwtCookieName": "async-token"}), [])
