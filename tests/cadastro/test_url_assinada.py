"""Presigned URLs: bound to key, size and type, for sixty seconds; a real S3 answer for each."""

from __future__ import annotations

import base64
import csv
import io
import json
import time
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import openpyxl
import pytest

from examples.cadastro import url_assinada
from examples.cadastro.api.aplicacao import criar
from examples.cadastro.documentos import Alunos
from examples.cadastro.lambda_local import Contexto, evento_http
from examples.cadastro.linhas import LINHA, leitura_de
from examples.cadastro.passes import Passes
from examples.cadastro.resultados import Resultado, Resultados
from examples.cadastro.url_assinada import UrlAssinada
from examples.cadastro.url_assinada.decisoes import Decisoes
from messaging.csvfile import BadRow, BadRows
from tests.cadastro.cliente import Cliente

CSV = b"nome,email\nAna,ana@example.com\n"
LIMITE = 1000


@pytest.fixture
def handler(s3: Any, balde: str) -> UrlAssinada:
    return UrlAssinada(s3, Resultados(s3, balde), balde=balde, limite=LIMITE)


def invocar(
    handler: UrlAssinada,
    metodo: str = "POST",
    caminho: str = "/uploads",
    corpo: Any = None,
    **mais: str,
) -> tuple[int, Any]:
    """Through JSON, as Lambda does."""
    cru = corpo if isinstance(corpo, bytes) else json.dumps(corpo).encode()
    cabecalhos = {"content-type": "application/json", "host": "x.lambda-url.sa-east-1.on.aws"}
    cabecalhos |= mais
    evento = evento_http(metodo, caminho, "", cabecalhos, b"" if corpo is None else cru)
    resposta = handler(json.loads(json.dumps(evento)), Contexto())
    assert resposta["headers"]["cache-control"] == "no-store"
    return resposta["statusCode"], json.loads(resposta["body"])


def pedir(handler: UrlAssinada, **mudanca: Any) -> tuple[int, Any]:
    pedido = {"nome": "alunos.csv", "tamanho": len(CSV), "tipo": "text/csv"}
    return invocar(handler, corpo=pedido | mudanca)


def por(dito: Any, corpo: bytes = CSV, url: str = "", **cabecalhos: str) -> int:
    tipo = {"Content-Type": cabecalhos.get("tipo", dito["cabecalhos"]["Content-Type"])}
    return httpx.put(url or dito["url"], content=corpo, headers=tipo, trust_env=False).status_code


def test_a_file_goes_up_exactly_as_it_was_announced(
    handler: UrlAssinada, s3: Any, balde: str
) -> None:
    status, dito = pedir(handler)

    assert status == 201
    assert (dito["metodo"], dito["expira_em"]) == ("PUT", 60)
    assert por(dito) == 200
    objeto = s3.get_object(Bucket=balde, Key=f"enviados/{dito['id']}.csv")
    assert objeto["Body"].read() == CSV
    assert objeto["ContentType"] == "text/csv"


