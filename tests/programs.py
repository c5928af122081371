"""What tests of whole programs share: a small service's source, and waiting for what comes true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SERVICE = """
from messaging import Consumer, Event, Topology, handles

class Happened(Event, type="happened", version=1):
    number: int

class Mail(Consumer):
    @handles
    def happened(self, event: Happened) -> None:
        pass

TOPOLOGY = Topology.of(Mail, topic="t", owns_topic=True)
"""


def eventually(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """What `condition` returns once it is true, or when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
