"""What the status page reports of the realtime edition."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.metrics import CORE, Metrics
from gaq_twisted.realtime.dashboard import realtime_dashboard
from gaq_twisted.realtime.metrics import REALTIME
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.incidents import Incidents
from gaq_twisted.web.status.sampler import Sampler
from tests.support.samples import settings
from tests.support.status import ask_redis


class DashboardTests(SynchronousTestCase):
    """The incidents of samples."""

    def test_incidents(self) -> None:
        """Also a loss that is over before the next sample is reported, with what followed."""
        page = contents("1", [realtime_dashboard(settings(), ask_redis)])
        sampler = Sampler(Metrics((*CORE, *REALTIME)), page.columns, 0, 0.0)
        fine = {**sampler.sample(1, 0.0), "subscribed": True}
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"subscriptionLosses": 1}, "subscription lost", "was not followed (once)"),
            ({"gapDisconnects": 2000}, "closed", "2,000 sockets that may have missed"),
            ({"messagesDropped": 3}, "dropped", "malformed messages ("),
        ]
        for values, kind, text in cases:
            incidents = Incidents(page.rules)
            incidents.compare(fine, {**fine, **values})
            (incident,) = incidents.newest_first()
            self.assertEqual(incident.kind, kind)
            self.assertIn(text, incident.text)
