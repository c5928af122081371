"""The rules of an enrolment's fields, shared by the file, the queue and the API.

What one of them accepts, all accept, so a row that the file reader accepts is not refused later,
when nobody is there to correct it.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, EmailStr, Field, StringConstraints

from consumers.events import CPF
from consumers.events import Nome as _Nome
from messaging.event import refusal

__all__ = ["CPF", "Curso", "Email", "Mensalidade", "Nascimento", "Nome"]

_CONTROLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_JUNTAM = "\u200c\u200d"
"""Invisible as well, but used in the spelling of Persian and Indian names."""
_BRASIL = timedelta(hours=-3)
"""Offset from UTC: the country has had no daylight saving time since 2019."""
PRIMEIRO_ANO = 1900


def _limpo(texto: Any) -> Any:
    """Composed letters (NFC), nothing invisible, and one space for tabs, line ends and non-breaking
    spaces."""
    if not isinstance(texto, str) or _CONTROLE.search(texto):
        return texto  # `_legivel` refuses it
    visivel = "".join(
        letra
        for letra in unicodedata.normalize("NFC", texto)
        if unicodedata.category(letra) != "Cf" or letra in _JUNTAM
    )
    return " ".join(visivel.split())


def _legivel(texto: str) -> str:
    # SNS would refuse some of these later, when nobody is there to correct them.
    if not texto.translate(dict.fromkeys(map(ord, _JUNTAM))).isprintable():
        raise refusal(
            "controle",
            "holds a control character, or one without a meaning",
            pt="contém um caractere de controle, ou um que não se lê",
        )
    return texto


def _nascido(dia: date) -> date:
    if dia >= (datetime.now(UTC) + _BRASIL).date():
        raise refusal(
            "nascimento_futuro", "a birth must be in the past", pt="deve estar no passado"
        )
    if dia.year < PRIMEIRO_ANO:
        raise refusal(
            "nascimento_antigo",
            f"a birth before {PRIMEIRO_ANO}: check the year",
            pt=f"é antes de {PRIMEIRO_ANO}: confira o ano",
        )
    return dia


Nome = Annotated[_Nome, BeforeValidator(_limpo), AfterValidator(_legivel)]
Curso = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    BeforeValidator(_limpo),
    AfterValidator(_legivel),
]
Email = EmailStr
Mensalidade = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
"""Reais with whole centavos."""
Nascimento = Annotated[date, AfterValidator(_nascido)]
"""A day before today, as Brazil counts days, and not before 1900."""
