"""A CSV in S3 becomes one message for each student: at least once, and under the same ids."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

import pytest
from botocore.exceptions import ClientError

from examples.cadastro.cadastro_batch import CadastroBatch, Pausa, objeto, objetos, upload_de
from examples.cadastro.cadastro_batch.fila import FilaDeAlunos
from examples.cadastro.cadastro_batch.objeto import abrir
from examples.cadastro.cadastro_batch.palavras import na_tela
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.lambda_local import uma_vez
from examples.cadastro.resultados import Resultado, Resultados
from messaging.aws import connect
from messaging.codec import JsonCodec
from messaging.csvfile.file_texts import FILE_TEXTS
from messaging.csvfile.row_texts import ROW_TEXTS
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError, TransportError
from messaging.publishing.publisher import Publisher
from messaging.transport import DeadLetter, Delivery, Failure, Outgoing

CHAVE = "enviados/2f1e7a38-8b3a-4a53-9f57-7f2f6ad5b0f1.csv"
UPLOAD = "2f1e7a38-8b3a-4a53-9f57-7f2f6ad5b0f1"


class Fila:
    """Keeps what it is sent; the first `ate` messages only, then nobody answers."""

    max_bytes = 262_144

    def __init__(self, ate: int | None = None) -> None:
        self.ate = ate
        self._trava = threading.Lock()
        self.recebidas: list[Envelope] = []
        self.guardar = True

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        with self._trava:
            if self.ate is not None and len(self.recebidas) + len(batch) > self.ate:
                raise TransportError("nobody answers", retryable=False)
            if self.guardar:
                self.recebidas += [JsonCodec().decode(uma.body) for uma in batch]
        return ()

    def close(self) -> None: ...

    @property
    def ids(self) -> list[str]:
        return [uma.id for uma in self.recebidas]


class FilaDeEventos:
    """The queue that brings S3's events: what is hidden and what is given up."""

    def __init__(self) -> None:
        self.mostradas: list[tuple[str, int]] = []
        self.mortas: list[DeadLetter] = []
        self.fora = False

    def dead_letter(self, letters: Sequence[DeadLetter]) -> list[Failure]:
        if self.fora:
            raise TransportError("nobody answers")
        self.mortas += letters
        return []

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> list[Failure]:
        self.mostradas += [
            (um.receipt, quanto) for um, quanto in zip(deliveries, seconds, strict=True)
        ]
        return []


def tabela(linhas: int, mas: Sequence[int] = ()) -> bytes:
    corpo = [
        f"=Aluno {n};não é e-mail" if n in mas else f"Aluno {n};aluno{n}@example.com"
        for n in range(linhas)
    ]
    return "\n".join(["nome;email", *corpo]).encode()


class Oficina:
    """One bucket for files and results, one queue, and a handler over both."""

    def __init__(self, s3: Any, balde: str) -> None:
        self.s3, self.balde = s3, balde
        self.resultados = Resultados(s3, balde)

    def por(self, corpo: bytes, chave: str = CHAVE) -> None:
        self.s3.put_object(Bucket=self.balde, Key=chave, Body=corpo)

    def batch(self, para: Fila, **dito: Any) -> CadastroBatch:
        publisher = Publisher(para, source="/cadastro/batch", max_attempts=1, in_flight=2)
        padrao: dict[str, Any] = {"limite": 50_000_000, "pedaco": 100}
        return CadastroBatch(self.s3, publisher, self.resultados, **(padrao | dito))

    def rejeitados(self) -> str:
        achado = self.s3.get_object(Bucket=self.balde, Key=f"rejeitados/{UPLOAD}.csv")
        return str(achado["Body"].read().decode("utf-8-sig"))

    def evento_s3(self, chave: str = CHAVE) -> dict[str, Any]:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""
        return {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "awsRegion": "sa-east-1",
                    "eventTime": "1970-01-01T00:00:00.000Z",
                    "eventName": "ObjectCreated:Put",
                    "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
                    "requestParameters": {"sourceIPAddress": "127.0.0.1"},
                    "responseElements": {
                        "x-amz-request-id": "C3D13FE58DE4C810",
                        "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWer",
                    },
                    "s3": {
                        "s3SchemaVersion": "1.0",
                        "configurationId": "testConfigRule",
                        "bucket": {
                            "name": self.balde,
                            "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                            "arn": f"arn:aws:s3:::{self.balde}",
                        },
                        "object": {
                            "key": quote_plus(chave, safe="/"),
                            "size": 1024,
                            "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                            "sequencer": "0055AED6DCD90281E5",
                        },
                    },
                }
            ]
        }

    def evento_sqs(self, corpo: Any, mensagem: str = "m-1") -> dict[str, Any]:
        return {
            "Records": [
                {
                    "messageId": mensagem,
                    "receiptHandle": f"recibo-{mensagem}",
                    "body": json.dumps(corpo),
                    "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1"},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:sa-east-1:123456789012:alunos-cadastro-batch",
                    "awsRegion": "sa-east-1",
                }
            ]
        }


