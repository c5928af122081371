"""The module that is written for a service: it is typed, and reads what the producer sends."""

from __future__ import annotations

import importlib.util
import sys
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

import consumers.events
from consumers.events import AlunoAtualizado, AlunoCadastrado, AlunoEsquecido, MatriculaCancelada
from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.contract.catalogue import Catalogue, View, catalogue_of, events_of
from messaging.contract.generate import module_of
from messaging.errors import ConfigurationError
from messaging.event import Discreet, Event
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.settings import Settings
from messaging.testing import FakeClock, drain
from messaging.topology import Topology
from tests.contract.accounts import SESSION

SCHOOL = catalogue_of(events_of(consumers.events), topic="alunos")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(Discreet, BaseModel):
    name: str
    colour: Colour = Colour.RED
    parts: list[Part] = Field(default_factory=list)


class Wide(Event, type="wide.thing", version=2):
    """It says \"\"\"quoted\"\"\" things \\ and ends with a quote\""""

    whole: Part
    pair: tuple[int, str]
    many: Annotated[list[Part], Field(max_length=9)]
    by_name: dict[str, Decimal]
    when: datetime | None = None
    kind: Literal["a", "b", 1] = "a"
    text: str = 'it\'s "so"'
    rate: Annotated[float, Field(ge=0, lt=1)] = 0.5
    anything: Any = None


WIDE = catalogue_of([Wide], topic="wide")


def load(catalogue: Catalogue, service: str, folder: Path) -> ModuleType:
    """The module as a service's repository has it: a file of its own."""
    path = folder / f"generated_{uuid.uuid4().hex}.py"
    path.write_text(module_of(catalogue, service), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_it_reads_what_an_event_of_many_kinds_writes(tmp_path: Path) -> None:
    mine = load(WIDE, "anyone", tmp_path).Wide
    part = Part(name="x", colour=Colour.BLUE, parts=[Part(name="y")])
    sent = Wide(
        whole=part,
        pair=(1, "a"),
        many=[part],
        by_name={"x": Decimal("1.50")},
        when=datetime(2026, 1, 2, tzinfo=UTC),
    )
    read = mine.model_validate_json(sent.model_dump_json())
    assert read.model_dump(mode="json") == sent.model_dump(mode="json")
    assert read.by_name["x"] == Decimal("1.50")


def service_of(module: ModuleType, seen: list[Any]) -> type[Consumer]:
    """The service as its team writes it, on the generated views."""
    view, gone = module.AlunoParaFinanceiro, module.AlunoEsquecido

    def open_account(self: Any, aluno: Any) -> None:
        seen.append(aluno)

    def forget(self: Any, aluno: Any) -> None:
        seen.append(aluno)

    open_account.__annotations__ = {"aluno": view, "return": None}
    forget.__annotations__ = {"aluno": gone, "return": None}
    return type(
        "Financeiro",
        (Consumer,),
        {"open_account": handles(open_account), "forget": handles(forget)},
    )


def aluno(kind: Any = AlunoCadastrado) -> Any:
    return kind(
        aluno_id=uuid.UUID(int=7),
        nome="Inês Conceição",
        email="ines@example.org",
        origem="csv",
        data_matricula=datetime(2026, 2, 1, tzinfo=UTC),
        cpf="529.982.247-25",
        valor_mensalidade=Decimal("950.10"),
        aceita_marketing=True,
    )


def test_a_service_without_the_contract_reads_what_the_producer_sends(tmp_path: Path) -> None:
    """In one process: the producer knows consumers.events, the service the generated module."""
    seen: list[Any] = []
    service = service_of(load(SCHOOL, "financeiro", tmp_path), seen)
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(service, topic="alunos"), clock=clock)
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish(aluno())
        publisher.publish(AlunoEsquecido(aluno_id=uuid.UUID(int=7)))
    drain(broker, service(), clock=clock)
    assert [type(one).__name__ for one in seen] == ["AlunoParaFinanceiro", "AlunoEsquecido"]
    assert (seen[0].nome, seen[0].valor_mensalidade) == ("Inês Conceição", Decimal("950.10"))


def test_the_same_over_a_server(tmp_path: Path) -> None:
    seen: list[Any] = []
    service = service_of(load(SCHOOL, "financeiro", tmp_path), seen)
    topology = Topology.of(service, topic="alunos", owns_topic=True)
    with LocalServer(engine="ministack") as server:
        settings = Settings(endpoint_url=server.url, region="sa-east-1", topic="alunos")
        apply(topology, settings, session=SESSION)
        broker = connect(settings, session=SESSION)
        with Publisher(broker.topic(), source="/cadastro") as publisher:
            publisher.publish(aluno())
        with Worker(service(), broker=broker, wait=0.2) as _:
            deadline = time.monotonic() + 60
            while not seen:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        broker.close()
    assert seen[0].cpf == "52998224725"


def test_the_producers_other_events_are_in_the_module_of_whoever_hears_them() -> None:
    text = module_of(SCHOOL, "bi")
    assert "class MatriculaCancelada(Event" in text
    assert "nome" not in text
    assert MatriculaCancelada.__name__ in module_of(SCHOOL, "anyone")
    assert AlunoAtualizado.event_type in text


def test_a_service_that_receives_nothing_is_told_who_does() -> None:
    with pytest.raises(ConfigurationError, match="serves bi, financeiro, marketing, plataforma"):
        module_of(
            Catalogue(topic="t", views=tuple(v for v in SCHOOL.views if v.audience != ("*",))),
            "biblioteca",
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x): pass\nimport os\nclass Y("},
        {"name": "class"},
        {"schema": {"properties": {"a b": {"type": "string"}}}},
        {"schema": {"properties": {"_x": {"type": "string"}}}},
    ],
)
def test_a_name_that_python_does_not_take_is_refused(wrong: Any) -> None:
    view = View(
        **{"name": "X", "event": "X", "type": "x", "version": 1, "audience": ("*",), "schema": {}}
        | wrong
    )
    with pytest.raises(ConfigurationError, match="is no name that a class or a field may have"):
        module_of(Catalogue(topic="t", views=(view,)), "x")


def test_what_stands_in_a_catalogue_is_text_and_never_code(tmp_path: Path) -> None:
    evil = '"""\nraise SystemExit(3)\n"""'
    view = View(
        name="X",
        event="X",
        type="x.y",
        version=1,
        audience=("*",),
        schema={
            "description": evil,
            "properties": {
                "a": {"type": "string", "default": evil},
                "b": {"enum": [evil]},
                "c": {"type": "string", "x-personal-data": {"about": evil, "category": "common"}},
            },
        },
    )
    module = load(Catalogue(topic=evil, views=(view,)), "x", tmp_path)
    assert module.X(b=evil).a == evil


def test_two_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    def event(name: str, inner: Any) -> type[Event]:
        made: Any = create_model(
            name,
            __base__=Event,
            __cls_kwargs__={"type": name.lower(), "version": 1},
            part=(inner, ...),
        )
        return made

    one = event("One", create_model("Inner", a=(int, ...)))
    two = event("Two", create_model("Inner", b=(str, ...)))
    module = load(catalogue_of([one, two], topic="t"), "anyone", tmp_path)
    assert module.One(part={"a": 1}).part.a == 1
    assert module.Two(part={"b": "x"}).part.b == "x"
