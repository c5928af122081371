"""Plataforma: opens a student's access to the lessons, and closes it."""

from __future__ import annotations

from consumers.banco import Banco
from consumers.events import (
    AlunoEsquecido,
    AlunoParaPlataforma,
    AtualizadoParaPlataforma,
    MatriculaCancelada,
)
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope

__all__ = ["ESQUEMA", "Plataforma"]

ESQUEMA = """create table if not exists acessos (
    aluno_id text primary key, nome text, email text, curso text, aberto integer default 0)"""
_DADOS = """insert into acessos (aluno_id, nome, email, curso)
    values (:aluno_id, :nome, :email, :curso) on conflict do update
    set nome = excluded.nome, email = excluded.email, curso = excluded.curso"""
_ACESSO = """insert into acessos (aluno_id, aberto) values (:aluno_id, :aberto)
    on conflict do update set aberto = excluded.aberto"""
_ESQUECE = "delete from acessos where aluno_id = :aluno_id"


class Plataforma(Consumer):
    """One row for each student: who they are, and whether their access is open."""

    def __init__(self, banco: Banco | None = None) -> None:
        self.banco = banco or Banco("dados/plataforma.sqlite3", ESQUEMA)

    @handles
    def cadastrado(self, aluno: AlunoParaPlataforma, envelope: Envelope) -> None:
        self.banco.gravar(envelope, aluno.aluno_id, "dados", _DADOS, aluno.model_dump(mode="json"))
        self.banco.gravar(envelope, aluno.aluno_id, "matricula", _ACESSO, {"aberto": 1})

    @handles
    def atualizado(self, aluno: AtualizadoParaPlataforma, envelope: Envelope) -> None:
        self.banco.gravar(envelope, aluno.aluno_id, "dados", _DADOS, aluno.model_dump(mode="json"))

    @handles
    def cancelada(self, matricula: MatriculaCancelada, envelope: Envelope) -> None:
        self.banco.gravar(envelope, matricula.aluno_id, "matricula", _ACESSO, {"aberto": 0})

    @handles
    def esquecido(self, aluno: AlunoEsquecido, envelope: Envelope) -> None:
        self.banco.esquecer(envelope, aluno.aluno_id, _ESQUECE)

    def close(self) -> None:
        self.banco.close()