@pytest.fixture
def oficina(s3: Any, balde: str) -> Oficina:
    return Oficina(s3, balde)


class Contexto:
    def __init__(self, *segundos: float) -> None:
        self._ditos = iter(segundos)

    def get_remaining_time_in_millis(self) -> int:
        return int(next(self._ditos) * 1000)


def test_todays_file_becomes_one_message_for_each_student(oficina: Oficina) -> None:
    oficina.por(b"nome,email\nGandalf Cinzento,gandalf@condado.ar\nKathryn,janeway@voyager.sf\n")
    fila = Fila()

    resposta = oficina.batch(fila)(oficina.evento_sqs(oficina.evento_s3()), None)

    assert resposta == {"batchItemFailures": []}
    assert [uma.type for uma in fila.recebidas] == ["matricula.recebida"] * 2
    assert fila.recebidas[0].data["nome"] == "Gandalf Cinzento"
    assert MatriculaRecebida.model_validate(fila.recebidas[1].data).email == "janeway@voyager.sf"
    assert oficina.resultados.ler(UPLOAD).estado == "pronto"


def test_an_event_from_s3_directly_does_as_well(oficina: Oficina) -> None:
    oficina.por(tabela(3))
    fila = Fila()
    oficina.batch(fila)(oficina.evento_s3(), None)
    assert len(fila.recebidas) == 3


def test_s3s_test_event_is_nothing_to_do(oficina: Oficina) -> None:
    teste = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2014-10-13T15:57:02.089Z",
        "Bucket": oficina.balde,
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
    }
    assert list(objetos(teste)) == []
    assert oficina.batch(Fila())(oficina.evento_sqs(teste), None) == {"batchItemFailures": []}


def por_sns(documento: Any) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": "arn:aws:sns:sa-east-1:111122223333:t",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(documento),
        "Timestamp": "2026-11-28T12:00:00.000Z",
    }


def por_eventbridge(balde: str, chave: str, tipo: str = "Object Created") -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": tipo,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-11-28T12:00:00Z",
        "region": "sa-east-1",
        "resources": [f"arn:aws:s3:::{balde}"],
        "detail": {"version": "0", "bucket": {"name": balde}, "object": {"key": chave, "size": 5}},
    }


@pytest.mark.parametrize("direto", [False, True], ids=["by SQS", "directly"])
@pytest.mark.parametrize("como", ["sns", "sns twice", "eventbridge", "eventbridge by sns"])
def test_a_file_is_read_whichever_way_its_event_came(
    oficina: Oficina, como: str, direto: bool
) -> None:
    chave = "2026/turma da manhã+tarde%.csv"
    oficina.por(tabela(3), chave)
    corpo = {
        "sns": por_sns(oficina.evento_s3(chave)),
        "sns twice": por_sns(por_sns(oficina.evento_s3(chave))),
        "eventbridge": por_eventbridge(oficina.balde, chave),
        "eventbridge by sns": por_sns(por_eventbridge(oficina.balde, chave)),
    }[como]
    if direto and "sns" in como:
        corpo = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": corpo["Message"]}}]}
    fila = Fila()

    resposta = oficina.batch(fila)(corpo if direto else oficina.evento_sqs(corpo), None)

    assert resposta == {"batchItemFailures": []}
    assert len(fila.recebidas) == 3


