"""The API's contract: today's two fields, the richer ones, and refusals that repeat no value."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import pymongo
import pytest
from argon2 import PasswordHasher

from examples.cadastro.api.aplicacao import CORPO, criar
from examples.cadastro.api.limites import Ritmo
from examples.cadastro.api.modelos import NovoAluno
from examples.cadastro.documentos import Alunos
from examples.cadastro.processos import porta_livre
from tests.cadastro.cliente import Cliente

SENHA = "correto cavalo bateria"
ANA: dict[str, Any] = {
    "nome": "Ana Souza",
    "email": "ana@example.com",
    "senha": SENHA,
    "cpf": "529.982.247-25",
    "curso": "Engenharia de Dados",
    "valor_mensalidade": "890.00",
    "aceita_marketing": True,
    "data_nascimento": "1998-03-14",
}


@pytest.fixture
def api(alunos: Alunos) -> Cliente:
    return Cliente(criar(alunos, origens=["http://127.0.0.1:8080"]))


@pytest.fixture
def documentos(mongo: str, banco: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    cliente: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo)
    yield lambda: list(cliente[banco]["alunos"].find())
    cliente.close()


def campos(resposta: Any) -> list[str]:
    return [erro["campo"] for erro in resposta.json()["erros"]]


def test_the_contract_of_today_two_fields_and_a_json_answer(api: Cliente) -> None:
    resposta = api.post("/alunos", json={"nome": "Gandalf Cinzento", "email": "gandalf@condado.ar"})

    assert resposta.status_code == 201
    dito = resposta.json()
    UUID(dito.pop("aluno_id"))
    assert dito == {"nome": "Gandalf Cinzento", "email": "gandalf@condado.ar"}


def test_student_and_event_are_one_document(api: Cliente, documentos: Any) -> None:
    resposta = api.post("/alunos", json=ANA)

    assert resposta.status_code == 201
    [documento] = documentos()
    [evento] = documento["deve"]
    assert documento["_id"] == resposta.json()["aluno_id"] == evento["dados"]["aluno_id"]
    assert (evento["tipo"], evento["versao"]) == ("aluno.cadastrado", 1)
    assert evento["dados"]["cpf"] == documento["cpf"] == "52998224725"
    assert evento["dados"]["origem"] == "formulario"
    assert evento["dados"]["valor_mensalidade"] == "890.00"


def test_a_password_is_kept_as_argon2id_and_nowhere_else(
    api: Cliente, documentos: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    resposta = api.post("/alunos", json=ANA)

    [documento] = documentos()
    assert documento["senha"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHasher().verify(documento["senha"], SENHA)
    assert "senha" not in documento["deve"][0]["dados"]
    seen = json.dumps(documento, default=str) + resposta.text + caplog.text
    assert SENHA not in seen
    assert "ana@example.com" not in caplog.text


def test_students_without_cpf_do_not_collide(api: Cliente) -> None:
    for numero in range(3):
        novo = {"nome": "Sem CPF", "email": f"sem{numero}@example.com"}
        assert api.post("/alunos", json=novo).status_code == 201


@pytest.mark.parametrize(
    ("campo", "valor"),
    [
        ("nome", ""),
        ("nome", "   "),
        ("nome", "x" * 201),
        ("nome", "Ana\x00Souza"),
        ("nome", None),
        ("email", "ana.example.com"),
        ("email", 7),
        ("senha", "curta"),
        ("senha", "x" * 129),
        ("cpf", "529.982.247-26"),
        ("cpf", "111.111.111-11"),
        ("curso", "y" * 201),
        ("valor_mensalidade", "-0.01"),
        ("valor_mensalidade", "1.234"),
        ("valor_mensalidade", "NaN"),
        ("valor_mensalidade", "cem"),
        ("valor_mensalidade", 10**12),
        ("aceita_marketing", "talvez"),
        ("data_nascimento", "31/12/1998"),
        ("data_nascimento", "2999-01-01"),
        ("origem", "telefone"),
        ("apelido", "Aninha"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_repeated(
    api: Cliente, alunos: Alunos, caplog: pytest.LogCaptureFixture, campo: str, valor: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    resposta = api.post("/alunos", json=ANA | {campo: valor})

    assert resposta.status_code == 422
    assert campos(resposta) == [campo]
    assert len(resposta.json()["erros"][0]["motivo"]) > 3
    for segredo in (SENHA, "ana@example.com", *([valor] if isinstance(valor, str) else [])):
        if len(segredo.strip()) > 4:
            assert segredo not in resposta.text
            assert segredo not in caplog.text
    assert alunos.quantos() == 0


def test_every_wrong_field_is_told_at_once(api: Cliente) -> None:
    resposta = api.post("/alunos", json={"email": "x", "cpf": "1", "senha": "s"})

    assert sorted(campos(resposta)) == ["cpf", "email", "nome", "senha"]


@pytest.mark.parametrize("corpo", ["", "{", "[]", '"texto"', "null", "{'nome': 1}"])
def test_a_body_that_is_no_object_is_about_the_whole_request(api: Cliente, corpo: str) -> None:
    resposta = api.post("/alunos", content=corpo, headers={"content-type": "application/json"})

    assert resposta.status_code == 422
    assert campos(resposta) == [""]


def test_the_name_of_an_unknown_field_is_shown_only_if_it_is_a_name(api: Cliente) -> None:
    resposta = api.post("/alunos", json=ANA | {"ana@segredo.example": 1})

    assert resposta.status_code == 422
    assert "segredo" not in resposta.text


def test_a_big_body_is_refused_whether_it_says_its_length_or_not(
    api: Cliente, alunos: Alunos
) -> None:
    async def aos_poucos() -> AsyncIterator[bytes]:
        for _ in range(CORPO // 1024 + 2):
            yield b" " * 1024

    cabecalhos = {"content-type": "application/json"}
    dito = api.post("/alunos", content=b" " * (CORPO + 1), headers=cabecalhos)
    calado = api.post("/alunos", content=aos_poucos(), headers=cabecalhos)
    cheio = json.dumps(ANA).ljust(CORPO)

    assert (dito.status_code, calado.status_code) == (413, 413)
    assert campos(dito) == campos(calado) == [""]
    assert api.post("/alunos", content=cheio, headers=cabecalhos).status_code == 201
    assert alunos.quantos() == 1


def test_too_many_at_once_are_asked_to_come_again(alunos: Alunos) -> None:
    api = Cliente(criar(alunos, por_segundo=0.01))
    respostas = [
        api.post("/alunos", json={"nome": "N", "email": f"n{numero}@example.com"})
        for numero in range(3)
    ]

    assert [uma.status_code for uma in respostas] == [201, 429, 429]
    assert 90 <= int(respostas[1].headers["retry-after"]) <= 100
    assert alunos.quantos() == 1


def test_the_rhythm_gives_back_what_time_brings() -> None:
    agora = [0.0]
    ritmo = Ritmo(2, relogio=lambda: agora[0])

    assert [ritmo.espera() for _ in range(3)] == [0.0, 0.0, 0.5]
    agora[0] = 0.25
    assert ritmo.espera() == 0.25
    agora[0] = 0.5
    assert ritmo.espera() == 0.0
    agora[0] = 1000.0
    assert [ritmo.espera() > 0 for _ in range(3)] == [False, False, True]
    assert not any(Ritmo(0, relogio=lambda: 0.0).espera() for _ in range(10))


def test_a_store_that_is_away_is_told_as_such() -> None:
    longe = Alunos(f"mongodb://127.0.0.1:{porta_livre()}/", espera=0.2)
    api = Cliente(criar(longe))
    resposta = api.post("/alunos", json=ANA)
    saude = api.get("/saude")
    longe.close()

    assert (resposta.status_code, saude.status_code) == (503, 503)
    assert resposta.headers["retry-after"] == "2"
    assert campos(resposta) == [""]
    assert "ana" not in resposta.text.lower()


def test_health_counts_what_is_not_published_yet(api: Cliente) -> None:
    api.post("/alunos", json=ANA)
    assert api.get("/saude").json() == {"estado": "ok", "pendentes": 1}


def test_a_page_of_another_origin_gets_no_permission(api: Cliente) -> None:
    pergunta = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    nossa = api.options("/alunos", headers=pergunta | {"origin": "http://127.0.0.1:8080"})
    outra = api.options("/alunos", headers=pergunta | {"origin": "http://mau.example"})

    assert nossa.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert "access-control-allow-origin" not in outra.headers


def test_the_openapi_document_has_examples_that_are_valid(api: Cliente) -> None:
    documento = api.get("/openapi.json").json()

    exemplos = documento["components"]["schemas"]["NovoAluno"]["examples"]
    assert [NovoAluno.model_validate(um).email for um in exemplos]
    assert set(documento["paths"]["/alunos"]["post"]["responses"]) >= {
        "201", "409", "413", "422", "429", "503"
    }  # fmt: skip


def test_the_password_of_a_model_is_not_in_its_repr() -> None:
    assert SENHA not in repr(NovoAluno.model_validate(ANA))
