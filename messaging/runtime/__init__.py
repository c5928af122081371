"""The worker: the threads between a queue and a consumer, with one module for each."""

from __future__ import annotations

from messaging.runtime.backpressure import State
from messaging.runtime.in_flight import Stats
from messaging.runtime.lifecycle import Stage, WorkerReport
from messaging.runtime.worker import Worker

__all__ = ["WorkerReport", "Stage", "State", "Stats", "Worker"]
