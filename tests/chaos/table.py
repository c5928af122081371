"""The table: what many scenarios came to, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from messaging.testing.chaos.plan import EVERY_FAULT, HANDLER_FAULTS, STEP_FAULTS
from messaging.testing.chaos.scenario import Summary

__all__ = ["table", "to_dict"]


def table(summary: Summary) -> str:
    """Two tables: what was done to the scenarios, and what came of it."""
    return "\n".join((*_faults(summary), "", *_results(summary)))


def to_dict(summary: Summary) -> dict[str, object]:
    """The same for a program; `failed` are seeds."""
    return {
        "injected": {kind: summary.injected[kind] for kind in EVERY_FAULT},
        **{name: getattr(summary.count, name) for name in type(summary.count).__slots__},
        "failed": [scenario.plan.seed for scenario in summary.failed],
    }


def _faults(summary: Summary) -> Iterator[str]:
    yield "| fault | befalls | injected |"
    yield "|---|---|--:|"
    for kind in EVERY_FAULT:
        where = "handler" if kind in HANDLER_FAULTS else "request"
        where = "worker, clock or queue" if kind in STEP_FAULTS else where
        yield f"| {kind} | {where} | {summary.injected[kind]:,} |"
    yield f"| **together** | | **{sum(summary.injected.values()):,}** |"


def _results(summary: Summary) -> Iterator[str]:
    count = summary.count
    per_million = round(1e6 * count.duplicates / count.wanted) if count.wanted else 0
    again = f"{count.redeliveries:,} ({_percent(count.redeliveries, count.receipts)})"
    yield "| result | |"
    yield "|---|--:|"
    for name, value in (
        ("scenarios", f"{count.scenarios:,}"),
        ("events accepted", f"{count.events:,}"),
        ("pairs of event and service that wants it", f"{count.wanted:,}"),
        ("handled", f"{count.done:,}"),
        ("in the dead-letter queue", f"{count.dead_lettered:,}"),
        ("dead letters that SQS moved itself, after max_receives", f"{count.moved_by_sqs:,}"),
        ("in the dead-letter queue of the subscription", f"{count.undelivered:,}"),
        ("discarded by a handler", f"{count.discarded:,}"),
        ("receipts", f"{count.receipts:,}"),
        ("redeliveries among them", again),
        ("processes killed", f"{count.kills:,}"),
        ("effects beyond the first, per million pairs", f"{per_million:,}"),
        ("the same where idempotency is on", f"{count.duplicates_once:,}"),
        ("lost", f"{count.lost:,}"),
        ("receipts unaccounted for", f"{count.unaccounted:,}"),
        ("scenarios that broke a promise", f"{len(summary.failed):,}"),
    ):
        yield f"| {name} | {value} |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"
