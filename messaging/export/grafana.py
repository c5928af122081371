"""A Grafana dashboard over the metrics that `messaging.metrics` gives to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from messaging.errors import ConfigurationError
from messaging.metrics import METRICS, Metric
from messaging.topology import Topology

__all__ = ["grafana", "prometheus_name"]

_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "$__rate_interval"
_OF_SERVICE = '{service=~"$service"}'


def prometheus_name(name: str) -> str:
    """The name under which Prometheus has the metric `messaging.worker.received`."""
    metric = next((one for one in METRICS if one.name == name), None)
    if metric is None:
        raise ConfigurationError(f"{name!r} is no metric of this library")
    return _family_name(metric)


def _family_name(metric: Metric) -> str:
    unit = "_seconds" if metric.unit == "s" else ""
    return (
        metric.name.replace(".", "_")
        + unit
        + ("_total" if metric.counts and not metric.bounds else "")
    )


class _Line(NamedTuple):
    """A query of a panel, and what its lines are called."""

    expression: str
    legend: str


def _rate(name: str, by: str, legend: str = "") -> _Line:
    """So many a second."""
    metric = prometheus_name(name)
    return _Line(f"sum by ({by}) (rate({metric}{_where(by)}[{_RATE}]))", legend or _legend(by))


def _sum(name: str, by: str, legend: str = "") -> _Line:
    """Of all processes together."""
    return _Line(f"sum by ({by}) ({prometheus_name(name)}{_where(by)})", legend or _legend(by))


def _most(name: str, by: str, legend: str = "", of: str = "max") -> _Line:
    """Of all processes the one where it is worst; several may tell of the same table."""
    return _Line(f"{of} by ({by}) ({prometheus_name(name)}{_where(by)})", legend or _legend(by))


def _quantiles(name: str, by: str, *quantiles: float) -> list[_Line]:
    """How long it takes at most in so many of all cases."""
    buckets = f"rate({prometheus_name(name)}_bucket{_where(by)}[{_RATE}])"
    return [
        _Line(
            f"histogram_quantile({quantile}, sum by ({by}, le) ({buckets}))",
            f"{_legend(by)} p{quantile * 100:g}",
        )
        for quantile in quantiles
    ]


def _where(by: str) -> str:
    return _OF_SERVICE if by.startswith("service") else ""


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def _panels() -> Iterator[tuple[str, Sequence[tuple[str, str, Sequence[_Line]]]]]:
    """By row, what is looked at first on top: the panels' titles, units and queries."""
    worker, publisher, relay = "messaging.worker", "messaging.publisher", "messaging.relay"
    outbox = "messaging.outbox"
    not_receiving = (
        f"sum by (service, state) ({prometheus_name(f'{worker}.state')}"
        '{service=~"$service", state!="receiving"})'
    )
    failing = "{{service}}: "
    yield (
        "Is anything wrong",
        [
            (
                "Workers that are paused, wedged, limited, or whose circuit is open",
                "short",
                [_Line(not_receiving, _legend("service, state"))],
            ),
            (
                "Workers whose queue or rate store does not answer, and stuck handlers",
                "short",
                [
                    _sum(f"{worker}.receive_failing", "service", f"{failing}queue"),
                    _sum(f"{worker}.rate_failing", "service", f"{failing}rate store"),
                    _sum(f"{worker}.stuck", "service", f"{failing}stuck handlers"),
                ],
            ),
            (
                "Oldest message in hand or to come again",
                "s",
                [_most(f"{worker}.oldest", "service")],
            ),
            (
                "Dead letters a second, by reason",
                "ops",
                [_rate(f"{worker}.dead_letters", "service, reason")],
            ),
            (
                "Canary: since the last one came, and how long it took",
                "s",
                [
                    _most(f"{worker}.probe_age", "service", f"{failing}since", of="min"),
                    _most(f"{worker}.probe_delay", "service", f"{failing}took"),
                ],
            ),
            ("Canaries and probes a second", "ops", [_rate(f"{worker}.probes", "service")]),
        ],
    )
    yield (
        "Messages",
        [
            ("Received a second", "ops", [_rate(f"{worker}.received", "service")]),
            ("Settled a second", "ops", [_rate(f"{worker}.settled", "service, outcome")]),
            (
                "In hand, and of these waiting for a handler",
                "short",
                [
                    _sum(f"{worker}.in_flight", "service", f"{failing}in hand"),
                    _sum(f"{worker}.waiting", "service", f"{failing}waiting"),
                ],
            ),
            (
                "Retries a second, by attempt",
                "ops",
                [_rate(f"{worker}.retries", "service, attempt")],
            ),
            (
                "Discarded, and handled before, a second",
                "ops",
                [
                    _rate(f"{worker}.discarded", "service", f"{failing}discarded"),
                    _rate(f"{worker}.deduplicated", "service", f"{failing}handled before"),
                ],
            ),
            (
                "Leases a second",
                "ops",
                [
                    _rate(f"{worker}.leases_renewed", "service", f"{failing}renewed"),
                    _rate(f"{worker}.leases_lost", "service", f"{failing}lost"),
                ],
            ),
        ],
    )
    yield (
        "How long it takes",
        [
            ("Handlers", "s", _quantiles(f"{worker}.handler_duration", "service, type", 0.5, 0.95)),
            ("In the queue", "s", _quantiles(f"{worker}.time_in_queue", "service", 0.5, 0.95)),
            (
                "From the event to its end",
                "s",
                _quantiles(f"{worker}.event_age", "service", 0.5, 0.95),
            ),
            ("Publish requests", "s", _quantiles(f"{publisher}.duration", "topic", 0.5, 0.95)),
        ],
    )
    yield (
        "Publishing",
        [
            ("Published a second", "ops", [_rate(f"{publisher}.published", "topic")]),
            ("Refused a second", "ops", [_rate(f"{publisher}.refused", "topic")]),
            (
                "Outbox: to be sent, and parked",
                "short",
                [
                    _most(f"{outbox}.backlog", "table", "{{table}}: to be sent"),
                    _most(f"{outbox}.parked", "table", "{{table}}: parked"),
                ],
            ),
            ("Outbox: age of the oldest", "s", [_most(f"{outbox}.age", "table")]),
            (
                "Relay, a second",
                "ops",
                [
                    _rate(f"{relay}.{name}", "topic", f"{{{{topic}}}}: {name}")
                    for name in ("published", "failed", "parked", "lost", "pruned")
                ],
            ),
        ],
    )


def grafana(topology: Topology) -> dict[str, Any]:
    """For Grafana's import: it asks for the Prometheus source, and lets services be chosen.

    Args:
        topology: what should stand: topic, queues and subscriptions.

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
    """The panels, two beside each other, below the titles of their rows."""
    id, y = 0, 0
    for row, panels in _panels():
        id += 1
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        yield {"id": id, "type": "row", "title": row, "collapsed": False, "gridPos": place}
        y += 1
        for number, (title, unit, lines) in enumerate(panels):
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
