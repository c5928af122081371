"""The call: an API that is down, busy, or does not want this student; and Lambda around it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from examples.cadastro.api.aplicacao import criar
from examples.cadastro.cadastro_batch.fila import FilaDeAlunos
from examples.cadastro.chamada_api import MAIOR_PAUSA, ChamadaAPI
from examples.cadastro.documentos import Alunos
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.lambda_local import uma_vez
from examples.cadastro.processos import porta_livre
from messaging.aws import connect
from messaging.dead_letters import reason as dead_letter_reason
from messaging.lambda_handler import lambda_handler
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.testing import Result, deliver
from messaging.topology import Topology
from messaging.transport import Attribute

ANA = MatriculaRecebida(
    nome="Ana Souza",
    email="ana@example.com",
    cpf="52998224725",
    valor_mensalidade=Decimal("890.00"),
)


def responde(status: int, corpo: Any = None, **cabecalhos: str) -> ChamadaAPI:
    """A caller of an API that always says this."""

    def dizer(pedido: httpx.Request) -> httpx.Response:
        conteudo = corpo if isinstance(corpo, bytes) else json.dumps(corpo).encode()
        return httpx.Response(status, headers=cabecalhos, content=conteudo)

    return ChamadaAPI("http://api", transporte=httpx.MockTransport(dizer))


def erros(*campos: str) -> dict[str, Any]:
    return {"erros": [{"campo": campo, "motivo": "x"} for campo in campos]}


def chamar(consumidor: ChamadaAPI, matricula: MatriculaRecebida = ANA, **dito: Any) -> Result:
    return deliver(consumidor, matricula, **dito)


def test_what_is_posted_is_what_the_file_said() -> None:
    pedidos: list[httpx.Request] = []

    def dizer(pedido: httpx.Request) -> httpx.Response:
        pedidos.append(pedido)
        return httpx.Response(201, json={})

    chamada = ChamadaAPI("http://api/", transporte=httpx.MockTransport(dizer))

    assert chamar(chamada).acknowledged
    [pedido] = pedidos
    assert (pedido.method, str(pedido.url)) == ("POST", "http://api/alunos")
    assert json.loads(pedido.content) == {
        "nome": "Ana Souza", "email": "ana@example.com", "cpf": "52998224725",
        "valor_mensalidade": "890.00", "origem": "csv",
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 201])
def test_enrolled_now_or_before_is_done(status: int) -> None:
    assert chamar(responde(status)).acknowledged


def test_a_student_who_may_be_another_is_not_taken_for_enrolled() -> None:
    linha = f"{uuid4()}/7"
    matricula = ANA.model_copy(update={"posicao_no_upload": linha})

    resultado = chamar(responde(409, erros("cpf")), matricula)

    assert resultado.rejected
    assert resultado.why == f"the API answered 409: cpf (row {linha})"


@pytest.mark.parametrize("status", [500, 502, 503, 301, 408])
def test_an_api_that_is_ill_is_called_again(status: int) -> None:
    resultado = chamar(responde(status))
    assert resultado.retried
    assert resultado.why == f"the API answered {status}"


def test_an_api_that_is_down_is_called_again_later_and_later() -> None:
    chamada = ChamadaAPI(f"http://127.0.0.1:{porta_livre()}")
    for recebida, mais in [(1, 2), (5, 32), (500, MAIOR_PAUSA)]:
        resultado = chamar(chamada, receive_count=recebida)
        assert resultado.retried
        assert resultado.why == "ConnectError"
        assert resultado.delay is not None
        assert mais / 2 <= resultado.delay <= mais


def test_a_fortnight_of_an_api_that_is_down_loses_nobody() -> None:
    """SQS keeps a message for 14 days, and moves it after `max_receives`: not before that."""
    assert ChamadaAPI.max_receives * MAIOR_PAUSA * 3 / 4 > 14 * 24 * 3600


@pytest.mark.parametrize(
    ("dito", "espera"),
    [("7", (7, 7)), ("999999", (43_200, 43_200)), ("logo", (1, 2)), ("", (1, 2))],
)
def test_retry_after_is_obeyed(dito: str, espera: tuple[float, float]) -> None:
    resultado = chamar(responde(429, None, **({"retry-after": dito} if dito else {})))
    assert resultado.retried
    assert resultado.delay is not None
    assert espera[0] <= resultado.delay <= espera[1]


@pytest.mark.parametrize(("segundos", "espera"), [(100, (90, 100)), (-100, (0, 0))])
def test_retry_after_may_be_a_date(segundos: int, espera: tuple[float, float]) -> None:
    quando = format_datetime(datetime.now(UTC) + timedelta(seconds=segundos), usegmt=True)
    resultado = chamar(responde(429, None, **{"retry-after": quando}))
    assert resultado.delay is not None
    assert espera[0] <= resultado.delay <= espera[1]


@pytest.mark.parametrize(
    ("status", "corpo", "motivo"),
    [
        (422, erros("cpf", "curso"), "the API answered 422: cpf, curso"),
        (400, erros(), "the API answered 400"),
        (413, b"not JSON", "the API answered 413"),
        (404, {"detail": "Not Found"}, "the API answered 404"),
        (422, erros("ana@example.com", "email"), "the API answered 422: email"),
        (422, ["x"], "the API answered 422"),
        (422, {"erros": [{"campo": ["x"]}]}, "the API answered 422"),
    ],
)
def test_a_refusal_is_a_dead_letter_that_names_status_and_fields(
    status: int, corpo: Any, motivo: str
) -> None:
    resultado = chamar(responde(status, corpo))
    assert resultado.rejected
    assert resultado.why == motivo


def test_against_the_api_itself(alunos: Alunos) -> None:
    chamada = ChamadaAPI("http://api", transporte=httpx.ASGITransport(criar(alunos)))
    filha = MatriculaRecebida(nome="Bia", email="ana@example.com", cpf=ANA.cpf)

    resultados = [chamar(chamada), chamar(chamada), chamar(chamada, filha)]

    assert [um.acknowledged for um in resultados] == [True, True, False]
    assert resultados[2].why == "the API answered 409: cpf"
    assert alunos.quantos() == 1


def test_against_an_api_that_is_busy(alunos: Alunos) -> None:
    chamada = ChamadaAPI(
        "http://api", transporte=httpx.ASGITransport(criar(alunos, por_segundo=0.1))
    )
    outra = ANA.model_copy(update={"email": "b@example.com", "cpf": None})

    assert chamar(chamada).acknowledged
    resultado = chamar(chamada, outra)

    assert resultado.retried
    assert resultado.delay is not None
    assert 8 <= resultado.delay <= 10


class Fila:
    """A queue of students on the local server, with its dead letters."""

    def __init__(self, aws: LocalServer, sessao: Any, sqs: Any) -> None:
        self.sqs = sqs
        self.topico = f"t{uuid4().hex[:8]}"
        self.nome = f"{self.topico}-chamada-api"
        mortas = sqs.create_queue(QueueName=f"{self.nome}-dlq")["QueueUrl"]
        self.mortas = mortas
        redrive = {"deadLetterTargetArn": self._arn(mortas), "maxReceiveCount": 1000}
        self.url = sqs.create_queue(
            QueueName=self.nome,
            Attributes={"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "60"},
        )["QueueUrl"]
        self.arn = self._arn(self.url)
        self.broker = connect(aws.settings(topic=self.topico), session=sessao)

    def por(self, *matriculas: MatriculaRecebida) -> None:
        with Publisher(FilaDeAlunos(self.sqs, self.nome), source="/cadastro/batch") as publisher:
            publisher.publish_many(matriculas)

    def rodar(self, consumidor: ChamadaAPI) -> int:
        handler = lambda_handler(consumidor, queue=self.broker.queue("chamada-api"))
        return uma_vez(handler, self.sqs, self.url, self.arn, espera=0)

    def contar(self) -> tuple[int, int, int]:
        fundo = self.broker.queue("chamada-api").depth()
        return fundo.visible, fundo.in_flight, fundo.dead_letters

    def _arn(self, url: str) -> str:
        dito = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(dito["Attributes"]["QueueArn"])


@pytest.fixture
def fila(aws: LocalServer, sessao: Any, sqs: Any) -> Iterator[Fila]:
    aberta = Fila(aws, sessao, sqs)
    yield aberta
    aberta.broker.close()


def por_nome(respostas: Callable[[str], httpx.Response]) -> ChamadaAPI:
    def dizer(pedido: httpx.Request) -> httpx.Response:
        return respostas(json.loads(pedido.content)["nome"])

    return ChamadaAPI("http://api", transporte=httpx.MockTransport(dizer))


def aluno(nome: str) -> MatriculaRecebida:
    return MatriculaRecebida(nome=nome, email="a@example.com")


def test_in_lambda_each_student_of_a_batch_has_an_end_of_its_own(fila: Fila) -> None:
    def dizer(nome: str) -> httpx.Response:
        if nome == "ocupada":
            return httpx.Response(429, headers={"retry-after": "0"})
        return httpx.Response({"errada": 422, "repetida": 409}.get(nome, 201), json=erros("cpf"))

    fila.por(*[aluno(nome) for nome in ("boa", "repetida", "ocupada", "errada", "boa")])

    assert fila.rodar(por_nome(dizer)) == 5

    assert fila.contar() == (1, 0, 2)  # the busy one is back at once, as the API said
    morta, *_ = fila.sqs.receive_message(QueueUrl=fila.mortas, MessageAttributeNames=["All"])[
        "Messages"
    ]
    atributos = {
        nome: Attribute(um["DataType"], um["StringValue"])
        for nome, um in morta["MessageAttributes"].items()
    }
    _, nota = dead_letter_reason.read(atributos)
    assert nota is not None
    assert nota.reason in {f"the API answered {status}: cpf" for status in (409, 422)}
    assert nota.attempts == 1


def test_in_lambda_an_api_that_is_down_leaves_every_student_in_the_queue(fila: Fila) -> None:
    fila.por(*[aluno(f"a{n}") for n in range(7)])

    assert fila.rodar(ChamadaAPI(f"http://127.0.0.1:{porta_livre()}")) == 7

    visiveis, escondidas, mortas = fila.contar()
    assert (visiveis + escondidas, mortas) == (7, 0)
    assert fila.rodar(por_nome(lambda _nome: httpx.Response(201))) <= 7


def test_the_same_class_in_a_worker(fila: Fila) -> None:
    vistos: list[str] = []

    def dizer(nome: str) -> httpx.Response:
        vistos.append(nome)
        return httpx.Response(201)

    fila.por(*[aluno(f"a{n}") for n in range(12)])
    with Worker(por_nome(dizer), broker=fila.broker, wait=1) as worker:
        while worker.stats.acknowledged < 12:
            asyncio.run(asyncio.sleep(0.02))

    assert sorted(vistos) == sorted(f"a{n}" for n in range(12))
    assert Topology.of(ChamadaAPI, topic=fila.topico).services == ("chamada-api",)


def test_the_log_holds_no_student(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cadastro")
    caplog.set_level(logging.DEBUG, "messaging")
    for status in (201, 409, 422, 429, 503):
        chamar(responde(status, erros("cpf")))
    assert "the API answered 409" in caplog.text
    for segredo in ("Ana", "ana@example.com", "52998224725"):
        assert segredo not in caplog.text
