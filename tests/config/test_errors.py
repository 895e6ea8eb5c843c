"""The error for settings that cannot be used."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.errors import ConfigError


class ConfigErrorTests(SynchronousTestCase):
    """Several faults in one error."""

    def test_text(self) -> None:
        """Each fault is a line of the error's text."""
        self.assertEqual(str(ConfigError(["one", "two"])), "one\ntwo")
