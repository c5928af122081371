"""The consumer, and its part of the topology."""

import sqlite3
from contextlib import closing
from pathlib import Path

from biblioteca.eventos import ParaBiblioteca
from messaging import Consumer, Topology, handles

__all__ = ["TOPOLOGY", "Biblioteca"]


class Biblioteca(Consumer):
    """Records who may borrow books."""

    def __init__(self, path: str | Path = "leitores.sqlite3") -> None:
        self._path = path
        self._run("create table if not exists leitores (id primary key, nome)")

    @handles
    def matriculado(self, aluno: ParaBiblioteca) -> None:
        """A reader has the student's number as its key: a second copy changes nothing."""
        self._run("insert or ignore into leitores values (?, ?)", aluno.id, aluno.nome)

    def leitores(self) -> list[str]:
        """The numbers of those who may borrow."""
        return [number for (number,) in self._run("select id from leitores order by id")]

    def _run(self, statement: str, *values: str) -> list[tuple[str]]:
        # Handlers run in several threads: each call opens its own connection.
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            return database.execute(statement, values).fetchall()


TOPOLOGY = Topology.of(Biblioteca, topic="alunos", owner="equipe-leitura")
