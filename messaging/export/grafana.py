"""A Grafana dashboard for the metrics that `messaging.metrics` exports to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from messaging.errors import ConfigurationError
from messaging.metrics import METRICS
from messaging.topology import Topology

__all__ = ["grafana", "prometheus_name"]

_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "$__rate_interval"


def prometheus_name(name: str) -> str:
    """The name of a metric such as `messaging.worker.received` in Prometheus."""
    metric = next((one for one in METRICS if one.name == name), None)
    if metric is None:
        raise ConfigurationError(f"{name!r} is no metric of this library")
    unit = "_seconds" if metric.unit == "s" else ""
    total = "_total" if metric.counts and not metric.bounds else ""
    return f"{name.replace('.', '_')}{unit}{total}"


class _Line(NamedTuple):
    """A query of a panel, and the legend of its lines."""

    expression: str
    legend: str


def _rate(name: str, by: str, legend: str = "") -> _Line:
    """The rate per second."""
    return _Line(f"sum by ({by}) (rate({_metric(name, by)}[{_RATE}]))", legend or _legend(by))


def _sum(name: str, by: str, legend: str = "") -> _Line:
    """The sum over all processes."""
    return _most(name, by, legend, of="sum")


def _most(name: str, by: str, legend: str = "", of: str = "max") -> _Line:
    """The maximum over all processes, or another aggregation; several may report the same table."""
    return _Line(f"{of} by ({by}) ({_metric(name, by)})", legend or _legend(by))


def _quantiles(name: str, by: str) -> list[_Line]:
    """The median and the 95th percentile of a duration."""
    buckets = f"rate({_metric(name, by, '_bucket')}[{_RATE}])"
    return [
        _Line(
            f"histogram_quantile({quantile}, sum by ({by}, le) ({buckets}))",
            f"{_legend(by)} p{quantile * 100:g}",
        )
        for quantile in (0.5, 0.95)
    ]


def _metric(name: str, by: str, suffix: str = "") -> str:
    """The metric `messaging.NAME`; if it is per service, filtered by the selected services."""
    chosen = '{service=~"$service"}' if by.startswith("service") else ""
    return f"{prometheus_name(f'messaging.{name}')}{suffix}{chosen}"


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


_NOT_RECEIVING = (
    f"sum by (service, state) ({prometheus_name('messaging.worker.state')}"
    '{service=~"$service", state!="receiving"})'
)
_OF = "{{service}}: "
_ROWS: Mapping[str, Mapping[tuple[str, str], Sequence[_Line]]] = {
    "Is anything wrong": {
        ("Workers that are paused, wedged, limited, or whose circuit is open", "short"): [
            _Line(_NOT_RECEIVING, _legend("service, state"))
        ],
        ("Workers whose queue or rate store does not answer; handlers given up", "short"): [
            _sum("worker.receive_failing", "service", f"{_OF}queue"),
            _sum("worker.rate_failing", "service", f"{_OF}rate store"),
            _sum("worker.stuck", "service", f"{_OF}handlers given up"),
        ],
        ("Oldest message in flight or to be redelivered", "s"): [_most("worker.oldest", "service")],
        ("Dead letters a second, by reason", "ops"): [
            _rate("worker.dead_letters", "service, reason")
        ],
        ("Canary: since the last one came, and how long it took", "s"): [
            _most("worker.probe_age", "service", f"{_OF}since", of="min"),
            _most("worker.probe_delay", "service", f"{_OF}took"),
        ],
        ("Canaries and probes a second", "ops"): [_rate("worker.probes", "service")],
    },
    "Messages": {
        ("Received a second", "ops"): [_rate("worker.received", "service")],
        ("Settled a second", "ops"): [_rate("worker.settled", "service, outcome")],
        ("In flight, and of these waiting for a handler", "short"): [
            _sum("worker.in_flight", "service", f"{_OF}in flight"),
            _sum("worker.waiting", "service", f"{_OF}waiting"),
        ],
        ("Retries a second, by attempt", "ops"): [_rate("worker.retries", "service, attempt")],
        ("Discarded, and handled before, a second", "ops"): [
            _rate("worker.discarded", "service", f"{_OF}discarded"),
            _rate("worker.deduplicated", "service", f"{_OF}handled before"),
        ],
        ("Leases a second", "ops"): [
            _rate("worker.leases_renewed", "service", f"{_OF}renewed"),
            _rate("worker.leases_lost", "service", f"{_OF}lost"),
        ],
    },
    "How long it takes": {
        ("Handlers", "s"): _quantiles("worker.handler_duration", "service, type"),
        ("In the queue", "s"): _quantiles("worker.time_in_queue", "service"),
        ("From the event to its end", "s"): _quantiles("worker.event_age", "service"),
        ("Publish requests", "s"): _quantiles("publisher.duration", "topic"),
    },
    "Publishing": {
        ("Published a second", "ops"): [_rate("publisher.published", "topic")],
        ("Refused a second", "ops"): [_rate("publisher.refused", "topic")],
        ("Outbox: to be sent, and parked", "short"): [
            _most("outbox.backlog", "table", "{{table}}: to be sent"),
            _most("outbox.parked", "table", "{{table}}: parked"),
        ],
        ("Outbox: age of the oldest", "s"): [_most("outbox.age", "table")],
        ("Relay, a second", "ops"): [
            _rate(f"relay.{name}", "topic", f"{{{{topic}}}}: {name}")
            for name in ("published", "failed", "parked", "lost", "pruned")
        ],
    },
}
"""Rows of panels: the queries by a panel's title and unit. The most important row comes first."""


def grafana(topology: Topology) -> dict[str, Any]:
    """A dashboard for Grafana's import; it has variables for the Prometheus data source and the
    services.

    Args:
        topology: the desired topic, queues and subscriptions.

    Example:
        ```python
        from messaging.export import grafana

        dashboard = grafana(topology)
        assert dashboard["panels"]
        ```
    """
    return {
        "title": f"messaging: {topology.topic.name}",
        "uid": f"messaging-{topology.topic.name.replace('.', '-')}"[:40],
        "tags": ["messaging"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "service",
                    "type": "custom",
                    "query": ",".join(topology.services),
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(_placed()),
    }


def _placed() -> Iterator[dict[str, Any]]:
    """Lay out the panels, two side by side, below the titles of their rows."""
    id, y = 0, 0
    for row, panels in _ROWS.items():
        id += 1
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        yield {"id": id, "type": "row", "title": row, "collapsed": False, "gridPos": place}
        y += 1
        for number, ((title, unit), lines) in enumerate(panels.items()):
            id += 1
            place = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": y + 8 * (number // 2)}
            yield {**_panel(title, unit, lines), "id": id, "gridPos": place}
        y += 8 * ((len(panels) + 1) // 2)


def _panel(title: str, unit: str, lines: Sequence[_Line]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": dict(_SOURCE),
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": dict(_SOURCE),
                "expr": line.expression,
                "legendFormat": line.legend,
            }
            for number, line in enumerate(lines)
        ],
    }
