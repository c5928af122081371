"""Renews the claims of running handlers, in a thread."""

from __future__ import annotations

import os
import threading

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.stores import Claim, IdempotencyStore

__all__ = ["Renewal"]

log = logger("messaging.idempotency")


LONGEST_STEP = 1.0
"""Seconds between two checks of the claims, and for which the thread remains when there are
none."""


class Renewal:
    """Renews claims of one store every quarter of their lease. Its thread lives while there are
    any.

    So a handler that ends within a quarter of the lease costs no request, and a failed renewal is
    retried twice before the claim expires.
    """

    def __init__(self, store: IdempotencyStore, lease_seconds: float) -> None:
        self._store = store
        self._lease = lease_seconds
        self._lock = threading.Lock()
        self._due: dict[Claim, float] = {}
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._failing = False

    def add(self, claim: Claim) -> None:
        """Start renewing a claim."""
        if self._pid != os.getpid():
            # After a fork the thread and its claims stay with the parent.
            self._lock, self._due, self._thread = threading.Lock(), {}, None
            self._pid = os.getpid()
        with self._lock:
            self._due[claim] = SYSTEM_CLOCK.monotonic() + self._lease / 4
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="messaging-claims", daemon=True
                )
                self._thread.start()

    def remove(self, claim: Claim) -> None:
        """Stop renewing a claim."""
        with self._lock:
            self._due.pop(claim, None)

    def _run(self) -> None:
        while True:
            SYSTEM_CLOCK.sleep(min(LONGEST_STEP, self._lease / 8))
            now = SYSTEM_CLOCK.monotonic()
            with self._lock:
                if not self._due:
                    self._thread = None
                    return
                due = [claim for claim, moment in self._due.items() if moment <= now]
                self._due.update((claim, now + self._lease / 4) for claim in due)
            for claim in due:
                self._renew(claim)

    def _renew(self, claim: Claim) -> None:
        try:
            ours = self._store.renew(claim, lease_seconds=self._lease)
        except Exception as error:  # noqa: BLE001 - the database is away: the next turn tries again
            if not self._failing:
                self._failing = True
                log.warning("cannot renew claims, trying on: %s", type(error).__qualname__)
            return
        self._failing = False
        if not ours:
            with self._lock:
                known = self._due.pop(claim, None)
            if known is not None:  # otherwise it has just ended
                log.warning(
                    "the claim of an event of %s was taken over while its handler runs: it may be "
                    "handled twice",
                    claim.service,
                )
