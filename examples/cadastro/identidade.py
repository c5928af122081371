"""Decides whether an enrolment is about a student who is known already: docs/decisions/0024.

The CPF where it is given; else the name with the birth date and the e-mail. An e-mail alone says
nothing: it may be a guardian's, shared by siblings. What would put two people into one is a
`Conflito`, for a person to decide.
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
"""What is known of a student and may be corrected."""


class Conflito(Exception):
    """Not to be decided by a program. `campo` says where to look; no text holds a value."""

    def __init__(self, campo: str, motivo: str) -> None:
        super().__init__(campo)
        self.campo, self.motivo = campo, motivo


def familia(nome: str, email: str) -> str:
    """Name and e-mail as they are compared: without case, accents and punctuation."""
    return f"{' '.join(_palavras(nome))}\n{email.casefold()}"


def o_mesmo(dito: Documento, achados: Sequence[Documento]) -> Documento | None:
    """Who of `achados` is meant by `dito`; None for somebody new. Raises `Conflito`.

    achados  everyone who has the CPF of `dito`, or its name with its e-mail.
    """
    cpf = dito.get("cpf")
    chamados = [um for um in achados if _familia_de(um) == _familia_de(dito)]
    for dono in achados:
        if cpf and dono.get("cpf") == cpf:
            return _pelo_cpf(dito, dono, chamados)
    return _pelo_nome(dito, chamados)


def mudancas(dito: Documento, conhecido: Documento) -> dict[str, Any]:
    """The fields that `dito` gives and that are not known so. What it does not say stays."""
    return {
        campo: dito[campo]
        for campo in CAMPOS
        if dito.get(campo) is not None and _valor(campo, dito) != _valor(campo, conhecido)
    }


def _pelo_cpf(dito: Documento, dono: Documento, chamados: Sequence[Documento]) -> Documento:
    if not _um_so_nome(dito["nome"], dono["nome"]):
        # A guardian's CPF on two children, or somebody else's by mistake.
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
    """Birth dates that do not contradict each other."""
    dias = {um.get("data_nascimento"), outro.get("data_nascimento")} - {None}
    return len(dias) < 2


def _um_so_nome(um: str, outro: str) -> bool:
    """The same first name, and one has all words of the other: a surname came or went."""
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
