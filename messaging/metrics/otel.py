"""The OpenTelemetry outlet: observable instruments, which the SDK's reader calls.

Needs the extra `otel`, and an SDK with a reader and an exporter of your choice. OpenTelemetry has
no observable histogram, so one is three counters: `.bucket`, whose attribute `le` is the upper
bound as in Prometheus, `.count` and `.sum`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from messaging.histogram import Read
from messaging.metrics import METRICS, Metric, Metrics

__all__ = ["observe"]


def observe(metrics: Metrics, meter: Meter | None = None) -> None:
    """Register `metrics` as observable instruments, once per process, for its lifetime.

    meter  by default from the process's meter provider.
    """
    meter = meter or get_meter("messaging")
    for metric in METRICS:
        if metric.bounds:
            for part, unit in ((".bucket", "1"), (".count", "1"), (".sum", metric.unit)):
                meter.create_observable_counter(
                    metric.name + part,
                    [_callback(metrics, metric, part)],
                    unit=unit,
                    description=metric.help,
                )
            continue
        create = meter.create_observable_counter if metric.counts else None
        (create or meter.create_observable_gauge)(
            metric.name, [_callback(metrics, metric)], unit=metric.unit, description=metric.help
        )


def _callback(
    metrics: Metrics, metric: Metric, part: str = ""
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        for labels, value in metrics.read(metric.name)[metric.name].items():
            named = dict(zip(metric.labels, labels, strict=True))
            if not isinstance(value, Read):
                yield Observation(value + 0, named)  # not a bool: the OTLP encoder refuses those
            elif part == ".bucket":
                for bound, count in value.buckets:
                    yield Observation(count, {**named, "le": f"{bound:g}"})
            else:
                yield Observation(value.count if part == ".count" else value.total, named)

    return observed
