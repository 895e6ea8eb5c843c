"""The table of settings at the top of the report."""

import json
from pathlib import Path

from gaq_twisted.config.load import load
from gaq_twisted.tools.check.settings import settings_json, settings_table
from tests.support.samples import SECRET
from tests.tools.check.case import PASSWORD, DiscreetTestCase, loaded


class SettingsTableTests(DiscreetTestCase):
    """The list of settings."""

    def test_order_and_sources(self) -> None:
        """What was set comes first, with its source; the defaults follow."""
        file = Path(self.mktemp())
        file.write_text(json.dumps({"redis": {"db": 2}, "logLevel": "info"}))
        lines = list(settings_table(load(file, {"JWT_SECRET": SECRET, "PORT": "81"})))
        divided = lines.index("Defaults:")
        self.assertEqual(lines[0], "Set:")
        self.assertEqual(
            [line.split() for line in lines[1:divided]],
            [
                ["port", "81", "PORT", "in", "the", "environment"],
                ["logLevel", '"info"', "in", str(file)],
                ["redis.db", "2", "in", str(file)],
                ["jwtSecret", "set", "JWT_SECRET", "in", "the", "environment"],
            ],
        )
        self.assertIn(["redis.port", "6379"], [line.split() for line in lines[divided:]])
        listed = [key for key in loaded().sources if not key.startswith("realtimeRedis.")]
        self.assertEqual(len(lines) - 2, len(listed))

    def test_what_follows(self) -> None:
        """Derived settings name their sources; those that realtimeRedis inherits are omitted."""
        lines = settings_table(
            loaded(
                JWT_COOKIE_NAME="superset-ws-token",
                REDIS_HOST="one",
                REALTIME_REDIS_DB="3",
            )
        )
        found = [" ".join(line.split()) for line in lines]
        divided = found.index("Defaults:")
        for row in (
            'protocol "realtime" because jwtCookieName is superset-ws-token',
            "realtimeJwtSecret set as jwtSecret",
            'realtimeJwtCookieName "superset-ws-token" as jwtCookieName',
            "realtimeRedis.db 3 REALTIME_REDIS_DB in the environment",
        ):
            self.assertIn(row, found[:divided])
        self.assertEqual(len([row for row in found if row.startswith("realtimeRedis.")]), 1)

    def test_misplaced_secrets(self) -> None:
        """Credentials and keys are hidden wherever they are, in the table and as JSON."""
        found = loaded(REDIS_USERNAME=f"-----BEGIN KEY-----{PASSWORD}", BASE_PATH="/ws")
        self.assert_discreet("\n".join(settings_table(found)))
        shown = settings_json(found)
        self.assert_discreet(json.dumps(shown))
        self.assertEqual(shown["redis.username"]["value"], "***")
        self.assertEqual(shown["basePath"]["value"], "/ws")

    def test_secrets(self) -> None:
        """Secrets are only shown as set or empty."""
        text = "\n".join(settings_table(loaded(REDIS_PASSWORD=PASSWORD)))
        self.assert_discreet(text)
        rows = {row[0]: row[1] for line in text.splitlines() if len(row := line.split()) > 1}
        self.assertEqual(rows["redis.password"], "set")
        self.assertEqual(rows["redis.sentinelPassword"], "empty")
