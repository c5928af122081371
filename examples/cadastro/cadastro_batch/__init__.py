"""The conversion: turns a CSV file in S3 into messages, one for each student.

An AWS Lambda handler for S3's events, which come through an SQS queue, SNS, EventBridge or from S3
directly. Anything else is dead-lettered with a reason. A file is read in pieces and never held as a
whole; the progress is recorded every thousand rows, and a later invocation continues from there. A
row has the same event id each time.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.cadastro_batch.avisos import NaoEDoS3, lido, objetos
from examples.cadastro.cadastro_batch.objeto import abrir, cabeca_de
from examples.cadastro.cadastro_batch.palavras import na_tela
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.linhas import AMOSTRA, Linha, leitura_de
from examples.cadastro.mapa import mapa_de
from examples.cadastro.resultados import Resultado, Resultados
from messaging.csvfile import BadRow, BadRows, EventRow, Table, events_from
from messaging.errors import ConfigurationError, MessagingError
from messaging.lambda_handler import delivery_of
from messaging.logs import logger
from messaging.publishing.publisher import Publisher
from messaging.transport import DeadLetter, QueueTransport

__all__ = ["CadastroBatch", "Pausa", "novo_handler", "objetos", "upload_de"]

log = logger("cadastro.batch")

PEDACO = 1000
"""Rows between two progress records: the most that is sent again after a crash."""
RESERVA = 20.0
"""Seconds before the function's timeout at which it pauses; a piece takes one or two seconds."""
_NAMESPACE = uuid.UUID("5b0e6d0a-8c43-5a0e-9a53-0f1f5dbf1c2e")


class Pausa(Exception):
    """The time of this invocation is up; another continues from the last progress record."""


