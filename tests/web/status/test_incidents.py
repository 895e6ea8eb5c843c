"""Which samples are worth a line."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.dashboard import Level
from gaq_twisted.core.metrics import CLIENT_SEND_ERROR, CORE, Metrics
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.incidents import Incidents
from gaq_twisted.web.status.sampler import Sample, Sampler
from tests.support.status import metrics_with, streams_contents


class IncidentTests(SynchronousTestCase):
    """Incidents of samples."""

    def sample(self, at: float, **values: Any) -> Sample:
        """Returns a sample of a healthy server, except for those values."""
        sampler = Sampler(metrics_with(), streams_contents().columns, at - 1, 0.0)
        return {**sampler.sample(at, 0.0), **values}

    def kinds(self, *samples: Sample) -> list[tuple[str, int]]:
        """Returns the kinds and counts of the incidents of samples, the newest first."""
        incidents, before = Incidents(streams_contents().rules), None
        for sample in samples:
            incidents.compare(before, sample)
            before = sample
        return [(incident.kind, incident.count) for incident in incidents.newest_first()]

    def test_redis(self) -> None:
        """Each outage of Redis and each end of one is a line; a state that lasts is not."""
        up, down = self.sample(1), self.sample(2, redisUp=False)
        self.assertEqual(
            self.kinds(up, up, down, down, up),
            [("Redis up", 1), ("Redis down", 1), ("Redis up", 1)],
        )
        self.assertEqual(self.kinds(down, down), [])

    def test_each(self) -> None:
        """Each fault has a line, with how bad it is."""
        fine = self.sample(1)
        for values, kind, level in (
            ({"gaps": 2}, "gap", Level.BAD),
            ({"invalidEvents": 1}, "skipped", Level.WARN),
            ({"sendErrors": 1}, "send failed", Level.BAD),
            ({"stallSeconds": 0.3}, "stall", Level.WARN),
            ({"isDraining": True}, "draining", Level.WARN),
        ):
            incidents, now = Incidents(streams_contents().rules), self.sample(2, **values)
            incidents.compare(fine, now)
            (incident,) = incidents.newest_first()
            self.assertEqual((incident.at, incident.kind, incident.level), (2, kind, level))
            version = incidents.version
            incidents.compare(now, self.sample(3, **{**values, "stallSeconds": 0.0}))
            self.assertEqual(incidents.version, version, f"{kind} is told once")

    def test_bound(self) -> None:
        """An incident that lasts is one line with a count; there are 50 lines at most."""
        fine = self.sample(1)
        stalls = [self.sample(at, stallSeconds=1.0) for at in range(2, 5)]
        self.assertEqual(self.kinds(fine, *stalls), [("stall", 3), ("Redis up", 1)])
        flapping = [self.sample(at, redisUp=at % 2 == 0) for at in range(200)]
        self.assertEqual(len(self.kinds(*flapping)), 50)

    def test_texts(self) -> None:
        """A line says how often, or for how long."""
        before, texts = self.sample(1, gaps=1), []
        for values in ({"gaps": 2}, {"gaps": 1234}, {"invalidEvents": 1500}, {"stallSeconds": 0.3}):
            incidents = Incidents(streams_contents().rules)
            incidents.compare(before, self.sample(2, **{"gaps": 1, **values}))
            texts += [incident.text for incident in incidents.newest_first()]
        self.assertEqual(
            texts,
            [
                "events may be lost (once); the log has more",
                "events may be lost (1,233 times); the log has more",
                "1,500 stream entries that are no valid events",
                "the reactor was blocked for up to 0.3 s",
            ],
        )

    def test_without_editions(self) -> None:
        """A server without an edition has the incidents that belong to none."""
        columns, rules = contents("1.2", []).columns, contents("1.2", []).rules
        metrics = Metrics(CORE)
        sampler, incidents = Sampler(metrics, columns, 1, 0.0), Incidents(rules)
        before = sampler.sample(2, 0.0)
        metrics.increment(CLIENT_SEND_ERROR)
        incidents.compare(before, sampler.sample(3, 0.0))
        self.assertEqual([one.kind for one in incidents.newest_first()], ["send failed"])
