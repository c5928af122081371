"""The outlet for OpenTelemetry: observable instruments, which the SDK's reader asks.

Needs the extra `otel`, and an SDK with a reader and an exporter of your choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from messaging.metrics import METRICS, Metric, Metrics

__all__ = ["observe"]


def observe(metrics: Metrics, meter: Meter | None = None) -> None:
    """Register `metrics` as observable instruments, once in a process, for as long as it lives.

    meter  by default that of the process's meter provider.
    """
    meter = meter or get_meter("messaging")
    for metric in METRICS:
        create = meter.create_observable_counter if metric.counts else None
        (create or meter.create_observable_gauge)(
            metric.name, _callback(metrics, metric), unit=metric.unit, description=metric.help
        )


def _callback(
    metrics: Metrics, metric: Metric
) -> Sequence[Callable[[CallbackOptions], Iterable[Observation]]]:
    def observed(_options: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, dict(zip(metric.labels, labels, strict=True)))
            for labels, value in metrics.read(metric.name)[metric.name].items()
        ]

    return [observed]
