"""Records what each service has received, for the painel to read."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from messaging.consuming.dispatch import Call
from messaging.sql import open_sqlite

__all__ = ["Contagem", "Recebidos", "contagem", "novos", "recebido"]

_ESQUEMA = """
create table if not exists recebidos (
    numero integer primary key autoincrement, evento_id text not null unique,
    aluno_id text not null, recebido_em text not null, campos text not null,
    vezes integer not null default 1);
create index if not exists aluno on recebidos (aluno_id);
"""
_NOTA = """insert into recebidos (evento_id, aluno_id, recebido_em, campos) values (?, ?, ?, ?)
    on conflict (evento_id) do update set vezes = vezes + 1"""


class Recebidos:
    """Middleware: records each handled event, with the fields that were received.

    It reads the message itself, not the view: a view only has the fields it declares, whatever was
    sent.
    """

    def __init__(self, pasta: Path, servico: str) -> None:
        caminho = _caminho(pasta, servico)
        caminho.parent.mkdir(parents=True, exist_ok=True)
        self._trava = threading.Lock()
        self._conexao = open_sqlite(caminho)
        self._conexao.executescript(_ESQUEMA)

    @contextmanager
    def __call__(self, call: Call) -> Iterator[None]:
        yield
        campos = call.envelope.data
        valores = (
            f"{call.envelope.source} {call.envelope.id}",
            str(campos.get("aluno_id", "")),
            datetime.now(UTC).isoformat(timespec="seconds"),
            json.dumps(campos, ensure_ascii=False),
        )
        with self._trava:
            self._conexao.execute(_NOTA, valores)

    def close(self) -> None:
        """Close the file."""
        with self._trava:
            self._conexao.close()


@dataclass(frozen=True, slots=True)
class Contagem:
    """The number of handled events, and of handler runs beyond the first for an event."""

    recebidos: int = 0
    repetidos: int = 0


def contagem(pasta: Path, servico: str) -> Contagem:
    """The number of events; zero for a service that has not started yet."""
    linhas = _ler(pasta, servico, "select count(*), coalesce(sum(vezes - 1), 0) from recebidos")
    return Contagem(*linhas[0]) if linhas else Contagem()


def novos(
    pasta: Path, servico: str, depois_de: int, quantos: int
) -> tuple[int, list[dict[str, Any]]]:
    """The newest events recorded after number `depois_de`, oldest first, and the last number."""
    linhas = _ler(
        pasta,
        servico,
        "select numero, evento_id, aluno_id, recebido_em, campos from recebidos"
        " where numero > ? order by numero desc limit ?",
        depois_de,
        quantos,
    )
    ultimo = max([depois_de, *(linha[0] for linha in linhas)])
    return ultimo, [_recebido(linha[1:]) for linha in reversed(linhas)]


def recebido(pasta: Path, servico: str, aluno_id: str) -> dict[str, Any] | None:
    """The last data that this service received about a student."""
    linhas = _ler(
        pasta,
        servico,
        "select evento_id, aluno_id, recebido_em, campos from recebidos where aluno_id = ?"
        " order by numero desc limit 1",
        aluno_id,
    )
    return _recebido(linhas[0]) if linhas else None


def _recebido(linha: tuple[Any, ...]) -> dict[str, Any]:
    evento_id, aluno_id, recebido_em, campos = linha
    return {
        "aluno_id": aluno_id,
        "evento_id": evento_id.rpartition(" ")[2],
        "recebido_em": recebido_em,
        "campos": json.loads(campos),
    }


def _caminho(pasta: Path, servico: str) -> Path:
    return pasta / "recebidos" / f"{servico}.sqlite3"


def _ler(pasta: Path, servico: str, sql: str, *valores: Any) -> list[tuple[Any, ...]]:
    caminho = _caminho(pasta, servico).absolute()
    # Not with `open_sqlite`: a reader must not be able to write to a service's file.
    try:
        with closing(sqlite3.connect(f"file:{caminho}?mode=ro", uri=True)) as conexao:
            return conexao.execute(sql, valores).fetchall()
    except sqlite3.OperationalError:
        return []  # no file yet, or no tables in it
