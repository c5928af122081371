"""A new field, as the page has it: what is new is in the code, and each mix of versions works."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from messaging.cli.app import run
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.testing import deliver_raw
from messaging.topology import Topology

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "change-an-event.md").read_text()
SECTION = PAGE.partition("\n## A new optional field, step by step\n")[2].partition("\n## ")[0]


def block(opening: str) -> str:
    (found,) = re.findall(rf"```{re.escape(opening)}\n(.*?)```", SECTION, flags=re.S)
    return str(found)


def commands(opening: str) -> list[list[str]]:
    lines = block(opening).splitlines()
    return [line.removeprefix("$ messaging ").split() for line in lines if line.startswith("$ ")]


NEW = block('python title="secretaria/eventos.py"')
OLD = re.sub(r".*# new\n", "", NEW)
CHECK, EXPORT = commands("console")
(GENERATE,) = commands('console title="biblioteca\'s repository"')


class Producer:
    """The producer's repository, in which commands are typed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "pyproject.toml").write_text('[tool.messaging]\ntopology = "mapa:TOPOLOGY"\n')
        (folder / "mapa.py").write_text(
            "from messaging import Topology\nTOPOLOGY = Topology.producer('alunos')\n"
        )
        (folder / "secretaria").mkdir()

    def writes(self, text: str) -> None:
        (self.folder / "secretaria" / "eventos.py").write_text(text)

    def types(self, words: list[str]) -> tuple[int, str]:
        for name in ("secretaria", "secretaria.eventos", "mapa"):
            sys.modules.pop(name, None)  # each command is a process of its own
        self._capsys.readouterr()
        code = run(words)
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err


@pytest.fixture
def producer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Producer:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the same file twice in one second
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return Producer(tmp_path, capsys)


def made(name: str, text: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(text, name, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module


def reader(view: type[Event], name: str) -> type[Consumer]:
    """A service of that name whose handler takes the view, and keeps what it is given."""

    class Leitor(Consumer):
        service = name
        got: ClassVar[list[dict[str, Any]]] = []

        def ouvir(self, aluno: Any) -> None:
            self.got.append(aluno.model_dump())

        ouvir.__annotations__["aluno"] = view
        ouvir = handles(ouvir)

    return Leitor


def sent(events: types.ModuleType, service: type[Consumer], **fields: Any) -> str:
    """The body that the producer with these events puts into a service's queue."""
    with MemoryBroker(Topology.of(service, topic="alunos")) as broker:
        with Publisher(broker.topic(), source="/secretaria") as publisher:
            publisher.publish(events.AlunoMatriculado(aluno_id="7", nome="Ana", **fields))
        (delivery,) = broker.queue(service.service).receive(10, 0)
    return delivery.body


def received(service: type[Consumer], body: str) -> dict[str, Any]:
    assert deliver_raw(service(), body).acknowledged
    found: dict[str, Any] = service.got.pop()  # type: ignore[attr-defined]  # of `reader`
    return found


def test_no_mix_of_old_and_new_breaks_a_service(producer: Producer) -> None:
    producer.writes(OLD)
    assert producer.types(EXPORT)[0] == 0
    services: dict[str, type[Consumer]] = {}
    for service in ("biblioteca", "financeiro"):
        words = [service if word == "biblioteca" else word for word in GENERATE]
        assert producer.types(words)[0] == 0
        services[service] = reader(_view(producer, service), service)
    old_biblioteca, financeiro = services["biblioteca"], services["financeiro"]

    producer.writes(NEW)
    code, said = producer.types([*CHECK[:-2]])  # nobody has handed in needs
    assert (code, said) == (0, "nobody breaks\n")
    assert producer.types(EXPORT)[0] == 0
    assert producer.types(GENERATE)[0] == 0
    new_biblioteca = reader(_view(producer, "biblioteca"), "biblioteca")

    before, after = made("old", OLD), made("new", NEW)
    of_old, of_new = sent(before, old_biblioteca), sent(after, old_biblioteca, turma="7B")
    assert received(old_biblioteca, of_old) == {"aluno_id": "7"}
    assert received(old_biblioteca, of_new) == {"aluno_id": "7"}
    assert received(new_biblioteca, of_old) == {"aluno_id": "7", "turma": None}
    assert received(new_biblioteca, of_new) == {"aluno_id": "7", "turma": "7B"}
    for body in (sent(before, financeiro), sent(after, financeiro, turma="7B")):
        assert "turma" not in body
        assert received(financeiro, body) == {"aluno_id": "7", "nome": "Ana"}


def _view(producer: Producer, service: str) -> type[Event]:
    text = (producer.folder / "eventos.py").read_text()
    view: type[Event] = getattr(made("eventos", text), f"AlunoPara{service.capitalize()}")
    return view


def test_a_field_that_is_in_the_event_alone_is_named(producer: Producer) -> None:
    producer.writes(OLD)
    producer.types(EXPORT)
    in_the_event_alone = NEW.replace("    turma: str | None = None  # new\n", "", 2).replace(
        "    nome: str\n", "    nome: str\n    turma: str | None = None\n", 1
    )
    producer.writes(in_the_event_alone)
    said = "aluno.matriculado: in no view, so never sent: turma\n"
    assert producer.types([*CHECK[:-2]]) == (0, f"{said}nobody breaks\n")
    assert said in producer.types(EXPORT)[1]


def test_a_view_without_the_default_breaks_its_service_and_says_what_to_do(
    producer: Producer,
) -> None:
    producer.writes(OLD)
    producer.types(EXPORT)
    event, _, views = NEW.partition("class AlunoParaBiblioteca")
    producer.writes(f"{event}class AlunoParaBiblioteca{views.replace(' = None', '')}")
    code, said = producer.types([*CHECK[:-2]])
    assert code == 1
    # Each name in one piece, so that it can be copied from a narrow terminal.
    assert "aluno.matriculado: data.turma" in said
    assert "remedy: give it a default" in said
