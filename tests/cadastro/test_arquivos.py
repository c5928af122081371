"""Files as schools have them, through the upload: who is sent on, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cadastro.test_cadastro_batch import CHAVE, Fila, Oficina

DUAS = "nome;email\nJoão;joao@example.com\nZoë;zoe@example.com\n"
JOAO_E_ZOE = ["João", "Zoë"]


@pytest.fixture
def oficina(s3: Any, balde: str) -> Oficina:
    return Oficina(s3, balde)


@pytest.mark.parametrize(
    ("corpo", "nomes"),
    [
        (DUAS.encode("utf-16"), JOAO_E_ZOE),
        (DUAS.encode("utf-16-le"), JOAO_E_ZOE),
        (DUAS.replace("ë", "e").encode("cp850"), ["João", "Zoe"]),
        (DUAS.encode("cp1252"), JOAO_E_ZOE),
        (DUAS.encode().decode("cp1252").encode(), JOAO_E_ZOE),
        (DUAS[:22].encode() + DUAS[22:].encode("cp1252"), JOAO_E_ZOE),
        (DUAS.replace("\n", "\r").encode(), JOAO_E_ZOE),
        (f"sep=;\n{DUAS}".encode(), JOAO_E_ZOE),
        (f'"sep=;"\n{DUAS}'.encode(), JOAO_E_ZOE),
        (DUAS.replace("\n", ";;\n").encode(), JOAO_E_ZOE),
        (DUAS.replace("\n", "\n\n;\n").encode(), JOAO_E_ZOE),
        (DUAS.replace("email", "E-mail").encode(), JOAO_E_ZOE),
        (DUAS.replace("João", '"Jo\não"').encode(), ["Jo ão", "Zoë"]),
        (DUAS.replace("João", "João|Zé").encode(), ["João|Zé", "Zoë"]),
    ],
    ids=[
        "UTF-16 of Excel", "UTF-16 without its mark", "cp850", "cp1252", "encoded twice",
        "two encodings", "old Mac", "sep=", "quoted sep=", "delimiters at the end", "blank lines",
        "E-mail", "a line end in a name", "a pipe in a name",
    ],
)  # fmt: skip
def test_a_file_that_can_be_read_is_read_right(
    oficina: Oficina, corpo: bytes, nomes: list[str]
) -> None:
    fila = Fila()
    oficina.por(corpo)
    resultado = oficina.batch(fila).converter(oficina.balde, CHAVE)

    assert [um.data["nome"] for um in fila.recebidas] == nomes
    assert (resultado.estado, resultado.rejeitadas) == ("pronto", 0)


CABECA = "nome;email;cpf;data_nascimento;valor_mensalidade;aceita_marketing"


@pytest.mark.parametrize(
    ("linha", "coluna", "motivo"),
    [
        (CABECA, "", "é o cabeçalho, repetido"),
        ("Ana;a@example.com;1234567890;;;", "cpf", "o Excel tira os zeros da frente"),
        ("Ana;a@example.com;1,23457E+10;;;", "cpf", "o Excel encurtou"),
        ("Ana;joão@example.com;;;;", "email", "letra acentuada antes do @"),
        ("Ana;a@example.com;;36955;;", "data_nascimento", "como o Excel a conta"),
        ("Ana;a@example.com;;05/03/2091;;", "data_nascimento", "esse ano não pode estar certo"),
        ("Ana;a@example.com;;05/03/0001;;", "data_nascimento", "esse ano não pode estar certo"),
        ("Ana;a@example.com;;;1.234;", "valor_mensalidade", "pode ser um ou mil"),
        ("Ana;a@example.com;;;-10,00;", "valor_mensalidade", "no mínimo 0"),
        ("Ana;a@example.com;;;;talvez", "aceita_marketing", "nem sim nem não"),
        ('=HYPERLINK("x");a@example.com;;;;', "nome", "é uma fórmula"),
        ("nan;a@example.com;;;;", "nome", "só marca a falta do dado"),
        ("#REF!;a@example.com;;;;", "nome", ""),
        ("An\ufffda;a@example.com;;;;", "nome", ""),
        ("An\x00a;a@example.com;;;;", "nome", "caractere de controle"),
        ("Total;;;;1.234,56;", "email", "vazio"),
        ("Ana;a@example.com;;;;;99999", "", "7 células, e o cabeçalho tem 6"),
    ],
)
def test_a_row_that_cannot_be_enrolled_says_why_and_the_others_go_on(
    oficina: Oficina, linha: str, coluna: str, motivo: str
) -> None:
    fila = Fila()
    # The days above 12 prove the order of the dates.
    boas = ("Bia;b@example.com;;25/03/2015;;", "Caio;c@example.com;;26/03/2015;;")
    oficina.por("\n".join([CABECA, boas[0], linha, boas[1]]).encode())
    resultado = oficina.batch(fila).converter(oficina.balde, CHAVE)

    assert [um.data["nome"] for um in fila.recebidas] == ["Bia", "Caio"]
    [fora] = resultado.amostra
    assert (fora["linha"], fora["coluna"]) == (3, coluna)
    assert motivo in fora["motivo"]
    assert len(fora["motivo"]) > 4
    # What is told is for a secretary, and repeats no cell.
    assert "--" not in fora["motivo"]
    assert "a@example.com" not in fora["motivo"]


@pytest.mark.parametrize(
    ("corpo", "motivo"),
    [
        ("<!DOCTYPE html><table><tr><td>nome</td></tr></table>", "é uma página HTML"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "é uma planilha"),
        ('[{"nome": "Ana", "email": "a@example.com"}]', "é um documento JSON"),
        ('"nome,email"\n"Ana,a@example.com"\n', "a linha toda está entre aspas"),
        ("nome;email;nome\nAna;a@example.com;Mãe\n", "tem a coluna 'nome' duas vezes"),
        ("Ana;a@example.com\nBia;b@example.com\n", "não é um cabeçalho"),
        ("", "está vazio"),
    ],
    ids=["HTML", ".xls", "JSON", "one column", "a column twice", "no header", "nothing"],
)
def test_a_file_that_is_no_table_of_students_is_named_for_what_it_is(
    oficina: Oficina, corpo: str | bytes, motivo: str
) -> None:
    fila = Fila()
    oficina.por(corpo.encode() if isinstance(corpo, str) else corpo)
    resultado = oficina.batch(fila).converter(oficina.balde, CHAVE)

    assert (resultado.estado, fila.recebidas) == ("recusado", [])
    assert motivo in resultado.motivo
    assert "--" not in resultado.motivo
