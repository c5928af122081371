"""The claims of a relay: which entries it holds, for how long, and their results.

A claim is a lease in the table itself. Before the time `free_at`, no relay takes the entry, or a
later one of its key: for a claimed entry it is the end of the lease, for a failed one the time of
the next attempt. So the order per key needs nothing else, and others wait for a dead relay no
longer than its lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from messaging.errors import ConfigurationError
from messaging.outbox.rows import READ, OutboxRow, row_of
from messaging.outbox.table import PENDING, TABLE
from messaging.sql.database import Cursor, Database
from messaging.sql.dialect import table_name

__all__ = ["Claims", "OutboxStatus", "Troubled"]

_WINDOW = 1000
"""Maximum entries considered per claim: the oldest of the keys that are free."""

_PRUNED_AT_ONCE = 1000
_SHOWN = 100

_FREE = "coalesce(o.published_at, o.parked_at) IS NULL AND o.free_at + 0 <= :now"
"""A condition on entry numbers. It is written so that only the index of the numbers can be used:
with old statistics, PostgreSQL believes that an index of pending entries is nearly empty."""

_OURS = f" AND holder = :token AND {PENDING}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """An entry that has not been accepted so far. Times are in seconds since the epoch.

    Args:
        seq: the entry's number.
        id: the event's id.
        type: the event's type, from its attribute.
        attempts: how often it was sent.
        error: code of the last failure.
        created: when it was written, in seconds since the epoch.
        parked: refused for good: it will not be retried.

    Example:
        ```python
        import sqlite3

        from messaging.outbox import Relay, SqlOutbox, create
        from messaging.outbox.claims import Claims
        from messaging.sql.database import Database

        connection = sqlite3.connect("escola.db")
        create(connection)
        with connection:
            Publisher(SqlOutbox(connection), source="/cadastro").publish(ana)
        connection.close()
        broker.fail_next("publish", code="InvalidParameter", retryable=False, entries=[0])
        with Relay(lambda: sqlite3.connect("escola.db"), broker.topic()) as relay:
            relay.drain()
        database = Database(lambda: sqlite3.connect("escola.db"))
        (troubled,) = Claims(database).status().troubled
        database.close()
        assert troubled.parked and troubled.type == "aluno.cadastrado"
        ```
    """

    seq: int
    id: str
    type: str
    attempts: int
    error: str
    created: float
    parked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """The number of entries in an outbox (one for each copy of an event).

    Args:
        pending: entries to be sent.
        in_flight: pending entries that a relay holds now.
        waiting: pending entries that failed and wait for their next attempt; their keys wait with
            them.
        parked: entries refused for good.
        published: entries sent and not yet pruned.
        oldest: age of the oldest pending entry in seconds; None if there is none.
        troubled: parked and failed entries, oldest first, at most 100.

    Example:
        ```python
        import sqlite3

        from messaging.outbox import SqlOutbox, create
        from messaging.outbox.claims import Claims
        from messaging.sql import open_sqlite
        from messaging.sql.database import Database

        connection = sqlite3.connect("escola.db")
        create(connection)
        with connection:
            Publisher(SqlOutbox(connection), source="/cadastro").publish(ana)
        connection.close()
        database = Database(lambda: open_sqlite("escola.db"))
        status = Claims(database).status()
        assert (status.pending, status.in_flight, status.parked) == (1, 0, 0)
        database.close()
        ```
    """

    pending: int
    in_flight: int
    waiting: int
    parked: int
    published: int
    oldest: float | None
    troubled: tuple[Troubled, ...]


class Claims:
    """Claims entries of one table for one relay. Not thread-safe.

    Args:
        database: the connection to the outbox's database.
        table: the table's name, with its schema and a dot before it where it has one.

    Example:
        ```python
        from messaging.outbox.claims import Claims
        from messaging.outbox import create
        from messaging.sql.database import Database
        from messaging.sql import open_sqlite

        connection = open_sqlite("escola.db")
        create(connection)
        connection.close()

        database = Database(lambda: open_sqlite("escola.db"))
        status = Claims(database).status()
        assert (status.pending, status.troubled) == (0, ())
        database.close()
        ```
    """

    def __init__(self, database: Database, *, table: str = TABLE) -> None:
        self._database = database
        self._table = table_name(table)
        self._token = ""

    def check(self) -> None:
        """Check that the table exists.

        Raises:
            ConfigurationError: if the table is missing.
        """
        if not self.exists():
            raise ConfigurationError(
                f"there is no table {self._table} in this database: make it with what `messaging "
                "outbox ddl` prints, or with messaging.outbox.create(connection)"
            )

    def exists(self) -> bool:
        """Whether the table exists."""
        return self._database.has_table(self._table)

    def claim(self, limit: int, *, lease: float, more: bool = False) -> list[OutboxRow]:
        """Claim at most `limit` entries, by age, for `lease` seconds: the first of each key and
        those that follow it. No other relay has them, or any other of their keys.

        Args:
            limit: maximum number of entries.
            lease: seconds for which no other relay takes them.
            more: in addition to those already held; otherwise entries still held are forgotten.
        """
        if not (more and self._token):
            self._token = uuid4().hex
        now = self._database.now()
        if self._database.dialect == "sqlite":  # first without the lock that blocks writers
            with self._database.transaction(writes=False) as cursor:
                if not cursor.read(f"SELECT 1 FROM {self._table} WHERE {PENDING} LIMIT 1"):  # noqa: S608 - a checked name
                    return []
        with self._database.transaction() as cursor:
            # If another relay has claimed or sent one of these since the statement started, it is
            # locked or changed: then it is missing, and entries behind it are left alone too.
            rows = _without_gaps(self._find(cursor, now, limit))
            self._change(cursor, rows, "free_at = :until, holder = :token", until=now + lease)
        return rows

    def _change(
        self, cursor: Cursor, rows: Sequence[OutboxRow], change: str, only: str = "", **more: object
    ) -> int:
        """Change those of `rows` that also satisfy `only`; returns how many."""
        statement = f"UPDATE {self._table} SET {change} WHERE {{these}}{only}"  # noqa: S608 - a checked name
        seqs = [row.seq for row in rows]
        return cursor.change_set(statement, "seq", seqs, token=self._token, **more)

    def _find(self, cursor: Cursor, now: float, limit: int) -> list[Sequence[Any]]:
        """The entries to claim, each with its position in its key.

        In two steps: the first locks nothing, and the second only its result. Sorting a join locks
        all of it on MariaDB, which has no `FOR UPDATE OF` either; and PostgreSQL, whose statistics
        of such a table are always old, may run the join as a nested loop.
        """
        # The oldest entries of the keys that are free, and their positions in their keys.
        eldest = f"""
            SELECT seq, row_number() OVER (PARTITION BY "key" ORDER BY seq) AS place FROM (
                SELECT seq, "key" FROM {self._table} WHERE {PENDING} AND "key" NOT IN (
                    SELECT "key" FROM {self._table} WHERE {PENDING} AND free_at > :now
                ) ORDER BY seq LIMIT :window
            ) AS eldest ORDER BY seq
            """  # noqa: S608 - as above
        window = max(_WINDOW, limit)
        places = {row[0]: row[1] for row in cursor.read(eldest, now=now, window=window)}
        dialect = self._database.dialect
        index = " FORCE INDEX (PRIMARY)" if dialect == "mysql" else ""
        lock = "" if dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
        found: list[Sequence[Any]] = []
        seqs = [*places]
        for start in range(0, len(seqs), cursor.at_once):
            if len(found) >= limit:
                break
            found += [
                (places[row[0]], *row)
                for row in cursor.read_set(
                    f"SELECT {READ} FROM {self._table} AS o{index} "  # noqa: S608 - as above
                    f"WHERE {{these}} AND {_FREE} ORDER BY o.seq LIMIT :limit{lock}",
                    "o.seq",
                    seqs[start : start + cursor.at_once],
                    now=now,
                    limit=limit - len(found),
                )
            ]
        return found

    def renew(self, rows: Sequence[OutboxRow], *, lease: float) -> bool:
        """Extend the claim of `rows` to `lease` seconds from now. False: some are no longer ours.

        Args:
            rows: entries from `claim`.
            lease: seconds from now.
        """
        until = self._database.now() + lease
        with self._database.transaction() as cursor:
            return self._change(cursor, rows, "free_at = :until", _OURS, until=until) == len(rows)

    def settle(
        self,
        published: Sequence[OutboxRow],
        refused: Sequence[tuple[OutboxRow, str, float]] = (),
        parked: Sequence[tuple[OutboxRow, str]] = (),
        back: Sequence[OutboxRow] = (),
        *,
        delete: bool = False,
    ) -> None:
        """Record the results of entries.

        Args:
            published: entries that were sent.
            refused: entries refused with a code, and the seconds until they are retried.
            parked: entries refused for good, with a code.
            back: entries that were not sent, to be released.
            delete: delete sent entries instead of keeping them until `prune`.
        """
        now = self._database.now()
        failed: list[tuple[OutboxRow, str, float, float | None]] = [
            *((row, code, now + delay, None) for row, code, delay in refused),
            *((row, code, now, now) for row, code in parked),
        ]
        with self._database.transaction() as cursor:
            # Whichever relay holds it now: it was sent, and need not be sent again.
            if delete:
                gone = f"DELETE FROM {self._table} WHERE {{these}}"  # noqa: S608 - as above
                cursor.change_set(gone, "seq", [row.seq for row in published])
            else:
                sent = "published_at = :now, parked_at = NULL, holder = NULL, error = NULL"
                self._change(cursor, published, sent, " AND published_at IS NULL", now=now)
            cursor.change(
                f"UPDATE {self._table} SET free_at = :at, parked_at = :parked, holder = NULL, "  # noqa: S608 - as above
                f"attempts = attempts + 1, error = :error WHERE seq = :seq{_OURS}",
                [
                    {"at": at, "parked": since, "error": code, "seq": row.seq, "token": self._token}
                    for row, code, at, since in failed
                ],
            )
            self._change(cursor, back, "free_at = 0, holder = NULL", _OURS)

    def release(self) -> None:
        """Release all entries still held; another relay may take them immediately."""
        with self._database.transaction() as cursor:
            cursor.change(
                f"UPDATE {self._table} SET free_at = 0, holder = NULL "  # noqa: S608 - as above
                f"WHERE holder = :token AND {PENDING}",
                [{"token": self._token}],
            )

    def prune(self, seconds: float, *, parked: bool = False) -> int:
        """Delete entries that were sent (and with `parked`, those that were parked) at least
        `seconds` ago; returns how many. It uses short transactions, so that others do not wait for
        it.

        Args:
            seconds: the age from which entries are deleted.
            parked: also delete parked entries of that age.
        """
        before = self._database.now() - seconds
        deleted = 0
        for column in ("published_at", "parked_at") if parked else ("published_at",):
            last = _PRUNED_AT_ONCE
            while last == _PRUNED_AT_ONCE:
                with self._database.transaction() as cursor:
                    last = cursor.change(self._delete_oldest(column), [{"before": before}])
                deleted += last
        return deleted

    def _delete_oldest(self, column: str) -> str:
        oldest = f"{column} <= :before ORDER BY {column} LIMIT {_PRUNED_AT_ONCE}"
        if self._database.dialect == "mysql":  # which has no LIMIT in IN (SELECT ...)
            return f"DELETE FROM {self._table} WHERE {oldest}"  # noqa: S608 - as above
        return (
            f"DELETE FROM {self._table} WHERE seq IN "  # noqa: S608 - as above
            f"(SELECT seq FROM {self._table} WHERE {oldest})"
        )

    def retry(self, seqs: Iterable[int] | None = None) -> int:
        """Make parked entries (all, or those in `seqs`) pending again, and retry failed ones
        immediately; returns how many.

        Args:
            seqs: the numbers of parked entries; None: all of them.
        """
        chosen = "" if seqs is None else "seq = :seq AND "
        rows = [{}] if seqs is None else [{"seq": seq} for seq in seqs]
        with self._database.transaction() as cursor:
            return cursor.change(
                f"UPDATE {self._table} SET parked_at = NULL, free_at = 0 WHERE {chosen}"  # noqa: S608 - as above
                "published_at IS NULL AND holder IS NULL "
                "AND (parked_at IS NOT NULL OR free_at > 0)",
                rows,
            )

    def status(self) -> OutboxStatus:
        """The number of entries, and the troubled ones. Reads the whole table."""
        now = self._database.now()
        with self._database.transaction(writes=False) as cursor:
            [[pending, oldest, in_flight, waiting]] = cursor.read(
                f"""
                SELECT count(*), min(created),
                    count(CASE WHEN holder IS NOT NULL AND free_at > :now THEN 1 END),
                    count(CASE WHEN holder IS NULL AND free_at > :now THEN 1 END)
                FROM {self._table} WHERE {PENDING}
                """,  # noqa: S608 - as above
                now=now,
            )
            [[parked, published]] = cursor.read(
                f"SELECT count(parked_at), count(published_at) FROM {self._table}"  # noqa: S608 - as above
            )
            troubled = cursor.read(
                f"""
                SELECT {READ}, o.error, o.created, o.parked_at FROM {self._table} AS o
                WHERE o.published_at IS NULL AND o.error IS NOT NULL ORDER BY o.seq LIMIT {_SHOWN}
                """  # noqa: S608 - as above
            )
        return OutboxStatus(
            pending=pending,
            in_flight=in_flight,
            waiting=waiting,
            parked=parked,
            published=published,
            oldest=None if oldest is None else max(0.0, now - oldest),
            troubled=tuple(_troubled(values) for values in troubled),
        )


def _without_gaps(found: Sequence[Sequence[Any]]) -> list[OutboxRow]:
    """The entries of each key up to the first that is missing."""
    last: dict[str, int] = {}
    rows: list[OutboxRow] = []
    for place, *values in found:
        row = row_of(values)
        if place == last.get(row.key, 0) + 1:
            last[row.key] = place
            rows.append(row)
    return rows


def _troubled(values: Sequence[Any]) -> Troubled:
    *columns, error, created, parked_at = values
    row = row_of(columns)
    type = row.message.attributes.get("type") if row.message else None
    return Troubled(
        seq=row.seq,
        id=row.id,
        type=str(type.value) if type else "?",
        attempts=row.attempts,
        error=error,
        created=created,
        parked=parked_at is not None,
    )
