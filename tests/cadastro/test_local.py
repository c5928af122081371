"""All parts together: what is lost when one of them dies, which is nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from consumers import TOPOLOGY
from examples.cadastro.local import Sistema
from tests.cadastro.conftest import terminar
from tests.cadastro.entrada import passe, sessao

RAIZ = Path(__file__).parents[2]


def esperar(pronto: Callable[[], Any], o_que: str, segundos: float = 60) -> Any:
    fim = time.monotonic() + segundos
    while not (achado := pronto()):
        assert time.monotonic() < fim, f"never came: {o_que}"
        time.sleep(0.1)
    return achado


class Pagina:
    """What the page asks, and what it sees."""

    def __init__(self, sistema: Sistema) -> None:
        self._sistema = sistema
        self._passe = passe(sistema.ajustes)
        self._http = httpx.Client(
            trust_env=False, timeout=20, headers=sessao(sistema.ajustes, "plantao")
        )

    def cadastrar(self, nome: str, **mais: Any) -> httpx.Response:
        corpo = {"nome": nome, "email": f"{nome}@example.com", "aceita_marketing": True, **mais}
        return self._http.post(f"{self._sistema.ajustes.api_url}/alunos", json=corpo)

    def servicos(self) -> dict[str, Any]:
        ditos = self._http.get(f"{self._sistema.url}/servicos").json()["servicos"]
        return {um["servico"]: um for um in ditos}

    def recebidos(self) -> dict[str, int]:
        return {nome: um["recebidos"] for nome, um in self.servicos().items()}

    def mandar(self, caminho: str) -> None:
        resposta = self._http.post(f"{self._sistema.url}{caminho}")
        assert resposta.status_code == 202

    def saude(self) -> Any:
        try:
            return self._http.get(f"{self._sistema.ajustes.api_url}/saude").json()
        except httpx.HTTPError:
            return None

    def enviar(self, corpo: bytes) -> str:
        uploads = f"{self._sistema.ajustes.url_assinada_url}/uploads"
        pedido = {"nome": "alunos.csv", "tamanho": len(corpo), "tipo": "text/csv"}
        dito = self._http.post(uploads, json=pedido, headers=self._passe).json()
        posto = self._http.put(dito["url"], content=corpo, headers=dito["cabecalhos"])
        assert posto.status_code == 200
        return f"{uploads}/{dito['id']}"

    def upload(self, endereco: str) -> Any:
        dito = self._http.get(endereco, headers=self._passe).json()
        return dito if dito["estado"] in ("pronto", "recusado") else None

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def sistema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sistema]:
    with Sistema(tmp_path_factory.mktemp("cadastro")) as feito, feito.cuidado():
        yield feito


@pytest.fixture
def pagina(sistema: Sistema) -> Iterator[Pagina]:
    feita = Pagina(sistema)
    yield feita
    feita.close()


def todos(pagina: Pagina, quantos: int) -> bool:
    return set(pagina.recebidos().values()) == {quantos}


def test_a_student_enters_once_and_arrives_four_times(pagina: Pagina) -> None:
    antes = max(pagina.recebidos().values())
    assert pagina.cadastrar("ana", cpf="529.982.247-25", senha="correto cavalo").status_code == 201

    esperar(lambda: todos(pagina, antes + 1), "the student at each service")


def test_an_api_killed_between_insert_and_publish_loses_nobody_and_tells_nobody_twice(
    pagina: Pagina, sistema: Sistema
) -> None:
    antes = max(pagina.recebidos().values())
    morta = sistema.partes["api"].pid
    assert morta is not None
    processo = psutil.Process(morta)

    pagina.mandar("/api/matar")
    with pytest.raises(httpx.HTTPError):
        pagina.cadastrar("bia")  # inserted; the process kills itself before it can say so
    processo.wait(20)

    esperar(lambda: (pagina.saude() or {}).get("estado") == "ok", "the API again")
    assert sistema.partes["api"].pid != morta
    esperar(lambda: todos(pagina, antes + 1), "the student at each service")
    # The caller had no answer and asks again: it is told that the student is enrolled.
    assert pagina.cadastrar("bia").status_code == 201
    assert pagina.saude()["pendentes"] == 0
    assert todos(pagina, antes + 1)
    assert {um["repetidos"] for um in pagina.servicos().values()} == {0}


def test_a_service_that_was_down_catches_up_with_a_whole_file(
    pagina: Pagina, sistema: Sistema
) -> None:
    antes = max(pagina.recebidos().values())
    pagina.mandar("/servicos/financeiro/parar")
    esperar(lambda: pagina.servicos()["financeiro"]["estado"] == "parado", "financeiro down")
    linhas = [f"Aluno {n},aluno{n}@example.com,sim" for n in range(60)]
    linhas[7] = "Sem arroba,aluno7,sim"
    linhas[9] = linhas[8]  # twice in the file: enrolled once

    endereco = pagina.enviar("\n".join(["nome,email,aceita_marketing", *linhas]).encode())
    dito = esperar(lambda: pagina.upload(endereco), "the file converted")
    assert (dito["aceitas"], dito["rejeitadas"]) == (59, 1)
    assert dito["amostra"][0]["linha"] == 9
    outros = [um for um in TOPOLOGY.services if um != "financeiro"]
    esperar(
        lambda: {pagina.recebidos()[um] for um in outros} == {antes + 58}, "students at the others"
    )
    parado = pagina.servicos()["financeiro"]
    assert parado["recebidos"] == antes
    esperar(lambda: pagina.servicos()["financeiro"]["na_fila"] == 58, "its queue measured")

    pagina.mandar("/servicos/financeiro/iniciar")
    esperar(lambda: todos(pagina, antes + 58), "financeiro caught up")
    assert {um["repetidos"] for um in pagina.servicos().values()} == {0}


IRMAOS = """nome;email;data_nascimento;valor_mensalidade;aceita_marketing
Ana Irmã;mae.irma@example.com;05/03/1995;890,00;sim
Bia Irmã;mae.irma@example.com;07/09/1997;890,00;sim
"Caio
Irmã";mae.irma@example.com;07/09/1997;;sim
Duda\tIrmã;mae.irma@example.com;;-10,00;sim
"""


def test_a_file_sent_twice_says_no_new_student_and_a_corrected_one_says_what_changed(
    pagina: Pagina,
) -> None:
    def enviar(texto: str) -> Any:
        endereco = pagina.enviar(texto.encode())
        return esperar(lambda: pagina.upload(endereco), "every row decided")

    antes = max(pagina.recebidos().values())
    primeira, segunda = enviar(IRMAOS), enviar(IRMAOS)
    corrigida = enviar(IRMAOS.replace("-10,00", "10,00").replace("890,00", "900,00", 1))

    nada = {"novos": 0, "atualizados": 0, "iguais": 0, "recusados": 0}
    assert primeira["decididas"] == nada | {"novos": 3}
    assert [(um["linha"], um["coluna"]) for um in primeira["amostra"]] == [(6, "valor_mensalidade")]
    assert segunda["decididas"] == nada | {"iguais": 3}
    assert corrigida["decididas"] == nada | {"novos": 1, "atualizados": 1, "iguais": 2}
    esperar(lambda: todos(pagina, antes + 5), "four students and one correction at each service")


def test_any_part_may_die_and_the_student_still_arrives(pagina: Pagina, sistema: Sistema) -> None:
    antes = max(pagina.recebidos().values())
    endereco = pagina.enviar(
        "\n".join(
            ["nome,email,aceita_marketing", *[f"M{n},m{n}@example.com,sim" for n in range(40)]]
        ).encode()
    )
    for nome in ("cadastro_batch", "chamada_api", "documentos", "marketing", "url_assinada"):
        parte = sistema.documentos if nome == "documentos" else sistema.partes[nome]
        assert parte.pid is not None
        os.kill(parte.pid, signal.SIGKILL)

    def lido() -> Any:
        try:
            return pagina.upload(endereco)
        except httpx.HTTPError:
            return None  # the service of presigned URLs is on its way back

    # A message that a killed process had taken comes again when its visibility timeout ends.
    assert esperar(lido, "the file converted", 100)["aceitas"] == 40
    esperar(lambda: todos(pagina, antes + 40), "every student", 100)


def test_the_logs_hold_no_student(pagina: Pagina, sistema: Sistema) -> None:
    pagina.cadastrar("segredissimo", senha="outra senha secreta")
    pagina.cadastrar("segredissimo", senha="outra senha secreta")
    pagina.cadastrar("segredissimo", cpf="111")
    antes = esperar(lambda: pagina.saude()["pendentes"] == 0, "published")
    assert antes
    escrito = "".join(um.read_text() for um in (sistema.pasta / "log").iterdir())
    assert "inserted, owes event" in escrito
    for segredo in ("segredissimo", "outra senha secreta", "@example.com", "52998224725"):
        assert segredo not in escrito


def test_a_stand_in_for_aws_that_dies_comes_again_and_says_what_that_means(
    pagina: Pagina, sistema: Sistema, capfd: pytest.CaptureFixture[str]
) -> None:
    morta = sistema.servidor.pid
    assert morta is not None
    antes = max(pagina.recebidos().values())
    os.kill(morta, signal.SIGKILL)

    esperar(lambda: sistema.servidor.pid not in (None, morta), "the stand-in again")
    # Not before: a topic that has no subscriptions yet loses what is published.
    esperar(lambda: sistema.nuvem.montada, "its queues and subscriptions")
    esperar(lambda: pagina.cadastrar("depois").status_code in (200, 201), "an enrolment")
    esperar(lambda: max(pagina.recebidos().values()) > antes, "the student at a service")

    assert "messages and files that stood in it are lost" in capfd.readouterr().err


def test_what_is_lost_at_the_stop_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Sistema(tmp_path) as sistema, sistema.cuidado():
        pagina = Pagina(sistema)
        pagina.mandar("/servicos/bi/parar")
        esperar(lambda: pagina.servicos()["bi"]["estado"] == "parado", "bi down")
        pagina.cadastrar("ultima")
        esperar(lambda: pagina.servicos()["bi"]["na_fila"] == 1, "its queue measured")
        pagina.close()

    assert "messages that nobody had taken: bi 1\n" in capfd.readouterr().err


def test_what_stood_in_queues_is_there_after_a_restart_with_the_same_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Sistema(tmp_path, guarda=True) as sistema, sistema.cuidado():
        pagina = Pagina(sistema)
        for nome in ("bi", "marketing"):
            pagina.mandar(f"/servicos/{nome}/parar")
            esperar(lambda nome=nome: pagina.servicos()[nome]["estado"] == "parado", "down")
        pagina.cadastrar("uma")
        endereco = pagina.enviar(
            b"nome,email,aceita_marketing\nDuas,duas@example.com,sim\nTorta,torta,sim\n"
        )
        esperar(lambda: pagina.upload(endereco), "the file decided")
        esperar(lambda: pagina.servicos()["bi"]["na_fila"] == 2, "its queue measured")
        upload = endereco.rpartition("/")[2]
        pagina.close()
    dito = capfd.readouterr().err
    assert "lost" not in dito
    assert "messages that nobody had taken: marketing 2, bi 2\n" in dito

    with Sistema(tmp_path, guarda=True) as sistema, sistema.cuidado():
        pagina = Pagina(sistema)
        assert pagina.servicos()["bi"]["estado"] == "parado"
        for nome in ("bi", "marketing"):
            pagina.mandar(f"/servicos/{nome}/iniciar")
        esperar(lambda: todos(pagina, 2), "both students at each service")
        assert {um["repetidos"] for um in pagina.servicos().values()} == {0}
        # The file's result survives, too, and what is new still finds its way.
        depois = pagina.upload(f"{sistema.ajustes.url_assinada_url}/uploads/{upload}")
        assert (depois["decididas"]["novos"], depois["rejeitadas"]) == (1, 1)
        assert pagina.cadastrar("outra").status_code == 201
        esperar(lambda: todos(pagina, 3), "a third at each service")
        pagina.close()


@pytest.mark.parametrize("como", [signal.SIGINT, signal.SIGKILL], ids=lambda um: um.name)
def test_it_ends_with_all_its_processes_however_it_ends(
    como: signal.Signals, tmp_path: Path
) -> None:
    with (tmp_path / "erros").open("wb") as erros:
        processo = subprocess.Popen(
            [sys.executable, "-m", "examples.cadastro.local", "--porta", "0", "--json",
             "--pasta", str(tmp_path / "pasta")],
            cwd=RAIZ,
            stdout=subprocess.PIPE,
            stderr=erros,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert processo.stdout is not None
        dito = json.loads(processo.stdout.readline())
        filhos = psutil.Process(processo.pid).children(recursive=True)
        assert {um.pid for um in filhos} >= {pid for pid in dito["pids"].values() if pid}
        assert len(filhos) >= 12

        processo.send_signal(como)
        _, vivos = psutil.wait_procs(filhos, timeout=40)
        assert vivos == []
        codigo = processo.wait(20)
    finally:
        terminar(processo)

    assert codigo == (0 if como is signal.SIGINT else -signal.SIGKILL)
    if como is signal.SIGINT:
        assert (tmp_path / "erros").read_text() == "cadastro: stopping\n"
        for log in (tmp_path / "pasta" / "log").iterdir():
            assert "Traceback" not in log.read_text(), log.name
