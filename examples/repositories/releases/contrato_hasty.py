"""Not a release: renames turma to curso without a new version. The check refuses it."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from messaging import Event, Personal, Projection


class AlunoMatriculado(Event, type="aluno.matriculado", version=1, subject="id"):
    """A student is enrolled."""

    id: Annotated[str, Personal("matrícula", category="pseudonym")]
    nome: Annotated[str, Personal("identificação")]
    curso: str
    mensalidade: Annotated[Decimal, Field(ge=0)]


class ParaFinanceiro(Projection, of=AlunoMatriculado, audience="financeiro"):
    """It charges: the fee, and for which class."""

    id: str
    nome: str
    curso: str
    mensalidade: Annotated[Decimal, Field(ge=0)]


class ParaBiblioteca(Projection, of=AlunoMatriculado, audience="biblioteca", since=1):
    """It lends books: to whom."""

    id: str
    nome: str


class ParaPortaria(Projection, of=AlunoMatriculado, audience="portaria", since=1):
    """It opens the gate: for whom."""

    id: str
