"""The results of entries, collected until they are written to the table in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from messaging.outbox.rows import OutboxRow

__all__ = ["Notes"]


@dataclass(slots=True)
class Notes:
    """The arguments of `Claims.settle`.

    published  accepted by the topic.
    refused    refused temporarily: with its code, and the seconds until its next attempt.
    parked     refused for good, with its code.
    back       not sent: to be released.
    since      when these notes were started, by the clock's monotonic time.
    """

    published: list[OutboxRow] = field(default_factory=list)
    refused: list[tuple[OutboxRow, str, float]] = field(default_factory=list)
    parked: list[tuple[OutboxRow, str]] = field(default_factory=list)
    back: list[OutboxRow] = field(default_factory=list)
    since: float = 0.0

    @property
    def rows(self) -> list[OutboxRow]:
        """All entries."""
        said = [row for row, *_ in self.refused] + [row for row, _ in self.parked]
        return [*self.published, *said, *self.back]
