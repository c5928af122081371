"""A stand-in for AWS Lambda on one machine: the same code and the same event shapes.

    python -m examples.cadastro.lambda_local url_assinada | cadastro_batch | chamada_api

It polls a queue as an event source mapping does, or answers HTTP as a function URL does. It does
not simulate scaling, cold starts per request or IAM.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from examples.cadastro import cadastro_batch, chamada_api, url_assinada
from examples.cadastro.ajustes import Ajustes
from examples.cadastro.aws import cliente
from examples.cadastro.processos import filho
from messaging.logs import logger

__all__ = ["Contexto", "evento_http", "evento_sqs", "uma_vez"]

log = logger("cadastro.lambda")

Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]
TEMPO = 30.0
"""Seconds: the timeout of a function here."""


class Contexto:
    """The part of Lambda's context object that handlers use: the remaining time."""

    def __init__(self, segundos: float = TEMPO) -> None:
        self._fim = time.monotonic() + segundos

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._fim - time.monotonic()) * 1000))


def evento_sqs(mensagens: Iterable[Mapping[str, Any]], arn: str) -> dict[str, Any]:
    """Convert a message from ReceiveMessage to Lambda's format: other names, and binary values in
    base64.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    return {"Records": [_registro(mensagem, arn) for mensagem in mensagens]}


def _registro(mensagem: Mapping[str, Any], arn: str) -> dict[str, Any]:
    atributos: dict[str, dict[str, Any]] = {}
    for nome, um in mensagem.get("MessageAttributes", {}).items():
        atributos[nome] = {"stringListValues": [], "binaryListValues": []}
        atributos[nome]["dataType"] = um["DataType"]
        if "BinaryValue" in um:
            atributos[nome]["binaryValue"] = base64.b64encode(um["BinaryValue"]).decode()
        else:
            atributos[nome]["stringValue"] = um["StringValue"]
    return {
        "messageId": mensagem["MessageId"],
        "receiptHandle": mensagem["ReceiptHandle"],
        "body": mensagem["Body"],
        "attributes": dict(mensagem.get("Attributes", {})),
        "messageAttributes": atributos,
        "md5OfBody": mensagem.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }


def evento_http(
    metodo: str, caminho: str, query: str, cabecalhos: Mapping[str, str], corpo: bytes
) -> dict[str, Any]:
    """One request in payload format 2.0, as a function URL sends it.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    tipo = cabecalhos.get("content-type", "")
    texto = (tipo.startswith("text/") or "json" in tipo) and _e_utf8(corpo)
    evento: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": caminho,
        "rawQueryString": query,
        "headers": dict(cabecalhos),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": cabecalhos.get("host", "local"),
            "domainPrefix": "local",
            "http": {
                "method": metodo,
                "path": caminho,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": cabecalhos.get("user-agent", ""),
            },
            "requestId": "local",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": bool(corpo) and not texto,
    }
    if corpo:
        evento["body"] = corpo.decode() if texto else base64.b64encode(corpo).decode()
    return evento


def _e_utf8(corpo: bytes) -> bool:
    try:
        corpo.decode()
    except UnicodeDecodeError:
        return False
    return True


def uma_vez(handler: Handler, sqs: Any, url: str, arn: str, *, espera: int = 1) -> int:
    """Receive one batch, invoke, and delete what did not fail; returns how many were received.

    Like the event source mapping, it keeps the whole batch if the function raises, or if the
    response names a message that is not in it.
    """
    recebidas = sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=espera,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    ).get("Messages", [])
    if not recebidas:
        return 0
    # Through text, because a handler gets only JSON from AWS.
    evento = json.loads(json.dumps(evento_sqs(recebidas, arn)))
    try:
        resposta = handler(evento, Contexto())
        falhas = {um["itemIdentifier"] for um in resposta["batchItemFailures"]}
        if not falhas <= {uma["MessageId"] for uma in recebidas}:
            raise KeyError("itemIdentifier")
    except Exception as erro:  # noqa: BLE001 - as Lambda does, whatever it was
        log.error("the function failed, its batch stays: %s", type(erro).__name__)
        return len(recebidas)
    feitas = [uma for uma in recebidas if uma["MessageId"] not in falhas]
    if feitas:
        sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(indice), "ReceiptHandle": uma["ReceiptHandle"]}
                for indice, uma in enumerate(feitas)
            ],
        )
    return len(recebidas)


def _laco(novo_handler: Callable[[Ajustes], Handler], fila: str, ajustes: Ajustes) -> None:
    """Poll until SIGTERM; the current batch is finished."""
    fim = threading.Event()
    for sinal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sinal, lambda *_: fim.set())
    handler, sqs = novo_handler(ajustes), cliente("sqs")
    url = arn = ""
    while not fim.is_set():
        try:
            if not url:
                url = sqs.get_queue_url(QueueName=fila)["QueueUrl"]
                dito = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
                arn = dito["Attributes"]["QueueArn"]
            uma_vez(handler, sqs, url, arn)
        except (BotoCoreError, ClientError) as erro:
            log.warning("SQS does not answer: %s", type(erro).__name__)
            fim.wait(1)


def _http(ajustes: Ajustes) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    handler = url_assinada.novo_handler(ajustes)

    async def invocar(pedido: Request) -> Response:
        evento = evento_http(
            pedido.method,
            pedido.url.path,
            pedido.url.query,
            pedido.headers,
            await pedido.body(),
        )
        dito = await run_in_threadpool(handler, json.loads(json.dumps(evento)), Contexto())
        return Response(dito["body"], dito["statusCode"], dito["headers"])

    # CORS as the template configures it on the function URL: the handler does not handle it.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=ajustes.origens_permitidas,
        allow_methods=["GET", "POST"],
        allow_headers=["content-type", "authorization"],
    )
    app = Starlette(
        routes=[Route("/{caminho:path}", invocar, methods=["GET", "POST"])], middleware=[cors]
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=ajustes.url_assinada_porta,
        log_config=None,
        access_log=False,
    )


def main(nome: str) -> None:
    """Run one function until SIGTERM."""
    filho(nome)
    ajustes = Ajustes.do_ambiente()
    if nome == "url_assinada":
        _http(ajustes)
    elif nome == "cadastro_batch":
        _laco(cadastro_batch.novo_handler, ajustes.fila_batch, ajustes)
    elif nome == "chamada_api":
        _laco(chamada_api.novo_handler, ajustes.fila_alunos, ajustes)
    else:
        sys.exit(f"{nome}: no such function; url_assinada, cadastro_batch or chamada_api")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
