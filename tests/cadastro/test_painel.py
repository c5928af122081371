"""The page's server: strict headers, orders only from the page itself, and the live stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumers import SERVICES, TOPOLOGY
from consumers.banco import Banco
from consumers.events import AlunoCadastrado
from examples.cadastro.ajustes import Ajustes, AjustesErrados
from examples.cadastro.painel import aplicacao
from examples.cadastro.painel.aplicacao import criar
from examples.cadastro.painel.vista import Vista
from examples.cadastro.recebidos import Recebidos
from messaging.errors import TransportError
from messaging.testing import deliver
from messaging.transport import QueueDepth
from tests.cadastro.cliente import Cliente
from tests.cadastro.entrada import sessao

SERVICOS = ["plataforma", "financeiro", "marketing", "bi"]


def cadastrado(nome: str = "Ana", **mais: Any) -> AlunoCadastrado:
    return AlunoCadastrado(
        aluno_id=uuid4(),
        nome=nome,
        email="ana@example.com",
        origem="formulario",
        data_matricula=datetime.now(UTC),
        **mais,
    )


class Escola:
    """The four services over a folder, without queues."""

    def __init__(self, pasta: Path) -> None:
        self.ajustes = Ajustes(
            pasta=pasta,
            controle=True,
            api_url="http://127.0.0.1:1111",
            url_assinada_url="http://127.0.0.1:2222/caminho",
            s3_url="http://127.0.0.1:3333",
            oidc_emissor="http://127.0.0.1:4444",
            segredo_sessao="de teste",
            segredo_passes="de teste, outro",
        )
        self.vista = Vista(pasta)
        self.recebidos = {um: Recebidos(pasta, um) for um in SERVICOS}

    def receber(self, evento: AlunoCadastrado, *servicos: str, id: str | None = None) -> None:
        import sys

        for classe in SERVICES:
            if classe.service in (servicos or SERVICOS):
                banco = Banco(":memory:", sys.modules[classe.__module__].ESQUEMA)
                servico: Any = classe
                deliver(servico(banco), evento, id=id, middleware=[self.recebidos[classe.service]])
                banco.close()

    def cliente(self, *papeis: str, **mudanca: Any) -> Cliente:
        """Of somebody with these roles; without one, of whoever is on call."""
        ajustes = self.ajustes.model_copy(update=mudanca)
        quem = sessao(ajustes, *(papeis or ("plantao",)))
        return Cliente(criar(ajustes, self.vista), headers=quem)

    def ninguem(self, **mudanca: Any) -> Cliente:
        """Of somebody who is not logged in."""
        return Cliente(criar(self.ajustes.model_copy(update=mudanca), self.vista))


@pytest.fixture
def escola(tmp_path: Path) -> Iterator[Escola]:
    feita = Escola(tmp_path)
    yield feita
    for um in feita.recebidos.values():
        um.close()


def por_servico(cliente: Cliente) -> dict[str, Any]:
    ditos = cliente.get("/servicos").json()["servicos"]
    assert [um["servico"] for um in ditos] == list(TOPOLOGY.services)
    return {um.pop("servico"): um for um in ditos}


def test_each_service_shows_what_came_field_by_field(escola: Escola) -> None:
    evento = cadastrado(cpf="52998224725", curso="X", aceita_marketing=True)
    escola.receber(evento, id="e-1")
    cliente = escola.cliente()

    campos = {}
    for servico in SERVICOS:
        dito = cliente.get(f"/servicos/{servico}/alunos/{evento.aluno_id}").json()
        assert dito["evento_id"] == "e-1"
        campos[servico] = set(dito["campos"])

    assert campos == {
        "plataforma": {"aluno_id", "nome", "email", "curso"},
        "financeiro": {"aluno_id", "nome", "email", "cpf", "valor_mensalidade"},
        "marketing": {"aluno_id", "nome", "email", "curso"},
        "bi": {"aluno_id", "data_matricula", "curso", "origem"},
    }
    assert cliente.get(f"/servicos/bi/alunos/{uuid4()}").status_code == 404
    assert cliente.get(f"/servicos/segredos/alunos/{evento.aluno_id}").status_code == 404


def test_an_event_handled_twice_is_counted_once_and_shown_as_repeated(escola: Escola) -> None:
    evento = cadastrado()
    for _ in range(3):
        escola.receber(evento, "bi", id="e-1")

    ditos = por_servico(escola.cliente())

    assert ditos["bi"] == {"estado": "ligado", "recebidos": 1, "na_fila": None, "repetidos": 2}
    assert ditos["financeiro"]["recebidos"] == 0


class FilaFora:
    """A queue that answers until it does not."""

    def __init__(self) -> None:
        self.fora = False

    def depth(self) -> QueueDepth:
        if self.fora:
            raise TransportError("nobody answers")
        return QueueDepth(2, 1, 0, None, 4, 0)


class Filas:
    """A broker whose queues may go away."""

    def __init__(self) -> None:
        self.fila = FilaFora()

    def queue(self, service: str) -> FilaFora:
        return self.fila


def test_a_queue_that_does_not_answer_is_not_said_to_be_empty(tmp_path: Path) -> None:
    filas: Any = Filas()
    vista = Vista(tmp_path, filas)
    assert vista.fila_alunos() == {"esperando": None, "mortas": None}  # not measured yet

    vista.medir()
    assert vista.fila_alunos() == {"esperando": 3, "mortas": 4}
    assert {um["na_fila"] for um in vista.servicos()} == {3}

    filas.fila.fora = True
    vista.medir()
    assert vista.fila_alunos() == {"esperando": None, "mortas": None}
    assert {um["na_fila"] for um in vista.servicos()} == {None}


def test_the_state_of_a_service_is_what_its_keeper_says(escola: Escola) -> None:
    (escola.ajustes.pasta / "estado.json").write_text('{"bi": "parado", "financeiro": "ligado"}')
    estados = {nome: um["estado"] for nome, um in por_servico(escola.cliente()).items()}
    assert (estados["bi"], estados["financeiro"], estados["marketing"]) == (
        "parado", "ligado", "ligado"
    )  # fmt: skip


def test_the_page_may_talk_to_its_parts_and_to_nobody_else(escola: Escola) -> None:
    resposta = escola.cliente().get("/config.json")

    assert resposta.json() == {
        "api": "http://127.0.0.1:1111",
        "uploads": "http://127.0.0.1:2222/caminho",
        "limite_csv": 104_857_600,
        "controle": True,
        "escola": "/secretaria.html",
    }
    politica = dict(
        parte.strip().split(" ", 1)
        for parte in resposta.headers["content-security-policy"].split(";")
    )
    assert politica["connect-src"] == (
        "'self' http://127.0.0.1:1111 http://127.0.0.1:2222 http://127.0.0.1:3333"
    )
    assert (politica["default-src"], politica["script-src"], politica["style-src"]) == (
        "'none'", "'self'", "'self'"
    )  # fmt: skip
    assert "unsafe" not in resposta.headers["content-security-policy"]
    assert resposta.headers["x-content-type-options"] == "nosniff"
    assert resposta.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("caminho", ["/", "/style.css", "/nada.txt", "/ao-vivo/nada", "/entrar"])
def test_every_answer_has_the_headers(escola: Escola, caminho: str) -> None:
    assert "content-security-policy" in escola.cliente().get(caminho).headers


def test_nothing_beside_the_front_is_served(escola: Escola) -> None:
    cliente = escola.cliente()
    for caminho in ("/../local.py", "/%2e%2e/local.py", "/..%2flocal.py"):
        assert cliente.get(caminho).status_code == 404


def test_another_host_name_is_not_ours(escola: Escola) -> None:
    resposta = escola.cliente().get("/servicos", headers={"host": "mau.example"})
    assert resposta.status_code == 400


def test_orders_are_files_that_others_look_at(escola: Escola) -> None:
    cliente, controle = escola.cliente(), escola.ajustes.pasta / "controle"

    assert cliente.post("/servicos/bi/parar").status_code == 202
    assert [um.name for um in controle.iterdir()] == ["parado-bi"]
    assert cliente.post("/servicos/bi/iniciar").status_code == 202
    assert cliente.post("/servicos/bi/iniciar").status_code == 202
    assert list(controle.iterdir()) == []
    assert cliente.post("/api/matar").status_code == 202
    assert [um.name for um in controle.iterdir()] == ["morra-depois-de-inserir"]


@pytest.mark.parametrize(
    ("caminho", "cabecalhos", "mudanca", "status"),
    [
        ("/servicos/bi/parar", {"x-csrf": ""}, {}, 403),
        ("/servicos/bi/parar", {"x-csrf": "de outra página".encode()}, {}, 403),
        ("/servicos/bi/parar", {"cookie": ""}, {}, 401),
        ("/servicos/bi/parar", {"cookie": "cadastro=e30=.abc.def"}, {}, 401),
        ("/servicos/bi/parar", {}, {"controle": False}, 403),
        ("/api/matar", {"x-csrf": ""}, {}, 403),
        ("/servicos/segredos/parar", {}, {}, 404),
        ("/servicos/bi/apagar", {}, {}, 404),
        ("/servicos/bi/matar", {}, {}, 404),
        ("/api/parar", {}, {}, 404),
    ],
)
def test_an_order_of_anybody_else_is_refused(
    escola: Escola, caminho: str, cabecalhos: dict[str, Any], mudanca: dict[str, Any], status: int
) -> None:
    cliente = escola.cliente(**mudanca)
    assert cliente.post(caminho, headers=cabecalhos).status_code == status
    assert list((escola.ajustes.pasta / "controle").glob("*")) == []


QUALQUER = "0f8fad5b-d9cb-469f-a165-70867728950e"  # a name of tests must be the same in each worker
DO_PLANTAO = ["/servicos", f"/servicos/bi/alunos/{QUALQUER}", "/ao-vivo"]


@pytest.mark.parametrize(
    ("caminho", "papel"), [*((um, "plantao") for um in DO_PLANTAO), ("/passe", "secretaria")]
)
def test_data_are_for_those_who_have_the_role(escola: Escola, caminho: str, papel: str) -> None:
    outro = "plantao" if papel == "secretaria" else "secretaria"
    assert escola.ninguem().get(caminho).status_code == 401
    assert escola.cliente(outro).get(caminho).status_code == 403
    assert escola.cliente("aluno").get(caminho).status_code == 403
    # A cookie that somebody else signed is none.
    falsa = sessao(Ajustes(segredo_sessao="de outro"), papel)
    assert escola.ninguem().get(caminho, headers=falsa).status_code == 401


def test_a_page_sends_to_the_login_and_says_to_whom_it_does_not_belong(escola: Escola) -> None:
    for papel in ("secretaria", "plantao"):
        resposta = escola.ninguem().get(f"/{papel}.html")
        assert resposta.status_code == 303
        assert resposta.headers["location"] == f"/entrar?para=/{papel}.html"
        certa = escola.cliente(papel).get(f"/{papel}.html")
        assert (certa.status_code, certa.headers["cache-control"]) == (200, "no-store")
        errada = escola.cliente("outro").get(f"/{papel}.html")
        assert errada.status_code == 403
        assert "não tem acesso a esta página" in errada.text
    assert escola.ninguem().get("/").status_code == 200  # the student's is for everybody


@pytest.mark.parametrize("pagina", ["aluno", "secretaria", "plantao"])
def test_each_page_can_be_served_alone(escola: Escola, pagina: str) -> None:
    cliente = escola.cliente("secretaria", "plantao", paginas=pagina)
    caminhos = {"aluno": "/", "secretaria": "/secretaria.html", "plantao": "/plantao.html"}
    for nome, caminho in caminhos.items():
        assert cliente.get(caminho).status_code == (200 if nome == pagina else 404), nome
    assert cliente.get("/servicos").status_code == (200 if pagina == "plantao" else 404)
    assert cliente.get("/passe").status_code == (200 if pagina == "secretaria" else 404)
    assert cliente.get("/quem").status_code == (404 if pagina == "aluno" else 200)
    assert cliente.get("/style.css").status_code == 200


def test_the_students_page_alone_needs_no_provider_and_the_others_say_what_they_lack() -> None:
    criar(Ajustes(paginas="aluno"), Vista(Path()))
    for falta in ("oidc_emissor", "segredo_sessao", "segredo_passes"):
        tudo = {
            "oidc_emissor": "https://login.example", "segredo_sessao": "s", "segredo_passes": "p"
        }  # fmt: skip
        with pytest.raises(AjustesErrados, match=f"CADASTRO_{falta.upper()}"):
            criar(Ajustes(**{**tudo, falta: ""}), Vista(Path()))  # type: ignore[arg-type]
    with pytest.raises(AjustesErrados, match="CADASTRO_PAGINAS"):
        Ajustes.do_ambiente({"CADASTRO_PAGINAS": "aluno cozinha"})


def test_whoever_leaves_has_no_session(escola: Escola) -> None:
    cliente = escola.cliente()
    assert cliente.get("/quem").json() == {
        "nome": "Teste",
        "papeis": ["plantao"],
        "csrf": "um-csrf",
    }
    assert cliente.post("/sair", headers={"x-csrf": "outro"}).status_code == 403
    resposta = cliente.post("/sair")
    assert resposta.status_code == 204
    assert "cadastro=null" in resposta.headers["set-cookie"]
    assert escola.ninguem().get("/quem").json() == {"nome": None, "papeis": [], "csrf": None}


def test_a_provider_that_does_not_answer_is_told_in_words(escola: Escola) -> None:
    # Nobody listens there; the page says so and offers another try.
    resposta = escola.ninguem().get("/entrar?para=/plantao.html")
    assert resposta.status_code == 503
    assert "O serviço de login não responde agora." in resposta.text
    assert 'href="/entrar?para=/plantao.html"' in resposta.text


def test_an_answer_that_no_login_asked_for_is_refused(escola: Escola) -> None:
    resposta = escola.ninguem().get("/volta?code=roubado&state=inventado")
    assert resposta.status_code == 400
    assert "O login não foi concluído." in resposta.text


def test_what_is_personal_is_hidden_from_whoever_is_on_call(
    escola: Escola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aplicacao, "OLHAR", 0.01)
    evento = cadastrado("Ana Souza", cpf="52998224725", curso="Dança")
    escola.receber(evento, "financeiro", "plataforma")

    campos = escola.cliente().get(f"/servicos/financeiro/alunos/{evento.aluno_id}").json()["campos"]
    assert campos == {
        "aluno_id": str(evento.aluno_id), "nome": "•••", "email": "•••", "cpf": "•••",
        "valor_mensalidade": None,
    }  # fmt: skip
    dito = json.dumps(ouvir(escola, 2), ensure_ascii=False)
    assert "Dança" in dito
    assert str(evento.aluno_id) in dito
    for segredo in ("Ana", "ana@example.com", "52998224725"):
        assert segredo not in dito


class Pedido:
    """A request whose caller stays for so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    async def is_disconnected(self) -> bool:
        self._looks -= 1
        return self._looks < 0