ESTRANHOS: list[tuple[Any, str]] = [
    ({}, "another kind"),
    (42, "CloudEvents"),
    (None, "CloudEvents"),
    ([1], "array"),
    ({"Records": []}, "another kind"),
    ({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}, "S3 event"),
    ({"Records": [{"eventSource": "aws:dynamodb"}]}, "aws:dynamodb"),
    ({"Records": ["x"]}, "another kind"),
    ({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}, "EventBridge"),
    ({"source": "escola", "detail-type": "x", "detail": {}}, "EventBridge event"),
    ({"AlarmName": "Segredo", "NewStateValue": "ALARM"}, "CloudWatch alarm"),
    (por_sns("Segredo"), "CloudEvents"),
    (por_sns({"notificationType": "Bounce", "mail": {}}), "SES"),
    (por_sns({"specversion": "1.0", "id": "1"}), "another kind"),
    ({"Type": "SubscriptionConfirmation", "TopicArn": "a", "Message": "Segredo"}, "Subscription"),
]


@pytest.mark.parametrize(("corpo", "o_que_e"), ESTRANHOS)
def test_what_is_no_event_of_s3_is_a_dead_letter_that_says_what_it_is(
    oficina: Oficina, caplog: pytest.LogCaptureFixture, corpo: Any, o_que_e: str
) -> None:
    eventos = FilaDeEventos()
    evento = oficina.evento_sqs(corpo)

    resposta = oficina.batch(Fila(), fila=eventos)(evento, None)

    assert resposta == {"batchItemFailures": []}  # its copy stands, so it may be deleted
    [carta] = eventos.mortas
    assert carta.delivery.body == evento["Records"][0]["body"]
    assert o_que_e in carta.reason
    assert f"message m-1 is dead-lettered: {carta.reason}" in caplog.text
    assert "Segredo" not in caplog.text
    # With no queue in hand, or one that does not answer, SQS moves it after `maxReceiveCount`.
    falha = {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert oficina.batch(Fila())(evento, None) == falha
    eventos.fora = True
    assert oficina.batch(Fila(), fila=eventos)(evento, None) == falha


@pytest.mark.parametrize("corpo", ["", "oi", "<a>1</a>", "[" * 100_000])
def test_a_body_that_is_not_json_is_a_dead_letter(oficina: Oficina, corpo: str) -> None:
    eventos = FilaDeEventos()
    evento = oficina.evento_sqs({})
    evento["Records"][0]["body"] = corpo

    assert oficina.batch(Fila(), fila=eventos)(evento, None) == {"batchItemFailures": []}
    assert "not JSON" in eventos.mortas[0].reason


def test_a_dead_letter_of_the_real_queue_has_its_reason(
    oficina: Oficina, sqs: Any, aws: Any, sessao: Any
) -> None:
    topico = oficina.balde
    mortas = sqs.create_queue(QueueName=f"{topico}-cadastro-batch-dlq")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=mortas, AttributeNames=["QueueArn"])["Attributes"]
    redrive = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 20}
    url = sqs.create_queue(
        QueueName=f"{topico}-cadastro-batch", Attributes={"RedrivePolicy": json.dumps(redrive)}
    )["QueueUrl"]
    with closing(connect(aws.settings(topic=topico), session=sessao)) as broker:
        batch = oficina.batch(Fila(), fila=broker.queue("cadastro-batch"))
        sqs.send_message(QueueUrl=url, MessageBody='{"AlarmName": "x", "NewStateValue": "ALARM"}')

        assert uma_vez(batch, sqs, url, "arn:aws:sqs:sa-east-1:1:x", espera=0) == 1

        fundo = broker.queue("cadastro-batch").depth()
    assert (fundo.visible + fundo.in_flight, fundo.dead_letters) == (0, 1)
    [morta] = sqs.receive_message(QueueUrl=mortas, MessageAttributeNames=["All"])["Messages"]
    assert "CloudWatch alarm" in morta["MessageAttributes"]["dead-letter-reason"]["StringValue"]


