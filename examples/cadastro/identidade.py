"""Decides whether an enrolment is about a known student: docs/decisions/0024.

It goes by the CPF, if given; otherwise by the name with the birth date and the e-mail. An e-mail
alone proves nothing: it may be a guardian's, shared by siblings. Anything that could merge two
people is a `Conflito`, for a person to decide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

__all__ = ["CAMPOS", "Conflito", "familia", "mudancas", "o_mesmo"]

Documento = Mapping[str, Any]
CAMPOS = (
    "nome", "email", "curso", "cpf", "data_nascimento", "valor_mensalidade", "aceita_marketing"
)  # fmt: skip
"""The fields of a known student that may be corrected."""


class Conflito(Exception):
    """A case that a person must decide. `campo` says where to look; no text contains a value."""

    def __init__(self, campo: str, motivo: str) -> None:
        super().__init__(campo)
        self.campo, self.motivo = campo, motivo


def familia(nome: str, email: str) -> str:
    """Name and e-mail in the form used for comparing: without case, accents and punctuation."""
    return f"{' '.join(_palavras(nome))}\n{email.casefold()}"


def o_mesmo(dito: Documento, achados: Sequence[Documento]) -> Documento | None:
    """The student in `achados` that `dito` means; None for a new one. Raises `Conflito`.

    achados  every student with the CPF of `dito`, or with its name and e-mail.
    """
    cpf = dito.get("cpf")
    chamados = [um for um in achados if _familia_de(um) == _familia_de(dito)]
    for dono in achados:
        if cpf and dono.get("cpf") == cpf:
            return _pelo_cpf(dito, dono, chamados)
    return _pelo_nome(dito, chamados)


def mudancas(dito: Documento, conhecido: Documento) -> dict[str, Any]:
    """The fields of `dito` that differ from the known ones. Fields that it leaves out stay."""
    return {
        campo: dito[campo]
        for campo in CAMPOS
        if dito.get(campo) is not None and _valor(campo, dito) != _valor(campo, conhecido)
    }


def _pelo_cpf(dito: Documento, dono: Documento, chamados: Sequence[Documento]) -> Documento:
    if not _um_so_nome(dito["nome"], dono["nome"]):
        # A guardian's CPF given for two children, or someone else's by mistake.
        raise Conflito("cpf", "este CPF já é de um aluno com outro nome")
    outros = [um for um in chamados if not um.get("cpf") and _cabem(dito, um)]
    if outros and not any(um["_id"] == dono["_id"] for um in chamados):
        raise Conflito("email", "o CPF é de um aluno, e o nome com o e-mail são de outro")
    return dono


def _pelo_nome(dito: Documento, chamados: Sequence[Documento]) -> Documento | None:
    podem = [um for um in chamados if _cabem(dito, um)]
    if nascido := dito.get("data_nascimento"):
        podem = [um for um in podem if um.get("data_nascimento") == nascido] or podem
    if not podem:
        return None
    if len(podem) > 1:
        raise Conflito(
            "data_nascimento",
            "há mais de um aluno com este nome e e-mail: diga a data de nascimento ou o CPF",
        )
    [achado] = podem
    if dito.get("cpf") and achado.get("cpf"):
        raise Conflito("cpf", "este aluno já está cadastrado com outro CPF")
    return achado


def _cabem(um: Documento, outro: Documento) -> bool:
    """Whether the birth dates do not contradict each other."""
    dias = {um.get("data_nascimento"), outro.get("data_nascimento")} - {None}
    return len(dias) < 2


def _um_so_nome(um: str, outro: str) -> bool:
    """Whether the first names are equal and one name has all words of the other: a surname was
    added or dropped."""
    palavras, outras = _palavras(um), _palavras(outro)
    menos, mais = sorted((set(palavras), set(outras)), key=len)
    return palavras[:1] == outras[:1] and menos <= mais


def _palavras(nome: str) -> list[str]:
    letras = unicodedata.normalize("NFKD", nome.casefold())
    sem_acento = "".join(letra for letra in letras if not unicodedata.combining(letra))
    return "".join(letra if letra.isalnum() else " " for letra in sem_acento).split()


def _familia_de(documento: Documento) -> str:
    return familia(documento["nome"], documento["email"])


def _valor(campo: str, documento: Documento) -> Any:
    valor = documento.get(campo)
    if valor is None:
        return None
    if campo == "email":
        return valor.casefold()
    return Decimal(valor) if campo == "valor_mensalidade" else valor
