"""Makes the example's students: an invented school export, the same each time.

    python -m examples.data.make_alunos          # writes examples/data/alunos.csv anew

Nobody in it exists: names are shuffled from two lists, addresses are at example.com, .org and
.net (RFC 2606), CPFs are random digits with the right check digits. What is true to life is the
mess: `;`, decimal comma, dd/mm/aaaa, CRLF, a BOM in front, some lines in Windows-1252 because
somebody once pasted them from another file, and rows that cannot be right.
"""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

__all__ = ["ALUNOS", "DIRTY", "HEADER", "main", "table"]

ALUNOS = 2_400
"""Rows in the file, the dirty ones among them."""
HEADER = "nome;email;cpf;data_nascimento;curso;data_matricula;valor_mensalidade;aceita_marketing"
DIRTY = {"email": 6, "cpf": 6, "repeated cpf": 3, "date": 6, "fee": 4, "no name": 5, "extra": 5}
"""Rows that cannot be published, by what is wrong with them."""
NEGATIVE = 24
"""Rows with a negative fee: they can be published, and financeiro rejects them."""

_FIRST = (
    "Abel Adélia Alícia Álvaro Ana André Ângela Antônia Antônio Aurélio Bárbara Beatriz Benício "
    "Bruna Caetano Camila Cássio Cecília César Cíntia Cláudia Clóvis Conceição Dália Débora "
    "Desirée Éder Édson Eloísa Emília Érica Estêvão Fabíola Fátima Fábio Flávia Gláucia Graça "
    "Hélio Heloísa Íris Isaías Jacó Jéssica João Joaquim José Júlia Júlio Lázaro Letícia Lívia "
    "Luísa Luíza Mário Márcia Mônica Natália Nívea Noé Otávio Patrícia Raíssa Raul Rômulo "
    "Sebastião Sílvia Sônia Tainá Tália Tarcísio Úrsula Valéria Vânia Verônica Vinícius Zélia "
    "Zoé"
).split()
_LAST = (
    "Abrantes Açucena Aragão Araújo Assunção Avelar Baía Barão Brandão Cação Câmara Castelão "
    "Côrtes Damião Estêvão Falcão França Frazão Galvão Gonçalves Guimarães Inácio Jordão Leão "
    "Lourenço Magalhães Mendonça Moça Mourão Negrão Patrício Paixão Ponção Quintão Ribeirão "
    "Romão Sá Salomão Serafim Simões Taíde Trovão Varejão Veríssimo Viúva Zagalo"
).split()
_COURSES = {
    "Educação Infantil": "1.180,00",
    "Ensino Fundamental": "1.350,50",
    "Ensino Médio": "1.620,00",
    "Técnico em Informática": "489,90",
    "Técnico em Enfermagem": "575,00",
    "Inglês para Negócios": "310,00",
    "Preparatório ENEM": "259,90",
}
_CHILDREN = ("Educação Infantil", "Ensino Fundamental", "Ensino Médio")
_DOMAINS = ("example.com", "example.org", "example.net")
_PARTICLES = ("", "", "", "da ", "de ", "dos ")


def table(seed: int = 2026) -> bytes:
    """The file's bytes; the same for the same `seed`."""
    chance = random.Random(seed)
    rows = [_row(chance, number) for number in range(ALUNOS)]
    free = chance.sample(range(1, ALUNOS), sum(DIRTY.values()) + NEGATIVE)
    for index in free[:NEGATIVE]:
        rows[index][6] = "-" + rows[index][6].removeprefix("R$ ") if rows[index][6] else "-10,00"
    spoiled = iter(free[NEGATIVE:])
    for kind, count in DIRTY.items():
        for _ in range(count):
            _spoil(chance, rows[next(spoiled)], kind)
    lines = [HEADER.encode()]
    for row in rows:
        text = ";".join(row)
        if chance.random() < 0.02 and len(row) == 8:
            text += ";"  # spreadsheets leave one behind
        lines.append(text.encode("cp1252" if chance.random() < 0.12 else "utf-8"))
    return b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n\r\n"


def _row(chance: random.Random, number: int) -> list[str]:
    first, last = chance.choice(_FIRST), f"{chance.choice(_PARTICLES)}{chance.choice(_LAST)}"
    course = chance.choice(list(_COURSES))
    young = course in _CHILDREN
    born = chance.randint(2012, 2021) if young else chance.randint(1961, 2004)
    month = chance.randint(1, 11)
    enrolled = f"{chance.randint(1, 28):02}/{month:02}/2026"
    if chance.random() < 0.5:
        enrolled += f" {chance.randint(7, 22):02}:{chance.randint(0, 59):02}"
    fee = _COURSES[course]
    if chance.random() < 0.1:
        fee = "R$ " + fee
    said = chance.random()
    return [
        f"{first} {last}",
        f"{_ascii(first)}.{_ascii(last.split()[-1])}{number}@{chance.choice(_DOMAINS)}",
        "" if young or chance.random() < 0.1 else _cpf(chance),
        "" if chance.random() < 0.08 else f"{chance.randint(1, 28):02}/{month:02}/{born}",
        "" if chance.random() < 0.05 else course,
        enrolled,
        "" if chance.random() < 0.07 else fee,
        "sim" if said < 0.55 else "não" if said < 0.9 else "",
    ]


def _spoil(chance: random.Random, row: list[str], kind: str) -> None:
    if kind == "email":
        row[1] = chance.choice(["sem e-mail", row[1].replace("@", " em "), row[1] + "@"])
    elif kind == "cpf":
        number = _cpf(chance)
        row[2] = number[:-1] + str((int(number[-1]) + 1) % 10)
    elif kind == "repeated cpf":
        row[2] = "111.111.111-11"
    elif kind == "date":
        row[5] = chance.choice(["31/02/2026", "2026", "00/00/0000"])
    elif kind == "fee":
        row[6] = chance.choice(["a combinar", "1.2.3,4"])
    elif kind == "no name":
        row[0] = "  "
    else:
        row.insert(4, "turma da tarde")  # somebody typed a `;`, and all that follows is shifted


def _cpf(chance: random.Random) -> str:
    digits = [chance.randint(0, 9) for _ in range(9)]
    for length in (10, 11):
        weighted = sum(d * w for d, w in zip(digits, range(length, 1, -1), strict=True))
        digits.append(weighted * 10 % 11 % 10)
    text = "".join(map(str, digits))
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return plain.lower()


def main() -> None:
    """Write the file beside this module."""
    Path(__file__).with_name("alunos.csv").write_bytes(table())


if __name__ == "__main__":
    main()
