"""The defaults, and the example that shows them."""

import json

from gaq_twisted.config.load import load
from gaq_twisted.config.types import ConfigError
from tests.config.case import DEFAULTS, EXAMPLE, JWT_SECRET, ConfigTestCase, flat, nested
from tests.support.samples import SECRET


class ExampleTests(ConfigTestCase):
    """The example file."""

    def test_example(self) -> None:
        """The example holds every setting with its default and works once it has a secret."""
        document = json.loads(EXAMPLE.read_text())
        self.assertEqual(document, nested({**DEFAULTS, "jwtSecret": "CHANGE-ME"}))
        settings, warnings, _ = load(EXAMPLE, {"JWT_SECRET": SECRET})
        self.assertEqual((flat(settings), warnings), (DEFAULTS, []))

    def test_example_as_it_is(self) -> None:
        """The example's secret is refused, and nothing else of it."""
        faults = self.assertRaises(ConfigError, load, EXAMPLE, {}).faults
        self.assertEqual(
            faults,
            [f"jwtSecret (in {EXAMPLE}): its value is not allowed: it must be {JWT_SECRET}"],
        )


class ReprTests(ConfigTestCase):
    """Settings in logs."""

    def test_not_shown_in_settings(self) -> None:
        """Settings can be printed: an empty password shows as such, the rest of secrets not."""
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
