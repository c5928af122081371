"""The accounts, in the service's own database."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

__all__ = ["Contas"]


class Contas:
    """One account for each student."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._run("create table if not exists contas (id primary key, curso, mensalidade)")

    def abrir(self, aluno: str, curso: str, mensalidade: Decimal) -> None:
        """Open the account, unless it is open."""
        self._run("insert or ignore into contas values (?, ?, ?)", aluno, curso, str(mensalidade))

    def cursos(self) -> dict[str, str]:
        """The course of each account."""
        return dict(self._run("select id, curso from contas"))

    def _run(self, statement: str, *values: str) -> list[tuple[str, str]]:
        # Handlers run in several threads: each call opens its own connection.
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            return database.execute(statement, values).fetchall()
