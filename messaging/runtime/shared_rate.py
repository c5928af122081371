"""The token bucket of a limit that all processes of a service share, and the thread that fills it.

Tokens are reserved in the store several at a time, so that it is not asked for each message, and by
a thread, so that no receive waits for it. Each reservation says when its tokens may be used: the
processes take turns, and no request is made in vain.

While the store is unavailable, a process continues at its share: the limit divided by the number of
processes that the store last reported. So the fleet stays within its limit. A process that has not
heard from the store yet receives nothing.
"""

from __future__ import annotations

import math
import threading

from messaging.backoff import Backoff
from messaging.clock import Clock
from messaging.consuming.consumer import Consumer
from messaging.envelope import new_id
from messaging.errors import ConfigurationError, MessagingError
from messaging.logs import logger
from messaging.outcome import RateLimit
from messaging.runtime.rate import TokenBucket
from messaging.stores import MEMBER_SECONDS, RateStore
from messaging.transport import BATCH_ENTRIES

__all__ = ["SharedBucket", "bucket_for", "must_be_kept"]

log = logger("messaging.runtime")

BEAT = MEMBER_SECONDS / 3
"""Seconds after which a process that needs no tokens reports to the store that it is alive."""
BACKOFF = Backoff(first=0.25, longest=5.0, jitter=0.5)
"""Pauses between attempts to reach an unavailable store."""
ASKS = 10
"""About how often per second a fleet with a high limit reserves."""


class SharedBucket(TokenBucket):
    """Holds the tokens that this process has reserved. `run` is the body of its thread, until
    `stop`.

    queue  the bucket's name in the store.

    The held tokens and the store's own bucket never exceed the burst together, provided that it is
    at least one token for each process.
    """

    def __init__(
        self,
        limit: RateLimit,
        store: RateStore,
        queue: str,
        clock: Clock,
    ) -> None:
        super().__init__(limit, clock)
        self._limit = limit
        self._store = store
        self._queue = queue
        self._member = new_id()
        self._members = 0
        self._pending = 0
        self._due = 0.0
        self._beat = 0.0
        self._retry = 0.0
        self._away_since: float | None = None
        self._failures = 0
        self._wake = threading.Event()
        self._stopped = False
        self._promised = 0
        self._tokens = 0.0
        self._share()

    @property
    def away(self) -> bool:
        """True while the store does not answer."""
        return self._away_since is not None

    def took(self, count: int) -> None:
        super().took(count)
        self._wake.set()

    def run(self) -> None:
        """Reserve tokens whenever some are needed."""
        while not self._stopped:
            self._wake.clear()
            now = self._clock.monotonic()
            if self._pending and now >= self._due:
                self._land()
            missing = 0 if self._pending else self._missing()
            if now >= self._retry and (missing or now >= self._beat):
                self._reserve(missing)
                continue
            next_at = max(self._beat, self._retry)
            if self._pending:
                next_at = min(next_at, self._due)
            elif missing:
                next_at = self._retry
            self._wake.wait(max(0.0, next_at - now))
        self._leave()

    def stop(self, promised: int) -> None:
        """Stop. Receives in flight may still return so many messages, whose tokens are spent."""
        self._promised = promised
        self._stopped = True
        self._wake.set()

    def _missing(self) -> int:
        """How many to reserve; 0 while there are enough for a full request, or half of the
        maximum."""
        short = self.most - self.free()
        few = self.free() < min(BATCH_ENTRIES, self.most) or short >= self.most / 2
        return max(0, short) if few else 0

    def _reserve(self, count: int) -> None:
        a_second = self._limit.a_second
        ours = max(1, self._members) * self.most
        try:
            turn = self._store.reserve(
                self._queue,
                self._member,
                count / a_second,
                saved=max(0, self._limit.most - ours) / a_second,
                ahead=self.most / a_second,
            )
        except Exception as error:  # noqa: BLE001 - a store of the user's own raises anything
            self._lose(error)
            return
        now = self._clock.monotonic()
        self._members = turn.members
        self._beat = now + BEAT
        self._regain(now)
        if count:
            self._pending, self._due = count, now + turn.seconds

    def _land(self) -> None:
        with self._lock:
            self._tokens = self._filled() + self._pending
            self._pending = 0
        self.refilled()

    def _lose(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self._failures += 1
        self._retry = now + BACKOFF.after(self._failures)
        if self._away_since is not None:
            return
        self._away_since = now
        self._pending = 0  # unknown whether the store counted them: rather too few than too many
        self._share()
        log.warning(
            "the rate of %s cannot be shared (%s): %s",
            self._queue,
            error if isinstance(error, MessagingError) else type(error).__qualname__,
            f"receiving {self._a_second:g} a second, the share of one of {self._members} processes"
            if self._members
            else "receiving nothing until the store has answered once",
        )

    def _regain(self, now: float) -> None:
        since, self._away_since = self._away_since, None
        self._failures = 0
        self._share()
        if since is not None:
            log.warning("the rate of %s is shared again, after %.0f s", self._queue, now - since)

    def _share(self) -> None:
        """How many tokens are held, and whether they arrive by time."""
        members = max(1, self._members)
        with self._lock:
            self._filled()
            if self.away and self._members:
                self._a_second = self._limit.a_second / members
                self.most = max(1, self._limit.most // members)
            else:
                self._a_second = 0.0
                handy = max(BATCH_ENTRIES, math.ceil(self._limit.a_second / ASKS))
                self.most = max(1, min(handy, self._limit.most // (2 * members)))

    def _leave(self) -> None:
        unused = max(0, self.free() - self._promised) + self._pending
        if not self._members or self.away:
            return
        try:
            self._store.leave(self._queue, self._member, unused / self._limit.a_second)
        except Exception as error:  # noqa: BLE001 - the others find out by themselves
            log.debug("cannot leave the rate of %s: %s", self._queue, type(error).__qualname__)


def must_be_kept(consumer: Consumer, store: RateStore | None) -> None:
    """Raises `ConfigurationError` if the consumer's rate is shared and there is no store."""
    if consumer.rate is not None and consumer.rate.shared and store is None:
        name = type(consumer).__qualname__
        raise ConfigurationError(
            f"{name}.rate is shared by all processes of the service, and this worker is not told "
            'where it is kept: Worker(rates=RedisRates("redis://...")), PostgresRates or, in a '
            "test, MemoryRates of messaging.rates; MESSAGING_RATES for `messaging run`"
        )


def bucket_for(
    limit: RateLimit | None,
    store: RateStore | None,
    queue: str,
    clock: Clock,
) -> TokenBucket | None:
    """The bucket of a consumer's rate; see `SharedBucket`."""
    if limit is None:
        return None
    if store is None or not limit.shared:
        return TokenBucket(limit, clock)
    return SharedBucket(limit, store, queue, clock)
