"""Versions of an event without lockstep: a view that did not change notices nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from messaging import (
    Consumer,
    Event,
    EventData,
    Projection,
    Publisher,
    downcast,
    handles,
    upcast,
)
from messaging.consuming.dispatch import Dispatcher
from messaging.errors import CodecError, EventError, RoundTripError
from messaging.local import LocalServer
from messaging.outcome import Ack, Reject
from messaging.testing import RecordingTopic, deliver_raw
from messaging.transport import Delivery

ROOT = Path(__file__).resolve().parents[1]


class Enrolled(Event, type="aluno.cadastrado", version=3, subject="id"):
    id: str
    course: str
    shift: str
    fee: str

    @upcast(1)
    def _class_was_both(data: EventData) -> EventData:
        def split(text: str) -> dict[str, str]:
            course, _, shift = text.partition(" / ")
            return {"course": course, "shift": shift}

        return data.replace("class", split)

    @upcast(2)
    def _value_is_called_fee(data: EventData) -> EventData:
        return data.rename("value", "fee")

    @downcast(3)
    def _fee_was_called_value(data: EventData) -> EventData:
        return data.rename("fee", "value")

    @downcast(2)
    def _course_and_shift_were_one(data: EventData) -> EventData:
        shift = data.pop("shift")
        return data.replace("course", lambda course: {"class": f"{course} / {shift}"})


class ForLibrary(Projection, of=Enrolled, audience="library", since=1):
    id: str


class ForDoor(Projection, of=Enrolled, audience="door"):
    id: str


class ForBooks(Projection, of=Enrolled, audience="books", pinned=1):
    id: str
    value: str
    klass: str | None = None


class ForPlatform(Projection, of=Enrolled, audience="platform", pinned=2):
    course: str
    value: str


EVENT = Enrolled(id="7", course="ENEM", shift="noite", fee="10.00")


def sent() -> dict[tuple[str, ...], tuple[int, dict[str, Any]]]:
    topic = RecordingTopic()
    Publisher(topic, source="/x").publish(EVENT)
    return {copy.audience: (copy.envelope.version, copy.data) for copy in topic.copies}


def test_each_copy_bears_the_version_of_its_view() -> None:
    assert sent() == {
        ("library",): (1, {"id": "7"}),
        ("door",): (3, {"id": "7"}),
        ("books",): (1, {"id": "7", "value": "10.00", "klass": None}),
        ("platform",): (2, {"course": "ENEM", "value": "10.00"}),
    }


def outcome(consumer: Consumer, version: int, data: str) -> Any:
    body = (
        '{"specversion":"1.0","id":"1","source":"/x","type":"aluno.cadastrado",'
        f'"dataversion":{version},"data":{data}}}'
    )
    return Dispatcher(consumer)(Delivery(queue="q", message_id="m", receipt="r", body=body))


def test_a_service_whose_view_did_not_change_reads_every_version_since() -> None:
    class Library(Consumer):
        @handles
        def enrolled(self, student: ForLibrary) -> None:
            assert student.id == "7"

    for version in (1, 2, 3):
        assert isinstance(outcome(Library(), version, '{"id": "7"}'), Ack)
    newer = outcome(Library(), 4, '{"id": "7"}')
    assert isinstance(newer, Reject)
    assert "version 4 is newer" in newer.reason


def test_an_upcast_is_right_for_a_view_without_its_fields() -> None:
    class Door(Consumer):
        @handles
        def enrolled(self, student: ForDoor) -> None:
            assert student.id == "7"

    assert isinstance(outcome(Door(), 1, '{"id": "7"}'), Ack)


def test_a_whole_event_of_version_1_passes_both_upcasts() -> None:
    old = {"id": "7", "class": "ENEM / noite", "value": "10.00"}
    assert Enrolled.model_validate(Enrolled.bring_up(old, 1)) == EVENT


def test_a_pinned_view_refuses_what_is_newer_than_its_version() -> None:
    class Books(Consumer):
        @handles
        def enrolled(self, student: ForBooks) -> None:
            assert student.value == "10.00"

    assert isinstance(outcome(Books(), 1, '{"id": "7", "value": "10.00"}'), Ack)
    newer = outcome(Books(), 2, '{"id": "7", "fee": "10.00"}')
    assert isinstance(newer, Reject)
    assert "version 1, to which ForBooks is pinned" in newer.reason


def test_a_downcast_that_does_not_give_the_old_shape_is_refused_before_anything_is_sent() -> None:
    class Moved(Event, type="moved", version=2):
        id: int
        street: str

        @downcast(2)
        def _nothing(data: EventData) -> EventData:
            return data

    class ForPost(Projection, of=Moved, audience="post", pinned=1):
        id: int
        address: str

    topic = RecordingTopic()
    with pytest.raises(
        RoundTripError, match=r"ForPost\.address: field required.*@downcast"
    ) as said:
        Publisher(topic, source="/x").publish(Moved(id=1, street="segredo"))
    assert topic.copies == ()
    assert "segredo" not in str(said.value)


def test_a_downcast_that_breaks_names_itself_and_no_value() -> None:
    class Moved(Event, type="moved", version=2):
        street: str

        @downcast(2)
        def _number(data: EventData) -> EventData:
            int(data["street"])
            return data

    class ForPost(Projection, of=Moved, audience="post", pinned=1):
        street: str

    with pytest.raises(RoundTripError, match=r"ValueError in @downcast\(2\) of moved") as said:
        Publisher(RecordingTopic(), source="/x").publish(Moved(street="segredo"))
    assert "segredo" not in str(said.value)
    assert ForPost.version == 1


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"since": 4}, "since=4 must be a version of Enrolled, from 1 to 3"),
        ({"since": 0}, "since=0 must be a version"),
        ({"since": True}, "since=True must be a version"),
        ({"pinned": 3}, "pinned=3 must be a version of Enrolled, from 1 to 2"),
        ({"pinned": 1, "since": 1}, "give one of them"),
    ],
)
def test_a_version_that_cannot_be_is_refused_at_import(keywords: Any, says: str) -> None:
    with pytest.raises(EventError, match=says):

        class View(Projection, of=Enrolled, audience="other", **keywords):
            id: str


def test_a_pin_without_its_downcast_names_the_one_that_is_missing() -> None:
    class Moved(Event, type="moved", version=3):
        id: int

        @downcast(2)
        def _down(data: EventData) -> EventData:
            return data

    with pytest.raises(EventError, match=r"pinned=1 needs @downcast\(3\) in .*Moved"):

        class View(Projection, of=Moved, audience="other", pinned=1):
            id: int


def test_a_downcast_from_a_version_that_is_not_yet_is_refused() -> None:
    with pytest.raises(EventError, match=r"@downcast\(3\) starts from version 3"):

        class Moved(Event, type="moved", version=2):
            @downcast(3)
            def _down(data: EventData) -> EventData:
                return data

    with pytest.raises(EventError, match="from 2"):
        downcast(1)


def test_a_key_that_the_copy_lacks_tells_the_safe_way() -> None:
    class Moved(Event, type="moved", version=2):
        id: int

        @upcast(1)
        def _up(data: EventData) -> EventData:
            data["road"] = data.pop("street")
            return data

    with pytest.raises(
        CodecError, match=r"no field 'street'\) in @upcast\(1\) of moved; a copy .*rename"
    ):
        Moved.bring_up({"id": 1}, 1)


class Course(Enum):
    ENEM = "enem"
    FUVEST = "fuvest"


class Graded(Event, type="aluno.avaliado", version=1):
    course: Annotated[Course | str, Field(union_mode="left_to_right")]
    shift: Literal["manha", "noite"] | str


def test_a_reader_that_is_open_for_more_takes_a_value_it_does_not_know() -> None:
    seen: list[Graded] = []

    class Board(Consumer):
        @handles
        def graded(self, student: Graded) -> None:
            seen.append(student)

    body = (
        '{"specversion":"1.0","id":"1","source":"/x","type":"aluno.avaliado","dataversion":1,'
        '"data":{"course":"%s","shift":"%s","a_new_optional_field":1}}'
    )
    assert deliver_raw(Board(), body % ("enem", "noite")).acknowledged
    assert deliver_raw(Board(), body % ("unicamp", "integral")).acknowledged
    assert [(one.course, one.shift) for one in seen] == [
        (Course.ENEM, "noite"),
        ("unicamp", "integral"),
    ]


CONTRACT = """
from messaging import Event, EventData, Projection, downcast, upcast

