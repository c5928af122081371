"""What the file accepts the API accepts: one set of rules for both, and for the queue between."""

from __future__ import annotations

import csv
import io
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.cadastro.api.modelos import NovoAluno
from examples.cadastro.eventos import MatriculaRecebida
from messaging.csvfile import BadRow, EventRow, events_from

COLUNAS = ("nome", "email", "data_nascimento", "valor_mensalidade", "curso")


def ler(linhas: list[dict[str, str]]) -> list[EventRow[MatriculaRecebida] | BadRow]:
    texto = io.StringIO(newline="")
    escritor = csv.DictWriter(texto, COLUNAS, delimiter=";", restval="")
    escritor.writeheader()
    escritor.writerows(linhas)
    return list(
        events_from(io.BytesIO(texto.getvalue().encode()), MatriculaRecebida, language="pt")
    )


def pela_api(matricula: MatriculaRecebida) -> NovoAluno:
    """Through the queue's JSON and the API's model, as chamada_api sends it."""
    assert MatriculaRecebida.model_validate_json(matricula.model_dump_json()) == matricula
    return NovoAluno.model_validate_json(matricula.model_dump_json(exclude_none=True))


@pytest.mark.parametrize(
    ("celula", "nome"),
    [
        ("Ana\nTeste", "Ana Teste"),
        ("Ana\r\nTeste", "Ana Teste"),
        ("Hugo\tTeste", "Hugo Teste"),
        ("Ana\u00a0Teste", "Ana Teste"),
        ("Gabi\u00adTeste", "GabiTeste"),
        ("Jose\u0301 Teste", "José Teste"),
        ("Ana\u180eTeste", "AnaTeste"),
        ("نیما\u200cتست", "نیما\u200cتست"),
        ("Ana\u3000Teste", "Ana Teste"),
    ],
)
def test_a_name_as_excel_leaves_it_is_enrolled_as_it_is_read(celula: str, nome: str) -> None:
    [linha] = ler([{"nome": celula, "email": "q1@example.com", "curso": celula}])

    assert isinstance(linha, EventRow)
    assert (linha.event.nome, linha.event.curso) == (nome, nome)
    novo = pela_api(linha.event)
    assert (novo.nome, novo.curso) == (nome, nome)
    # Typed into the form it is the same name.
    direto = NovoAluno.model_validate({"nome": celula, "email": "q1@example.com"})
    assert direto.nome == nome


HOJE = (datetime.now(UTC) - timedelta(hours=3)).date()


@pytest.mark.parametrize(
    ("coluna", "celula", "motivo"),
    [
        ("valor_mensalidade", "-10,00", "0"),
        # Named, since the workers of a run that began at midnight would collect two dates.
        pytest.param("data_nascimento", HOJE.strftime("%d/%m/%Y"), "no passado", id="today"),
        pytest.param(
            "data_nascimento",
            (HOJE + timedelta(days=1)).strftime("%d/%m/%Y"),
            "no passado",
            id="tomorrow",
        ),
        ("data_nascimento", "05/03/2091", ""),
        ("data_nascimento", "05/03/1871", "1900"),
        ("nome", "Ana\ue000Teste", "não se lê"),
        ("nome", "Ana\x07Teste", "controle"),
        ("curso", "Inglês\ue000", "não se lê"),
    ],
)
def test_what_the_api_would_refuse_the_file_refuses_with_line_and_reason(
    coluna: str, celula: str, motivo: str
) -> None:
    bia = {"nome": "Bia", "email": "b@example.com"}
    boa, ma = ler([bia, bia | {coluna: celula}])

    assert isinstance(boa, EventRow)
    assert isinstance(ma, BadRow)
    assert (ma.line, ma.column) == (3, coluna)
    assert motivo in ma.reason
    assert celula not in ma.reason


def test_the_shared_fields_have_one_rule_each() -> None:
    for nome, campo in MatriculaRecebida.model_fields.items():
        if nome != "posicao_no_upload":
            do_api = NovoAluno.model_fields[nome]
            assert (campo.annotation, campo.metadata) == (do_api.annotation, do_api.metadata), nome


letras = st.text(
    st.one_of(
        st.sampled_from("aáãçßĳ \t\n\r\x0b\x0c\x85\xa0\xad\u200b\u200c\u200d\u2028\u3000\ufeff.'-"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)
linhas = st.fixed_dictionaries(
    {
        "nome": letras,
        "email": st.sampled_from(["a@example.com", "João@example.com", "A.B@EXAMPLE.com"]),
    },
    optional={
        "curso": letras,
        "data_nascimento": st.dates(date(1, 1, 1), date(2100, 1, 1)).map(date.isoformat)
        | st.sampled_from([HOJE, HOJE - timedelta(days=1)]).map(date.isoformat),
        "valor_mensalidade": st.decimals(-1000, 10**10, places=2).map(str)
        | st.sampled_from(["0", "-0", "890,00", "1.890,5", "R$ 10"]),
    },
)


@settings(max_examples=300, deadline=None)
@given(linhas)
def test_every_row_that_the_file_accepts_the_api_accepts(linha: dict[str, str]) -> None:
    lidas = ler([{"nome": "Ana", "email": "a@example.com"}, linha])
    for lida in lidas:
        if isinstance(lida, EventRow):
            novo = pela_api(lida.event)
            evento: Any = novo.cadastrado()
            assert evento.nome == lida.event.nome
            assert unicodedata.is_normalized("NFC", evento.nome)
            assert evento.valor_mensalidade in (None, lida.event.valor_mensalidade)
            assert (evento.valor_mensalidade or Decimal(0)) >= 0
