"""The room of the fact that stays inside cadastro: a row of a CSV file, on its way to the API."""

from __future__ import annotations

from datetime import date

from pydantic import EmailStr, Field

from consumers.events import CPF, Mensalidade, Nome
from messaging.event import Event

__all__ = ["MatriculaRecebida"]


class MatriculaRecebida(Event, type="matricula.recebida", version=1):
    """A student as the school's file says. It becomes `AlunoCadastrado` when the API has it.

    Its queue has one reader, who passes all of it on, so it has no projections.
    """

    nome: Nome
    email: EmailStr
    curso: str | None = Field(default=None, min_length=1, max_length=200)
    cpf: CPF | None = None
    data_nascimento: date | None = None
    valor_mensalidade: Mensalidade | None = None
    aceita_marketing: bool = False