class CadastroBatch:
    """The handler. `fila`, if given, is the queue that delivers S3's events: a pause makes its
    message visible immediately, rather than when the visibility timeout ends."""

    def __init__(
        self,
        s3: Any,
        publisher: Publisher,
        resultados: Resultados,
        *,
        limite: int,
        fila: QueueTransport | None = None,
        pedaco: int = PEDACO,
    ) -> None:
        self._s3 = s3
        self._publisher = publisher
        self._resultados = resultados
        self._limite = limite
        self._fila = fila
        self._pedaco = pedaco

    def __call__(self, event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
        """Convert every file that the event names; the response lists messages to retry."""
        resta = _tempo(context)
        registros = event.get("Records", ())
        if not any(um.get("eventSource") == "aws:sqs" for um in registros):
            # From S3, SNS or EventBridge directly: an exception makes Lambda retry twice.
            try:
                quais = objetos(event)
            except NaoEDoS3 as erro:
                raise ConfigurationError(f"cadastro_batch is for events of S3: {erro}") from None
            self._converter_todos(quais, resta)
            return {"batchItemFailures": []}
        falhas = [um["messageId"] for um in registros if not self._registro_feito(um, resta)]
        return {"batchItemFailures": [{"itemIdentifier": uma} for uma in falhas]}

    def _registro_feito(self, registro: Mapping[str, Any], resta: Callable[[], float]) -> bool:
        try:
            self._converter_todos(objetos(lido(registro["body"])), resta)
        except Pausa:
            if self._fila is not None:
                self._fila.change_visibility([delivery_of(registro, now=0.0)], [0])
            return False
        except NaoEDoS3 as erro:
            log.error("message %s is dead-lettered: %s", registro["messageId"], erro)
            return self._enterrado(registro, str(erro))
        except Exception as erro:  # noqa: BLE001 - of one message, and the others go on
            # Its text may quote a row. The message is redelivered and continues from the last
            # record.
            log.error("message %s failed: %s", registro["messageId"], type(erro).__name__)
            return False
        return True

    def _enterrado(self, registro: Mapping[str, Any], motivo: str) -> bool:
        """Copy it to the dead-letter queue with its reason. Without a queue, or if the queue does
        not answer, SQS moves the message once it has been received often enough."""
        if self._fila is None:
            return False
        entrega = delivery_of(registro, now=time.time())
        carta = DeadLetter(
            reason=motivo,
            attempts=entrega.receive_count,
            time=time.time(),
            queue=entrega.queue,
            delivery=entrega,
        )
        try:
            return not self._fila.dead_letter([carta])
        except MessagingError as erro:
            log.warning("the dead-letter queue does not take it: %s", type(erro).__name__)
            return False

    def _converter_todos(
        self, quais: Sequence[tuple[str, str]], resta: Callable[[], float]
    ) -> None:
        for balde, chave in quais:
            self.converter(balde, chave, resta=resta)

    def converter(
        self, balde: str, chave: str, *, resta: Callable[[], float] = lambda: float("inf")
    ) -> Resultado:
        """Read one object and send a message for each good row. Raises `Pausa` and the errors of S3
        and SQS; recorded progress is kept."""
        upload = upload_de(chave)
        cabeca = cabeca_de(self._s3, balde, chave)
        if cabeca is None:
            log.warning("upload %s is gone: nothing to convert", upload)
            return Resultado()
        resultado = self._resultados.ler(upload)
        if resultado.etag != cabeca["ETag"]:
            resultado = Resultado(etag=cabeca["ETag"])
        if resultado.estado in ("pronto", "recusado"):
            log.info("upload %s is converted already", upload)
            return resultado
        # The presigned URL is bound to a size, but a caller with credentials of its own is not.
        if cabeca["ContentLength"] > self._limite:
            return self._recusar(upload, resultado, f"mais de {self._limite} bytes")
        resultado.estado = "lendo"
        with (
            tempfile.TemporaryDirectory(prefix="cadastro-batch-") as pasta,
            abrir(self._s3, balde, chave, cabeca) as arquivo,
        ):
            try:
                tabela = events_from(
                    cast(BinaryIO, arquivo),
                    MatriculaRecebida,
                    mapa_de(self._resultados.mapa(upload)),
                    language="pt",
                )
            except ConfigurationError as erro:
                # It names columns and what is wrong with them, but no cell.
                return self._recusar(upload, resultado, na_tela(str(erro)))
            self._ler(upload, tabela, resultado, Path(pasta) / "rejeitados.csv", resta)
        return resultado

    def _ler(
        self,
        upload: str,
        tabela: Table[MatriculaRecebida],
        resultado: Resultado,
        rejeitados: Path,
        resta: Callable[[], float],
    ) -> None:
        # From the start: rows already sent are skipped, and the side file ends up complete.
        ja, linhas = resultado.feitas, 0
        amostra: list[dict[str, Any]] = []
        with BadRows(rejeitados, tabela.header, delimiter=tabela.delimiter) as maus:
            while pedaco := list(islice(tabela, self._pedaco)):
                linhas += len(pedaco)
                for linha in pedaco:
                    if isinstance(linha, BadRow):
                        maus.write(linha)
                        if len(amostra) < AMOSTRA:
                            amostra.append(_mostra(linha))
                if linhas <= ja:
                    continue
                self._enviar(
                    leitura_de(upload, resultado.etag),
                    [um for um in pedaco if isinstance(um, EventRow)],
                )
                resultado.linhas = resultado.feitas = linhas
                resultado.rejeitadas, resultado.amostra = maus.count, amostra
                resultado.aceitas = linhas - maus.count
                resultado.avisos = _avisos(tabela)
                if len(pedaco) == self._pedaco:
                    self._resultados.gravar(upload, resultado)
                    if resta() < RESERVA:
                        log.info("upload %s pauses behind row %d", upload, linhas)
                        raise Pausa
        if resultado.rejeitadas:
            self._resultados.guardar_rejeitadas(upload, rejeitados)
        resultado.estado, resultado.avisos = "pronto", _avisos(tabela)
        self._resultados.gravar(upload, resultado)
        log.info(
            "upload %s: %d rows, %d sent, %d rejected",
            upload, resultado.linhas, resultado.aceitas, resultado.rejeitadas,
        )  # fmt: skip

    def _enviar(self, leitura: str, linhas: list[EventRow[MatriculaRecebida]]) -> None:
        ids = iter([linha.id for linha in linhas])
        self._publisher.publish_many(
            (
                # So that the page can show what the API decided about this row.
                um.event.model_copy(update={"posicao_no_upload": str(Linha(leitura, um.line))})
                for um in linhas
            ),
            id=lambda _evento: next(ids),
        )

    def _recusar(self, upload: str, resultado: Resultado, motivo: str) -> Resultado:
        resultado.estado, resultado.motivo = "recusado", motivo
        self._resultados.gravar(upload, resultado)
        log.warning("upload %s is refused as a whole", upload)
        return resultado


def upload_de(chave: str) -> str:
    """The id under which an object's result is kept: in its key, or derived from it."""
    nome = chave.removeprefix("enviados/").removesuffix(".csv")
    try:
        return str(uuid.UUID(nome))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, chave))


def _mostra(linha: BadRow) -> dict[str, Any]:
    return {"linha": linha.line, "coluna": linha.column, "motivo": na_tela(linha.reason)}


def _avisos(tabela: Table[MatriculaRecebida]) -> list[str]:
    """What a secretary should know about the file, apart from its refused rows."""
    avisos = [na_tela(um.text) for um in tabela.notices]
    if tabela.ignored:
        avisos.insert(0, f"colunas que ninguém lê aqui: {', '.join(tabela.ignored)}")
    return avisos


def _tempo(context: Any) -> Callable[[], float]:
    """Seconds until the function's timeout."""
    resta = getattr(context, "get_remaining_time_in_millis", None)
    return (lambda: float("inf")) if resta is None else (lambda: float(resta()) / 1000)


def novo_handler(ajustes: Ajustes | None = None) -> CadastroBatch:
    """The handler, configured by the environment: the function's module calls this once, when it
    starts."""
    from examples.cadastro.aws import cliente
    from examples.cadastro.cadastro_batch.fila import FilaDeAlunos
    from messaging.aws import connect

    ditos = ajustes or Ajustes.do_ambiente()
    s3 = cliente("s3")
    return CadastroBatch(
        s3,
        Publisher(FilaDeAlunos(cliente("sqs"), ditos.fila_alunos), source="/cadastro/batch"),
        Resultados(s3, ditos.balde_resultados),
        limite=ditos.limite_csv,
        fila=connect().queue("cadastro-batch"),
    )
