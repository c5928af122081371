"""Pauses between attempts: how long each is, and what is logged during an outage."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from logging import LoggerAdapter
from typing import TYPE_CHECKING, Any, Protocol

from messaging.clock import Clock

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["Backoff", "Outages", "WaitStrategy", "half_jitter", "seconds_after"]


class WaitStrategy(Protocol):
    """Any wait strategy of tenacity: `tenacity.wait_exponential(...)`, `wait_fixed(5) + ...`."""

    def __call__(self, retry_state: RetryCallState) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses that double with each failure in a row, from `first` to `longest` seconds.

    Args:
        jitter: the share of each pause that is random: 0 none, 0.5 between half of it and all, 1
            any part of it ("full jitter").
    """

    first: float
    longest: float
    jitter: float = 0.0

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (from 1)."""
        return seconds_after(self.strategy, failures)

    @cached_property
    def strategy(self) -> WaitStrategy:
        """The same as a wait strategy of tenacity."""
        # tenacity is loaded when something fails, not when the library is imported.
        from tenacity import wait_exponential, wait_random_exponential

        fixed = 1 - self.jitter
        steady = wait_exponential(multiplier=self.first * fixed, max=self.longest * fixed)
        if not self.jitter:
            return steady
        chance = wait_random_exponential(
            multiplier=self.first * self.jitter, max=self.longest * self.jitter
        )
        return steady + chance if fixed else chance


@dataclass(slots=True)
class _Outage:
    since: float
    failures: int = 0
    pause: float = 0.0


class Outages:
    """Which targets cannot be reached now, since when, and how long to wait before the next
    attempt.

    The first failure and the recovery are logged; the failures between them are not.
    """

    def __init__(self, backoff: Backoff, clock: Clock, log: LoggerAdapter[Any]) -> None:
        self._backoff = backoff
        self._clock = clock
        self._log = log
        self._away: dict[str, _Outage] = {}

    @property
    def seconds(self) -> float:
        """How long to wait: 0 if every target can be reached."""
        return max((one.pause for one in self._away.values()), default=0.0)

    def lose(self, who: str, why: str) -> float:
        """Record another failure of `who`; returns how long to wait."""
        if who not in self._away:
            self._log.warning("cannot use %s: %s; trying again", who, why)
            self._away[who] = _Outage(since=self._clock.monotonic())
        outage = self._away[who]
        outage.failures += 1
        outage.pause = self._backoff.after(outage.failures)
        return outage.pause

    def regain(self, who: str) -> None:
        """Record that `who` can be reached."""
        outage = self._away.pop(who, None)
        if outage is not None:
            lasted = self._clock.monotonic() - outage.since
            self._log.warning("can use %s again, after %.0f s", who, lasted)


def seconds_after(strategy: WaitStrategy, failures: int) -> float:
    """The seconds that a tenacity wait strategy gives after so many failures in a row (from 1)."""
    from tenacity import RetryCallState, Retrying

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return strategy(state)


def half_jitter(seconds: float) -> float:
    """A random value between half of `seconds` and all of it, so that messages that failed together
    do not come back together."""
    return random.uniform(seconds / 2, seconds)
