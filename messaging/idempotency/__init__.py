"""Middleware that handles each event once, and its stores.

    Worker(Marketing(), broker=connect(), middleware=[Idempotency(RedisStore("redis://..."))])

`Idempotency` works with any store and any effect. `Transactional` and `TransactionalSession` are
stronger: the mark is in the service's own database, in the same transaction as the effect.
"""

from messaging.idempotency.async_transactional import AsyncTransactional
from messaging.idempotency.memory import MemoryStore
from messaging.idempotency.middleware import Idempotency, event_key
from messaging.idempotency.redis import RedisStore
from messaging.idempotency.sql import MySqlStore, PostgresStore, SqliteStore
from messaging.idempotency.transactional import Transactional, TransactionalSession

__all__ = [
    "AsyncTransactional",
    "Idempotency",
    "MemoryStore",
    "MySqlStore",
    "PostgresStore",
    "RedisStore",
    "SqliteStore",
    "Transactional",
    "TransactionalSession",
    "event_key",
]
