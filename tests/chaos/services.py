"""Services whose effects are rows of an SQLite file, for worker processes that get killed.

What they need is told by the environment: CHAOS_DATABASE, a file, and CHAOS_ONCE, "1" for effect
and mark in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call
from messaging.envelope import Envelope
from messaging.idempotency import Transactional
from messaging.outcome import Reject, RetryPolicy
from messaging.sql import open_sqlite
from messaging.topology import Topology
from tests.chaos.sample import (
    EnrolledForMailing,
    EnrolledForOthers,
    EnrolledForReports,
    Paid,
)

EFFECTS = "CREATE TABLE IF NOT EXISTS effects (service TEXT, event TEXT, process INTEGER)"
REFUSED = 97
"""Every so many-th student is rejected by every service."""

_local = threading.local()


def _connect() -> sqlite3.Connection:
    return open_sqlite(os.environ["CHAOS_DATABASE"])


class _Lazily:
    """The transactions of this process; not made where they are not asked for."""

    def __init__(self) -> None:
        self._made: Transactional | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Transactional:
        with self._lock:
            if self._made is None:
                self._made = Transactional(_connect).create()
            return self._made


_once = _Lazily()


def once(call: Call) -> AbstractContextManager[Any]:
    """Middleware: effect and mark in one transaction, if so asked."""
    return _once()(call) if os.environ["CHAOS_ONCE"] == "1" else _plainly()


@contextmanager
def _plainly() -> Iterator[None]:
    yield


class _Service(Consumer):
    visibility_timeout = 4
    max_receives = 500
    retry = RetryPolicy(max_attempts=400, wait=wait_fixed(1))

    def effect(self, envelope: Envelope, student: int) -> None:
        if student % REFUSED == REFUSED - 1:
            raise Reject("a student that nobody takes")
        row = (self.service, envelope.id, os.getpid())
        if os.environ["CHAOS_ONCE"] == "1":
            connection = _once().connection
        elif (connection := getattr(_local, "connection", None)) is None:
            connection = _local.connection = _connect()
        connection.execute("INSERT INTO effects VALUES (?, ?, ?)", row)
        time.sleep(0.002)  # so that a kill meets somebody between effect and acknowledgement


class Platform(_Service):
    @handles
    def enrolled(self, view: EnrolledForOthers, envelope: Envelope) -> None:
        self.effect(envelope, view.student)


class Billing(_Service):
    @handles
    def enrolled(self, view: EnrolledForOthers, envelope: Envelope) -> None:
        self.effect(envelope, view.student)

    @handles
    def paid(self, event: Paid, envelope: Envelope) -> None:
        self.effect(envelope, event.student)


class Mailing(_Service):
    @handles
    def enrolled(self, view: EnrolledForMailing, envelope: Envelope) -> None:
        self.effect(envelope, view.student)


class Reports(_Service):
    @handles
    def enrolled(self, view: EnrolledForReports, envelope: Envelope) -> None:
        self.effect(envelope, view.student)

    @handles
    def paid(self, event: Paid, envelope: Envelope) -> None:
        self.effect(envelope, event.student)


SERVICES = (Platform, Billing, Mailing, Reports)
TOPOLOGY = Topology.of(*SERVICES, topic="chaos")
