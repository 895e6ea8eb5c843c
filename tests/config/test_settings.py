"""The defaults, and the example that shows them."""

import json

from gaq_twisted.config.errors import ConfigError
from gaq_twisted.config.load import load
from tests.config.case import (
    DEFAULTS,
    EXAMPLE,
    JWT_SECRET,
    ConfigTestCase,
    expected,
    flat,
    nested,
)
from tests.support.samples import SECRET


class ExampleTests(ConfigTestCase):
    """The example file."""

    def test_example(self) -> None:
        """The example holds the settings with their defaults, and works once it has a secret."""
        document = json.loads(EXAMPLE.read_text())
        defaults = {key: value for key, value in DEFAULTS.items() if not _is_derived(key)}
        self.assertEqual(document, nested({**defaults, "jwtSecret": "CHANGE-ME"}))
        settings, warnings, _ = load(EXAMPLE, {"JWT_SECRET": SECRET})
        self.assertEqual((flat(settings), warnings), (DEFAULTS, []))

    def test_example_for_another_protocol(self) -> None:
        """A copy of the example does not override derived settings."""
        for protocol in ("realtime", "both"):
            environ = {"JWT_SECRET": SECRET, "PROTOCOL": protocol, "REDIS_HOST": "other"}
            settings, warnings, _ = load(EXAMPLE, environ)
            host = {"redis.host": "other", "realtimeRedis.host": "other"}
            self.assertEqual(flat(settings), expected({"protocol": protocol}) | host)
            self.assertEqual(warnings, [])

    def test_example_as_it_is(self) -> None:
        """The example's secret is refused, and nothing else in it."""
        faults = self.assertRaises(ConfigError, load, EXAMPLE, {}).faults
        self.assertEqual(
            faults,
            [f"jwtSecret (in {EXAMPLE}): its value is not allowed: it must be {JWT_SECRET}"],
        )


def _is_derived(key: str) -> bool:
    """Returns whether a setting's default, or the protocol, follows from whether it is set."""
    return key in ("protocol", "jwtCookieName") or "realtime" in key.lower()


class ReprTests(ConfigTestCase):
    """Settings in logs."""

    def test_not_shown_in_settings(self) -> None:
        """Settings can be printed: secrets are hidden, but an empty one is shown as empty."""
        settings = self.load(
            {"redis.password": "hunter2", "redis.sentinelPassword": "hunter2"}
        ).settings
        for text in (repr(settings), str(settings), f"{settings}", f"{settings.redis}"):
            self.assertNotIn("hunter2", text)
            self.assertNotIn(SECRET, text)
            self.assertIn(" password='***'", text)
            self.assertIn("sentinel_password='***'", text)
        self.assertIn(" password=''", repr(self.load().settings))
        self.assertIn("sentinel_password=''", repr(self.load().settings))
