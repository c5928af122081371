"""Which column of a file fills which field, as the secretary chose."""

from __future__ import annotations

from collections.abc import Mapping as Dicionario
from typing import Any

from examples.cadastro.eventos import MatriculaRecebida
from messaging.csvfile import Mapping

__all__ = ["CAMPOS", "NaoServe", "mapa_de"]

CAMPOS = tuple(
    nome for nome in MatriculaRecebida.model_fields if nome not in ("origem", "posicao_no_upload")
)
"""The fields that a column may fill."""


class NaoServe(Exception):
    """The file or its column mapping is invalid; `campo` is "" for the file as a whole."""

    def __init__(self, campo: str, motivo: str) -> None:
        super().__init__(campo)
        self.campo, self.motivo = campo, motivo


def mapa_de(dito: Dicionario[str, Any] | None) -> Mapping | None:
    """The secretary's mapping in the library's form. Raises `NaoServe`."""
    if dito is None:
        return None
    colunas, datas = dito.get("mapa"), dito.get("datas", "auto")
    if not isinstance(colunas, dict) or not set(colunas) <= set(CAMPOS):
        raise NaoServe("mapa", f"para cada campo, a sua coluna; os campos são {', '.join(CAMPOS)}")
    if not all(isinstance(um, str) and um for um in colunas.values()):
        raise NaoServe("mapa", "para cada campo, o nome de uma coluna")
    if len(set(colunas.values())) < len(colunas):
        raise NaoServe("mapa", "uma coluna para cada campo: a mesma foi dita duas vezes")
    if datas not in ("auto", "dmy", "mdy"):
        raise NaoServe("datas", "auto, dmy ou mdy")
    return Mapping(columns={coluna: campo for campo, coluna in colunas.items()}, date_order=datas)
