"""BI: counts enrolments by day, course and origin, and cannot name anyone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from consumers.banco import Banco
from consumers.events import AlunoEsquecido, AlunoParaBI, AtualizadoParaBI, MatriculaCancelada
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope

__all__ = ["BI", "ESQUEMA"]

FUSO = ZoneInfo("America/Sao_Paulo")
"""Days are in the school's time zone: an enrolment at 22:00 there is the next day in UTC."""

# A row for each student rather than a counter, so that no student is counted twice.
ESQUEMA = """create table if not exists matriculas (
    aluno_id text primary key, dia text, curso text, origem text, cancelada integer default 0)"""
_DADOS = """insert into matriculas (aluno_id, dia, curso, origem)
    values (:aluno_id, :dia, :curso, :origem) on conflict do update
    set dia = excluded.dia, curso = excluded.curso, origem = excluded.origem"""
_MATRICULA = """insert into matriculas (aluno_id, cancelada) values (:aluno_id, :cancelada)
    on conflict do update set cancelada = excluded.cancelada"""
_CONTAGEM = """select dia, curso, origem, count(*) from matriculas
    where not cancelada and dia is not null group by dia, curso, origem order by 1, 2, 3"""
_ESQUECE = "delete from matriculas where aluno_id = :aluno_id"


class BI(Consumer):
    """`contagem()` returns the current enrolments: (dia, curso, origem) to their number."""

    def __init__(self, banco: Banco | None = None) -> None:
        self.banco = banco or Banco("dados/bi.sqlite3", ESQUEMA)

    @handles
    def cadastrado(self, aluno: AlunoParaBI, envelope: Envelope) -> None:
        self._dados(aluno, envelope)
        self.banco.gravar(envelope, aluno.aluno_id, "matricula", _MATRICULA, {"cancelada": 0})

    @handles
    def atualizado(self, aluno: AtualizadoParaBI, envelope: Envelope) -> None:
        self._dados(aluno, envelope)

    @handles
    def cancelada(self, matricula: MatriculaCancelada, envelope: Envelope) -> None:
        self.banco.gravar(envelope, matricula.aluno_id, "matricula", _MATRICULA, {"cancelada": 1})

    @handles
    def esquecido(self, aluno: AlunoEsquecido, envelope: Envelope) -> None:
        self.banco.esquecer(envelope, aluno.aluno_id, _ESQUECE)

    def contagem(self) -> dict[tuple[str, str | None, str], int]:
        """Enrolments by day (ISO date), course (None: not said) and origin."""
        return {(dia, curso, origem): n for dia, curso, origem, n in self.banco.ler(_CONTAGEM)}

    def _dados(self, aluno: AlunoParaBI | AtualizadoParaBI, envelope: Envelope) -> None:
        dia = aluno.data_matricula.astimezone(FUSO).date().isoformat()
        valores = {"dia": dia, "curso": aluno.curso, "origem": aluno.origem}
        self.banco.gravar(envelope, aluno.aluno_id, "dados", _DADOS, valores)

    def close(self) -> None:
        self.banco.close()
