"""Another language's service: real bodies of each view are valid under the exported schema."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import jsonschema
import pytest

import consumers.events
from consumers import SERVICES, TOPOLOGY
from consumers.events import AlunoAtualizado, AlunoCadastrado, AlunoEsquecido, MatriculaCancelada
from messaging.contract.asyncapi import body_schema, read_document, write_document
from messaging.contract.catalogue import catalogue_of, events_of
from messaging.contract.files import written
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher

EXPORTED = read_document(
    json.loads(
        written(
            write_document(catalogue_of(events_of(consumers.events), topic="alunos"), queues={})
        )
    ),
    "catalogue.json",
)
"""As a service of another language has it: from the file."""
ANA = UUID(int=1)
FULL: dict[str, Any] = {
    "aluno_id": ANA,
    "nome": "Inês Conceição",
    "email": "ines@example.org",
    "origem": "csv",
    "data_matricula": datetime(2026, 2, 1, tzinfo=UTC),
    "curso": "Física",
    "cpf": "529.982.247-25",
    "data_nascimento": date(1990, 1, 1),
    "valor_mensalidade": Decimal("950.10"),
    "aceita_marketing": True,
}
LEAST = {key: FULL[key] for key in ("aluno_id", "nome", "email", "origem", "data_matricula")}
EVENTS: list[Event] = [
    AlunoCadastrado(**FULL),
    AlunoCadastrado(**LEAST),
    AlunoAtualizado(**FULL),
    AlunoAtualizado(**LEAST),
    MatriculaCancelada(aluno_id=ANA),
    AlunoEsquecido(aluno_id=ANA),
]


def bodies(service: str) -> list[dict[str, Any]]:
    """Whatever the queue of `service` holds when all the events have been published."""
    broker = MemoryBroker(TOPOLOGY)
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish_many(EVENTS)
    queue = broker.queue(service)
    received = queue.receive(10, 0)
    queue.close()
    return [json.loads(one.body) for one in received]


def validator(service: str, type: str) -> jsonschema.Draft202012Validator:
    view = EXPORTED.view(service, type)
    assert view is not None
    schema = body_schema(view)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


@pytest.mark.parametrize("service", [one.service for one in SERVICES])
def test_what_is_published_is_valid(service: str) -> None:
    found = bodies(service)
    assert {body["type"] for body in found} == set(
        next(one for one in SERVICES if one.service == service).handlers
    )
    for body in found:
        validator(service, body["type"]).validate(body)


@pytest.mark.parametrize(
    "change",
    [{"type": "x"}, {"dataversion": 2}, {"id": ""}, {"data": {}}, {"specversion": None}],
    ids=lambda change: next(iter(change)),
)
def test_another_body_is_not(change: dict[str, Any]) -> None:
    body = next(one for one in bodies("bi") if one["type"] == "aluno.cadastrado")
    assert not validator("bi", "aluno.cadastrado").is_valid(body | change)
