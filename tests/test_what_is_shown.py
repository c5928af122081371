"""What a person sees: no value in a repr or an error, no foreign control character in a line."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import pkgutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from rich.pretty import pretty_repr

import messaging as package
from consumers.events import AlunoCadastrado, Contato
from messaging.codec import JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.csvfile import events_from, read_rows
from messaging.dead_letters import Workbench
from messaging.errors import CodecError, PublishError
from messaging.event import Discreet, Event, upcast
from messaging.lambda_handler import lambda_handler
from messaging.logs import logger
from messaging.memory import MemoryBroker
from messaging.outcome import Discard, Reject, Retry
from messaging.printable import printable
from messaging.projection import Projection
from messaging.publishing.encoder import Encoder
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.testing import deliver
from messaging.topology import Topology
from messaging.transport import Attribute, DeadLetter, Failure, Outgoing
from tests.django.conftest import set_up_django
from tests.test_privacy import ADULT, YES, student

NAME, CPF, MAIL = "Zuleica", "49750128397", "zuleica0@example.org"
PLANTED = (NAME, CPF, "497.501", MAIL, "Curso-0", "777.25")
HOSTILE = "x\r\nERROR forged\x1b[31m\u2028\u202e[red]\x9b\x00"


class Home(Discreet, BaseModel):
    street: str


class Moved(Event, type="moved", version=2, subject="name", group="name"):
    name: str
    home: Home

    @upcast(1)
    def _broken(data: dict[str, Any]) -> dict[str, Any]:  # type: ignore[misc]  # upcast makes it static
        raise ValueError(data["name"])


class MovedSeen(Projection, of=Moved, audience="mover"):
    name: str
    home: Home


class Mover(Consumer):
    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self.does = does

    @handles
    def moved(self, event: MovedSeen) -> None:
        self.does()


def shown(one: object) -> Iterator[str]:
    yield from (repr(one), str(one), f"{one}", f"{one!r:>5}", pretty_repr(one), f"{[one]}")


def planted(one: object) -> list[str]:
    return [text for text in shown(one) if any(value in text for value in PLANTED)]


def moved() -> Moved:
    return Moved(name=f"{NAME} {CPF}", home=Home(street=MAIL))


def test_an_event_its_views_and_its_models_show_the_names_of_their_fields_only() -> None:
    aluno = AlunoCadastrado(**student(0, **YES, **ADULT))
    assert NAME in str(aluno.model_dump())  # the values are there, for a test that wants them
    for one in (aluno, moved(), MovedSeen.from_event(moved()), moved().home):
        assert not planted(one)
    assert repr(moved()) == "Moved(name=..., home=...)"
    assert repr(Home(street="a")) == "Home(street=...)"
    assert not planted(Contato(nome=NAME, email=MAIL, curso="Curso-0"))


def test_whatever_carries_an_event_or_a_body_shows_no_value() -> None:
    broker = MemoryBroker(Topology.of(Mover, topic="t"))
    [outgoing] = Encoder(source="/s", max_bytes=10_000)(moved())
    assert NAME in outgoing.body
    with Publisher(broker.topic(), source="/s") as publisher:
        publisher.publish(moved())
    [delivery] = broker.queue("mover").receive(1, 0)
    letter = DeadLetter(
        delivery=delivery, reason="why", error=None, attempts=1, time=0, queue="mover"
    )
    broker.queue("mover").dead_letter([letter])
    result = deliver(Mover(lambda: (_ for _ in ()).throw(ValueError(NAME))), moved())
    envelope = JsonCodec().decode(outgoing.body)
    assert envelope.data["name"].startswith(NAME)
    carriers: list[object] = [
        *(outgoing, Attribute.string(NAME), delivery, letter, result, result.view, envelope),
        *broker.messages("mover"),
        *broker.dead_letters("mover"),
        *Workbench(broker.letters("mover")).letters(),
    ]
    assert len(carriers) >= 9
    for one in carriers:
        assert not planted(one), type(one)


class Refusing:
    """A topic that accepts nothing, and says why in the words of an attacker."""

    max_bytes = 10_000

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        return [Failure(index, "Bad", HOSTILE, False) for index in range(len(batch))]

    def close(self) -> None: ...


def test_an_error_of_publishing_and_its_result_show_no_value_and_no_forged_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Publisher(Refusing(), source="/s") as publisher:
        with pytest.raises(PublishError) as caught:
            publisher.publish_many([moved()])
        with publisher.buffered() as buffered, pytest.raises(PublishError) as later:
            buffered.publish(moved()).result(5)
    for error in (caught.value, later.value):
        result: Any = error.result
        told = [error, result, *result.failed]
        assert not any(map(planted, told))
        assert str(error).isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert "forged" in caplog.text


def test_a_mistake_at_construction_quotes_no_input() -> None:
    for make in (
        lambda: Moved(name=[NAME], home={"street": [CPF]}),  # type: ignore[arg-type]  # wrong on purpose
        lambda: Moved(name=NAME, home=Home(street="a"), other=CPF),
        lambda: MovedSeen(name=[MAIL], home={}),  # type: ignore[arg-type]  # wrong on purpose
        lambda: Home(street=[CPF]),  # type: ignore[arg-type]  # wrong on purpose
        lambda: AlunoCadastrado(**student(0, valor_mensalidade=NAME, email=CPF)),
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        text = "".join(traceback.format_exception_only(caught.value))
        assert not any(value in text + repr(caught.value) for value in PLANTED)


def test_an_upcast_that_breaks_leaves_no_value_in_the_traceback() -> None:
    with pytest.raises(CodecError) as caught:
        Moved.bring_up({"name": NAME}, 1)
    assert NAME not in "".join(traceback.format_exception(caught.value))
    assert "ValueError in @upcast(1) of moved" in str(caught.value)


def test_rows_of_a_file_show_no_cell(tmp_path: Any) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"name;home\n{NAME};x\n")
    with read_rows(file) as rows:
        for row in rows:
            assert not planted(row)
    with events_from(file, Moved) as table:
        for one in table:
            assert not planted(one)


TELLING = frozenset("body cells data event group key message messages row subject view".split())
NO_DATA = {  # a class, an id or somebody's code by that name
    *("messaging.cli.project.Project", "messaging.consuming.consumer.Handler"),
    *("messaging.idempotency.transaction.Transaction", "messaging.aws.fast.signing._Ready"),
    *("messaging.memory.store.Refusal", "messaging.transport.Failure"),
    # how many there are
    "messaging.rabbitmq.looks.SeenOnAmqp",
    # names of classes and fields
    *("messaging.contract.catalogue.View", "messaging.contract.check.Finding"),
    # events, whose own repr shows none
    *("messaging.publishing.buffered._Item", "messaging.publishing.results.Owner"),
}


def test_no_class_that_holds_a_body_or_a_value_has_a_repr_that_shows_it() -> None:
    complaints, seen = [], 0
    set_up_django()
    for found in pkgutil.walk_packages(package.__path__, "messaging."):
        if found.name.endswith("__main__") or ".testing.chaos" in found.name:
            continue
        module = importlib.import_module(found.name)
        for name, kind in vars(module).items():
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            fields = _told_by_default(kind) & TELLING
            seen += bool(_told_by_default(kind))
            if fields and f"{module.__name__}.{name}" not in NO_DATA:
                complaints.append(f"{module.__name__}.{name}: {sorted(fields)}")
    assert not complaints, "give it a __repr__, or its fields repr=False"
    assert seen > 20


def _told_by_default(kind: type[Any]) -> set[str]:
    """Fields that the repr shows which dataclass or NamedTuple has made."""
    own = vars(kind).get("__repr__")
    if dataclasses.is_dataclass(kind):
        made = hasattr(own, "__wrapped__")  # by reprlib.recursive_repr
        return {field.name for field in dataclasses.fields(kind) if field.repr} if made else set()
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        made = getattr(own, "__module__", "") != kind.__module__
        return set(kind._fields) if made else set()
    return set()


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_is_printable_on_one_line_and_left_alone_where_it_is(text: str) -> None:
    told = printable(text)
    assert told.isprintable()
    assert len(told.splitlines()) <= 1
    assert (told == text) == text.isprintable()


def test_a_log_line_names_the_place_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    log = logger("messaging.tests")
    caplog.set_level("DEBUG", "messaging.tests")
    log.warning("%s has %d and %.1f of %s", HOSTILE, 3, 1.5, None)
    [record] = caplog.records
    assert (record.pathname, record.funcName) == (
        __file__,
        "test_a_log_line_names_the_place_that_wrote_it",
    )
    assert record.getMessage().isprintable()
    assert record.getMessage().endswith(" has 3 and 1.5 of None")
    try:
        raise ValueError
    except ValueError:
        log.exception("gone")
    assert caplog.records[-1].levelno == logging.ERROR


def cloud_event(**head: Any) -> str:
    told = {
        "specversion": "1.0",
        "id": HOSTILE,
        "source": HOSTILE,
        "type": "moved",
        "subject": HOSTILE,
    }
    return json.dumps(
        told | {"dataversion": 2, "data": {"name": "a", "home": {"street": "b"}}} | head
    )


FOREIGN = {
    "no JSON": HOSTILE,
    "an id": cloud_event(),
    "a type": cloud_event(type=HOSTILE),
    "a version": cloud_event(dataversion=HOSTILE),
    "a field": cloud_event(data={HOSTILE: HOSTILE}),
    "no event": json.dumps({HOSTILE: HOSTILE}),
}
ATTRIBUTES = {HOSTILE[:1]: Attribute("String", HOSTILE), "type": Attribute("String", HOSTILE)}


def _raises(error: BaseException) -> Callable[[], object]:
    def does() -> object:
        raise error

    return does


@pytest.mark.parametrize(
    "does",
    [
        lambda: None,
        _raises(Reject(HOSTILE)),
        _raises(Discard(HOSTILE)),
        _raises(Retry(0, HOSTILE)),
        _raises(type(HOSTILE.replace("\x00", ""), (Exception,), {})()),
    ],
    ids=["acknowledges", "rejects", "discards", "retries", "raises"],
)
def test_foreign_text_forges_no_line_of_a_workers_log(
    does: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "messaging")
    broker = MemoryBroker(Topology.of(Mover, topic="t"))
    for body in FOREIGN.values():
        broker.send("mover", body, attributes=ATTRIBUTES, group=HOSTILE)
    with Worker(Mover(does), broker=broker) as worker:
        for _ in range(500):
            if worker.stats.received >= len(FOREIGN) and worker.stats.in_flight == 0:
                break
            time.sleep(0.02)
    assert worker.stats.received >= len(FOREIGN)
    assert len(caplog.records) >= len(FOREIGN) - 1
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()


def test_foreign_text_forges_no_line_of_a_lambdas_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "messaging")
    records = [
        {
            "messageId": f"m{number}{HOSTILE}",
            "receiptHandle": "r",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:t-mover",
            "awsRegion": "us-east-1",
        }
        for number, body in enumerate(FOREIGN.values())
    ]
    answer: Any = lambda_handler(Mover())({"Records": records}, None)
    assert len(answer["batchItemFailures"]) >= 4
    assert len(caplog.records) >= 4
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()
