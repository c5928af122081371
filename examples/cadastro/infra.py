"""Creates the AWS resources of the parts: topic, queues, buckets and notification.

Only used on one machine; in an account, `template.yaml` and `messaging topology apply` do it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import boto3

from consumers import TOPOLOGY
from examples.cadastro.ajustes import Ajustes
from examples.cadastro.chamada_api import ChamadaAPI
from messaging.aws import apply
from messaging.settings import Settings

__all__ = ["montar"]

VISIVEL_BATCH = 35
"""Seconds: just above the timeout of a function here (30). On AWS it is six times that."""


def montar(sessao: boto3.Session, settings: Settings, ajustes: Ajustes) -> None:
    """Create what is missing."""
    apply(TOPOLOGY, settings, session=sessao)
    onde: dict[str, Any] = {"endpoint_url": settings.endpoint_url}
    sqs, s3 = sessao.client("sqs", **onde), sessao.client("s3", **onde)
    _fila(sqs, ajustes.fila_alunos, ChamadaAPI.visibility_timeout, ChamadaAPI.max_receives)
    arn = _fila(sqs, ajustes.fila_batch, VISIVEL_BATCH, 20)
    regiao: Any = {"LocationConstraint": sessao.region_name}
    for balde in (ajustes.balde, ajustes.balde_resultados):
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=balde, CreateBucketConfiguration=regiao)
    s3.put_bucket_cors(
        Bucket=ajustes.balde,
        CORSConfiguration={
            "CORSRules": [
                {
                    "AllowedOrigins": ajustes.origens_permitidas or ["http://127.0.0.1"],
                    "AllowedMethods": ["PUT"],
                    "AllowedHeaders": ["content-type"],
                    "MaxAgeSeconds": 600,
                }
            ]
        },
    )
    s3.put_bucket_notification_configuration(
        Bucket=ajustes.balde,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    # Files in conferir/ are not read until somebody has reviewed them.
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "enviados/"}]}},
                }
            ]
        },
    )


def _fila(sqs: Any, nome: str, visivel: int, recebimentos: int) -> str:
    """A queue with its dead-letter queue; returns its ARN."""
    mortas = sqs.create_queue(
        QueueName=f"{nome}-dlq", Attributes={"MessageRetentionPeriod": "1209600"}
    )["QueueUrl"]
    url = sqs.create_queue(
        QueueName=nome,
        Attributes={
            "VisibilityTimeout": str(visivel),
            "MessageRetentionPeriod": "1209600",
            "RedrivePolicy": json.dumps(
                {"deadLetterTargetArn": _arn(sqs, mortas), "maxReceiveCount": recebimentos}
            ),
        },
    )["QueueUrl"]
    return _arn(sqs, url)


def _arn(sqs: Any, url: str) -> str:
    dito = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(dito["Attributes"]["QueueArn"])
