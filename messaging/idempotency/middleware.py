"""Middleware that claims an event before its handler runs, so that no other process handles it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from messaging.backoff import Backoff
from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.renewal import Renewal
from messaging.logs import logger
from messaging.outcome import MAX_DELAY, Ack, Outcome, Retry
from messaging.stores import Claim, Done, IdempotencyStore, InProgress, ManyAtOnce

__all__ = ["Idempotency", "event_key", "later"]

log = logger("messaging.idempotency")

LEASE = 60.0
BACKOFF = Backoff(first=5.0, longest=3600.0)
LONGEST_KEY = 512
"""Maximum bytes of a key. PostgreSQL indexes at most 2,704 bytes of a row, DynamoDB 2,048 of a
key."""


def event_key(call: HandlingState) -> str:
    """The identity of an event: its source and its id, whose combination is unique according to
    CloudEvents.

    Long or non-printable parts are replaced by their SHA-256, because databases limit their keys.
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#id

    Args:
        call: the call about to run.

    Example:
        ```python
        from messaging.consuming.dispatch import Call
        from messaging.idempotency import Idempotency, MemoryStore
        from messaging.idempotency.middleware import event_key


        def by_student(call: Call) -> str:
            return call.envelope.subject or event_key(call)


        once = Idempotency(MemoryStore(), key=by_student)
        ```
    """
    key = f"{call.envelope.source} {call.envelope.id}"
    if key.isprintable() and len(key.encode()) <= LONGEST_KEY:
        return key
    return "sha256:" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def later(call: HandlingState, seconds_left: float) -> Retry:
    """The outcome of a duplicate while the first is in progress: retry when that should have ended.

    Soon at the first receive, because most handlers are quick; then not before the claim of a
    process that may have died expires; then later and later, so that a long handler does not use
    up the receives of its duplicates.

    Args:
        call: the duplicate about to run.
        seconds_left: seconds until the first one's claim expires.
    """
    count = call.delivery.receive_count
    wait = BACKOFF.after(count)
    if count > 1:
        wait = max(seconds_left, wait)
    return Retry(min(float(MAX_DELAY), wait), "in progress elsewhere")


class Idempotency:
    """Middleware: each event is handled once per service, as far as `store` can know.

        once = Idempotency(SqliteStore("dados/handled.db"))
        Worker(Marketing(), broker=broker, middleware=[once])

    A completed event is acknowledged without calling its handler. One in progress elsewhere is
    retried later: it is never acknowledged while the first attempt may still fail. When the handler
    returns (or raises `Ack`), the event is marked as done. If it raises anything else, including
    `Retry`, `Reject` and `Discard`, the claim is released, so that a redriven dead letter is
    handled.

    Its limitation: effect and mark are two steps. If a process dies between them, the handler runs
    again; if that must not happen, see `Transactional`. An unavailable store raises before the
    handler runs, and the message is retried. One instance serves any number of workers.

    Args:
        store: the store of the marks: see the stores below.
        lease: seconds for which a claim lasts. A thread renews the claims of running handlers, so a
            claim lasts as long as its handler, and outlives a killed process by at most `lease`.
        renew: False: no thread. Then `lease` must be longer than any handler takes, or a duplicate
            may run concurrently.
        key: returns the identity of a call's event; `event_key` uses source and id.

    Raises:
        ConfigurationError: if `lease` is not above 0 and at most 43,200 seconds.

    Example:
        ```python
        from messaging.idempotency import Idempotency, MemoryStore
        from messaging.testing import deliver

        marketing, once = Marketing(), Idempotency(MemoryStore())
        for _ in range(2):
            assert deliver(marketing, ana, id="matricula-2026-0042", middleware=[once]).acknowledged
        assert marketing.welcomed == ["ana@example.com"]
        ```
    """

    def __init__(
        self,
        store: IdempotencyStore,
        *,
        lease: float = LEASE,
        renew: bool = True,
        key: Callable[[HandlingState], str] = event_key,
    ) -> None:
        if not 0 < lease <= MAX_DELAY:
            raise ConfigurationError(
                f"Idempotency(lease={lease!r}): more than 0 and at most {MAX_DELAY} seconds"
            )
        self._store = store
        self._many = store if isinstance(store, ManyAtOnce) else None
        self._lease = lease
        self._key = key
        self._renewal = Renewal(store, lease) if renew else None

    @contextmanager
    def __call__(self, call: HandlingState) -> Iterator[None]:
        claim = self._begin(call)
        try:
            yield
        except Ack:
            self._complete(claim, call)
            raise
        except BaseException:
            self._release(claim, call)
            raise
        else:
            self._complete(claim, call)
        finally:
            if self._renewal:
                self._renewal.remove(claim)

    @contextmanager
    def around_batch(self, batch: BatchState) -> Iterator[None]:
        """The same for a handler that takes a batch: a claim and a mark for each of its events.

        Events that are done, or in progress elsewhere, are not passed to it.

        Args:
            batch: the call of the batch.
        """
        claims: list[tuple[HandlingState, Claim]] = []
        try:
            self._begin_all(batch, claims)
            yield
        except Ack:
            self._end_all(claims, lambda call: True)
            raise
        except BaseException:
            self._end_all(claims, lambda call: False)
            raise
        else:
            self._end_all(claims, lambda call: isinstance(batch.outcome(call), Ack))
        finally:
            for _, claim in claims:
                if self._renewal:
                    self._renewal.remove(claim)

    def _begin_all(self, batch: BatchState, claims: list[tuple[HandlingState, Claim]]) -> None:
        together = self._found_together(batch) if self._many else {}
        for call in batch.calls:
            try:
                claims.append((call, self._begin(call, together.get(id(call)))))
            except Outcome as known:
                batch.leave_out(call, known)

    def _found_together(self, batch: BatchState) -> dict[int, Claim | InProgress | Done]:
        """The result for each call, from a store that takes several events at once. If an event
        occurs twice, only the first is claimed: the second finds its claim."""
        calls: dict[str, HandlingState] = {}
        for call in batch.calls:
            calls.setdefault(self._key(call), call)
        if self._many is None or len(calls) < 2:
            return {}
        found = self._many.begin_many(batch.service, [*calls], lease_seconds=self._lease)
        return {id(call): one for call, one in zip(calls.values(), found, strict=True)}

    def _end_all(
        self, claims: list[tuple[HandlingState, Claim]], done: Callable[[HandlingState], bool]
    ) -> None:
        handled = [(call, claim) for call, claim in claims if done(call)]
        for call, claim in claims:
            if not done(call):
                self._release(claim, call)
        if self._many is None or len(handled) < 2:
            completed: Sequence[bool] = [self._store.complete(claim) for _, claim in handled]
        else:
            completed = self._many.complete_many([claim for _, claim in handled])
        for (call, _), ours in zip(handled, completed, strict=True):
            if not ours:
                self._tell_expired(call)

    def _begin(self, call: HandlingState, found: Claim | InProgress | Done | None = None) -> Claim:
        if found is None:
            found = self._store.begin(call.service, self._key(call), lease_seconds=self._lease)
        if isinstance(found, Claim):
            if self._renewal:
                self._renewal.add(found)
            return found
        if isinstance(found, Done):
            raise Ack("already handled")
        raise later(call, found.seconds)

    def _complete(self, claim: Claim, call: HandlingState) -> None:
        if not self._store.complete(claim):
            self._tell_expired(call)

    def _tell_expired(self, call: HandlingState) -> None:
        # The effect has taken place, so this message is done, although another process ran it too.
        log.warning(
            "%s handled event %s, but its claim had expired: it may have been handled twice",
            call.service,
            call.envelope.id,
        )

    def _release(self, claim: Claim, call: HandlingState) -> None:
        try:
            self._store.release(claim)
        except Exception as error:  # noqa: BLE001 - what the handler raised is what matters
            log.warning(
                "%s could not give back its claim of event %s (%s): it is free when that expires",
                call.service,
                call.envelope.id,
                type(error).__qualname__,
            )
