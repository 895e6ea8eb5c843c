"""The latencies of a load test, and what its result means."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.tools.loadtest.report import Latencies, rate
from tests.support.properties import for_any


class LatencyTests(SynchronousTestCase):
    """The histogram."""

    @for_any(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.01, 1.0))
    def test_quantiles(self, latencies_us: Sequence[int], share: float) -> None:
        """A quantile is that of the sorted list, but for 0.8 %; and they ascend."""
        latencies = Latencies()
        for latency_us in latencies_us:
            latencies.add(latency_us)
        ordered = sorted(latencies_us)
        exact_ms = next(
            value / 1000 for rank, value in enumerate(ordered, 1) if rank >= share * len(ordered)
        )
        found_ms = latencies.quantile_ms(share)
        assert found_ms is not None
        self.assertLessEqual(found_ms, exact_ms)
        self.assertGreaterEqual(found_ms, exact_ms * (1 - 0.008))
        self.assertEqual(latencies.worst_ms, ordered[-1] / 1000)
        quantiles = [latencies.quantile_ms(each) or 0.0 for each in (0.1, 0.5, 0.9, 1.0)]
        self.assertTrue(all(low <= high for low, high in pairwise(quantiles)))

    def test_none(self) -> None:
        """Without latencies there are no figures, and without time there is no rate."""
        self.assertIsNone(Latencies().quantile_ms(0.5))
        self.assertIsNone(Latencies().worst_ms)
        self.assertEqual(rate(3, 0.0), 0.0)
