"""What biblioteca receives on the topic alunos.

Written by `messaging contract generate --service biblioteca`; do not edit.
"""

# ruff: noqa: E501 (lines are as long as the types)
from __future__ import annotations

from typing import Annotated

from messaging.event import Event
from messaging.personal import Personal

__all__ = ["ParaBiblioteca"]


class ParaBiblioteca(Event, type="aluno.matriculado", version=1, subject="id"):
    """It lends books: to whom."""

    id: Annotated[str, Personal("matrícula", category="pseudonym")]
    nome: Annotated[str, Personal("identificação")]
