"""Who is the same student: siblings stay two, a correction is one, and a doubt is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pymongo
import pytest

from consumers.events import AlunoAtualizado, AlunoCadastrado
from examples.cadastro.api.aplicacao import criar
from examples.cadastro.chamada_api import ChamadaAPI
from examples.cadastro.documentos import Alunos, SemDocumentos
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.linhas import LINHA
from messaging.testing import deliver
from tests.cadastro.cliente import Cliente

CPF, OUTRO_CPF = "52998224725", "11144477735"
ANA: dict[str, Any] = {
    "nome": "Ana Souza",
    "email": "mae@example.com",
    "cpf": CPF,
    "data_nascimento": "2015-03-05",
    "curso": "Inglês",
    "valor_mensalidade": "890.00",
    "aceita_marketing": True,
}
BIA: dict[str, Any] = {"nome": "Bia Lima", "email": "bia@example.com"}


@pytest.fixture
def api(alunos: Alunos) -> Cliente:
    return Cliente(criar(alunos))


@pytest.fixture
def documentos(mongo: str, banco: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    cliente: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo)
    yield lambda: list(cliente[banco]["alunos"].find())
    cliente.close()


def cadastrar(api: Cliente, aluno: dict[str, Any], **mudanca: Any) -> Any:
    corpo = {nome: valor for nome, valor in (aluno | mudanca).items() if valor is not None}
    return api.post("/alunos", json=corpo)


def dito(resposta: Any) -> tuple[int, str]:
    """The status, and what the answer turns on: `situacao`, or the field in conflict."""
    corpo = resposta.json()
    erros = corpo.get("erros", [{}])
    return resposta.status_code, corpo.get("situacao") or erros[0].get("campo", "")


def test_siblings_who_share_their_mothers_email_are_two_pupils(
    api: Cliente, alunos: Alunos
) -> None:
    irmas = [
        cadastrar(api, {"nome": nome, "email": "mae@example.com", "data_nascimento": dia})
        for nome, dia in [
            ("Ana Teste", "2015-03-05"),
            ("Bia Teste", "2017-09-07"),
            ("Caio Teste", "2017-09-07"),  # a twin
        ]
    ]
    assert [um.status_code for um in irmas] == [201] * 3
    assert alunos.quantos() == 3


def test_of_31_pupils_of_a_file_with_shared_emails_31_are_enrolled(alunos: Alunos) -> None:
    chamada = ChamadaAPI("http://api", transporte=httpx.ASGITransport(criar(alunos)))
    linhas = [
        MatriculaRecebida(nome=f"Aluno Número {numero}", email="mae@example.com")
        for numero in range(31)
    ]
    assert all(deliver(chamada, uma).acknowledged for uma in linhas)
    assert alunos.quantos() == 31


@pytest.mark.parametrize(
    "mudanca",
    [
        {},
        {"nome": "Ana Souza", "email": "MAE@Example.com"},
        {"cpf": "529.982.247-25"},
        {"valor_mensalidade": "890"},
        {"data_nascimento": None, "curso": None, "aceita_marketing": None},  # says less
        {"cpf": None},
        {"senha": "outra senha secreta"},
    ],
)
def test_the_same_again_is_nothing_to_do(
    api: Cliente, documentos: Any, mudanca: dict[str, Any]
) -> None:
    primeira = cadastrar(api, ANA)
    antes = documentos()

    segunda = cadastrar(api, ANA, **mudanca)

    assert dito(segunda) == (200, "igual")
    assert segunda.json()["aluno_id"] == primeira.json()["aluno_id"]
    assert documentos() == antes


@pytest.mark.parametrize(
    ("mudanca", "campo", "valor"),
    [
        ({"email": "novo@example.com"}, "email", "novo@example.com"),
        ({"valor_mensalidade": "910.50"}, "valor_mensalidade", "910.50"),
        ({"curso": "Francês"}, "curso", "Francês"),
        ({"data_nascimento": "2015-03-06"}, "data_nascimento", "2015-03-06"),
        ({"aceita_marketing": False}, "aceita_marketing", False),
        ({"nome": "Ana Souza Lima"}, "nome", "Ana Souza Lima"),  # a surname that was missing
        ({"nome": "ANA SOUZA", "cpf": None}, "nome", "ANA SOUZA"),
    ],
)
def test_the_same_person_with_other_data_is_an_update_that_is_published(
    api: Cliente, alunos: Alunos, documentos: Any, mudanca: dict[str, Any], campo: str, valor: Any
) -> None:
    assert cadastrar(api, ANA, senha="correto cavalo").status_code == 201
    [antes] = documentos()

    resposta = cadastrar(api, ANA, senha="de outra pessoa", **mudanca)

    assert dito(resposta) == (200, "atualizado")
    [depois] = documentos()
    assert depois[campo] == valor
    assert depois["senha"] == antes["senha"]  # whoever asks has not shown who they are
    cadastrado, atualizado = alunos.reservar(10, 30)
    assert isinstance(cadastrado.evento, AlunoCadastrado)
    assert isinstance(atualizado.evento, AlunoAtualizado)
    assert atualizado.momento > cadastrado.momento
    assert atualizado.evento.model_dump(mode="json")[campo] == valor
    assert atualizado.evento.origem == "formulario"
    assert dito(cadastrar(api, ANA, **mudanca)) == (200, "igual")


def test_what_a_file_does_not_say_stays_as_it_was(api: Cliente, documentos: Any) -> None:
    cadastrar(api, BIA, aceita_marketing=True, curso="Inglês")

    assert dito(cadastrar(api, BIA, cpf=CPF)) == (200, "atualizado")

    [documento] = documentos()
    assert documento["aceita_marketing"] is True
    assert (documento["curso"], documento["cpf"]) == ("Inglês", CPF)


@pytest.mark.parametrize(
    ("conhecidos", "novo", "campo"),
    [
        # A mother's CPF on her children: neither may vanish in the other.
        ([ANA], ANA | {"nome": "Bia Souza", "data_nascimento": "2017-09-07"}, "cpf"),
        ([ANA], ANA | {"nome": "Bia Souza"}, "cpf"),  # twins
        ([ANA], ANA | {"nome": "Bia Souza", "email": "outra@example.com"}, "cpf"),
        ([ANA], ANA | {"cpf": OUTRO_CPF}, "cpf"),
        # Two of one name and one e-mail, and a row that says of neither when it was born.
        (
            [BIA | {"data_nascimento": "2010-01-01"}, BIA | {"data_nascimento": "2012-01-01"}],
            BIA,
            "data_nascimento",
        ),
        # The CPF is of one, the name with the e-mail of another.
        ([ANA, ANA | {"email": "pai@example.com", "cpf": None}],
         ANA | {"email": "pai@example.com"}, "email"),
    ],
)  # fmt: skip
def test_a_doubt_is_a_conflict_that_names_the_field_and_changes_nobody(
    api: Cliente,
    documentos: Any,
    conhecidos: list[dict[str, Any]],
    novo: dict[str, Any],
    campo: str,
) -> None:
    for um in conhecidos:
        assert cadastrar(api, um).status_code == 201
    antes = documentos()

    resposta = cadastrar(api, novo)

    assert dito(resposta) == (409, campo)
    assert len(resposta.json()["erros"][0]["motivo"]) > 20
    assert documentos() == antes


def test_a_stranger_can_neither_change_somebody_nor_tell_who_is_known(alunos: Alunos) -> None:
    api = Cliente(criar(alunos, segredo="segredo"))
    primeira = cadastrar(api, BIA, curso="Dança")
    assert primeira.status_code == 201

    igual = cadastrar(api, BIA, curso="Dança")
    assert (igual.status_code, igual.json()) == (201, primeira.json())
    outra = cadastrar(api, BIA, curso="Outro")
    assert outra.status_code == 409
    assert outra.json()["erros"][0]["campo"] == ""
    assert len(alunos.reservar(10, 30)) == 1  # one enrolment, and nothing of the other two

    da_casa = Cliente(criar(alunos, segredo="segredo"), headers={"authorization": "Bearer segredo"})
    assert dito(cadastrar(da_casa, BIA, curso="Dança")) == (200, "igual")
    assert dito(cadastrar(da_casa, BIA, curso="Outro")) == (200, "atualizado")


@pytest.mark.parametrize(
    "autorizacao", [None, "", "Bearer ", "Bearer outro", "segredo", "Bearer é"]
)
def test_a_stranger_is_not_told_why_and_cannot_speak_for_a_row(
    alunos: Alunos, autorizacao: str | None
) -> None:
    api = Cliente(criar(alunos, segredo="segredo"))
    leitura = str(uuid4())
    cabecalhos = {LINHA: f"{leitura}/2"}
    if autorizacao is not None:
        cabecalhos["authorization"] = autorizacao.encode()  # type: ignore[assignment]
    assert cadastrar(api, ANA).status_code == 201

    # Of somebody's CPF, and of a name that two have: the same answer.
    outra = api.post("/alunos", json=ANA | {"nome": "Bia Souza"}, headers=cabecalhos)
    for dia in ("2010-01-01", "2012-01-01"):
        cadastrar(api, BIA, data_nascimento=dia)
    duvida = api.post("/alunos", json=BIA, headers=cabecalhos)
    errada = api.post("/alunos", json=ANA | {"cpf": "1"}, headers=cabecalhos)

    assert dito(outra) == dito(duvida) == (409, "")
    assert outra.text == duvida.text
    assert "cpf" not in outra.text.lower()
    assert dito(errada) == (422, "cpf")
    nada = {"novos": 0, "iguais": 0, "atualizados": 0, "recusados": 0, "amostra": []}
    assert alunos.contas(leitura) == nada


def test_chamada_api_shows_the_secret_and_is_told(alunos: Alunos) -> None:
    chamada = ChamadaAPI(
        "http://api",
        segredo="segredo",
        transporte=httpx.ASGITransport(criar(alunos, segredo="segredo")),
    )
    leitura = str(uuid4())
    linhas = [
        MatriculaRecebida(
            nome=nome, email="mae@example.com", cpf=CPF, posicao_no_upload=f"{leitura}/{n}"
        )
        for n, nome in enumerate(("Ana", "Bia"), 2)
    ]

    resultados = [deliver(chamada, uma) for uma in linhas]

    assert resultados[1].why == f"the API answered 409: cpf (row {leitura}/3)"
    contas = alunos.contas(leitura)
    assert (contas["novos"], contas["recusados"]) == (1, 1)


def test_two_of_one_name_born_on_two_days_are_two(api: Cliente, alunos: Alunos) -> None:
    for dia in ("2010-01-01", "2012-01-01"):
        assert cadastrar(api, BIA, data_nascimento=dia).status_code == 201
    assert dito(cadastrar(api, BIA, data_nascimento="2010-01-01")) == (200, "igual")
    assert alunos.quantos() == 2


def test_twenty_at_once_who_are_one_are_enrolled_once(api: Cliente, alunos: Alunos) -> None:
    """Half of them say a birth date, half do not: each index alone would let both in."""
    barreira = threading.Barrier(20)
    respostas: list[tuple[int, str]] = []

    def um(numero: int) -> None:
        dia = "2010-01-01" if numero % 2 else None
        barreira.wait()
        respostas.append(dito(cadastrar(api, BIA, data_nascimento=dia)))

    threads = [threading.Thread(target=um, args=(numero,)) for numero in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert alunos.quantos() == 1
    assert sum(status == 201 for status, _ in respostas) == 1
    assert {um for um in respostas if um[0] != 201} <= {(200, "igual"), (200, "atualizado")}


def test_a_row_that_comes_twice_has_the_same_answer(api: Cliente, alunos: Alunos) -> None:
    leitura = str(uuid4())

    def linha(numero: int, **mudanca: Any) -> tuple[int, str]:
        cabecalhos = {LINHA: f"{leitura}/{numero}"}
        return dito(api.post("/alunos", json=ANA | mudanca, headers=cabecalhos))

    def tudo() -> list[tuple[int, str]]:
        return [
            linha(2),
            linha(3),
            linha(4, curso="Francês"),
            linha(5, nome="Outra Pessoa"),
            linha(6, nome=""),
        ]

    primeira = tudo()

    assert primeira == [(201, ""), (200, "igual"), (200, "atualizado"), (409, "cpf"), (422, "nome")]
    assert tudo() == primeira  # line 2 does not take back what line 4 corrected
    contas = alunos.contas(leitura)
    assert contas == {
        "novos": 1, "iguais": 1, "atualizados": 1, "recusados": 2,
        "amostra": [
            {"linha": 5, "coluna": "cpf", "motivo": "este CPF já é de um aluno com outro nome"},
            {"linha": 6, "coluna": "nome", "motivo": "vazio"},
        ],
    }  # fmt: skip


def test_a_row_whose_answer_was_lost_is_still_counted_as_new(
    api: Cliente, alunos: Alunos, mongo: str, banco: str
) -> None:
    leitura = str(uuid4())
    cabecalhos = {LINHA: f"{leitura}/2"}
    api.post("/alunos", json=BIA, headers=cabecalhos)
    with pymongo.MongoClient[dict[str, Any]](mongo) as cliente:
        # As if the API had died between the student and the note.
        cliente[banco]["linhas"].delete_many({})

    assert api.post("/alunos", json=BIA, headers=cabecalhos).status_code == 201
    assert (alunos.contas(leitura)["novos"], alunos.quantos()) == (1, 1)


def test_documents_of_the_version_before_are_known(
    alunos: Alunos, api: Cliente, mongo: str, banco: str
) -> None:
    with pymongo.MongoClient[dict[str, Any]](mongo) as cliente:
        colecao = cliente[banco]["alunos"]
        colecao.drop_index("pessoa")
        colecao.create_index("email_chave", name="email", unique=True, sparse=True)
        colecao.insert_one(
            {
                "_id": str(uuid4()), "nome": "Bia Lima", "email": "bia@example.com",
                "email_chave": "bia@example.com", "origem": "formulario",
                "data_matricula": datetime.now(UTC).isoformat(), "aceita_marketing": False,
            }
        )  # fmt: skip
    alunos.preparar()
    alunos.preparar()

    assert dito(cadastrar(api, BIA)) == (200, "igual")
    assert cadastrar(api, BIA, nome="Caio Lima").status_code == 201  # a brother
    assert dito(cadastrar(api, BIA, curso="Inglês")) == (200, "atualizado")


def test_a_store_that_always_loses_the_race_says_so(
    alunos: Alunos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.cadastro.documentos._TENTATIVAS", 0)
    aluno = AlunoCadastrado(aluno_id=uuid4(), origem="csv", data_matricula=datetime.now(UTC), **BIA)
    with pytest.raises(SemDocumentos):
        alunos.cadastrar(aluno)
