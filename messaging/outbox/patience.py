"""Patience: how long to wait for whoever does not answer, and saying so once."""

from __future__ import annotations

from messaging.clock import Clock
from messaging.logs import logger

__all__ = ["Patience"]

log = logger("messaging.outbox")

_FIRST = 0.5
_LONGEST = 30.0


class Patience:
    """Who does not answer now, since when, and how long to wait before the next attempt."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._away: dict[str, tuple[float, float]] = {}

    @property
    def seconds(self) -> float:
        """How long to wait: 0 when everybody answers."""
        return max((wait for _, wait in self._away.values()), default=0.0)

    def lose(self, who: str, why: str) -> None:
        """`who` does not answer."""
        known = self._away.get(who)
        if known is None:
            log.warning("%s does not take it: %s; waiting for it", who, why)
            known = (self._clock.monotonic(), _FIRST / 2)
        since, wait = known
        self._away[who] = (since, min(_LONGEST, 2 * wait))

    def regain(self, who: str) -> None:
        """`who` answers."""
        known = self._away.pop(who, None)
        if known is not None:
            log.warning("%s answers again, after %.0f s", who, self._clock.monotonic() - known[0])
