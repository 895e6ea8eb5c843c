"""Shared by all tests of the check."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.config.load import Loaded, load
from gaq_twisted.tools.check.findings import Finding, Mark
from tests.support.samples import CHANNEL, SECRET

OTHER_SECRET = "another secret, as long as the first"
PASSWORD = "open sesame"


def loaded(**environ: str) -> Loaded:
    """Returns the settings of an environment."""
    return load(None, {"JWT_SECRET": SECRET, **environ})


class DiscreetTestCase(SynchronousTestCase):
    """Checks that a report keeps secrets."""

    def assert_discreet(self, text: str, *secrets: str) -> None:
        """Checks that a text shows no secret, token or channel id."""
        for secret in (SECRET, OTHER_SECRET, PASSWORD, CHANNEL, *secrets):
            self.assertNotIn(secret, text)
        self.assertNotIn("eyJ", text)


class FindingTestCase(DiscreetTestCase):
    """Checks findings."""

    def assert_advice(self, finding: Finding, mark: Mark, *parts: str) -> None:
        """Checks a finding's mark and parts of its one line; each failure must have a remedy."""
        line = str(finding)
        self.assertEqual(finding.mark, mark, line)
        self.assertEqual(len(line.splitlines()), 1, line)
        for part in parts:
            self.assertIn(part, line)
        if mark is Mark.FAIL:
            self.assertTrue(finding.remedy, line)
        self.assert_discreet(line)
