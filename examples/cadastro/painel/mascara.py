"""Hides personal data in received events: the person on call needs ids, not names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumers.events import AlunoCadastrado
from messaging.personal import PERSONAL

__all__ = ["mascarados"]


def _pessoal(esquema: Any) -> bool:
    """Whether a field's JSON Schema, or one of its alternatives, has the mark."""
    if isinstance(esquema, list):
        return any(_pessoal(um) for um in esquema)
    if not isinstance(esquema, dict):
        return False
    marca = esquema.get(PERSONAL)
    if marca is not None:
        return bool(marca["category"] != "pseudonym")
    return any(_pessoal(um) for um in esquema.values())


OCULTOS = frozenset(
    nome
    for nome, esquema in AlunoCadastrado.model_json_schema()["properties"].items()
    if _pessoal(esquema)
)
"""Fields that the contract marks as personal, except pseudonyms, which identify a student here."""


def mascarados(recebido: Mapping[str, Any]) -> dict[str, Any]:
    """A student's data as a service received it, with the personal values hidden.

    Null values stay null, to show whether a field was set.
    """
    campos = {
        nome: _oculto(valor) if nome in OCULTOS else valor
        for nome, valor in recebido["campos"].items()
    }
    return {**recebido, "campos": campos}


def _oculto(valor: Any) -> str | None:
    return None if valor is None or valor == "" else "•••"
