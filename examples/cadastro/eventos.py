"""The event that stays inside cadastro: a row of a CSV file, on its way to the API."""

from __future__ import annotations

from pydantic import Field

from examples.cadastro.regras import CPF, Curso, Email, Mensalidade, Nascimento, Nome
from messaging.event import Event

__all__ = ["MatriculaRecebida"]


class MatriculaRecebida(Event, type="matricula.recebida", version=1):
    """A student from the school's file. It becomes `AlunoCadastrado` when the API has it.

    Its queue has one reader, which passes all of it on, so it has no projections. None is a field
    that the file left out: for a known student, it stays as it is. `posicao_no_upload` is set by
    cadastro_batch, whatever a column of that name says: the row, as `linhas.Linha` writes it.
    """

    nome: Nome
    email: Email
    curso: Curso | None = None
    cpf: CPF | None = None
    data_nascimento: Nascimento | None = None
    valor_mensalidade: Mensalidade | None = None
    aceita_marketing: bool | None = None
    posicao_no_upload: str | None = Field(default=None, max_length=60)
