"""The promise to the school: no queue holds a field, or a value, that is not for its service.

Read from the queues as they are, without the library's own decoding and validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import boto3
import pytest

from consumers import SERVICES, TOPOLOGY
from consumers.events import AlunoAtualizado, AlunoCadastrado, AlunoEsquecido, MatriculaCancelada
from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer
from messaging.event import Event
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.transport import Broker, Delivery

BRASILIA = timezone(timedelta(hours=-3))
CPFS = ("497.501.283-97", "941.780.653-00", "607.958.124-85", "237.415.086-08")
ENVELOPE = {
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "dataversion",
    "data",
}


def student(number: int, **fields: Any) -> dict[str, Any]:
    """Values that occur nowhere else, so that finding one says whose it is."""
    return {
        "aluno_id": UUID(int=(number + 1) << 64),
        "nome": f"Zuleica Nº{number} Ção",
        "email": f"zuleica{number}@example.org",
        "cpf": CPFS[number % len(CPFS)],
        "curso": f"Curso-{number}",
        "origem": "csv",
        "data_matricula": datetime(2026, 2, 3, 9, tzinfo=BRASILIA),
        "valor_mensalidade": Decimal("777.25"),
        **fields,
    }


ADULT = {"data_nascimento": "1990-06-07"}
CHILD = {"data_nascimento": f"{datetime.now(UTC).year - 7}-06-07"}
YES, NO = {"aceita_marketing": True}, {"aceita_marketing": False}
STUDENTS = (
    student(0, **YES, **ADULT),
    student(1, **NO, **ADULT),
    student(2, **YES, **CHILD),
    student(3, **YES),
    student(4),
    student(5, **NO, cpf=None, curso=None, valor_mensalidade=None),
    student(6, **YES, **ADULT, valor_mensalidade=Decimal("-1.00"), origem="formulario"),
)
AGREED = (0, 3, 6)
REFUSED = tuple(number for number in range(len(STUDENTS)) if number not in AGREED)


def facts() -> Iterator[Event]:
    for fields in STUDENTS:
        yield AlunoCadastrado(**fields)
        yield AlunoAtualizado(**fields)
        yield MatriculaCancelada(aluno_id=fields["aluno_id"])
        yield AlunoEsquecido(aluno_id=fields["aluno_id"])


Queues = dict[str, list[Delivery]]


@pytest.fixture(scope="module", params=["memory", "ministack"])
def queues(request: pytest.FixtureRequest) -> Iterator[Queues]:
    """Everything that the four queues hold after all facts were published."""
    if request.param == "memory":
        yield published(MemoryBroker(TOPOLOGY))
        return
    with LocalServer() as server:
        settings = server.settings(topic=TOPOLOGY.topic.name)
        session = boto3.Session(**server.credentials)
        apply(TOPOLOGY, settings, session=session)
        yield published(connect(settings, session=session))


def published(broker: Broker) -> Queues:
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish_many(facts())
    held = {service: everything(broker, service) for service in TOPOLOGY.services}
    broker.close()
    return held


def everything(broker: Broker, service: str) -> list[Delivery]:
    queue = broker.queue(service)
    held: list[Delivery] = []
    while batch := queue.receive(10, 0.2):
        held += batch
        assert not queue.delete(batch)
    return held


def document(delivery: Delivery) -> dict[str, Any]:
    return json.loads(delivery.body)  # type: ignore[no-any-return]  # asserted on below


def raw(deliveries: Sequence[Delivery]) -> str:
    """Bodies and attributes as text, JSON's escapes undone."""
    return "\n".join(
        f"{json.dumps(document(one), ensure_ascii=False)} {one.group} "
        f"{[(name, value.type, str(value.value)) for name, value in one.attributes.items()]}"
        for one in deliveries
    )


def test_every_queue_was_filled(queues: Queues) -> None:
    # Or the tests below would prove nothing: four facts of each student, but for marketing, which
    # hears no enrolment of those who did not agree.
    counts = {service: len(held) for service, held in queues.items()}
    everyone = 4 * len(STUDENTS)

    assert counts == {
        "plataforma": everyone,
        "financeiro": everyone,
        "bi": everyone,
        "marketing": everyone - len(REFUSED),
    }


@pytest.mark.parametrize("consumer", SERVICES, ids=lambda one: one.service)
def test_no_message_holds_a_field_that_its_view_does_not_name(
    queues: Queues, consumer: type[Consumer]
) -> None:
    for delivery in queues[consumer.service]:
        read = document(delivery)
        view = consumer.handlers[read["type"]].view

        assert read["data"].keys() == view.model_fields.keys()
        assert read.keys() <= ENVELOPE
        assert delivery.attributes.keys() == {"type", "audience"}


@pytest.mark.parametrize("consumer", SERVICES, ids=lambda one: one.service)
def test_every_message_was_meant_for_its_service(queues: Queues, consumer: type[Consumer]) -> None:
    for delivery in queues[consumer.service]:
        assert {"*", consumer.service} & set(delivery.attributes["audience"].strings)


def test_bi_cannot_name_anyone(queues: Queues) -> None:
    text = raw(queues["bi"])

    assert "Curso-0" in text  # what it may see, is there: the search works
    for value in values(STUDENTS, "nome", "email", "cpf"):
        assert value not in text


def test_the_search_would_find_a_name_an_address_and_a_cpf(queues: Queues) -> None:
    text = raw(queues["financeiro"])

    assert all(value in text for value in values(STUDENTS, "nome", "email"))
    assert all(number.replace(".", "").replace("-", "") in text for number in CPFS)


def test_fee_and_cpf_reach_financeiro_only(queues: Queues) -> None:
    text = raw([*queues["plataforma"], *queues["marketing"], *queues["bi"]])

    assert "777.25" in raw(queues["financeiro"])
    assert "777.25" not in text
    for value in values(STUDENTS, "cpf"):
        assert value not in text


def test_a_birthday_reaches_nobody(queues: Queues) -> None:
    text = "\n".join(raw(held) for held in queues.values())

    assert "-06-07" not in text
    assert "nascimento" not in text
    assert "aceita" not in text


def test_who_did_not_agree_never_reaches_marketing(queues: Queues) -> None:
    text = raw(queues["marketing"])

    for number in AGREED:
        assert STUDENTS[number]["email"] in text
    for number in REFUSED:
        assert STUDENTS[number]["nome"] not in text
        assert STUDENTS[number]["email"] not in text
        assert f"Curso-{number}" not in text
    enrolled = {
        UUID(document(one)["data"]["aluno_id"])
        for one in queues["marketing"]
        if document(one)["type"] == "aluno.cadastrado"
    }
    assert enrolled == {STUDENTS[number]["aluno_id"] for number in AGREED}


def test_of_those_who_did_not_agree_an_update_tells_an_id_and_nothing_else(
    queues: Queues,
) -> None:
    told = [
        document(one)["data"]
        for one in queues["marketing"]
        if document(one)["type"] == "aluno.atualizado"
    ]
    refused = {str(STUDENTS[number]["aluno_id"]) for number in REFUSED}

    assert len(told) == len(STUDENTS)
    for data in told:
        assert (data["contato"] is None) == (data["aluno_id"] in refused)


def values(students: Sequence[dict[str, Any]], *fields: str) -> Iterator[str]:
    """The values as written, and a CPF's digits, too."""
    for fields_of_one in students:
        for field in fields:
            value = fields_of_one[field]
            if value is None:
                continue
            yield value
            if field == "cpf":
                yield value.replace(".", "").replace("-", "")
