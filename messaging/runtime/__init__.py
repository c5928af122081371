"""The machine room: threads between a queue and a consumer, one file for each of them."""

from __future__ import annotations

from messaging.runtime.journal import Report, Stage
from messaging.runtime.ledger import Stats
from messaging.runtime.worker import Worker

__all__ = ["Report", "Stage", "Stats", "Worker"]
