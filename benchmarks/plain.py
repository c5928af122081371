"""The same student as a plain pydantic model, for subjects without this library."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

__all__ = ["Plain"]


class Plain(BaseModel):
    """The fields of `benchmarks.contract.Student`."""

    aluno_id: UUID
    nome: str
    email: str
    curso: str | None = None
    matricula: AwareDatetime
    mensalidade: Decimal | None = None
    marketing: bool = False
