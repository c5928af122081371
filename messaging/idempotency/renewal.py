"""The room of claims that last: a thread that renews those whose handlers still run."""

from __future__ import annotations

import logging
import os
import threading

from messaging.stores import Claim, IdempotencyStore

__all__ = ["Renewal"]

log = logging.getLogger("messaging.idempotency")


class Renewal:
    """Renews claims of one store each quarter of their lease. Its thread lives while there are any.

    A claim is renewed when it has been seen twice: a handler that is done within a quarter of
    the lease costs no request, and each other claim gets a second chance before it expires.
    """

    def __init__(self, store: IdempotencyStore, lease_seconds: float) -> None:
        self._store = store
        self._lease = lease_seconds
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._failing = False

    def add(self, claim: Claim) -> None:
        """Renew it from now on."""
        if self._pid != os.getpid():
            # Forked: the thread stayed with the parent, and so did what it renews.
            self._lock, self._claims, self._thread = threading.Lock(), {}, None
            self._pid = os.getpid()
        with self._lock:
            self._claims[claim.token] = claim
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="messaging-claims", daemon=True
                )
                self._thread.start()

    def remove(self, claim: Claim) -> None:
        """Renew it no more."""
        with self._lock:
            self._claims.pop(claim.token, None)

    def _run(self) -> None:
        pause = threading.Event()
        seen: set[str] = set()
        while True:
            pause.wait(self._lease / 4)
            with self._lock:
                claims = dict(self._claims)
                if not claims:
                    self._thread = None
                    return
            for token in seen & claims.keys():
                self._renew(claims[token])
            seen = set(claims)

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
                known = self._claims.pop(claim.token, None)
            if known is not None:  # else it has just ended
                log.warning(
                    "the claim of an event of %s was taken over while its handler runs: it may be "
                    "handled twice",
                    claim.service,
                )
