"""The Prometheus outlet: a collector, and the page that Prometheus scrapes.

Needs the extra `prometheus`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector as _Collector

from messaging.histogram import Read
from messaging.metrics import METRICS, Metric, Metrics

__all__ = ["Collector", "serving"]


class Collector(_Collector):
    """A collector for `REGISTRY.register` of prometheus-client."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """All metrics that currently have a value."""
        read = self._metrics.read()
        for metric in METRICS:
            if read[metric.name]:
                family = _family(metric)
                for labels, value in read[metric.name].items():
                    if isinstance(value, Read):
                        family.add_metric(labels, _buckets(value), value.total)
                    else:
                        family.add_metric(labels, value)
                yield family

    def describe(self) -> Iterator[Family]:
        """The names, so that registering reads nothing."""
        return map(_family, METRICS)


def _buckets(read: Read) -> list[tuple[str, int]]:
    return [
        ("+Inf" if bound == math.inf else str(float(bound)), count) for bound, count in read.buckets
    ]


def _family(metric: Metric) -> Any:
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    kind: Any = CounterMetricFamily if metric.counts else GaugeMetricFamily
    if metric.bounds:
        kind = HistogramMetricFamily
    return kind(name, metric.help, labels=metric.labels)


@contextmanager
def serving(
    metrics: Metrics, registry: CollectorRegistry = REGISTRY
) -> Iterator[Callable[[], tuple[str, str]]]:
    """Inside `with`, the metrics are in `registry`; yields a function for the page's content type
    and text, which includes everything else that is registered."""
    collector = Collector(metrics)
    registry.register(collector)
    try:
        yield lambda: (CONTENT_TYPE_LATEST, generate_latest(registry).decode())
    finally:
        registry.unregister(collector)
