"""The room of reasons in Portuguese: what the library says of a row, for the school's people."""

from __future__ import annotations

import re

__all__ = ["em_portugues"]

_MOTIVOS: tuple[tuple[str, str], ...] = (
    (r"^empty", "vazio"),
    (r"^(.+) is empty: its first line must name the columns", r"o arquivo está vazio"),
    (r"^not an e-mail address", "não é um endereço de e-mail"),
    (r"^refused by its validator \(cpf\)", "não é um CPF"),
    (r"^not a CPF[^(]*", "não é um CPF"),
    (r"^neither yes nor no: write sim or não[^(]*(\([^)]*\))?", "escreva sim ou não"),
    (r"^not a number: write [\d.,]+( or [\d.,]+)?", "não é um número: escreva 890,00"),
    (r"^1\.234 may be one or a thousand:[^(]*", "1.234 pode ser um ou mil: escreva 1234,00"),
    (
        r"^there is no such date or time \(dd/mm/yyyy was read\)",
        "essa data não existe (lida como dd/mm/aaaa)",
    ),
    (r"^not a date: write dd/mm/yyyy[^(]*", "não é uma data: escreva dd/mm/aaaa"),
    (r"^a date was expected, without a time", "só a data, sem a hora"),
    (r"^(\d+) cells where the header has (\d+)", r"\1 colunas, e o cabeçalho tem \2"),
    (r"^holds the control character (U\+\w+)", r"contém o caractere de controle \1"),
    (r"^longer than [\d,]+ characters", "linha longa demais"),
    (r"^neither UTF-8 nor Windows-1252", "nem UTF-8 nem Windows-1252"),
    (r"^a quotation mark .*", 'aspas (") abertas que não fecham como deviam'),
    (r".* is UTF-16: .*", "o arquivo está em UTF-16: salve-o como CSV UTF-8"),
    (r".* is a workbook, .*", "o arquivo é uma planilha: salve-a como CSV"),
    (
        r".* has no column for ([\w, ]+), which .*; its columns are .*",
        r"faltam as colunas \1",
    ),
)


def em_portugues(motivo: str) -> str:
    """`motivo` as far as it is known; what is not stays as it is, which is better than nothing."""
    dito, tambem, campos = motivo.partition(" (also wrong: ")
    for ingles, portugues in _MOTIVOS:
        novo, trocas = re.subn(ingles, portugues, dito, count=1)
        if trocas:
            dito = novo.strip()
            break
    return f"{dito} (também errado: {campos}" if tambem else dito
