"""An SQLite file in which each fact takes effect once, and in order.

SQS delivers a message at least once and in no particular order, so every service needs the same two
answers: has this been done before, and is it older than what is already known? Both are decided
here, in the transaction of the effect.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from messaging.envelope import Envelope
from messaging.sql import open_sqlite

__all__ = ["Banco"]

_ESQUEMA = """
create table if not exists fatos (
    evento_id text not null, assunto text not null, primary key (evento_id, assunto)
) without rowid;
create table if not exists ultimos (
    aluno_id text not null, assunto text not null, momento text not null,
    primary key (aluno_id, assunto)
) without rowid;
"""
_TUDO = "*"


class Banco:
    """A service's database: `caminho` (or ":memory:") with the service's own tables in it.

    Safe for the handler threads of one worker (one connection, one lock) and for several
    processes on one file (WAL, and writers wait for each other).
    """

    def __init__(self, caminho: str | Path, esquema: str) -> None:
        if str(caminho) != ":memory:":
            Path(caminho).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._conexao = open_sqlite(caminho)  # for this user only: it holds names and addresses
        self._conexao.row_factory = sqlite3.Row
        self._conexao.executescript(
            "pragma secure_delete = on;"  # erased data is overwritten
            + _ESQUEMA
            + esquema
        )

    def gravar(
        self,
        envelope: Envelope,
        aluno_id: UUID,
        assunto: str,
        sql: str,
        valores: Mapping[str, Any] | None = None,
    ) -> bool:
        """Run `sql`, unless this event did so before or something later is known.

        `assunto` is what the fact is about ("dados", "matricula"): an update of the address says
        nothing about whether the enrolment is valid, so each subject has an order of its own.
        `sql` may use `:aluno_id` and the keys of `valores`. Returns False if nothing was done.
        """
        with self._transacao() as conexao:
            if not _vale(conexao, envelope, str(aluno_id), assunto):
                return False
            conexao.execute(sql, {"aluno_id": str(aluno_id), **(valores or {})})
        return True

    def esquecer(self, envelope: Envelope, aluno_id: UUID, sql: str) -> bool:
        """Run `sql`, which deletes `:aluno_id`, whatever else is known, and keep it deleted.

        Only the id and a time remain: a message from before the erasure that arrives late (a
        redrive of dead letters, days later) must not bring anything back. A later enrolment may.
        """
        quem = {"aluno_id": str(aluno_id), "tudo": _TUDO, "momento": _momento(envelope)}
        with self._transacao() as conexao:
            if not _primeira_vez(conexao, envelope, _TUDO):
                return False
            conexao.execute(sql, quem)
            conexao.execute(
                "delete from ultimos where aluno_id = :aluno_id and assunto <> :tudo", quem
            )
            conexao.execute(
                "insert into ultimos values (:aluno_id, :tudo, :momento)"
                " on conflict do update set momento = max(momento, excluded.momento)",
                quem,
            )
        with self._lock:  # otherwise the WAL file would keep the old pages
            self._conexao.execute("pragma wal_checkpoint(truncate)").fetchall()
        return True

    def ler(self, sql: str, *valores: Any) -> list[sqlite3.Row]:
        """Return the rows of a SELECT."""
        with self._lock:
            return self._conexao.execute(sql, valores).fetchall()

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        with self._lock:
            self._conexao.close()

    @contextmanager
    def _transacao(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._conexao.execute("begin immediate")
            try:
                yield self._conexao
            except BaseException:
                self._conexao.execute("rollback")
                raise
            self._conexao.execute("commit")


def _vale(conexao: sqlite3.Connection, envelope: Envelope, aluno_id: str, assunto: str) -> bool:
    if not _primeira_vez(conexao, envelope, assunto):
        return False
    momento = _momento(envelope)
    # Of two facts with the same time the later arrival wins: nothing else tells them apart.
    depois = conexao.execute(
        "select 1 from ultimos where aluno_id = ? and assunto in (?, ?) and momento > ?",
        (aluno_id, assunto, _TUDO, momento),
    ).fetchone()
    if depois is None:
        conexao.execute(
            "insert or replace into ultimos values (?, ?, ?)", (aluno_id, assunto, momento)
        )
    return depois is None


def _primeira_vez(conexao: sqlite3.Connection, envelope: Envelope, assunto: str) -> bool:
    # By the event's id and its source: CloudEvents promises that the two together are unique.
    feito = conexao.execute(
        "insert or ignore into fatos values (?, ?)", (f"{envelope.source} {envelope.id}", assunto)
    )
    return feito.rowcount == 1


def _momento(envelope: Envelope) -> str:
    # A foreign producer may omit the time: the fact then counts from its arrival.
    momento = envelope.time or datetime.now(UTC)
    return momento.astimezone(UTC).isoformat(timespec="microseconds")
