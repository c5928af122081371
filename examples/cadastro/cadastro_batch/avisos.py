"""Reads notifications of new objects in S3, however they arrive, and rejects everything else.

A bucket's notifications may arrive by SQS, through an SNS topic, or through EventBridge, which has
a format of its own. Anything else raises `NaoEDoS3`: it must not vanish.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from messaging.errors import CodecError
from messaging.foreign import broken, document_kind, other_kind
from messaging.logs import logger

__all__ = ["NaoEDoS3", "lido", "objetos"]

log = logger("cadastro.batch")

EMBRULHOS = 3
"""Maximum nesting of SNS notifications."""


class NaoEDoS3(Exception):
    """The body names no object in S3. The text says what it is, without quoting it."""


def lido(corpo: str) -> Any:
    """The JSON of a message's body. Raises `NaoEDoS3`."""
    try:
        return json.loads(corpo.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as erro:
        por_que = erro if isinstance(erro, ValueError) else ValueError("recursion limit")
        raise NaoEDoS3(broken(corpo, por_que)) from None


def objetos(documento: Any) -> list[tuple[str, str]]:
    """Bucket and key of each created object; none for `s3:TestEvent`, which S3 sends when a
    notification is set up, or for a removed object. Raises `NaoEDoS3`.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    for _ in range(EMBRULHOS):
        embrulhado = _de_dentro(documento)
        if embrulhado is None:
            break
        documento = lido(embrulhado)
    if isinstance(documento, Mapping):
        if documento.get("Event") == "s3:TestEvent":
            log.info("a test event of S3: its notifications come here")
            return []
        try:
            if documento.get("source") == "aws.s3" and "detail-type" in documento:
                return list(_do_eventbridge(documento))
            registros = documento.get("Records")
            if isinstance(registros, list) and registros:
                return list(_dos_registros(registros))
        except (KeyError, TypeError, AttributeError):
            pass  # looks like one, but lacks the fields
    raise NaoEDoS3(_o_que_e(documento))


def _de_dentro(documento: Any) -> str | None:
    """The message in an SNS notification, as SQS or a function subscribed to SNS gets it."""
    match documento:
        case {"Type": "Notification", "TopicArn": _, "Message": str(mensagem)}:
            return mensagem
        case {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": str(mensagem)}}]}:
            return mensagem
    return None


def _dos_registros(registros: list[Any]) -> Iterator[tuple[str, str]]:
    for registro in registros:
        if registro["eventSource"] != "aws:s3":
            raise KeyError("eventSource")
        if registro["eventName"].startswith("ObjectCreated:"):
            s3 = registro["s3"]
            # Keys are form-encoded: a space is "+".
            yield _textos(s3["bucket"]["name"], unquote_plus(s3["object"]["key"]))
        else:
            log.info("an event of S3 that is no new object is passed over")


def _do_eventbridge(documento: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if documento["detail-type"] == "Object Created":
        dito = documento["detail"]
        # Keys are not encoded.
        yield _textos(dito["bucket"]["name"], dito["object"]["key"])
    else:
        log.info("an event of S3 that is no new object is passed over")


def _textos(balde: Any, chave: Any) -> tuple[str, str]:
    if not isinstance(balde, str) or not isinstance(chave, str) or not balde or not chave:
        raise KeyError("key")
    return balde, chave


def _o_que_e(documento: Any) -> str:
    if isinstance(documento, Mapping):
        tipo = document_kind(documento)
        if tipo is not None:
            return f"not an event of S3 for a new object, or an incomplete one: {tipo}"
        return "not an event of S3: a JSON object of another kind"
    try:
        return other_kind(documento, "body")
    except CodecError as erro:  # its text names the kind, without a quote
        return str(erro)
