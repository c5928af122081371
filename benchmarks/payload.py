"""What is sent: a student of about 400 bytes, the same for every subject."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

__all__ = [
    "ACCOUNT",
    "ATTRIBUTES",
    "CREDENTIALS",
    "REGION",
    "SERVICES",
    "TOPIC",
    "TOPIC_ARN",
    "WAIT",
    "body",
    "student",
]

ACCOUNT = "000000000000"
REGION = "us-east-1"
TOPIC = "bench"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"
SERVICES = ("a", "b", "c", "d")
WAIT = 0.02
"""Seconds that a waiting handler waits: a query to somebody's database."""
CREDENTIALS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
ATTRIBUTES = {
    "type": ("String", "bench.student"),
    "audience": ("String.Array", '["*"]'),
}
_compact = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)


def student(number: int) -> dict[str, Any]:
    """The data, as JSON has it."""
    return {
        "aluno_id": f"7b1d9a60-3c52-4e8f-9a01-{number:012d}",
        "nome": f"Maria Aparecida de Souza {number % 1000:03d}",
        "email": f"maria.{number % 1000:03d}@example.com",
        "curso": "Licenciatura em Letras",
        "matricula": "2026-11-24T12:00:00Z",
        "mensalidade": "850.50",
        "marketing": True,
    }


def body(number: int) -> str:
    """The CloudEvents document around it, as this library writes it: for those who write none."""
    head = {
        "specversion": "1.0",
        "id": f"5f0c2a9e-8d41-4b7a-b6f3-{number:012d}",
        "source": "/bench",
        "type": "bench.student",
        "dataversion": 1,
        "datacontenttype": "application/json",
        "time": "2026-11-24T12:00:00.000000Z",
    }
    return str(_compact({**head, "data": student(number)}))
