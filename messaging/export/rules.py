"""Alert rules for Prometheus over the metrics of `messaging.metrics`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from messaging.export.alarms import OLDEST
from messaging.export.grafana import prometheus_name
from messaging.topology import Topology

__all__ = ["prometheus_rules"]

_RUNBOOK = "docs/how-to/runbook.md"


def prometheus_rules(
    topology: Topology, *, oldest: int = OLDEST, canary: int = 0
) -> dict[str, Any]:
    """A file for `rule_files` of Prometheus; JSON is YAML, too. The Prometheus operator takes its
    `groups` as the `spec` of a PrometheusRule.

    oldest  seconds that the oldest message or entry of an outbox may wait.
    canary  seconds between two canaries (`messaging canary --every`): three times as long without
            one is told, and that none comes at all. 0: there are none.

    Severity `page` is for what gets worse while nobody looks, `ticket` for the rest.
    """
    rules = list(_of_services(topology, oldest))
    if canary:
        rules += _of_canaries(topology, canary)
    if topology.owns_topic:
        rules += _of_the_producer(topology, oldest)
    return {"groups": [{"name": f"messaging {topology.topic.name}", "rules": rules}]}


def _of_services(topology: Topology, oldest: int) -> Iterator[dict[str, Any]]:
    if not topology.services:
        return
    for service in topology.services:
        yield _rule(
            "MessagingNoWorker",
            f'absent({_name("received")}{{service="{service}"}})',
            "5m",
            "page",
            "No worker of {{ $labels.service }} tells of itself.",
            "#the-oldest-message-grows-approximateageofoldestmessage",
        )
    where = f'service=~"{_any_of(topology.services)}"'
    for alert, state, wait, anchor in (
        ("MessagingCircuitOpen", "circuit_open", "5m", "#the-circuit-breaker-is-open"),
        ("MessagingWedged", "wedged", "2m", "#the-worker-is-wedged"),
    ):
        yield _rule(
            alert,
            f'max by (service) ({_name("state")}{{{where}, state="{state}"}}) > 0',
            wait,
            "page",
            f"{{{{ $labels.service }}}}: a worker is in the state {state}.",
            anchor,
        )
    gauge, grown = (
        "max by (service) ({}{{{}}}) > {}",
        "sum by (service) (increase({}{{{}}}[{}])) > 0",
    )
    behind = gauge.format(_name("oldest"), where, oldest)
    unreached = gauge.format(_name("receive_failing"), where, 0)
    storeless = gauge.format(_name("rate_failing"), where, 0)
    stuck = gauge.format(_name("stuck"), where, 0)
    settled = f'{where}, outcome="dead_lettered"'
    of = "{{ $labels.service }}: "
    yield from (
        _rule(
            "MessagingBehind",
            behind,
            "5m",
            "page",
            f"{of}the oldest message that a worker knows is {{{{ $value | humanizeDuration }}}} old.",
            "#the-oldest-message-grows-approximateageofoldestmessage",
        ),
        _rule(
            "MessagingQueueUnreached",
            unreached,
            "5m",
            "page",
            f"{of}the queue does not answer a worker.",
            "#the-queue-does-not-answer-messaging_worker_receive_failing-is-1",
        ),
        _rule(
            "MessagingRateStoreUnreached",
            storeless,
            "5m",
            "ticket",
            f"{of}the store of the shared rate does not answer a worker.",
            "#a-shared-rate-cannot-be-shared-messaging_worker_rate_failing-is-1",
        ),
        _rule(
            "MessagingHandlersStuck",
            stuck,
            "10m",
            "ticket",
            f"{of}{{{{ $value }}}} handlers still run although their messages were given up.",
            "#the-worker-is-wedged",
        ),
        _rule(
            "MessagingDeadLetters",
            grown.format(_name("settled"), settled, "10m"),
            "0m",
            "page",
            f"{of}messages were dead-lettered.",
            "#messages-in-the-dead-letter-queue-dlq-above-0",
        ),
        _rule(
            "MessagingLeasesLost",
            grown.format(_name("leases_lost"), where, "15m"),
            "0m",
            "ticket",
            f"{of}leases were lost, so messages are handled twice.",
            "",
        ),
        _rule(
            "MessagingRetriesMost",
            f"sum by (service) (rate({_name('retries')}{{{where}}}[10m]))"
            f" / sum by (service) (rate({_name('received')}{{{where}}}[10m])) > 0.5",
            "10m",
            "ticket",
            f"{of}{{{{ $value | humanizePercentage }}}} of what is received comes again.",
            "#the-oldest-message-grows-approximateageofoldestmessage",
        ),
    )


def _of_canaries(topology: Topology, every: int) -> Iterator[dict[str, Any]]:
    anchor = "#no-canary-came-messaging_worker_probe_age_seconds-grows"
    for service in topology.services:
        label = f'{{service="{service}"}}'
        age = f"{_name('probe_age')}{label}"
        yield _rule(
            "MessagingNoCanary",
            f"min by (service) ({age}) > {3 * every} or absent({age})",
            "5m",
            "page",
            "No canary came to {{ $labels.service }}.",
            anchor,
        )
        yield _rule(
            "MessagingCanaryLate",
            f"max by (service) ({_name('probe_delay')}{label}) > {every}",
            "5m",
            "ticket",
            "The last canary of {{ $labels.service }} took {{ $value | humanizeDuration }}.",
            anchor,
        )


def _of_the_producer(topology: Topology, oldest: int) -> Iterator[dict[str, Any]]:
    refused = prometheus_name("messaging.publisher.refused")
    age, parked = (prometheus_name(f"messaging.outbox.{one}") for one in ("age", "parked"))
    anchor = "#the-outbox-grows-messaging_outbox_age_seconds"
    yield _rule(
        "MessagingPublishRefused",
        f'sum by (topic) (increase({refused}{{topic="{topology.topic.name}"}}[10m])) > 0',
        "0m",
        "page",
        "{{ $labels.topic }} did not accept messages, after all attempts.",
        "#publish-raises-in-the-producer",
    )
    yield _rule(
        "MessagingOutboxBehind",
        f"max by (table) ({age}) > {oldest}",
        "5m",
        "page",
        "{{ $labels.table }}: the oldest entry waits for {{ $value | humanizeDuration }}.",
        anchor,
    )
    yield _rule(
        "MessagingOutboxParked",
        f"max by (table) ({parked}) > 0",
        "0m",
        "ticket",
        "{{ $labels.table }}: {{ $value }} entries were refused for good.",
        anchor,
    )


def _name(name: str) -> str:
    return prometheus_name(f"messaging.worker.{name}")


def _any_of(names: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    # RE2, in a string of PromQL, where a backslash is written twice.
    return "|".join(re.escape(name).replace("\\-", "-").replace("\\", "\\\\") for name in names)


def _rule(
    alert: str, expression: str, wait: str, severity: str, summary: str, anchor: str
) -> dict[str, Any]:
    return {
        "alert": alert,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "runbook": f"{_RUNBOOK}{anchor}"},
    }
