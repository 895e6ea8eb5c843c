"""Which value counts: defaults, then the file, then the environment."""

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import load
from tests.config.case import DEFAULTS, JWT_SECRET, SAMPLES, ConfigTestCase, expected, flat
from tests.support.samples import SECRET


class SourcesTests(ConfigTestCase):
    """Defaults, then the file, then the environment."""

    def test_defaults(self) -> None:
        """What is not set has its documented default, and no setting is missing here."""
        settings, warnings, _ = load(None, {"JWT_SECRET": SECRET})
        self.assertEqual(flat(settings), DEFAULTS)
        self.assertEqual(warnings, [])

    def test_file_wins_over_default(self) -> None:
        """Each key of the file replaces that default and no other."""
        for sample in SAMPLES:
            values = {**sample.needs, sample.key: sample.in_file}
            settings, warnings, _ = self.load(values)
            self.assertEqual(flat(settings), expected(values))
            self.assertEqual(warnings, [], sample.key)

    def test_environment_wins_over_file(self) -> None:
        """Each variable, named after its key, replaces that value of the file and no other."""
        for sample in SAMPLES:
            settings, warnings, _ = self.load(
                {**sample.needs, sample.key: sample.in_file},
                {sample.environment_name: sample.as_text},
            )
            values = {**sample.needs, sample.key: sample.from_text}
            self.assertEqual(flat(settings), expected(values))
            self.assertEqual(warnings, [], sample.key)

    def test_sources(self) -> None:
        """The source of each setting is known."""
        sources = self.load({"port": 81, "redis.db": 1}, {"REDIS_DB": "2"}).sources
        self.assertEqual(sources["port"], f"in {self.file}")
        self.assertEqual(sources["redis.db"], "REDIS_DB in the environment")
        self.assertEqual(sources["redis.host"], "default")
        self.assertEqual(set(sources), set(DEFAULTS))

    def test_all_at_once(self) -> None:
        """All settings that go together can come from the environment, without a file."""
        contradictions = ("redis.unixSocketPath", "realtimeRedis.unixSocketPath")
        samples = [sample for sample in SAMPLES if sample.key not in contradictions]
        settings, *_ = load(None, {sample.environment_name: sample.as_text for sample in samples})
        self.assertEqual(
            flat(settings),
            {
                **DEFAULTS,
                **dict.fromkeys(contradictions, ""),
                **{sample.key: sample.from_text for sample in samples},
            },
        )

    def test_service_link_keeps_the_file(self) -> None:
        """A variable that is ignored leaves the file's value in place."""
        loaded = self.load({"redis.port": 1}, {"REDIS_PORT": "tcp://10.0.0.1:6379"})
        self.assertEqual(loaded.settings.redis.port, 1)


class FaultTests(ConfigTestCase):
    """Faults of several settings."""

    def test_environment_hides_the_file(self) -> None:
        """A wrong value in the file does no harm if the environment replaces it."""
        self.assertEqual(self.load({"port": "x"}, {"PORT": "81"}).settings.port, 81)

    def test_long_value(self) -> None:
        """A very long value is cut short."""
        (fault,) = self.faults({"port": "9" * 1000})
        self.assertIn('"999', fault)
        self.assertIn("... is not allowed", fault)
        self.assertLess(len(fault) - len(str(self.file)), 200)

    def test_several_together(self) -> None:
        """All faults are reported at once, and the error's text has a line for each."""
        error = self.assertRaises(
            ConfigError,
            self.load,
            {"port": 0, "redis.ssl": 1, "statsd": 5, "jwtSecret": "short"},
            {"LOG_LEVEL": "loud"},
        )
        keys = sorted(fault.split()[0] for fault in error.faults)
        self.assertEqual(keys, ["jwtSecret", "logLevel", "port", "redis.ssl", "statsd"])
        self.assertEqual(str(error).splitlines(), error.faults)

    def test_missing(self) -> None:
        """Without jwtSecret there is one line that says how to set it."""
        (fault,) = self.assertRaises(ConfigError, load, None, {"JWT_SECRET": " "}).faults
        self.assertTrue(fault.startswith(f"jwtSecret is not set: it must be {JWT_SECRET};"), fault)
        self.assertIn("JWT_SECRET", fault.rpartition(";")[2])

    def test_not_shown_in_faults(self) -> None:
        """No fault shows a secret, wherever it is."""
        for values, environ in (
            ({"jwtSecret": "hunter2"}, {}),
            ({}, {"JWT_SECRET": "hunter2"}),
            ({"jwtSecret": ["hunter2" * 8]}, {}),
            ({"redis.password": ["hunter2"]}, {}),
            ({"redis.password": {"hunter2": 1}}, {}),
            ({"redis.sentinelPassword": ["hunter2"]}, {}),
            ({"redis.password": "hunter2", "port": 0}, {"REDIS_PASSWORD": "hunter2"}),
            ({"redis.sentinelPassword": "hunter2", "redis.sentinelSsl": True}, {}),
            ({"redis.host": "rediss://app:hunter2@redis:6380/1"}, {}),
            ({}, {"REDIS_HOST": "redis://app:a/hunter2@redis"}),
            ({}, {"REDIS_HOST": "app:hunter2@redis"}),
            ({}, {"REDIS_SSL": "redis://:hunter2@redis"}),
            ({"redis.url": "http://app:hunter2@redis"}, {}),
            ({"redis.url": "redis://app:hunter2@redis", "redis.password": "another"}, {}),
            ({"redis.sslKeyfile": "-----BEGIN PRIVATE KEY-----\nhunter2"}, {}),
        ):
            error = self.assertRaises(ConfigError, self.load, values, environ)
            self.assertNotIn("hunter2", f"{error} {error!r} {error.faults}")

    def test_not_shown_when_misplaced(self) -> None:
        """A secret under a misspelt key, or in a broken file, is not shown either."""
        self.assertNotIn("hunter2", str(self.load({"jwtSecert": "hunter2"}).warnings))
        self.assertNotIn("hunter2", self.fault_of_text(b'{"jwtSecret": "hunter2}'))
