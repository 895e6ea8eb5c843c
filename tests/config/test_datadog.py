"""Datadog's variables."""

from gaq_twisted.config.catalogue import all_settings
from gaq_twisted.config.datadog import agent_address
from tests.config.case import ConfigTestCase


class DatadogTests(ConfigTestCase):
    """What Superset's Node.js server takes from the environment for StatsD."""

    def test_agent(self) -> None:
        """The agent's address is used if none is set, with its source."""
        environ = {"DD_AGENT_HOST": "10.0.0.7", "DD_DOGSTATSD_PORT": "8126"}
        settings, _, sources = self.load({}, environ)
        self.assertEqual((settings.statsd.host, settings.statsd.port), ("10.0.0.7", 8126))
        self.assertEqual(sources["statsd.host"], "DD_AGENT_HOST in the environment")
        settings = self.load({"statsd.host": "one"}, {**environ, "STATSD_PORT": "1"}).settings
        self.assertEqual((settings.statsd.host, settings.statsd.port), ("one", 1))
        (redis_host,) = (one for one in all_settings() if one.key == "redis.host")
        self.assertIsNone(agent_address(redis_host, environ))

    def test_bad_agent(self) -> None:
        """A wrong address is a fault that names the variable."""
        for text in ("x", "1" * 5000):
            (fault,) = self.faults({}, {"DD_DOGSTATSD_PORT": text})
            self.assertTrue(fault.startswith("statsd.port (DD_DOGSTATSD_PORT in the env"), fault)

    def test_tags(self) -> None:
        """The unified tags and the pod are added, unless a tag of that name is set."""
        environ = {
            "DD_ENTITY_ID": "pod-1",
            "DD_ENV": "prod",
            "DD_SERVICE": " superset,ws ",
            "DD_VERSION": "",
        }
        settings, _, sources = self.load({"statsd.globalTags": ["team:bi", "env:test"]}, environ)
        self.assertEqual(
            settings.statsd.global_tags,
            ("team:bi", "env:test", "dd.internal.entity_id:pod-1", "service:superset_ws"),
        )
        self.assertIn(str(self.file), sources["statsd.globalTags"])
        self.assertIn("DD_ENTITY_ID, DD_SERVICE in the env", sources["statsd.globalTags"])
        self.assertEqual(self.load().settings.statsd.global_tags, ())
        (tag,) = self.load({}, {"DD_ENV": "prod-\udce9"}).settings.statsd.global_tags
        self.assertEqual(tag.encode(), b"env:prod-_")
