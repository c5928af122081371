"""The API's contract: today's two fields, the richer ones, and refusals that repeat no value."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pymongo
import pytest
import uvicorn
from argon2 import PasswordHasher

from examples.cadastro.api.aplicacao import CORPO, DE_UMA_VEZ, criar
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


def test_while_enrolments_hang_the_next_is_429_and_health_answers(alunos: Alunos) -> None:
    solta = threading.Event()
    # Stands for anything that takes long in an enrolment: hashes, a store, a topic.
    app = criar(alunos, por_segundo=0, depois_de_inserir=lambda: assert_(solta.wait(60)))

    async def tudo() -> tuple[list[int], httpx.Response, httpx.Response]:
        transporte = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transporte, base_url="http://127.0.0.1") as http:

            async def cadastrar(numero: int) -> int:
                aluno = {"nome": "N", "email": f"n{numero}@example.com", "senha": SENHA}
                return (await http.post("/alunos", json=aluno)).status_code

            # More than the server has threads.
            presos = [asyncio.create_task(cadastrar(numero)) for numero in range(60)]
            try:
                saude = await http.get("/saude")
                recusada = await http.post("/alunos", json=ANA)
            finally:
                solta.set()
            return await asyncio.gather(*presos), saude, recusada

    ditos, saude, recusada = asyncio.run(asyncio.wait_for(tudo(), 50))

    assert (saude.status_code, recusada.status_code) == (200, 429)
    assert recusada.headers["retry-after"] == "1"
    assert campos(recusada) == [""]
    assert sorted(ditos) == [201] * DE_UMA_VEZ + [429] * (60 - DE_UMA_VEZ)
    # Every place is free again.
    assert Cliente(app).post("/alunos", json=ANA).status_code == 201


def assert_(dito: bool) -> None:
    assert dito


def test_a_body_that_does_not_come_is_given_up(alunos: Alunos) -> None:
    app = criar(alunos, prazo=0.3)
    with servida(app) as porta, socket.create_connection(("127.0.0.1", porta), 30) as soquete:
        soquete.sendall(
            b"POST /alunos HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 500\r\n\r\n{"nome": "A'
        )
        # To the end of the connection, which the server closes.
        resposta = b"".join(iter(lambda: soquete.recv(4096), b"")).decode()

    assert resposta.startswith("HTTP/1.1 408 ")
    assert json.loads(resposta.partition("\r\n\r\n")[2])["erros"][0]["campo"] == ""
    assert alunos.quantos() == 0


@contextmanager
def servida(app: Any) -> Iterator[int]:
    """The application behind a real socket."""
    porta = porta_livre()
    servidor = uvicorn.Server(uvicorn.Config(app, port=porta, log_config=None, lifespan="off"))
    thread = threading.Thread(target=servidor.run)
    thread.start()
    try:
        while not servidor.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield porta
    finally:
        servidor.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "corpo",
    [
        b"[" * 8000,
        b'{"nome":' * 1800,
        b'{"nome": ' + b"[" * 6000 + b"]" * 6000 + b"}",
        b'{"nome": "Jo\xe3o", "email": "j@example.com"}',
        b'{"nome": "\\ud800", "email": "j@example.com"}',
        b'{"nome": ' + b"9" * 6000 + b', "email": "j@example.com"}',
    ],
    ids=["lists", "objects", "closed", "cp1252", "half a letter", "digits"],
)
def test_a_body_that_is_odd_gets_the_documented_422_in_portuguese(
    api: Cliente, corpo: bytes
) -> None:
    resposta = api.post("/alunos", content=corpo, headers={"content-type": "application/json"})

    assert resposta.status_code == 422
    assert campos(resposta)[0] in ("", "nome")
    assert "There was an error" not in resposta.text


@pytest.mark.parametrize(
    ("metodo", "caminho", "status"), [("get", "/nada", 404), ("get", "/alunos", 405)]
)
def test_what_is_not_there_is_told_in_portuguese_and_in_the_one_form(
    api: Cliente, metodo: str, caminho: str, status: int
) -> None:
    resposta = getattr(api, metodo)(caminho)

    assert resposta.status_code == status
    assert campos(resposta) == [""]
    assert "Not" not in resposta.text


def test_the_docs_need_nothing_from_elsewhere(api: Cliente) -> None:
    resposta = api.get("/docs")

    assert resposta.status_code == 200
    assert "<script" not in resposta.text
    enderecos = re.findall(r"(?:src|href)=[\"']([^\"']*)", resposta.text)
    assert enderecos
    assert [um for um in enderecos if um != "openapi.json" and not um.startswith("#")] == []
    # Every link of the page leads to a place on it.
    lugares = set(re.findall(r'id="([^"]+)"', resposta.text))
    assert {um[1:] for um in enderecos if um.startswith("#")} <= lugares
    for dito in ("POST /alunos", "valor_mensalidade", "429", "janeway@voyager.sf"):
        assert dito in resposta.text
    assert api.get("/redoc").status_code == 404


def test_every_refusal_has_the_one_form_in_the_contract_as_well(api: Cliente) -> None:
    documento = api.get("/openapi.json").json()

    assert "HTTPValidationError" not in documento["components"]["schemas"]
    assert campos(api.get("/leituras/nenhuma")) == ["leitura"]


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
