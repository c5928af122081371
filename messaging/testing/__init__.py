"""Tools for your tests: deliver an event to a consumer, drain a topology, control the time.

Nothing here needs AWS, a server, threads or sleeps. For pytest, the same tools are available as
fixtures: `messaging.pytest_plugin`.
"""

from __future__ import annotations

from messaging.testing.clock import FakeClock
from messaging.testing.delivery import Result, deliver, deliver_batch, deliver_raw
from messaging.testing.draining import Drained, drain
from messaging.testing.lambda_events import lambda_event
from messaging.testing.recording import Recorded, RecordingTopic

__all__ = [
    "Drained",
    "FakeClock",
    "Recorded",
    "RecordingTopic",
    "Result",
    "deliver",
    "deliver_batch",
    "deliver_raw",
    "drain",
    "lambda_event",
]