def test_an_object_that_was_removed_is_passed_over_with_a_line_in_the_log(
    oficina: Oficina, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cadastro")
    assert objetos(por_eventbridge("b", "k", "Object Deleted")) == []
    assert "no new object" in caplog.text


def test_a_key_is_read_as_s3_writes_it(oficina: Oficina) -> None:
    chave = "2026/turma da manhã+tarde%.csv"
    oficina.por(tabela(2), chave)
    evento = oficina.evento_s3(chave)
    assert evento["Records"][0]["s3"]["object"]["key"] == (
        "2026/turma+da+manh%C3%A3%2Btarde%25.csv"
    )
    fila = Fila()

    oficina.batch(fila)(evento, None)

    assert list(objetos(evento)) == [(oficina.balde, chave)]
    assert len(fila.recebidas) == 2
    assert oficina.resultados.ler(upload_de(chave)).aceitas == 2
    assert UUID(upload_de(chave)) != UUID(upload_de("outra.csv"))


def test_what_was_deleted_is_no_object(oficina: Oficina) -> None:
    evento = oficina.evento_s3()
    evento["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    assert list(objetos(evento)) == []
    assert oficina.batch(Fila())(oficina.evento_sqs(oficina.evento_s3()), None) == {
        "batchItemFailures": []
    }


def test_an_event_of_another_service_is_refused(oficina: Oficina) -> None:
    with pytest.raises(ConfigurationError, match="events of S3"):
        oficina.batch(Fila())({"Records": [{"eventSource": "aws:kinesis"}]}, None)


def test_bad_rows_stand_aside_with_line_and_reason_and_cannot_be_run(oficina: Oficina) -> None:
    oficina.por(tabela(250, mas=[0, 120, 249]))
    fila = Fila()

    resultado = oficina.batch(fila).converter(oficina.balde, CHAVE)

    assert len(fila.recebidas) == 247
    assert (resultado.linhas, resultado.aceitas, resultado.rejeitadas) == (250, 247, 3)
    assert resultado.amostra == [
        {
            "linha": linha,
            "coluna": "nome",
            "motivo": "é uma fórmula de planilha: escreva o próprio texto",
        }
        for linha in (2, 122, 251)
    ]
    lado = oficina.rejeitados().splitlines()
    assert lado[0] == "linha;coluna;motivo;nome;email"
    assert lado[1] == (
        "2;nome;é uma fórmula de planilha: escreva o próprio texto;'=Aluno 0;não é e-mail"
    )
    assert len(lado) == 4


def test_the_sample_is_short_and_the_side_file_whole(oficina: Oficina) -> None:
    oficina.por(tabela(250, mas=range(250)))
    resultado = oficina.batch(Fila()).converter(oficina.balde, CHAVE)

    assert len(resultado.amostra) == 100
    assert len(oficina.rejeitados().splitlines()) == 251


DUVIDOSA = """Turma 5A;;;;
nome;email;data_nascimento;turno;cpf
Ana;ana@example.com;05/03/1995;manhã;
Ana;ana@example.com;05/03/1995;manhã;
Bia;bia@example.com
"""


def test_what_the_reading_guessed_is_told_in_words_of_a_secretary(oficina: Oficina) -> None:
    oficina.por(DUVIDOSA.encode())
    resultado = oficina.batch(Fila(), pedaco=2).converter(oficina.balde, CHAVE)

    assert resultado.aceitas == 3
    assert resultado.avisos == [
        "colunas que ninguém lê aqui: turno",
        "o cabeçalho está na linha 2: o que há acima dele foi ignorado",
        (
            "data_nascimento: datas lidas como dd/mm/aaaa, e nenhuma linha o prova: "
            "confira o dia e o mês de uma delas"
        ),
        "linhas que o arquivo já tem, com os mesmos dados (linha 4)",
        "linhas com menos células que o cabeçalho: o que falta foi lido como vazio (linha 5)",
    ]
    pagina = oficina.resultados.para_a_pagina(UPLOAD)
    assert pagina["avisos"] == resultado.avisos


def test_no_text_for_the_page_names_an_option_of_a_command() -> None:
    todos = [portugues for _, portugues in (*ROW_TEXTS.values(), *FILE_TEXTS.values())]

    assert any("--" in um for um in todos)
    assert [um for um in map(na_tela, todos) if "--" in um or " = " in um] == []


def test_a_file_converted_twice_sends_the_same_ids(oficina: Oficina) -> None:
    oficina.por(tabela(230, mas=[7]))
    primeira, segunda = Fila(), Fila()
    oficina.batch(primeira).converter(oficina.balde, CHAVE)
    oficina.resultados.gravar(UPLOAD, Resultado())  # as if nobody had noted anything

    oficina.batch(segunda, pedaco=37).converter(oficina.balde, CHAVE)

    assert len(set(primeira.ids)) == 229
    assert sorted(primeira.ids) == sorted(segunda.ids)


def test_a_message_that_comes_twice_sends_nothing_again(oficina: Oficina) -> None:
    oficina.por(tabela(10))
    fila = Fila()
    for _ in range(2):
        oficina.batch(fila)(oficina.evento_sqs(oficina.evento_s3()), None)
    assert len(fila.recebidas) == 10


def test_another_file_under_the_same_key_begins_anew(oficina: Oficina) -> None:
    fila = Fila()
    for linhas in (10, 12):
        oficina.por(tabela(linhas))
        resultado = oficina.batch(fila).converter(oficina.balde, CHAVE)
    assert (resultado.aceitas, len(fila.recebidas), len(set(fila.ids))) == (12, 22, 12)


def test_a_queue_that_goes_away_is_gone_on_with_from_the_last_note(oficina: Oficina) -> None:
    oficina.por(tabela(550, mas=[3, 333]))
    fila = Fila(ate=350)
    batch = oficina.batch(fila)
    evento = oficina.evento_sqs(oficina.evento_s3())

    assert batch(evento, None) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    ate_aqui = oficina.resultados.ler(UPLOAD)
    assert (ate_aqui.estado, ate_aqui.feitas) == ("lendo", 300)

    fila.ate = None
    assert batch(evento, None) == {"batchItemFailures": []}

    assert len(set(fila.ids)) == 548
    assert len(fila.ids) - 548 <= 100  # what is sent again is less than a piece
    fim = oficina.resultados.ler(UPLOAD)
    assert (fim.estado, fim.aceitas, fim.rejeitadas) == ("pronto", 548, 2)
    assert len(oficina.rejeitados().splitlines()) == 3  # those before the interruption, too


def test_before_the_timeout_it_pauses_and_is_there_again_at_once(oficina: Oficina) -> None:
    oficina.por(tabela(450))
    fila, eventos = Fila(), FilaDeEventos()
    batch = oficina.batch(fila, fila=eventos)
    evento = oficina.evento_sqs(oficina.evento_s3())

    respostas = [batch(evento, Contexto(100, 10)), batch(evento, Contexto(100, 100, 100))]

    assert respostas[0] == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert respostas[1] == {"batchItemFailures": []}
    assert eventos.mostradas == [("recibo-m-1", 0)]
    assert len(fila.ids) == len(set(fila.ids)) == 450  # nothing twice: it stopped at a note


def test_a_pause_of_a_direct_event_is_lambdas_to_repeat(oficina: Oficina) -> None:
    oficina.por(tabela(150))
    with pytest.raises(Pausa):
        oficina.batch(Fila())(oficina.evento_s3(), Contexto(1))


def test_one_message_that_fails_keeps_no_other_back(oficina: Oficina) -> None:
    oficina.por(tabela(2))
    bom = oficina.evento_sqs(oficina.evento_s3(), "bom")["Records"]
    mau = oficina.evento_sqs("x", "mau")["Records"]
    fila = Fila()

    resposta = oficina.batch(fila)({"Records": [*mau, *bom]}, None)

    assert resposta == {"batchItemFailures": [{"itemIdentifier": "mau"}]}
    assert len(fila.recebidas) == 2


@pytest.mark.parametrize(
    ("corpo", "motivo"),
    [
        (b"", "vazio"),
        (b"a;b\n1;2\n", "nome, email"),
        (b"PK\x03\x04....", "zip danificado"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "planilha"),
        (b"<html><table>", "HTML"),
    ],
)
def test_a_file_that_is_no_table_is_refused_as_a_whole(
    oficina: Oficina, corpo: bytes, motivo: str
) -> None:
    oficina.por(corpo)
    resposta = oficina.batch(Fila())(oficina.evento_sqs(oficina.evento_s3()), None)

    assert resposta == {"batchItemFailures": []}  # no retry will mend it
    resultado = oficina.resultados.ler(UPLOAD)
    assert resultado.estado == "recusado"
    assert motivo in resultado.motivo


def test_a_file_over_the_limit_is_refused_whoever_put_it_there(oficina: Oficina) -> None:
    oficina.por(tabela(100))
    resultado = oficina.batch(fila := Fila(), limite=1000).converter(oficina.balde, CHAVE)
    assert (resultado.estado, fila.recebidas) == ("recusado", [])
    assert "1000 bytes" in resultado.motivo


def test_the_log_holds_no_student(oficina: Oficina, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "cadastro")
    oficina.por(tabela(5, mas=[2]))
    oficina.batch(Fila(ate=0))(oficina.evento_sqs(oficina.evento_s3()), None)
    oficina.batch(Fila())(oficina.evento_sqs(oficina.evento_s3()), None)

    assert f"upload {UPLOAD}: 5 rows, 4 sent, 1 rejected" in caplog.text
    assert "Aluno" not in caplog.text
    assert "example.com" not in caplog.text


def test_a_file_is_never_held_whole(oficina: Oficina, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objeto, "PEDACO", 512 * 1024)
    enchimento = "x" * 8000
    linhas = [f"Aluno {n};aluno{n}@example.com;{enchimento}" for n in range(900)]
    corpo = "\n".join(["nome;email;obs", *linhas]).encode()
    oficina.por(corpo)
    fila = Fila()
    fila.guardar = False
    batch = oficina.batch(fila)
    del linhas

    tracemalloc.start()
    try:
        resultado = batch.converter(oficina.balde, CHAVE)
        _, pico = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert resultado.aceitas == 900
    assert pico < len(corpo) * 0.4


def test_a_file_is_asked_for_in_few_pieces_of_one_version(oficina: Oficina) -> None:
    oficina.por(tabela(40_000))
    pedidos: list[str] = []
    oficina.s3.meta.events.register(
        "before-call.s3.GetObject",
        lambda params, **_: pedidos.append(params["headers"].get("Range", "")),
        unique_id="faixas",
    )
    try:
        cabeca = oficina.s3.head_object(Bucket=oficina.balde, Key=CHAVE)
        with abrir(oficina.s3, oficina.balde, CHAVE, cabeca) as arquivo:
            assert arquivo.read1(10) == b"nome;email"
            linhas = sum(1 for _ in arquivo)
            oficina.por(b"another file")
        with (
            abrir(oficina.s3, oficina.balde, CHAVE, cabeca) as velho,
            pytest.raises(ClientError, match="PreconditionFailed"),
        ):
            velho.read(1)
    finally:
        oficina.s3.meta.events.unregister("before-call.s3.GetObject", unique_id="faixas")

    assert linhas == 40_001
    assert pedidos[:1] == [f"bytes=0-{cabeca['ContentLength'] - 1}"]
    assert len(pedidos) == 2


def test_the_queue_of_students_is_a_real_one(sqs: Any, oficina: Oficina) -> None:
    nome = f"fila-{oficina.balde}"
    url = sqs.create_queue(QueueName=nome)["QueueUrl"]
    oficina.por(tabela(25))
    publisher = Publisher(FilaDeAlunos(sqs, nome), source="/cadastro/batch")

    CadastroBatch(oficina.s3, publisher, oficina.resultados, limite=10**6).converter(
        oficina.balde, CHAVE
    )

    dito = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    assert dito["Attributes"]["ApproximateNumberOfMessages"] == "25"
    [mensagem] = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=1, MessageAttributeNames=["All"]
    )["Messages"]
    assert mensagem["MessageAttributes"]["type"]["StringValue"] == "matricula.recebida"


def test_a_queue_that_is_not_there_is_said_by_name(sqs: Any) -> None:
    publisher = Publisher(FilaDeAlunos(sqs, "nao-existe"), source="/s", max_attempts=1)
    with pytest.raises(Exception, match="queue nao-existe"):
        publisher.publish(MatriculaRecebida(nome="Ana", email="ana@example.com"))


def test_temporary_files_are_removed(
    oficina: Oficina, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    oficina.por(tabela(5, mas=[1]))
    oficina.batch(Fila()).converter(oficina.balde, CHAVE)
    assert list(tmp_path.iterdir()) == []
