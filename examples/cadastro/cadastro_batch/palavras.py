"""The library's messages, adapted for the page: a secretary has a form, not a command line."""

from __future__ import annotations

import re

__all__ = ["na_tela"]

_TROCAS = (
    (", ou diga que ela significa vazio (--empty, ou empty = [...])", ""),
    (" (ou diga --no-header, e --column '#1=CAMPO')", ""),
    (": diga --date-order dmy ou mdy", ": confira o dia e o mês de uma delas"),
    (", ou diga --date-order dmy ou mdy", ""),
    (", a menos que --date-order diga dmy ou mdy", ": escreva-os como aaaa-mm-dd"),
    (", ou diga decimal_comma = true ou false", ""),
    (" (years = [...] no mapa diz outra coisa)", ""),
    (" (e a mesma identificação de evento)", ""),
)
_COLUNA = re.compile(r": diga qual pela posição, como em --column '[^']*'")


def na_tela(texto: str) -> str:
    """`texto` without the options and settings that the page does not have."""
    for da_linha_de_comando, daqui in _TROCAS:
        texto = texto.replace(da_linha_de_comando, daqui)
    return _COLUNA.sub(": dê a uma delas outro nome", texto)