def ouvir(escola: Escola, looks: int, entre: Any = None) -> list[tuple[str, Any]]:
    """What a stream says in `looks` looks; `entre` runs after the first part."""

    async def tudo() -> str:
        partes = []
        async for parte in aplicacao._corrente(Pedido(looks), escola.vista):  # type: ignore[arg-type]
            partes.append(parte)
            if entre is not None and len(partes) == 1:
                await asyncio.to_thread(entre)
        return "".join(partes)

    mensagens = []
    for bloco in asyncio.run(tudo()).split("\n\n"):
        linhas = dict(linha.split(": ", 1) for linha in bloco.splitlines())
        if "event" in linhas:
            mensagens.append((linhas["event"], json.loads(linhas["data"])))
    return mensagens


def test_a_stream_begins_with_what_is_and_goes_on_with_what_comes(
    escola: Escola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aplicacao, "OLHAR", 0.01)
    antes, depois = cadastrado("Ana"), cadastrado("Bia")
    escola.receber(antes)

    mensagens = ouvir(escola, 4, lambda: escola.receber(depois, "financeiro", "bi"))

    assert [nome for nome, _ in mensagens] == [
        "servicos", *["recebidos"] * 4, "servicos", "recebidos", "recebidos"
    ]  # fmt: skip
    inicio = {dito["servico"]: dito for _, dito in mensagens[1:5]}
    assert [um["aluno_id"] for um in inicio["financeiro"]["alunos"]] == [str(antes.aluno_id)]
    assert inicio["marketing"]["alunos"] == []  # who did not consent is not told of
    assert [(dito["servico"], dito["recebidos"]) for _, dito in mensagens[6:]] == [
        (um, 2) for um in TOPOLOGY.services if um in ("financeiro", "bi")
    ]
    assert [um["aluno_id"] for um in mensagens[6][1]["alunos"]] == [str(depois.aluno_id)]


