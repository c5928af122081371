"""The room of the log book: the stages of a worker's life, and the report at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.runtime.receipts import Stats

__all__ = ["Journal", "Report", "Stage"]

log = logger("messaging.runtime")


class Stage(Enum):
    """Where a worker is in its life."""

    NEW = "new"
    RUNNING = "running"
    STOPPING_POLLS = "stopping polls"
    FINISHING_HANDLERS = "finishing handlers"
    FLUSHING = "flushing settlements"
    RELEASING = "releasing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a worker ended.

    stats       of all services together; `services` has them by name.
    stages      seconds spent in each stage, in order.
    unfinished  ids of messages whose handlers went on beyond the deadline.
    error       what a thread died of: a defect, not a handler's exception. `run` raises it.
    """

    stats: Stats = field(default_factory=Stats)
    services: Mapping[str, Stats] = field(default_factory=dict)
    stages: Mapping[Stage, float] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    error: BaseException | None = None


class Journal:
    """Which stage a worker is in, and since when. Each stage is one line in the log."""

    def __init__(self) -> None:
        self._entries: list[tuple[Stage, float]] = [(Stage.NEW, SYSTEM_CLOCK.monotonic())]

    @property
    def stage(self) -> Stage:
        return self._entries[-1][0]

    def enter(self, stage: Stage, note: str, stats: Stats) -> None:
        """The worker is in `stage` from now on; `note` and the counts of `stats` are logged."""
        self._entries.append((stage, SYSTEM_CLOCK.monotonic()))
        log.info(
            "worker %s (%s): received %d, acknowledged %d, released %d, dead-lettered %d, "
            "expired %d, in hand %d",
            stage.value, note, stats.received, stats.acknowledged, stats.released,
            stats.dead_lettered, stats.expired, stats.in_hand,
        )  # fmt: skip

    def spent(self) -> Mapping[Stage, float]:
        """Seconds spent in each stage between NEW and STOPPED, up to this moment."""
        entries = tuple(self._entries)
        ends = [began for _, began in entries[1:]] + [SYSTEM_CLOCK.monotonic()]
        return {
            stage: end - began
            for (stage, began), end in zip(entries, ends, strict=True)
            if stage not in (Stage.NEW, Stage.STOPPED)
        }
