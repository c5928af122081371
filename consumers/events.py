"""The contract: the school's events, and what each service may see of them.

This is the page for a privacy officer. A service receives the fields of its views below, and a
field that no view names never leaves the producer: `aceita_marketing` and `data_nascimento` are in
none of them. They only decide whether marketing gets a copy at all.

                  plataforma   financeiro   marketing           bi
    nome, email   yes          yes          with consent only   never
    cpf, fee      never        yes          never               never
    aluno_id      yes          yes          yes                 yes, as a pseudonym

`aluno_id` is a pseudonym, and under the LGPD (art. 13, par. 4) still personal data: BI counts with
it and cannot name anyone, and an erasure reaches BI as well.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from stdnum.br import cpf as numero_de_cpf
from stdnum.exceptions import ValidationError as NumeroInvalido

from messaging.event import Discreet, Event, refusal
from messaging.personal import Personal
from messaging.projection import Projection

__all__ = [
    "CPF",
    "AlunoAtualizado",
    "AlunoCadastrado",
    "AlunoEsquecido",
    "AlunoParaBI",
    "AlunoParaFinanceiro",
    "AlunoParaMarketing",
    "AlunoParaPlataforma",
    "AtualizadoParaBI",
    "AtualizadoParaFinanceiro",
    "AtualizadoParaMarketing",
    "AtualizadoParaPlataforma",
    "Contato",
    "MatriculaCancelada",
    "Mensalidade",
    "Nome",
    "Origem",
]

MAIORIDADE = 18
"""Years. ECA Digital (Lei 15.211/2025) forbids advertising that profiles the young."""


def _cpf(texto: str) -> str:
    try:
        digitos = str(numero_de_cpf.validate(texto))
    except NumeroInvalido:
        raise _cpf_recusado(texto) from None
    # 111.111.111-11 passes the arithmetic; forms are full of it, but nobody has that number.
    if len(set(digitos)) == 1:
        raise refusal(
            "cpf", "not a CPF: one digit repeated", pt="não é um CPF: um só algarismo repetido"
        )
    return digitos


def _cpf_recusado(texto: str) -> PydanticCustomError:
    """Why it is not a CPF, without quoting any digit."""
    tem = sum(letra.isdigit() for letra in texto)
    if re.fullmatch(r"\s*\d([.,]\d+)?E\+?\d+\s*", texto, re.IGNORECASE):
        return refusal(
            "cpf",
            "not a CPF: Excel shortened it (as in 1,23E+10) and its last digits are lost; format "
            "the column as text and fill it in again",
            pt="não é um CPF: o Excel o encurtou (como em 1,23E+10) e os últimos algarismos se "
            "perderam; formate a coluna como texto e preencha de novo",
        )
    if tem in (9, 10):
        return refusal(
            "cpf",
            f"not a CPF: it has {tem} digits of 11; Excel takes away zeros in front: write them, "
            "in a column that is formatted as text",
            pt=f"não é um CPF: tem {tem} algarismos, e são 11; o Excel tira os zeros da frente: "
            "escreva-os, numa coluna formatada como texto",
        )
    if tem != 11:
        return refusal(
            "cpf",
            f"not a CPF: it has {tem} digits, and should have 11",
            pt=f"não é um CPF: tem {tem} algarismos, e deveria ter 11",
        )
    return refusal(
        "cpf",
        "not a CPF: its check digits do not fit; one digit is wrong",
        pt="não é um CPF: os dígitos verificadores não conferem; há um algarismo errado",
    )


CPF = Annotated[str, AfterValidator(_cpf), Personal("identificação")]
"""A valid CPF, with or without punctuation; kept as 11 digits."""
Nome = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Personal("identificação"),
]
Pseudonimo = Annotated[UUID, Personal("matrícula", category="pseudonym")]
Mensalidade = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
"""Reais with whole centavos. A negative fee may be published: financeiro rejects it.
"""
Origem = Literal["csv", "formulario"]


class Aluno(Event):
    """Everything known about a student. Only `nome` and `email` come with every enrolment.

    A field that the school left out is None, never a guess. `aceita_marketing` is the exception:
    without a recorded consent, there is none.
    """

    aluno_id: Pseudonimo
    nome: Nome
    email: Annotated[EmailStr, Personal("contato")]
    origem: Origem
    data_matricula: AwareDatetime
    curso: str | None = Field(default=None, min_length=1, max_length=200)
    cpf: CPF | None = None
    data_nascimento: Annotated[date | None, Personal("identificação")] = None
    valor_mensalidade: Annotated[Mensalidade | None, Personal("financeiro")] = None
    aceita_marketing: bool = False


def pode_receber_marketing(aceita: bool, nascimento: date | None) -> bool:
    """True with consent, unless the student is known to be under 18 today."""
    if not aceita or nascimento is None:
        return aceita
    hoje = datetime.now(UTC).date()
    # A tuple, not a date: someone born on 29 February comes of age on 1 March.
    aniversario = (nascimento.year + MAIORIDADE, nascimento.month, nascimento.day)
    return aniversario <= (hoje.year, hoje.month, hoje.day)


class AlunoCadastrado(Aluno, type="aluno.cadastrado", version=1, subject="aluno_id"):
    """A student enrolled, through the form or in a CSV file."""


class Contato(Discreet, BaseModel):
    """How marketing may reach someone who agreed to it."""

    model_config = ConfigDict(frozen=True)

    nome: Nome
    email: Annotated[EmailStr, Personal("contato")]
    curso: str | None = None


class AlunoAtualizado(Aluno, type="aluno.atualizado", version=1, subject="aluno_id"):
    """A student's data changed: all of it as known now, not the difference.

    `contato` is filled in here, never by the producer: name and address if marketing is allowed,
    else None. This is how a withdrawn consent reaches marketing. A view that declined the copy (as
    for `AlunoCadastrado`) would leave the old address on the list for ever, and a view with `email`
    in it would send the address of someone who has just said no. So marketing gets one copy of
    every update, and of those who do not agree it holds an id and nothing else.
    """

    contato: Contato | None = Field(default=None, validate_default=True)

    @field_validator("contato", mode="before")
    @classmethod
    def _so_com_consentimento(cls, given: Any, info: ValidationInfo) -> Contato | None:
        aluno = info.data
        if not {"nome", "email", "curso", "data_nascimento", "aceita_marketing"} <= aluno.keys():
            return None  # one of them is invalid, and so is the event
        if not pode_receber_marketing(aluno["aceita_marketing"], aluno["data_nascimento"]):
            return None
        return Contato(nome=aluno["nome"], email=aluno["email"], curso=aluno["curso"])


class MatriculaCancelada(Event, type="matricula.cancelada", version=1, subject="aluno_id"):
    """An enrolment ended. It gives no reason: a free text would end up in five systems."""

    aluno_id: Pseudonimo
    cancelada_em: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class AlunoEsquecido(Event, type="aluno.esquecido", version=1, subject="aluno_id"):
    """Someone asked to be erased (LGPD art. 18, VI): every service deletes what it holds.

    It has no projections because it only holds an id and a time: every service receives all of it.
    """

    aluno_id: Pseudonimo
    pedido_em: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


# What each service sees of a student: the same fields when enrolled and when updated.


class _ParaPlataforma(Projection):
    aluno_id: UUID
    nome: str
    email: EmailStr
    curso: str | None = None


class _ParaFinanceiro(Projection):
    aluno_id: UUID
    nome: str
    email: EmailStr
    cpf: CPF | None = None
    valor_mensalidade: Mensalidade | None = None


class _ParaBI(Projection):
    aluno_id: UUID
    data_matricula: AwareDatetime
    curso: str | None = None
    origem: Origem


class AlunoParaPlataforma(_ParaPlataforma, of=AlunoCadastrado, audience="plataforma"):
    """Who gets access, and to what."""


class AtualizadoParaPlataforma(_ParaPlataforma, of=AlunoAtualizado, audience="plataforma"):
    """Who has access, as known now."""


class AlunoParaFinanceiro(_ParaFinanceiro, of=AlunoCadastrado, audience="financeiro"):
    """Whom to bill, and how much. No fee: the account waits for one."""


class AtualizadoParaFinanceiro(_ParaFinanceiro, of=AlunoAtualizado, audience="financeiro"):
    """Whom to bill, as known now."""


class AlunoParaBI(_ParaBI, of=AlunoCadastrado, audience="bi"):
    """The counted fields: day, course and origin. Never a name, an e-mail or a CPF."""


class AtualizadoParaBI(_ParaBI, of=AlunoAtualizado, audience="bi"):
    """The counted fields, as known now."""


class AlunoParaMarketing(Projection, of=AlunoCadastrado, audience="marketing"):
    """Someone who agreed to hear from the school. Of others marketing hears nothing."""

    aluno_id: UUID
    nome: str
    email: EmailStr
    curso: str | None = None

    @classmethod
    def wanted(cls, event: AlunoCadastrado) -> bool:
        return pode_receber_marketing(event.aceita_marketing, event.data_nascimento)


class AtualizadoParaMarketing(Projection, of=AlunoAtualizado, audience="marketing"):
    """The current contact; None means to forget it, if it was ever known."""

    aluno_id: UUID
    contato: Contato | None = None
