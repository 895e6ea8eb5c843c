"""Metrics in the formats that Prometheus reads."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from twisted.web.server import Request

from gaq_twisted.core.metrics import Histogram, Kind, Metric, Metrics
from gaq_twisted.web.site import Branch

_NumberFamily = CounterMetricFamily | GaugeMetricFamily


class OurCollector(Collector):
    """Provides a server's metrics to prometheus-client.

    Args:
        metrics: the metrics.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Yields each metric with its values."""
        for metric in self._metrics.metrics:
            yield self._histogram(metric) if metric.buckets else self._numbers(metric)

    def _numbers(self, metric: Metric) -> Family:
        make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family: _NumberFamily = make(metric.name, metric.help, labels=_labels(metric))
        for label, value in self._metrics.counts(metric).items():
            family.add_metric(_label_values(metric, label), value)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=_labels(metric))
        for label, histogram in self._metrics.histograms(metric).items():
            family.add_metric(_label_values(metric, label), _buckets(histogram), histogram.sum)
        return family


class Exposition(Branch):
    """Answers with a server's metrics, and with prometheus-client's metrics of the process.

    Args:
        metrics: the metrics.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._registry = CollectorRegistry()
        self._registry.register(OurCollector(metrics))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render_GET(self, request: Request) -> bytes:
        """Answers in the format that the client asks for: text, or OpenMetrics."""
        try:
            encode, content_type = choose_encoder(request.getHeader("accept") or "")
        except (TypeError, ValueError):
            # The library fails on some of the versions that a client can ask for.
            encode, content_type = choose_encoder("")
        request.setHeader(b"content-type", content_type.encode())
        text: bytes = encode(self._registry)
        return b"" if request.method == b"HEAD" else text


def _labels(metric: Metric) -> list[str]:
    return [metric.label] if metric.label else []


def _label_values(metric: Metric, label: str) -> list[str]:
    return [label] if metric.label else []


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
