"""The record of a scenario: what happened, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Fact", "Record"]


class Fact(NamedTuple):
    """One fact of a scenario.

    at       seconds since the scenario started.
    who      "publisher", "topic", a worker ("worker-1.2" is the second process of worker 1), or
             "world".
    service  the queue's service, or "".
    what     what happened, in one word.
    event    the id of the event, or "".
    detail   details: a message id, a receipt, an error code.
    """

    at: float
    who: str
    service: str
    what: str
    event: str = ""
    detail: str = ""

    def __str__(self) -> str:
        words = (f"{self.at:9.2f}", f"{self.who:12}", f"{self.service:10}", self.what, self.event)
        text = " ".join(word for word in words if word)
        return f"{text} ({self.detail})" if self.detail else text


class Record:
    """Facts, append-only, and how often each fault was injected."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self.injected: Counter[str] = Counter()
        self.names: dict[str, None] = {}
        """The names of the injected faults, in order, for `ScenarioPlan.only`."""

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def add(self, fact: Fact) -> None:
        self._facts.append(fact)

    def of(self, *what: str) -> Iterator[Fact]:
        """The facts of these kinds."""
        return (fact for fact in self._facts if fact.what in what)

    def text(self) -> str:
        """The whole record, one line per fact."""
        return "\n".join(map(str, self._facts))
