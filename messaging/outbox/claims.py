"""The claims of a relay: which entries it holds, for how long, and what became of them.

A claim is a lease in the table itself. `free_at` is the time before which nobody takes the entry,
nor a later one of its key: a claimed entry has its lease there, one that failed the time of its
next attempt. So order per key needs nothing else, and a relay that dies is waited for no longer
than its lease.
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
"""Entries looked at for one claim: the oldest of the keys that are not taken."""

_PRUNED_AT_ONCE = 1000
_SHOWN = 100

_FREE = "coalesce(o.published_at, o.parked_at) IS NULL AND o.free_at + 0 <= :now"
"""Of entries named by number. Written so that no other index than that of the numbers will do: with
old statistics PostgreSQL believes that an index of what is pending is all but empty."""

_OURS = f" AND holder = :token AND {PENDING}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """An entry that was not accepted so far. Times are seconds since the epoch.

    Args:
        seq: the entry's number.
        id: the event's id.
        type: the event's type, as its attribute says.
        attempts: how often it was sent.
        error: code of the last failure.
        created: when it was written, in seconds since the epoch.
        parked: refused for good: nobody will try again.

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
    """How full an outbox is, in entries (one for each copy of an event).

    Args:
        pending: to be sent.
        in_flight: of these, in a relay's hands now.
        waiting: of these, failed and waiting for their next attempt; their keys wait with them.
        parked: refused for good.
        published: sent, and not pruned yet.
        oldest: seconds for which the oldest pending entry has been waiting; None if there is none.
        troubled: the parked ones and those that failed, the oldest first, at most 100.

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
    """Claims entries of one table for one relay. Not safe to share between threads.

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
        """See that the table is there.

        Raises:
            ConfigurationError: when the table is missing.
        """
        if not self.exists():
            raise ConfigurationError(
                f"there is no table {self._table} in this database: make it with what `messaging "
                "outbox ddl` prints, or with messaging.outbox.create(connection)"
            )

    def exists(self) -> bool:
        """Whether the table is there."""
        return self._database.has_table(self._table)

    def claim(self, limit: int, *, lease: float, more: bool = False) -> list[OutboxRow]:
        """At most `limit` entries, by age, for `lease` seconds: of each key the first and those
        that follow it. Nobody else has them, nor any other of their keys.

        Args:
            limit: entries, at most.
            lease: seconds for which nobody else has them.
            more: beside those that are held already; otherwise what is still held belongs to
                nobody.
        """
        if not (more and self._token):
            self._token = uuid4().hex
        now = self._database.now()
        if self._database.dialect == "sqlite":  # first without the lock that blocks writers
            with self._database.transaction(writes=False) as cursor:
                if not cursor.read(f"SELECT 1 FROM {self._table} WHERE {PENDING} LIMIT 1"):  # noqa: S608 - a checked name
                    return []
        with self._database.transaction() as cursor:
            # Whoever claimed or sent one of these since the statement began has locked or changed
            # it: then its place is missing, and what follows it is left alone as well.
            rows = _without_gaps(self._find(cursor, now, limit))
            self._change(cursor, rows, "free_at = :until, holder = :token", until=now + lease)
        return rows

    def _change(
        self, cursor: Cursor, rows: Sequence[OutboxRow], change: str, only: str = "", **more: object
    ) -> int:
        """Change those of `rows` of which `only` is true as well; how many they are."""
        statement = f"UPDATE {self._table} SET {change} WHERE {{these}}{only}"  # noqa: S608 - a checked name
        seqs = [row.seq for row in rows]
        return cursor.change_set(statement, "seq", seqs, token=self._token, **more)

    def _find(self, cursor: Cursor, now: float, limit: int) -> list[Sequence[Any]]:
        """The entries to claim, each behind its place in its key.

        In two steps: the first locks nothing, and the second what it gives. Sorting a join locks
        all of it on MariaDB, which has no `FOR UPDATE OF` either; and PostgreSQL, whose statistics
        of such a table are always old, may run the join as a loop in a loop.
        """
        # The oldest entries of the keys that are not taken, and their places in their keys.
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
        """Hold `rows` for `lease` seconds from now. False: some are no longer ours.

        Args:
            rows: entries that `claim` gave.
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
        """What became of entries: sent; refused with a code and to be tried in so many seconds;
        refused for good with a code; not sent, and anybody's again.

        Args:
            published: entries that were sent.
            refused: entries with a code, and seconds until they are tried again.
            parked: entries that were refused for good, with a code.
            back: entries that were not sent, and are anybody's again.
            delete: those that were sent are deleted, and not kept until `prune`.
        """
        now = self._database.now()
        failed: list[tuple[OutboxRow, str, float, float | None]] = [
            *((row, code, now + delay, None) for row, code, delay in refused),
            *((row, code, now, now) for row, code in parked),
        ]
        with self._database.transaction() as cursor:
            # Whoever holds it by now: it was sent, and need not be sent again.
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
        """Release all entries still held; another relay may take them at once."""
        with self._database.transaction() as cursor:
            cursor.change(
                f"UPDATE {self._table} SET free_at = 0, holder = NULL "  # noqa: S608 - as above
                f"WHERE holder = :token AND {PENDING}",
                [{"token": self._token}],
            )

    def prune(self, seconds: float, *, parked: bool = False) -> int:
        """Delete entries that were sent (and with `parked` those that were parked) at least
        `seconds` ago; returns how many. Uses short transactions, so that nobody waits for it.

        Args:
            seconds: the age from which entries are deleted.
            parked: delete parked entries of that age, too.
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
        """Make parked entries (all, or those in `seqs`) pending again, and retry failed ones at
        once; returns how many.

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
        """How full the outbox is, and what is in trouble. Reads the whole table."""
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
    """Of each key the entries up to the first that is missing."""
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
