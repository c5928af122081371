"""A topic for the tests of publishing: answers by a script, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from messaging.event import Event
from messaging.transport import Failure, Outgoing

Answer = Sequence[Failure] | BaseException | Callable[[Sequence[Outgoing]], Sequence[Failure]]


class Noted(Event, type="noted", version=1):
    number: int
    text: str = ""


class ScriptedTopic:
    """Each request takes the next answer of `script`; when there is none left, all is accepted."""

    def __init__(self, *script: Answer, max_bytes: int = 262_144) -> None:
        self.max_bytes = max_bytes
        self.script = list(script)
        self.requests: list[list[Outgoing]] = []
        self.accepted: list[Outgoing] = []
        self._lock = threading.Lock()

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        with self._lock:
            self.requests.append(list(batch))
            answer: Answer = self.script.pop(0) if self.script else ()
        if isinstance(answer, BaseException):
            raise answer
        failures = answer(batch) if callable(answer) else answer
        refused = {failure.index for failure in failures}
        with self._lock:
            self.accepted += [one for index, one in enumerate(batch) if index not in refused]
        return failures

    def close(self) -> None: ...

    @property
    def sizes(self) -> list[int]:
        """Messages of each request."""
        return [len(batch) for batch in self.requests]

    @property
    def data(self) -> list[Any]:
        """The data of every accepted message."""
        return [json.loads(one.body)["data"] for one in self.accepted]


def busy(*places: int, code: str = "InternalError") -> list[Failure]:
    """Refused for now."""
    return [Failure(place, code, "try again", True) for place in places]


def wrong(*places: int) -> list[Failure]:
    """Refused for good."""
    return [Failure(place, "InvalidParameter", "no", False) for place in places]