class AlunoCadastrado(Event, type="aluno.cadastrado", version={version}):
    aluno_id: str
    {field}: str
    {steps}

class ParaBiblioteca(Projection, of=AlunoCadastrado, audience="biblioteca", since=1):
    aluno_id: str

class ParaFinanceiro(Projection, of=AlunoCadastrado, audience="financeiro"{pinned}):
    aluno_id: str
    {financeiro}: str
"""
STEPS = """
    @upcast(1)
    def _up(data: EventData) -> EventData:
        return data.rename("turma", "curso")

    @downcast(2)
    def _down(data: EventData) -> EventData:
        return data.rename("curso", "turma")
"""
SERVICES = """
import os
from messaging import Consumer, Topology, handles
from contrato import ParaBiblioteca, ParaFinanceiro

def note(*words):
    with open(os.environ["NOTES"], "a") as notes:
        print(*words, file=notes)

class Biblioteca(Consumer):
    @handles
    def aluno(self, aluno: ParaBiblioteca) -> None:
        note("biblioteca", aluno.aluno_id)

class Financeiro(Consumer):
    @handles
    def aluno(self, aluno: ParaFinanceiro) -> None:
        note("financeiro", aluno.aluno_id, getattr(aluno, "curso", None) or aluno.turma)

TOPOLOGY = Topology.of(Biblioteca, Financeiro, topic="alunos", owns_topic=True)
"""
PRODUCER = """
import sys
from contextlib import closing
from messaging import Publisher, connect
from contrato import AlunoCadastrado

