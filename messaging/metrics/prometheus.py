"""The outlet for Prometheus: a collector, and the page that Prometheus scrapes.

Needs the extra `prometheus`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector as _Collector

from messaging.metrics import METRICS, Metric, Metrics

__all__ = ["Collector", "serving"]


class Collector(_Collector):
    """What `REGISTRY.register` of prometheus-client takes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Every metric that has a value at this moment."""
        read = self._metrics.read()
        for metric in METRICS:
            if read[metric.name]:
                family = _family(metric)
                for labels, value in read[metric.name].items():
                    family.add_metric(labels, value)
                yield family

    def describe(self) -> Iterator[Family]:
        """The names, so that registering reads nothing."""
        return map(_family, METRICS)


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    kind = CounterMetricFamily if metric.counts else GaugeMetricFamily
    return kind(name, metric.help, labels=metric.labels)


@contextmanager
def serving(
    metrics: Metrics, registry: CollectorRegistry = REGISTRY
) -> Iterator[Callable[[], tuple[str, str]]]:
    """Inside of `with` the metrics are in `registry`; gives a function for the page's content
    type and text, which holds whatever else is registered there, too."""
    collector = Collector(metrics)
    registry.register(collector)
    try:
        yield lambda: (CONTENT_TYPE_LATEST, generate_latest(registry).decode())
    finally:
        registry.unregister(collector)
