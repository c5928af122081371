"""Hides what is personal in what services received: whoever is on call needs ids, not names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumers.events import AlunoCadastrado
from messaging.personal import PERSONAL

__all__ = ["mascarados"]


def _pessoal(esquema: Any) -> bool:
    """Whether a field's JSON Schema bears the mark, on itself or on one of its alternatives."""
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
"""Fields that the contract marks as personal; a pseudonym is what one looks a student up by."""


def mascarados(recebido: Mapping[str, Any]) -> dict[str, Any]:
    """What a service received of one student, with the personal values hidden.

    A value that was not given stays null, so that one sees whether a field came.
    """
    campos = {
        nome: _oculto(valor) if nome in OCULTOS else valor
        for nome, valor in recebido["campos"].items()
    }
    return {**recebido, "campos": campos}


def _oculto(valor: Any) -> str | None:
    return None if valor is None or valor == "" else "•••"