def test_a_flood_is_counted_whole_and_shown_in_part(
    escola: Escola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aplicacao, "OLHAR", 0.01)

    def enxurrada() -> None:
        for numero in range(70):
            escola.receber(cadastrado(curso=f"C{numero}"), "plataforma")

    mensagens = ouvir(escola, 3, enxurrada)

    _, ultima = mensagens[-1]
    assert (ultima["recebidos"], len(ultima["alunos"])) == (70, 50)
    assert ultima["alunos"][-1]["campos"]["curso"] == "C69"
    inicio = ouvir(escola, 1)
    assert [len(dito["alunos"]) for nome, dito in inicio[1:] if dito["recebidos"]] == [20]


def test_a_stream_with_nothing_to_say_says_that_it_is_there(
    escola: Escola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aplicacao, "OLHAR", 0.01)
    monkeypatch.setattr(aplicacao, "VIVO", 0.03)

    async def tudo() -> list[str]:
        return [um async for um in aplicacao._corrente(Pedido(8), escola.vista)]  # type: ignore[arg-type]

    assert asyncio.run(tudo())[1] == ": \n\n"


def test_all_that_is_wrong_in_the_environment_is_told_together_without_values() -> None:
    with pytest.raises(AjustesErrados) as erro:
        Ajustes.do_ambiente(
            {"CADASTRO_PORTA": "muita", "CADASTRO_LIMITE_CSV": "0", "CADASTRO_XYZ": "segredo"}
        )
    for nome in ("CADASTRO_PORTA", "CADASTRO_LIMITE_CSV", "CADASTRO_XYZ"):
        assert nome in str(erro.value)
    assert "muita" not in str(erro.value)
    assert "segredo" not in str(erro.value)


def test_a_part_says_what_it_cannot_do_without() -> None:
    ajustes = Ajustes.do_ambiente({"OUTRA": "x", "CADASTRO_ORIGENS": "http://a http://b"})
    assert ajustes.origens_permitidas == ["http://a", "http://b"]
    with pytest.raises(AjustesErrados, match="CADASTRO_MONGO"):
        ajustes.exigir("mongo")


def test_a_uri_with_a_password_is_not_in_repr() -> None:
    assert "segredo" not in repr(Ajustes(mongo="mongodb://u:segredo@h"))
