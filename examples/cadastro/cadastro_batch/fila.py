"""Sends rows directly to a queue: they have one reader, so they need no topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from messaging.aws.answers import batch_failures
from messaging.aws.errors import translated
from messaging.aws.messages import wire_value
from messaging.transport import Failure, Outgoing

__all__ = ["FilaDeAlunos"]


class FilaDeAlunos:
    """A `TopicTransport` that publishes to one SQS queue, given by its name."""

    max_bytes = 262_144

    def __init__(self, sqs: Any, nome: str) -> None:
        self._sqs = sqs
        self._nome = nome
        self._url: str | None = None

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Make one SendMessageBatch request."""
        with translated("send to", f"queue {self._nome}", self._sqs.meta.region_name):
            if self._url is None:
                self._url = str(self._sqs.get_queue_url(QueueName=self._nome)["QueueUrl"])
            resposta = self._sqs.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(indice),
                        "MessageBody": uma.body,
                        "MessageAttributes": {
                            nome: wire_value(valor) for nome, valor in uma.attributes.items()
                        },
                    }
                    for indice, uma in enumerate(batch)
                ],
            )
        return batch_failures(resposta, range(len(batch)), "SQS")

    def close(self) -> None:
        """Do nothing: there are no resources to close."""
