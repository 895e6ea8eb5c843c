"""The metrics' names and values, and how Prometheus reads them."""

from pathlib import Path
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

import gaq_twisted
from gaq_twisted.core import metrics as core
from gaq_twisted.core.metrics import (
    CLOSED,
    CONNECTED_CLIENT,
    CORE,
    DELIVERY_SECONDS,
    OPEN_SOCKETS,
    Histogram,
    Kind,
    Metric,
    Metrics,
)
from gaq_twisted.streams import metrics as streams
from gaq_twisted.streams.metrics import (
    EVENTS_READ,
    READ_AGE_SECONDS,
    REDIS_CONNECTIONS,
    REPLAY_EVENTS,
    STREAMS,
)
from gaq_twisted.web.prometheus import Exposition
from gaq_twisted.web.site import resource_tree
from tests.support.samples import streams_metrics

ALL = (*CORE, *STREAMS)


class DefinitionTests(SynchronousTestCase):
    """The definitions of metrics."""

    def test_all(self) -> None:
        """Each has a name of its own, a sentence, and buckets if it is a histogram."""
        self.assertEqual(len({metric.name for metric in ALL}), len(ALL))
        for metric in ALL:
            self.assertRegex(metric.name, "^ws_[a-z_]+$")
            self.assertRegex(metric.help, r"^[A-Z0-9].*\.$")
            self.assertEqual(metric.kind is Kind.HISTOGRAM, bool(metric.buckets))
            self.assertEqual(sorted(set(metric.buckets)), list(metric.buckets))

    def test_each_is_listed(self) -> None:
        """Each metric that is declared is one of a server of the streams edition."""
        declared = {
            value
            for module in (core, streams)
            for value in vars(module).values()
            if isinstance(value, Metric)
        }
        self.assertEqual(declared, set(ALL))

    def test_each_is_used(self) -> None:
        """Each is counted or read somewhere."""
        source = "".join(
            file.read_text()
            for file in Path(gaq_twisted.__file__).parent.rglob("*.py")
            if file.name not in ("metrics.py", "dashboard.py", "contents.py")
        )
        for module in (core, streams):
            for name, value in vars(module).items():
                if isinstance(value, Metric):
                    self.assertIn(name, source)

    def test_values(self) -> None:
        """Only metrics with a label list its values."""
        for metric in ALL:
            if metric.values is not None:
                self.assertTrue(metric.label, metric.name)


class ValueTests(SynchronousTestCase):
    """The values of metrics."""

    def test_counters(self) -> None:
        """Counters without a label start at 0."""
        metrics = streams_metrics()
        self.assertEqual(metrics.counts(CONNECTED_CLIENT), {"": 0})
        self.assertEqual(metrics.counts(CLOSED), {})
        metrics.increment(CLOSED, label="1001")
        metrics.increment(CLOSED, 2, "1006")
        self.assertEqual(metrics.counts(CLOSED), {"1001": 1, "1006": 2})
        self.assertEqual(metrics.total(CLOSED), 3)

    def test_read(self) -> None:
        """A value that is kept elsewhere is read on demand."""
        metrics = streams_metrics()
        values = [1]
        for metric in (OPEN_SOCKETS, REDIS_CONNECTIONS):
            metrics.read_from(metric, lambda: values[0])
            self.assertEqual(metrics.total(metric), values[0])
            values[0] += 1
            self.assertEqual(metrics.total(metric), values[0])

    def test_others(self) -> None:
        """A metric that a server does not have is absent: it is not 0, and cannot be counted."""
        metrics = Metrics(CORE)
        for use in (
            lambda: metrics.increment(EVENTS_READ),
            lambda: metrics.observe(DELIVERY_SECONDS, 1),
            lambda: metrics.read_from(READ_AGE_SECONDS, lambda: 1),
            lambda: metrics.total(EVENTS_READ),
            lambda: metrics.histograms(REPLAY_EVENTS),
        ):
            self.assertRaises(KeyError, use)
        kinds = (Kind.COUNTER, Kind.GAUGE)
        names = {metric.name for kind in kinds for metric, _, _ in metrics.numbers(kind)}
        names |= {metric.name for metric, _, _ in metrics.all_histograms()}
        self.assertLessEqual(names, {metric.name for metric in CORE})

    def test_histogram(self) -> None:
        """A value belongs to the first bucket whose bound it does not exceed."""
        histogram = Histogram((1.0, 2.0))
        for value in (0, 1, 1.5, 2, 2.1, 99):
            histogram.observe(value)
        self.assertEqual((histogram.counts, histogram.count), ([2, 2, 2], 6))
        self.assertEqual(histogram.sum, 105.6)


class ExpositionTests(SynchronousTestCase):
    """What Prometheus gets, as its own parsers understand it."""

    def setUp(self) -> None:
        """Counts something of each kind."""
        self.metrics = streams_metrics()
        self.metrics.increment(CONNECTED_CLIENT, 3)
        self.metrics.increment(CLOSED, 2, "1001")
        self.metrics.read_from(OPEN_SOCKETS, lambda: 5)
        for value in (0.002, 0.3, 99):
            self.metrics.observe(DELIVERY_SECONDS, value)
        self.metrics.observe(REPLAY_EVENTS, 0, "tail")
        self.client: Any = StubTreq(resource_tree({b"metrics": Exposition(self.metrics)}))

    def ask(self, accept: str) -> tuple[str, str]:
        """Returns the content's type, and the content."""
        response = self.successResultOf(
            self.client.get("http://gaq.test/metrics", headers={"Accept": accept})
        )
        self.assertEqual(response.code, 200)
        (kind,) = response.headers.getRawHeaders("content-type")
        return kind, self.successResultOf(response.text())

    def assert_samples(self, families: Any) -> None:
        """Checks what the parser found."""
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        for key, value in {
            ("ws_connected_client_total",): 3,
            ("ws_closed_total", ("code", "1001")): 2,
            ("ws_open_sockets",): 5,
            ("ws_delivery_seconds_count",): 3,
            ("ws_delivery_seconds_bucket", ("le", "0.0025")): 1,
            ("ws_delivery_seconds_bucket", ("le", "+Inf")): 3,
            ("ws_replay_events_bucket", ("le", "0.0"), ("source", "tail")): 1,
        }.items():
            self.assertEqual(samples.get(key), value, key)
        self.assertIn(("process_cpu_seconds_total",), samples)

    def test_text(self) -> None:
        """The default format is text."""
        kind, text = self.ask("*/*")
        self.assertTrue(kind.startswith("text/plain"), kind)
        self.assert_samples(text_string_to_metric_families(text))

    def test_odd_wishes(self) -> None:
        """A client that asks for an unknown version gets an answer."""
        for accept in ("text/plain; version=a", "application/openmetrics-text; version=1.x", ";;,"):
            _, text = self.ask(accept)
            self.assertIn("ws_connected_client_total 3.0", text)

    def test_openmetrics(self) -> None:
        """Prometheus asks for OpenMetrics, and gets it."""
        kind, text = self.ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        self.assertTrue(kind.startswith("application/openmetrics-text"), kind)
        self.assert_samples(openmetrics.text_string_to_metric_families(text))

    def test_without_editions(self) -> None:
        """A server without the streams edition shows none of its metrics."""
        self.client = StubTreq(resource_tree({b"metrics": Exposition(Metrics(CORE))}))
        _, text = self.ask("*/*")
        for metric in CORE:
            self.assertIn(f" {metric.name}", text)
        for metric in STREAMS:
            self.assertNotIn(metric.name, text)
