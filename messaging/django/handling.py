"""Middleware for handlers that use Django's database: fresh connections, and one transaction."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.cache import close_caches
from django.db import close_old_connections, reset_queries, transaction

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.django.database import Wrapper, raw, wrapper_of
from messaging.django.setup import current
from messaging.errors import ConfigurationError
from messaging.handling import BatchState, HandlingState
from messaging.idempotency.marks import TABLE, Marks
from messaging.idempotency.middleware import event_key
from messaging.idempotency.transaction import BatchTransaction, Transaction
from messaging.outcome import Ack
from messaging.sql.driver import DriverConnection, dialect_of

__all__ = ["CloseConnections", "TransactionalAtomic"]


class CloseConnections:
    """Middleware: does for each handler what Django does for a request.

    Connections of the handler's thread that are broken or older than CONN_MAX_AGE are closed before
    and after it. So a server restart costs at most one attempt, and none with CONN_HEALTH_CHECKS.

    `manage.py messaging_worker` includes it. In your own `Worker`, put it first:

        Worker(Biblioteca(), broker=broker, middleware=[CloseConnections()])

    Example:
        ```python
        # Not run: needs a Django project; examples/django has one, with tests.
        from messaging import Worker, connect
        from messaging.django import CloseConnections

        Worker(Marketing(), broker=connect(), middleware=[CloseConnections()]).run()
        ```
    """

    def __call__(self, call: HandlingState) -> AbstractContextManager[None]:
        return self._around(is_async=call.handler.is_async)

    def around_batch(self, batch: BatchState) -> AbstractContextManager[None]:
        """The same, once around a handler that takes a batch.

        Args:
            batch: the call of the batch.
        """
        return self._around(is_async=batch.handler.is_async)

    @contextmanager
    def _around(self, *, is_async: bool) -> Iterator[None]:
        # Django's async ORM runs queries in one thread, whose connection all async handlers share.
        # This runs in the same thread: before the handler's queries, and after them.
        run: Any = SyncToAsync.single_thread_executor.submit if is_async else operator.call
        run(_begin)
        try:
            yield
        finally:
            run(_end)


_atomic: Any = transaction.atomic  # its type hints are too narrow


def _begin() -> None:
    reset_queries()
    close_old_connections()


def _end() -> None:
    close_old_connections()
    close_caches()


class TransactionalAtomic:
    """Middleware: a handler's work in Django's ORM and its mark are committed together.

        ONCE = TransactionalAtomic()                        # MESSAGING["MIDDLEWARE"] names it

        class Biblioteca(Consumer):
            @handles
            def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
                Carteirinha.objects.create(aluno_id=aluno.aluno_id)

    Each call runs inside `transaction.atomic(using)`. It is committed when the handler returns (or
    raises `Ack`), and rolled back if it raises anything else, so an event takes effect once, even
    if the process is killed. Inside, `atomic()` makes savepoints, `select_for_update` locks until
    the end, `on_commit` runs after the commit, and `messaging.django.publish` is part of it. Other
    effects of the handler (a mail, another database) are repeated if the transaction was not
    committed.

    A concurrent duplicate waits on SQLite and MySQL, and is retried later on PostgreSQL. Handlers
    must be plain functions: Django has no transactions in async code.

    Args:
        using: an alias of DATABASES; by default MESSAGING["DATABASE"]. Marks are in the same
            database, in the table created by this app's migration.
        table: the table's name, optionally with its schema ("schema.table").
        key: the identity of an event: a function of the `Call`; by default `event_key`, its source
            and its id.
        clock: the source of time; a test may pass a `FakeClock`.

    Example:
        ```python
        # Not run: needs a Django project; examples/django has one, with tests.
        from messaging import Worker, connect
        from messaging.django import TransactionalAtomic

        Worker(Marketing(), broker=connect(), middleware=[TransactionalAtomic()]).run()
        ```
    """

    def __init__(
        self,
        using: str | None = None,
        *,
        table: str = TABLE,
        key: Callable[[HandlingState], str] = event_key,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._using = using
        self._table = table
        self._key = key
        self._clock = clock

    def __call__(self, call: HandlingState) -> AbstractContextManager[None]:
        self.check(call.service, is_async=call.handler.is_async)
        return self._around(call.service, self._transaction(call))

    chunks = False
    """Read by the dispatcher: it has no savepoint for each message of `@handles(chunk=)`."""

    def around_batch(self, batch: BatchState) -> AbstractContextManager[None]:
        """The same for a handler that takes a batch: one transaction, and a mark for each event.

        Args:
            batch: the call of the batch.
        """
        self.check(batch.service, is_async=batch.handler.is_async)
        return self._around(batch.service, BatchTransaction(batch, self._transaction))

    def _transaction(self, call: HandlingState) -> Transaction:
        return Transaction(call=call, event=self._key(call), marks_of=self._marks_of)

    @contextmanager
    def _around(self, service: str, marked: Transaction | BatchTransaction) -> Iterator[None]:
        wrapper = self._wrapper()
        acknowledged: Ack | None = None
        with _atomic(wrapper.alias, durable=True):
            connection = raw(wrapper)
            marked.begin(connection)
            marked.admit()
            try:
                yield
            except Ack as ack:
                acknowledged = ack  # raised through `atomic`, it would roll back
            if wrapper.needs_rollback or wrapper.connection is not connection:
                raise ConfigurationError(
                    f"a handler of {service} returned from a transaction that cannot be "
                    "committed (set_rollback, or a connection that it closed), and will run again: "
                    "raise instead, or put what may be undone into an atomic() of its own"
                )
            marked.mark(connection)
        if acknowledged is not None:
            raise acknowledged

    def check(self, service: str, *, is_async: bool) -> None:
        """Raise `ConfigurationError` for an async handler of `service`.

        Args:
            service: the name of a service.
            is_async: whether the handler is `async def`.

        Raises:
            ConfigurationError: if it is.
        """
        if is_async:
            raise ConfigurationError(
                f"an async handler of {service} cannot run in a transaction of Django, which has "
                "none in async code: make it a plain def"
            )

    def prune(self, older_than: float) -> int:
        """Forget marks older than `older_than` seconds, and return how many.

        SQS keeps a message for at most 14 days, and a dead-letter queue for as long again.

        Args:
            older_than: seconds.
        """
        wrapper = self._wrapper()
        with _atomic(wrapper.alias):
            connection = raw(wrapper)
            return self._marks_of(connection).prune(connection, older_than)

    def _wrapper(self) -> Wrapper:
        return wrapper_of(current().database if self._using is None else self._using)

    def _marks_of(self, connection: DriverConnection) -> Marks:
        return Marks(dialect_of(connection), self._table, self._clock)
