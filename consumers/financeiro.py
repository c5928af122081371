"""Financeiro: opens an account with its monthly fee, and refuses a negative one."""

from __future__ import annotations

from consumers.banco import Banco
from consumers.events import (
    AlunoEsquecido,
    AlunoParaFinanceiro,
    AtualizadoParaFinanceiro,
    MatriculaCancelada,
)
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope
from messaging.outcome import Reject

__all__ = ["ESQUEMA", "Financeiro"]

# Whole centavos, so that no sum is ever computed in floats. Without a fee an account is pending.
ESQUEMA = """create table if not exists contas (
    aluno_id text primary key, nome text, email text, cpf text, centavos integer,
    encerrada integer not null default 0,
    situacao text as (case when encerrada then 'encerrada' when centavos is null then 'pendente'
        else 'aberta' end))"""
_DADOS = """insert into contas (aluno_id, nome, email, cpf, centavos)
    values (:aluno_id, :nome, :email, :cpf, :centavos) on conflict do update set
    nome = excluded.nome, email = excluded.email, cpf = excluded.cpf,
    centavos = excluded.centavos"""
_MATRICULA = """insert into contas (aluno_id, encerrada) values (:aluno_id, :encerrada)
    on conflict do update set encerrada = excluded.encerrada"""
_ESQUECE = "delete from contas where aluno_id = :aluno_id"


class Financeiro(Consumer):
    """One account for each student: aberta, pendente (no fee yet) or encerrada."""

    def __init__(self, banco: Banco | None = None) -> None:
        self.banco = banco or Banco("dados/financeiro.sqlite3", ESQUEMA)

    @handles
    def cadastrado(self, aluno: AlunoParaFinanceiro, envelope: Envelope) -> None:
        self._dados(aluno, envelope)
        self.banco.gravar(envelope, aluno.aluno_id, "matricula", _MATRICULA, {"encerrada": 0})

    @handles
    def atualizado(self, aluno: AtualizadoParaFinanceiro, envelope: Envelope) -> None:
        self._dados(aluno, envelope)

    @handles
    def cancelada(self, matricula: MatriculaCancelada, envelope: Envelope) -> None:
        self.banco.gravar(envelope, matricula.aluno_id, "matricula", _MATRICULA, {"encerrada": 1})

    @handles
    def esquecido(self, aluno: AlunoEsquecido, envelope: Envelope) -> None:
        # A real school also has bills that the law makes it keep (LGPD art. 16, I): not in here.
        self.banco.esquecer(envelope, aluno.aluno_id, _ESQUECE)

    def _dados(
        self, aluno: AlunoParaFinanceiro | AtualizadoParaFinanceiro, envelope: Envelope
    ) -> None:
        if aluno.valor_mensalidade is not None and aluno.valor_mensalidade < 0:
            raise Reject("valor_mensalidade: negative")  # no retry will fix it: someone must look
        valor = aluno.valor_mensalidade
        valores = aluno.model_dump(mode="json", include={"nome", "email", "cpf"})
        valores["centavos"] = None if valor is None else int(valor * 100)
        self.banco.gravar(envelope, aluno.aluno_id, "dados", _DADOS, valores)

    def close(self) -> None:
        self.banco.close()
