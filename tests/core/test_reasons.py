"""The labels of rejections."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.reasons import ConnectionReason, RequestReason, UpgradeReason


class ReasonTests(SynchronousTestCase):
    """Names that dashboards and alerts use."""

    def test_spelling(self) -> None:
        """A label is one word in lower case, so that no metrics backend has to escape it."""
        for reasons in (RequestReason, UpgradeReason, ConnectionReason):
            for reason in reasons:
                self.assertRegex(reason, r"\A[a-z_]+\Z")
                self.assertEqual(f"{reason}", reason.value)