with closing(connect()) as broker:
    field = "curso" if AlunoCadastrado.event_version == 2 else "turma"
    event = AlunoCadastrado(aluno_id=sys.argv[1], **{field: "ENEM"})
    Publisher(broker.topic(), source="/secretaria").publish(event)
"""
WORKER = """
import sys, time
import servicos
from messaging import Worker, connect

with Worker(getattr(servicos, sys.argv[1])(), broker=connect(), wait=0, poll_grace=0) as worker:
    deadline = time.monotonic() + 30
    while worker.stats.received == 0 or worker.stats.in_flight:
        assert time.monotonic() < deadline, "nothing was received"
        time.sleep(0.02)
assert worker.stats.acknowledged == 1, worker.stats
"""
SERVICE_NAMES = ("Biblioteca", "Financeiro")
V1 = CONTRACT.format(version=1, field="turma", steps="", pinned="", financeiro="turma")
V2 = CONTRACT.format(version=2, field="curso", steps=STEPS, pinned="", financeiro="curso")
V2_PINNED = CONTRACT.format(
    version=2, field="curso", steps=STEPS, pinned=", pinned=1", financeiro="turma"
)


class School:
    """Three repositories, each with its own copy of the contract, on one local server."""

    def __init__(self, folder: Path, server: LocalServer) -> None:
        self._folder = folder
        self._notes = folder / "notes"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **server.environment,
            "MESSAGING_TOPIC": "alunos",
            "MESSAGING_PREFIX": f"t{uuid.uuid4().hex[:8]}-",
            "MESSAGING_TOPOLOGY": "servicos:TOPOLOGY",
            "NOTES": str(self._notes),
        }
        for repository in ("secretaria", "biblioteca", "financeiro"):
            self.deploy(repository, V1)
        self._run("secretaria", "-m", "messaging", "topology", "apply")

    def deploy(self, repository: str, contract: str) -> None:
        place = self._folder / repository
        place.mkdir(exist_ok=True)
        (place / "contrato.py").write_text(contract)
        (place / "servicos.py").write_text(SERVICES)
        (place / "publica.py").write_text(PRODUCER)
        (place / "trabalha.py").write_text(WORKER)

    def enrol(self, number: str) -> set[str]:
        """Publish, let each service's process handle one, and give what they noted."""
        self._notes.write_text("")
        self._run("secretaria", "publica.py", number)
        ends = [self._start(name.lower(), "trabalha.py", name) for name in SERVICE_NAMES]
        for end in ends:
            _said, error = end.communicate(timeout=60)
            assert end.returncode == 0, error
        return set(self._notes.read_text().splitlines())

    def everybody_hears(self, number: str) -> None:
        assert self.enrol(number) == {f"biblioteca {number}", f"financeiro {number} ENEM"}

    def _run(self, repository: str, *command: str) -> None:
        process = self._start(repository, *command)
        _said, error = process.communicate(timeout=60)
        assert process.returncode == 0, error

    def _start(self, repository: str, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self._folder / repository,
            env={**self._environment, "PYTHONPATH": f"{self._folder / repository}:{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def test_a_renamed_field_is_deployed_one_service_after_the_other(
    tmp_path: Path, server: LocalServer
) -> None:
    school = School(tmp_path, server)
    school.deploy("secretaria", V2_PINNED)  # the producer first: nobody else has to move
    school.everybody_hears("1")
    school.deploy("financeiro", V2)  # reads version 1 by its upcast
    school.everybody_hears("2")
    school.deploy("secretaria", V2)  # the pin is taken out
    school.everybody_hears("3")


def test_each_step_of_it_can_be_taken_back(tmp_path: Path, server: LocalServer) -> None:
    school = School(tmp_path, server)
    school.deploy("financeiro", V2)
    school.deploy("secretaria", V2_PINNED)
    school.everybody_hears("1")
    school.deploy("financeiro", V1)
    school.everybody_hears("2")
    school.deploy("secretaria", V1)
    school.everybody_hears("3")
