"""The list of settings, and which contradict each other."""

from gaq_twisted.config.catalogue import all_settings, doubts, values_by_key
from gaq_twisted.config.types import OriginPattern
from tests.config.case import DEFAULTS, SENTINELS, TLS, ConfigTestCase, flat
from tests.support.samples import settings


class SettingTests(ConfigTestCase):
    """The properties of each setting."""

    def test_documented(self) -> None:
        """Each setting has a meaning and a text of what it can be."""
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
        """A timeout that is not longer than the ping interval would end every socket."""
        for timeout, interval in ((60000, 60000), (1, 2)):
            (fault,) = self.faults(
                {"socketResponseTimeoutMs": timeout, "pingSocketsIntervalMs": interval}
            )
            self.assertIn(f"socketResponseTimeoutMs is {timeout}", fault)
            self.assertIn(f"pingSocketsIntervalMs, which is {interval}", fault)
        self.load({"socketResponseTimeoutMs": 2, "pingSocketsIntervalMs": 1})

    def test_contradictions(self) -> None:
        """Settings of which one would have no effect, or a bad one, are a fault that names them."""
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
            (fault,) = self.faults(values)
            self.assertEqual(len(fault.splitlines()), 1)
            for one in named:
                self.assertIn(f"{one} ", f"{fault} ".replace(",", " ").replace(":", " "))

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
