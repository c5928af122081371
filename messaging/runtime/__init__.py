"""The machine room: threads between a queue and a consumer, one file for each of them."""

from __future__ import annotations

from messaging.runtime.appetite import State
from messaging.runtime.journal import Report, Stage
from messaging.runtime.receipts import Stats
from messaging.runtime.worker import Worker

__all__ = ["Report", "Stage", "State", "Stats", "Worker"]
