"""Samples of metrics, and the ring that keeps the last ones."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core import metrics as core
from gaq_twisted.core.dashboard import Rate
from gaq_twisted.core.metrics import CORE, DELIVERY_SECONDS, REACTOR_STALL_SECONDS, Metrics
from gaq_twisted.streams import metrics as streams
from gaq_twisted.web.status.contents import contents
from gaq_twisted.web.status.sampler import Sampler, SampleRing, at_most, quantile
from tests.support.status import metrics_with, streams_contents


def sampler_of(metrics: Metrics, now_seconds: float, cpu_seconds: float) -> Sampler:
    """Returns a sampler of a server of the streams edition."""
    return Sampler(metrics, streams_contents().columns, now_seconds, cpu_seconds)


class QuantileTests(SynchronousTestCase):
    """Quantiles and greatest values, estimated from histograms."""

    def test_interpolation(self) -> None:
        """Values are assumed to be spread evenly in a bucket; the first begins at 0."""
        bounds, counts = (1.0, 2.0, 4.0), (4, 0, 4, 0)
        for part, value in ((0.25, 0.5), (0.5, 1.0), (0.75, 3.0), (1.0, 4.0)):
            self.assertEqual(quantile(bounds, counts, part), value, part)

    def test_none(self) -> None:
        """Without values there is no quantile."""
        self.assertIsNone(quantile((1.0, 2.0), (0, 0, 0), 0.5))

    def test_overflow(self) -> None:
        """A quantile above the last bound is shown as that bound."""
        self.assertEqual(quantile((1.0, 2.0), (1, 0, 9), 0.5), 2.0)

    def test_at_most(self) -> None:
        """No value exceeds the bound of its bucket, nor the sum of all."""
        for counts, total, value in (
            ((0, 0, 0), 0.0, 0.0),
            ((10, 0, 0), 0.5, 0.5),
            ((9, 1, 0), 3.5, 2.0),
            ((9, 0, 1), 7.5, 7.5),
        ):
            self.assertEqual(at_most((1.0, 2.0), counts, total), value, counts)


class SamplerTests(SynchronousTestCase):
    """Samples of metrics."""

    def test_rates(self) -> None:
        """A rate is the rise of a counter per second since the sample before."""
        metrics = metrics_with()
        metrics.increment(core.FRAMES_SENT, 1_000_000)
        sampler = sampler_of(metrics, 100.0, 1.0)
        metrics.increment(core.FRAMES_SENT, 6)
        metrics.increment(core.CLOSED, 2, "1001")
        metrics.increment(core.CLOSED, 1, "1006")
        metrics.increment(core.CONNECTION_REJECTED, 1, "rate")
        metrics.increment(core.CLIENT_BACKPRESSURE_DISCONNECT, 3)
        sample = sampler.sample(102.0, 1.5)
        self.assertEqual(sample["framesPerSecond"], 3.0)
        self.assertEqual(sample["closesPerSecond"], 1.5)
        self.assertEqual(sample["connectsPerSecond"], 0.0)
        self.assertEqual(sample["rejectedSocketsPerSecond"], 2.0)
        self.assertEqual(sample["slowClientsDropped"], 3)
        self.assertEqual(sample["cpu"], 0.25)
        self.assertEqual(sampler.sample(103.0, 1.5)["framesPerSecond"], 0.0)

    def test_clock_is_set_back(self) -> None:
        """Rates are unknown when the clock was set back, and known again in the next sample."""
        metrics = metrics_with()
        sampler = sampler_of(metrics, 100.0, 0.0)
        metrics.increment(streams.EVENTS_READ)
        sample = sampler.sample(50.0, 0.0)
        self.assertIsNone(sample["eventsReadPerSecond"])
        self.assertIsNone(sample["cpu"])
        metrics.increment(streams.EVENTS_READ, 4)
        self.assertEqual(sampler.sample(52.0, 0.0)["eventsReadPerSecond"], 2.0)

    def test_gauges(self) -> None:
        """Gauges have their present value."""
        sample = sampler_of(metrics_with(), 100.0, 0.0).sample(101.0, 0.0)
        self.assertEqual((sample["at"], sample["sockets"], sample["channels"]), (101.0, 3, 2))
        self.assertEqual((sample["slowSockets"], sample["unsentBytes"]), (1, 4096))
        self.assertEqual((sample["tailEvents"], sample["tailBytes"]), (7, 900))
        self.assertEqual((sample["redisUp"], sample["redisConnections"]), (True, 5))
        self.assertEqual((sample["lagSeconds"], sample["readAgeSeconds"]), (0.0, 0.25))
        self.assertFalse(sample["isDraining"])

    def test_sums(self) -> None:
        """What was rejected for any reason is one number."""
        metrics = metrics_with()
        metrics.increment(core.UPGRADE_REJECTED, 2, "origin")
        metrics.increment(core.REQUEST_REJECTED, 3, "body")
        metrics.increment(core.CLIENT_BACKPRESSURE_DISCONNECT)
        self.assertEqual(sampler_of(metrics, 100.0, 0.0).sample(101.0, 0.0)["rejected"], 6)

    def test_outages(self) -> None:
        """Outages are counted with their time, also after they are over; a slow start is none."""
        ups = iter((False, False, True, False, False, True, False, True))
        metrics = metrics_with()
        metrics.read_from(streams.REDIS_UP, lambda: next(ups))
        sampler = sampler_of(metrics, 100.0, 0.0)
        numbers = []
        for second in range(101, 108):
            sample = sampler.sample(float(second), 0.0)
            numbers.append((sample["redisOutages"], sample["redisDownSeconds"]))
        self.assertEqual(numbers, [(0, 0), (0, 0), (1, 1), (1, 2), (1, 2), (2, 3), (2, 3)])

    def test_no_answer(self) -> None:
        """A Redis that stands still counts as down once an answer is late."""
        for age_seconds, is_up in ((5.9, True), (6.1, False), (float("inf"), False)):
            metrics = metrics_with(**{streams.READ_AGE_SECONDS.name: age_seconds})
            sample = sampler_of(metrics, 100.0, 0.0).sample(101.0, 0.0)
            self.assertEqual(sample["redisUp"], is_up, age_seconds)

    def test_never_read(self) -> None:
        """An infinite age becomes None, which JSON can express."""
        metrics = metrics_with(**{streams.READ_AGE_SECONDS.name: float("inf")})
        self.assertIsNone(sampler_of(metrics, 100.0, 0.0).sample(101.0, 0.0)["readAgeSeconds"])

    def test_histograms(self) -> None:
        """Quantiles are of the values since the sample before."""
        metrics = metrics_with()
        for _ in range(1000):
            metrics.observe(DELIVERY_SECONDS, 9.0)
            metrics.observe(REACTOR_STALL_SECONDS, 9.0)
        sampler = sampler_of(metrics, 100.0, 0.0)
        for _ in range(100):
            metrics.observe(DELIVERY_SECONDS, 0.02)
        metrics.observe(REACTOR_STALL_SECONDS, 0.003)
        metrics.observe(REACTOR_STALL_SECONDS, 0.2)
        sample = sampler.sample(101.0, 0.0)
        self.assertEqual(sample["deliveryP50Seconds"], 0.0175)
        self.assertEqual(sample["deliveryP99Seconds"], 0.02485)
        self.assertAlmostEqual(sample["stallSeconds"], 0.203)
        sample = sampler.sample(102.0, 0.0)
        self.assertIsNone(sample["deliveryP50Seconds"])
        self.assertEqual(sample["stallSeconds"], 0.0)

    def test_field_names(self) -> None:
        """Each column of a sample has a name, and all names differ."""
        sampler = sampler_of(metrics_with(), 100.0, 0.0)
        self.assertEqual(sampler.fields, tuple(sampler.sample(101.0, 0.0)))
        self.assertEqual(len(set(sampler.fields)), len(streams_contents().columns) + 2)
        self.assertEqual(sampler.fields[:2], ("at", "sockets"))
        self.assertIn("deliveryP50Seconds", sampler.fields)

    def test_columns_of_one_metric(self) -> None:
        """Columns that read the same counter do not take each other's rises."""
        metrics = Metrics(CORE)
        columns = (Rate("one", (core.CLOSED,)), Rate("other", (core.CLOSED, core.FRAMES_SENT)))
        sampler = Sampler(metrics, columns, 100.0, 0.0)
        metrics.increment(core.CLOSED, 2, "1001")
        metrics.increment(core.FRAMES_SENT)
        sample = sampler.sample(101.0, 0.0)
        self.assertEqual((sample["one"], sample["other"]), (2.0, 3.0))

    def test_without_editions(self) -> None:
        """What belongs to an edition is not 0 in a server without it, but absent."""
        sampler = Sampler(Metrics(CORE), contents("1.2", []).columns, 100.0, 0.0)
        self.assertIn("sockets", sampler.fields)
        for name in ("redisUp", "tailEvents", "eventsReadPerSecond", "gaps"):
            self.assertNotIn(name, sampler.fields)


class SampleRingTests(SynchronousTestCase):
    """The ring of the last samples."""

    def test_bound(self) -> None:
        """Only the last rows are kept, and each keeps its number."""
        ring = SampleRing(3)
        self.assertEqual(ring.since(0), [])
        for number in range(5):
            ring.add(b"%d" % number)
        self.assertEqual(ring.end, 5)
        for number, rows in ((0, [b"2", b"3", b"4"]), (4, [b"4"]), (5, []), (99, [])):
            self.assertEqual(ring.since(number), rows, number)
