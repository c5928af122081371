"""Prometheus alert rules for the metrics of `messaging.metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from messaging.export.alarms import OLDEST
from messaging.export.grafana import prometheus_name
from messaging.topology import Topology

__all__ = ["prometheus_rules"]

_RUNBOOK = "https://github.com/messaging-sns-sqs/messaging/blob/main/docs/how-to/runbook.md"


def prometheus_rules(
    topology: Topology, *, oldest: int = OLDEST, canary: int = 0
) -> dict[str, Any]:
    """A file for Prometheus's `rule_files` (JSON is valid YAML). The Prometheus operator takes it
    as the `spec` of a PrometheusRule.

    Severity `page` is for problems that get worse while nobody acts, `ticket` for the others.

    Args:
        topology: the desired topic, queues and subscriptions.
        oldest: seconds that the oldest message, or the oldest entry of an outbox, may wait.
        canary: seconds between two canaries (`messaging canary --every`). Alerts if none arrives
            for three times as long, or if one takes longer than that interval. 0: none are sent.

    Example:
        ```python
        from messaging.export import prometheus_rules

        rules = prometheus_rules(topology, oldest=600)
        assert rules["groups"]
        ```
    """
    rules = [*_of_services(topology, oldest), *_of_handlers(topology)]
    if canary:
        rules += _of_canaries(topology, canary)
    if topology.owns_topic:
        rules += _of_the_producer(topology, oldest)
    return {"groups": [{"name": f"messaging {topology.topic.name}", "rules": rules}]}


def _rule(
    alert: str, expression: str, wait: str, severity: str, summary: str, service: str = ""
) -> dict[str, Any]:
    """An alert rule: it fires once `expression` has returned a result for `wait`.

    `service` is the service of a rule that exists once per service: Prometheus requires rules of
    the same name to have different labels.
    """
    return {
        "alert": f"Messaging{alert}",
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity, **({"service": service} if service else {})},
        "annotations": {"summary": summary, "runbook_url": _RUNBOOK},
    }


def _of_services(topology: Topology, oldest: int) -> Iterator[dict[str, Any]]:
    """Alerts about workers: whether there are any, and whether they receive."""
    for service in topology.services:
        absent = f'absent({_worker("received")}{{service="{service}"}})'
        said = "No worker of {{ $labels.service }} tells of itself."
        yield _rule("NoWorker", absent, "5m", "page", said, service)
    if not topology.services:
        return
    for alert, name, limit, wait, severity, said in (
        ("CircuitOpen", "state", 0, "5m", "page", "the circuit breaker of a worker is open."),
        ("Wedged", "state", 0, "2m", "page", "all handlers of a worker hang."),
        ("QueueUnreached", "receive_failing", 0, "5m", "page", "the queue does not answer."),
        (
            *("RateStoreUnreached", "rate_failing", 0, "5m", "ticket"),
            "the store of the shared rate does not answer.",
        ),
        (
            *("HandlersGivenUp", "stuck", 0, "10m", "ticket"),
            "{{ $value }} handlers of a worker still run although their messages were given up.",
        ),
        (
            *("Behind", "oldest", oldest, "5m", "page"),
            "the oldest message that a worker knows is {{ $value | humanizeDuration }} old.",
        ),
    ):
        state = {"CircuitOpen": "circuit_open", "Wedged": "wedged"}.get(alert)
        labels = _services(topology) + (f', state="{state}"' if state else "")
        expression = f"max by (service) ({_worker(name)}{{{labels}}}) > {limit}"
        yield _rule(alert, expression, wait, severity, f"{_OF}{said}")


def _of_handlers(topology: Topology) -> Iterator[dict[str, Any]]:
    """Alerts about the outcomes of messages."""
    if not topology.services:
        return
    services = _services(topology)
    letters = f'{_worker("settled")}{{{services}, outcome="dead_lettered"}}'
    dead = f"sum by (service) (increase({letters}[10m])) > 0"
    yield _rule("DeadLetters", dead, "0m", "page", f"{_OF}messages were dead-lettered.")
    leases = f"{_worker('leases_lost')}{{{services}}}"
    lost = f"sum by (service) (increase({leases}[15m])) > 0"
    said = f"{_OF}leases were lost, so messages are handled twice."
    yield _rule("LeasesLost", lost, "0m", "ticket", said)
    again, came = (f"{_worker(name)}{{{services}}}" for name in ("retries", "received"))
    share = f"sum by (service) (rate({again}[10m])) / sum by (service) (rate({came}[10m]))"
    said = f"{_OF}{{{{ $value | humanizePercentage }}}} of received messages are redelivered."
    yield _rule("MostComeAgain", f"{share} > 0.5", "10m", "ticket", said)


def _of_canaries(topology: Topology, every: int) -> Iterator[dict[str, Any]]:
    for service in topology.services:
        label = f'{{service="{service}"}}'
        age, delay = (f"{_worker(name)}{label}" for name in ("probe_age", "probe_delay"))
        missing = f"min by (service) ({age}) > {3 * every} or absent({age})"
        late = f"max by (service) ({delay}) > {every}"
        yield _rule("NoCanary", missing, "5m", "page", f"{_OF}no canary came.", service)
        said = f"{_OF}the last canary took {{{{ $value | humanizeDuration }}}}."
        yield _rule("CanaryLate", late, "5m", "ticket", said, service)


def _of_the_producer(topology: Topology, oldest: int) -> Iterator[dict[str, Any]]:
    refused = f'{prometheus_name("messaging.publisher.refused")}{{topic="{topology.topic.name}"}}'
    age, parked = (prometheus_name(f"messaging.outbox.{one}") for one in ("age", "parked"))
    lately = f"sum by (topic) (increase({refused}[10m])) > 0"
    said = "{{ $labels.topic }}: messages were not accepted, after all attempts."
    yield _rule("PublishRefused", lately, "0m", "page", said)
    said = "{{ $labels.table }}: the oldest entry waits for {{ $value | humanizeDuration }}."
    yield _rule("OutboxBehind", f"max by (table) ({age}) > {oldest}", "5m", "page", said)
    said = "{{ $labels.table }}: {{ $value }} entries were refused for good."
    yield _rule("OutboxParked", f"max by (table) ({parked}) > 0", "0m", "ticket", said)


_OF = "{{ $labels.service }}: "


def _worker(name: str) -> str:
    return prometheus_name(f"messaging.worker.{name}")


def _services(topology: Topology) -> str:
    return f'service=~"{"|".join(topology.services)}"'
