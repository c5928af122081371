"""Marketing: a mailing list of those who agreed to be on it, each once."""

from __future__ import annotations

from uuid import UUID

from consumers.banco import Banco
from consumers.events import (
    AlunoEsquecido,
    AlunoParaMarketing,
    AtualizadoParaMarketing,
    Contato,
    MatriculaCancelada,
)
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope

__all__ = ["ESQUEMA", "Marketing"]

ESQUEMA = """create table if not exists lista (
    aluno_id text primary key, nome text not null, email text not null, curso text)"""
_ENTRA = "insert or replace into lista values (:aluno_id, :nome, :email, :curso)"
_SAI = "delete from lista where aluno_id = :aluno_id"


class Marketing(Consumer):
    """Students who are not on the list get no mail: there are no rows that say "do not"."""

    def __init__(self, banco: Banco | None = None) -> None:
        self.banco = banco or Banco("dados/marketing.sqlite3", ESQUEMA)

    @handles
    def cadastrado(self, aluno: AlunoParaMarketing, envelope: Envelope) -> None:
        contato = Contato(nome=aluno.nome, email=aluno.email, curso=aluno.curso)
        self._lista(aluno.aluno_id, contato, envelope)

    @handles
    def atualizado(self, aluno: AtualizadoParaMarketing, envelope: Envelope) -> None:
        self._lista(aluno.aluno_id, aluno.contato, envelope)

    @handles
    def cancelada(self, matricula: MatriculaCancelada, envelope: Envelope) -> None:
        # Consent ends with the enrolment: the student gave it as a student.
        self._lista(matricula.aluno_id, None, envelope)

    @handles
    def esquecido(self, aluno: AlunoEsquecido, envelope: Envelope) -> None:
        self.banco.esquecer(envelope, aluno.aluno_id, _SAI)

    def _lista(self, aluno_id: UUID, contato: Contato | None, envelope: Envelope) -> None:
        if contato is None:
            self.banco.gravar(envelope, aluno_id, "contato", _SAI)
        else:
            self.banco.gravar(envelope, aluno_id, "contato", _ENTRA, contato.model_dump())

    def close(self) -> None:
        self.banco.close()
