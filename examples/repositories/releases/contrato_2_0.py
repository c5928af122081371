"""Release 2.0: turma is renamed curso. Financeiro still receives version 1."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from messaging import Event, EventData, Personal, Projection, downcast, upcast


class AlunoMatriculado(Event, type="aluno.matriculado", version=2, subject="id"):
    """A student is enrolled."""

    id: Annotated[str, Personal("matrícula", category="pseudonym")]
    nome: Annotated[str, Personal("identificação")]
    curso: str
    mensalidade: Annotated[Decimal, Field(ge=0)]

    @upcast(1)
    @staticmethod
    def _curso_se_chamava_turma(data: EventData) -> EventData:
        return data.rename("turma", "curso")

    @downcast(2)
    @staticmethod
    def _turma_se_chama_curso(data: EventData) -> EventData:
        return data.rename("curso", "turma")


class ParaFinanceiro(Projection, of=AlunoMatriculado, audience="financeiro", pinned=1):
    """It charges: the fee, and for which class."""

    id: str
    nome: str
    turma: str
    mensalidade: Annotated[Decimal, Field(ge=0)]


class ParaBiblioteca(Projection, of=AlunoMatriculado, audience="biblioteca", since=1):
    """It lends books: to whom."""

    id: str
    nome: str


class ParaPortaria(Projection, of=AlunoMatriculado, audience="portaria", since=1):
    """It opens the gate: for whom."""

    id: str