def test_key_size_type_and_time_are_signed(handler: UrlAssinada) -> None:
    _, dito = pedir(handler)

    query = parse_qs(urlsplit(dito["url"]).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;content-type;host"]
    assert query["X-Amz-Expires"] == ["60"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


@pytest.mark.parametrize("corpo", [CSV + b"x", CSV[:-1], b"", b"x" * (LIMITE * 10)])
def test_any_other_size_is_refused_by_s3(handler: UrlAssinada, corpo: bytes) -> None:
    _, dito = pedir(handler)
    assert por(dito, corpo) == 403


def test_any_other_type_is_refused_by_s3(handler: UrlAssinada) -> None:
    _, dito = pedir(handler)
    assert por(dito, tipo="text/html") == 403


def test_any_other_key_is_refused_by_s3(handler: UrlAssinada) -> None:
    _, dito = pedir(handler)
    _, outro = pedir(handler)
    assert dito["id"] != outro["id"]
    assert por(dito, url=dito["url"].replace(dito["id"], outro["id"])) == 403


def test_a_url_whose_time_is_up_is_refused_by_s3(
    handler: UrlAssinada, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_assinada, "EXPIRA_EM", 1)
    _, dito = pedir(handler)
    time.sleep(2.1)
    assert por(dito) == 403


@pytest.mark.parametrize(
    ("mudanca", "campo"),
    [
        ({"tamanho": LIMITE + 1}, "tamanho"),
        ({"tamanho": 0}, "tamanho"),
        ({"tamanho": -1}, "tamanho"),
        ({"tamanho": "12"}, "tamanho"),
        ({"tamanho": True}, "tamanho"),
        ({"tamanho": 12.5}, "tamanho"),
        ({"tipo": "text/html"}, "tipo"),
        ({"tipo": None}, "tipo"),
        ({"nome": "alunos.xls"}, "nome"),
        ({"nome": "alunos.xlsx"}, "tipo"),
        ({"nome": "x" * 252 + ".csv"}, "nome"),
        ({"nome": 7}, "nome"),
    ],
)
def test_what_is_over_a_limit_gets_no_url(
    handler: UrlAssinada, mudanca: dict[str, Any], campo: str
) -> None:
    status, dito = pedir(handler, **mudanca)

    assert status == 422
    assert [erro["campo"] for erro in dito["erros"]] == [campo]


def test_the_limit_itself_is_allowed(handler: UrlAssinada) -> None:
    assert pedir(handler, tamanho=LIMITE)[0] == 201
    assert pedir(handler, nome="ALUNOS.CSV", tipo="application/vnd.ms-excel")[0] == 201


@pytest.mark.parametrize("corpo", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 5000])
def test_a_request_that_is_no_object_is_refused(handler: UrlAssinada, corpo: bytes) -> None:
    assert invocar(handler, corpo=corpo)[0] == 422


def test_a_body_in_base64_is_read(handler: UrlAssinada) -> None:
    """As Lambda encodes bodies whose content type is not a text."""
    cru = json.dumps({"nome": "a.csv", "tamanho": 1, "tipo": "text/csv"}).encode()
    evento = evento_http("POST", "/uploads", "", {"content-type": "application/x"}, cru)
    assert evento["isBase64Encoded"] is True
    assert base64.b64decode(evento["body"]) == cru
    assert handler(evento)["statusCode"] == 201


@pytest.mark.parametrize(
    ("metodo", "caminho"),
    [("DELETE", "/uploads"), ("POST", "/"), ("PUT", "/uploads"), ("GET", "/uploads/../segredo")],
)
def test_there_is_nothing_else(handler: UrlAssinada, metodo: str, caminho: str) -> None:
    assert invocar(handler, metodo, caminho)[0] == 404


def test_an_upload_that_nobody_read_yet_is_waiting(handler: UrlAssinada) -> None:
    _, dito = pedir(handler)
    status, resultado = invocar(handler, "GET", f"/uploads/{dito['id']}")

    assert status == 200
    assert resultado == {
        "id": dito["id"], "estado": "aguardando", "linhas": 0, "aceitas": 0, "rejeitadas": 0,
        "esperando": 0, "motivo": "", "amostra": [], "avisos": [], "rejeitados_url": None,
        "decididas": {"novos": 0, "atualizados": 0, "iguais": 0, "recusados": 0},
    }  # fmt: skip


def test_what_became_of_an_upload_is_told_with_a_url_for_its_bad_rows(
    handler: UrlAssinada, s3: Any, balde: str, tmp_path: Any
) -> None:
    _, dito = pedir(handler)
    lado = tmp_path / "lado.csv"
    lado.write_text("linha;coluna\n", encoding="utf-8")
    resultados = Resultados(s3, balde)
    resultados.guardar_rejeitadas(dito["id"], lado)
    amostra = [{"linha": 7, "coluna": "email", "motivo": "vazio"}]
    resultados.gravar(
        dito["id"],
        Resultado(estado="pronto", linhas=9, aceitas=8, rejeitadas=1, amostra=amostra, etag="x"),
    )

    _, resultado = invocar(handler, "GET", f"/uploads/{dito['id']}")

    assert (resultado["estado"], resultado["aceitas"], resultado["amostra"]) == (
        "decidindo", 8, amostra
    )  # fmt: skip
    assert "etag" not in resultado
    baixado = httpx.get(resultado["rejeitados_url"], trust_env=False)
    assert baixado.text == "linha;coluna\n"
    assert baixado.headers["content-disposition"].startswith("attachment")


class Lida:
    """An upload of nine rows that was read: one bad, eight on their way to the API."""

    def __init__(self, s3: Any, balde: str, api: httpx.BaseTransport, pasta: Path) -> None:
        self.id = str(uuid4())
        self.leitura = leitura_de(self.id, "x")
        resultados = Resultados(s3, balde)
        with BadRows(pasta / "lado.csv", ("nome", "email")) as lado:
            lado.write(BadRow(7, "email", "vazio", ("=Ana; B", "")))
        resultados.guardar_rejeitadas(self.id, pasta / "lado.csv")
        amostra = [{"linha": 7, "coluna": "email", "motivo": "vazio"}]
        resultados.gravar(
            self.id,
            Resultado(
                estado="pronto", linhas=9, aceitas=8, rejeitadas=1, amostra=amostra, etag="x"
            ),
        )
        self.handler = UrlAssinada(
            s3, resultados, balde=balde, limite=LIMITE,
            decisoes=Decisoes("http://api", transporte=api),
        )  # fmt: skip

    def agora(self) -> Any:
        return invocar(self.handler, "GET", f"/uploads/{self.id}")[1]


class PorBaixo(httpx.BaseTransport):
    """The API in this process, for a client that is not async. `fora`: it does not answer."""

    def __init__(self, alunos: Alunos) -> None:
        self._cliente = Cliente(criar(alunos))
        self.fora = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.fora:
            raise httpx.ConnectError("refused")
        dito = self._cliente.get(request.url.path)
        return httpx.Response(dito.status_code, content=dito.content)


def test_done_means_decided_and_not_read(
    s3: Any, balde: str, alunos: Alunos, tmp_path: Path
) -> None:
    api = PorBaixo(alunos)
    lida = Lida(s3, balde, api, tmp_path)

    def cadastrar(numero: int, **mudanca: Any) -> None:
        aluno = {"nome": f"Aluno {numero}", "email": "mae@example.com"} | mudanca
        Cliente(criar(alunos)).post(
            "/alunos", json=aluno, headers={LINHA: f"{lida.leitura}/{numero}"}
        )

    assert (lida.agora()["estado"], lida.agora()["esperando"]) == ("decidindo", 8)
    for numero in (2, 3, 4, 5):
        cadastrar(numero)
    cadastrar(6, nome="Aluno 2")  # the same again
    cadastrar(8, nome="Aluno 3", curso="Inglês")
    cadastrar(9, nome="")
    meio = lida.agora()
    assert (meio["estado"], meio["esperando"]) == ("decidindo", 1)
    cadastrar(10)

    fim = lida.agora()

    assert (fim["estado"], fim["esperando"]) == ("pronto", 0)
    assert fim["decididas"] == {"novos": 5, "iguais": 1, "atualizados": 1, "recusados": 1}
    assert fim["amostra"] == [
        {"linha": 7, "coluna": "email", "motivo": "vazio"},
        {"linha": 9, "coluna": "nome", "motivo": "vazio"},
    ]
    status, dito = invocar(lida.handler, "GET", f"/uploads/{lida.id}/resultado")
    assert status == 200
    baixado = httpx.get(dito["url"], trust_env=False)
    linhas = list(csv.reader(io.StringIO(baixado.content.decode("utf-8-sig")), delimiter=";"))
    assert linhas[0] == ["linha", "situacao", "coluna", "motivo"]
    assert sorted(linhas[1:], key=lambda um: int(um[0])) == [
        ["2", "novo", "", ""], ["3", "novo", "", ""], ["4", "novo", "", ""], ["5", "novo", "", ""],
        ["6", "igual", "", ""], ["7", "recusado", "email", "vazio"], ["8", "atualizado", "", ""],
        ["9", "recusado", "nome", "vazio"], ["10", "novo", "", ""],
    ]  # fmt: skip


def test_while_the_api_does_not_answer_nobody_says_done(
    s3: Any, balde: str, alunos: Alunos, tmp_path: Path
) -> None:
    api = PorBaixo(alunos)
    lida = Lida(s3, balde, api, tmp_path)
    api.fora = True

    dito = lida.agora()

    assert (dito["estado"], dito["esperando"], dito["decididas"]) == ("decidindo", None, None)
    assert invocar(lida.handler, "GET", f"/uploads/{lida.id}/resultado")[0] == 503


def test_the_result_of_a_file_that_nobody_read_is_not_there(handler: UrlAssinada) -> None:
    assert invocar(handler, "GET", f"/uploads/{uuid4()}/resultado")[0] == 404


@pytest.mark.parametrize(
    "caminho",
    [
        "/uploads/" + "-" * 36,
        "/uploads/" + "a" * 36,
        "/uploads/",
        "/uploads/lixo",
        "/uploads/lixo/resultado",
        "/uploads/../resultados",
        "/uploads/%00%ff",
        "/uploads/" + "é" * 36,
        "/uploads/" + "{" + "0" * 32 + "}",
        "/uploads/0f8fad5b-d9cb-469f-a165-70867728950e/outra",
        "/uploads/0f8fad5bd9cb469fa16570867728950e",
        "/uploads/" + "x" * 9000,
    ],
)
def test_an_id_that_is_none_is_not_there(handler: UrlAssinada, caminho: str) -> None:
    assert invocar(handler, "GET", caminho)[0] == 404


def test_the_last_files_are_listed_newest_first(handler: UrlAssinada) -> None:
    assert invocar(handler, "GET", "/uploads") == (200, {"uploads": []})
    ids = []
    for nome in ("turma a.csv", "turma b.csv", "ação.csv"):
        ids.append(pedir(handler, nome=nome)[1]["id"])
        time.sleep(0.002)  # two keys of one millisecond have no order

    status, dito = invocar(handler, "GET", "/uploads")

    assert status == 200
    assert [um["id"] for um in dito["uploads"]] == ids[::-1]
    assert [um["nome"] for um in dito["uploads"]] == ["ação.csv", "turma b.csv", "turma a.csv"]
    assert all(datetime.fromisoformat(um["em"]).tzinfo for um in dito["uploads"])


PEDIDOS = [
    ("POST", "/uploads"),
    ("GET", "/uploads"),
    ("GET", "/uploads/0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("GET", "/uploads/0f8fad5b-d9cb-469f-a165-70867728950e/resultado"),
    ("GET", "/lixo"),
]


@pytest.mark.parametrize(("metodo", "caminho"), PEDIDOS)
def test_nobody_is_served_without_a_pass(s3: Any, balde: str, metodo: str, caminho: str) -> None:
    passes = Passes("um segredo")
    handler = UrlAssinada(s3, Resultados(s3, balde), balde=balde, limite=LIMITE, passes=passes)
    corpo = {"nome": "a.csv", "tamanho": 1, "tipo": "text/csv"} if metodo == "POST" else None
    maus = ["", "Bearer", "Bearer x.y.z", f"Basic {passes.novo('s')}", passes.novo("s")]
    for mostra in (*maus, f"Bearer {Passes('outro').novo('s')}"):
        status, dito = invocar(handler, metodo, caminho, corpo, authorization=mostra)
        assert (status, dito["erros"][0]["motivo"]) == (401, "entre de novo")

    bom = f"Bearer {passes.novo('s')}"
    assert invocar(handler, metodo, caminho, corpo, authorization=bom)[0] != 401


def test_a_pass_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes("um segredo")
    mostra = f"Bearer {passes.novo('sonia')}"
    assert passes.de(mostra) == "sonia"
    # What counts is the time in the pass, which its signature covers.
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: time.monotonic() + 10**10)
    assert passes.de(mostra) is None


EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TURMA = """Escola Exemplo;;
Aluno;Contato;Nasc.
Ana Souza;ana@example.com;05/03/2015
Bia Lima;bia;25/03/2016
Caio Reis;caio@example.com;07/09/2017
"""


def em_espera(handler: UrlAssinada, corpo: bytes, **mudanca: Any) -> str:
    """A file that somebody wants to look at first; its path."""
    _, dito = pedir(handler, tamanho=len(corpo), conferir=True, **mudanca)
    assert por(dito, corpo) == 200
    return f"/uploads/{dito['id']}"


def test_the_first_rows_are_shown_and_nothing_is_converted_before_somebody_says_so(
    handler: UrlAssinada, s3: Any, balde: str
) -> None:
    corpo = b"Nome;E-mail;Turma\nAna;ana@example.com;5A\nBia;bia;5B\n"
    caminho = em_espera(handler, corpo)

    status, dito = invocar(handler, "GET", f"{caminho}/previa")

    assert status == 200
    assert dito["colunas"] == ["Nome", "E-mail", "Turma"]
    assert dito["linhas"] == [["Ana", "ana@example.com", "5A"], ["Bia", "bia", "5B"]]
    assert (dito["mapa"], dito["datas"], dito["lembrado"]) == (
        {"nome": "Nome", "email": "E-mail"}, "auto", False
    )  # fmt: skip
    assert [um["campo"] for um in dito["campos"] if um["obrigatorio"]] == ["nome", "email"]
    assert dito["erro"] == ""
    assert [(um["linha"], um["coluna"]) for um in dito["primeiras"]] == [(2, ""), (3, "E-mail")]
    assert "Contents" not in s3.list_objects_v2(Bucket=balde, Prefix="enviados/")


def test_a_mapping_that_was_said_once_is_remembered_for_the_next_file_of_that_shape(
    handler: UrlAssinada, s3: Any, balde: str
) -> None:
    corpo = TURMA.encode().split(b"\n", 1)[1]
    caminho = em_espera(handler, corpo)
    _, antes = invocar(handler, "GET", f"{caminho}/previa")
    assert "nome" in antes["erro"]
    mapa = {"nome": "Aluno", "email": "Contato", "data_nascimento": "Nasc."}
    tentado = invocar(handler, "POST", f"{caminho}/previa", {"mapa": mapa, "datas": "dmy"})
    assert tentado[0] == 200
    assert [um["coluna"] for um in tentado[1]["primeiras"]] == ["", "Contato", ""]

    assert (
        invocar(handler, "POST", f"{caminho}/confirmar", {"mapa": mapa, "datas": "dmy"})[0] == 202
    )

    upload = caminho.rpartition("/")[2]
    assert s3.get_object(Bucket=balde, Key=f"enviados/{upload}.csv")["Body"].read() == corpo
    proxima = em_espera(handler, corpo + b"Duda;duda@example.com;01/01/2018\n")
    _, depois = invocar(handler, "GET", f"{proxima}/previa")
    assert (depois["mapa"], depois["datas"], depois["lembrado"]) == (mapa, "dmy", True)
    assert depois["erro"] == ""


@pytest.mark.parametrize(
    ("dito", "campo"),
    [
        ({}, "mapa"),
        ({"mapa": []}, "mapa"),
        ({"mapa": {"senha": "Aluno"}}, "mapa"),
        ({"mapa": {"nome": ""}}, "mapa"),
        ({"mapa": {"nome": 3}}, "mapa"),
        ({"mapa": {"nome": "Aluno"}}, "mapa"),  # nobody is the e-mail
        ({"mapa": {"nome": "Aluno", "email": "Aluno"}}, "mapa"),
        ({"mapa": {"nome": "Aluno", "email": "Não há"}}, "mapa"),
        ({"mapa": {"nome": "Aluno", "email": "Contato"}, "datas": "ymd"}, "datas"),
    ],
)
def test_a_mapping_that_is_none_is_told_and_the_file_waits_on(
    handler: UrlAssinada, s3: Any, balde: str, dito: Any, campo: str
) -> None:
    caminho = em_espera(handler, TURMA.encode().split(b"\n", 1)[1])
    status, resposta = invocar(handler, "POST", f"{caminho}/confirmar", dito)
    assert (status, resposta["erros"][0]["campo"]) == (422, campo)
    assert "Contents" not in s3.list_objects_v2(Bucket=balde, Prefix="enviados/")
    assert invocar(handler, "GET", f"{caminho}/previa")[0] == 200


def planilha_excel() -> bytes:
    livro = openpyxl.Workbook()
    folha = livro.active
    assert folha is not None
    folha.append(["nome", "email"])
    folha.append(["Ana", "ana@example.com"])
    feito = io.BytesIO()
    livro.save(feito)
    return feito.getvalue()


def zipado() -> bytes:
    feito = io.BytesIO()
    with zipfile.ZipFile(feito, "w", zipfile.ZIP_DEFLATED) as arquivo:
        arquivo.writestr("respostas.csv", CSV.decode())
    return feito.getvalue()


@pytest.mark.parametrize(
    ("nome", "tipo", "corpo"),
    [("turma.XLSX", EXCEL, planilha_excel()), ("respostas.zip", "application/zip", zipado())],
    ids=["xlsx", "zip"],
)
def test_a_workbook_and_a_zip_are_shown_too(
    s3: Any, balde: str, nome: str, tipo: str, corpo: bytes
) -> None:
    handler = UrlAssinada(s3, Resultados(s3, balde), balde=balde, limite=10**6)
    _, dito = pedir(handler, nome=nome, tipo=tipo, tamanho=len(corpo), conferir=True)
    assert por(dito, corpo) == 200
    _, previa = invocar(handler, "GET", f"/uploads/{dito['id']}/previa")
    assert previa["linhas"] == [["Ana", "ana@example.com"]]


def test_a_file_that_is_none_is_told_before_it_goes_on(handler: UrlAssinada) -> None:
    caminho = em_espera(handler, b"<html><body>Sua sess\xc3\xa3o expirou</body></html>")
    status, dito = invocar(handler, "GET", f"{caminho}/previa")
    assert status == 422
    assert "HTML" in dito["erros"][0]["motivo"]


@pytest.mark.parametrize("o_que", ["previa", "confirmar"])
def test_of_a_file_that_does_not_wait_there_is_nothing(handler: UrlAssinada, o_que: str) -> None:
    corpo = {"mapa": {"nome": "a", "email": "b"}}
    assert invocar(handler, "POST", f"/uploads/{uuid4()}/{o_que}", corpo)[0] == 404


def test_of_a_long_file_only_the_beginning_is_read(s3: Any, balde: str) -> None:
    handler = UrlAssinada(s3, Resultados(s3, balde), balde=balde, limite=10**8)
    for codificacao in ("utf-8", "utf-16"):
        linhas = "".join(f"Aluno {n};a{n}@example.com\n" for n in range(60_000))
        caminho = em_espera(handler, ("nome;email\n" + linhas).encode(codificacao))
        _, dito = invocar(handler, "GET", f"{caminho}/previa")
        assert [um[0] for um in dito["linhas"]] == [f"Aluno {n}" for n in range(5)]
        assert dito["erro"] == ""
