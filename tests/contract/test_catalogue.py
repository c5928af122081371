"""The catalogue: valid AsyncAPI, the same on every run, complete, and with nobody's data in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import AfterValidator, BaseModel, Field

import consumers.events
from messaging.contract.asyncapi import body_schema, read_document, write_document
from messaging.contract.catalogue import Catalogue, View, catalogue_of, events_of
from messaging.contract.files import written
from messaging.contract.page import html_page, markdown_page
from messaging.errors import ConfigurationError, EventError
from messaging.event import Discreet, Event, upcast
from messaging.personal import Personal
from messaging.projection import READING, Projection

ASYNCAPI = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text())
"""AsyncAPI's own schema: @asyncapi/specs 6.11.1, Apache-2.0."""
SCHOOL = catalogue_of(events_of(consumers.events), topic="alunos")
VIEWS = {view.name: view for view in SCHOOL.views}


def document(catalogue: Catalogue) -> dict[str, Any]:
    return write_document(catalogue, queues={one: f"alunos-{one}" for one in catalogue.services})


class Node(Discreet, BaseModel):
    name: str
    below: list[Node] = Field(default_factory=list)


class Odd(Event, type="odd.things", version=3):
    """Fields of many kinds."""

    title: str
    tree: Node
    pair: tuple[int, str]
    choice: Literal["a", 1, True, None]
    size: int = Field(gt=3, le=9, multiple_of=2)
    code: Annotated[str, AfterValidator(lambda text: text)] = Field(examples=["AB-1"])
    by_name: dict[str, int] = Field(default_factory=dict)

    @upcast(2)
    def _from_two(data: dict[str, Any]) -> dict[str, Any]:
        return data


ODD = catalogue_of([Odd], topic="odd.fifo")


@pytest.mark.parametrize("catalogue", [SCHOOL, ODD], ids=["school", "odd"])
def test_asyncapis_own_schema_accepts_the_document(catalogue: Catalogue) -> None:
    validator = jsonschema.Draft7Validator(ASYNCAPI)
    assert [error.message for error in validator.iter_errors(document(catalogue))] == []


def test_asyncapis_own_schema_refuses_other_bindings() -> None:
    wrong = document(SCHOOL)
    wrong["channels"]["topic"]["bindings"]["sns"]["bindingVersion"] = "1.0.0"
    assert not jsonschema.Draft7Validator(ASYNCAPI).is_valid(wrong)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    whole = document(SCHOOL)

    def look(part: Any, root: Any) -> None:
        if isinstance(part, dict):
            root = part if "$id" in part else root
            if "$ref" in part:
                found = root
                for step in part["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for one in part.values():
                look(one, root)
        elif isinstance(part, list):
            for one in part:
                look(one, root)

    look(whole, whole)


def test_two_processes_write_the_same_text() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-m", "messaging", "contract", "export", "consumers.events"],
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": "."},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {written(document(SCHOOL)).encode()}


@pytest.mark.parametrize("catalogue", [SCHOOL, ODD], ids=["school", "odd"])
def test_what_is_written_is_read_back(catalogue: Catalogue) -> None:
    assert read_document(json.loads(written(document(catalogue))), "x") == catalogue


def test_it_names_every_view_and_audience() -> None:
    assert SCHOOL.services == ("bi", "financeiro", "marketing", "plataforma")
    assert VIEWS["AlunoParaBI"].audience == ("bi",)
    assert set(VIEWS["AlunoParaBI"].fields) == {"aluno_id", "data_matricula", "curso", "origem"}
    assert VIEWS["AlunoEsquecido"].audience == ("*",)
    assert SCHOOL.view("bi", "aluno.esquecido") is not None
    assert SCHOOL.view("bi", "aluno.nenhum") is None
    assert ODD.views[0].reads == (2,)


@pytest.mark.parametrize("view", [*SCHOOL.views, *ODD.views], ids=lambda view: view.name)
def test_an_example_is_valid_and_is_read(view: View) -> None:
    assert view.example is not None
    schema = body_schema(view)
    jsonschema.Draft202012Validator.check_schema(schema)
    data = {key: value for key, value in schema["properties"].items() if key == "data"}
    whole = {"$defs": schema.get("$defs", {}), "properties": data}
    jsonschema.Draft202012Validator(whole).validate({"data": view.example})
    model: Any = getattr(consumers.events, view.name, Odd)
    model.model_validate_json(json.dumps(view.example), **READING)


def test_an_example_is_made_up() -> None:
    assert VIEWS["AlunoParaFinanceiro"].example == {
        "aluno_id": "00000000-0000-4000-8000-000000000001",
        "nome": "text",
        "email": "someone@example.org",
        "cpf": None,  # what its validator takes, nobody can make up
        "valor_mensalidade": "1",
    }
    assert (ODD.views[0].example or {})["code"] == "AB-1"


def test_a_view_has_the_marks_of_its_events_fields() -> None:
    view = VIEWS["AlunoParaFinanceiro"]
    assert view.personal("nome") == [{"about": "identificação", "category": "common"}]
    assert view.personal("aluno_id") == [{"about": "matrícula", "category": "pseudonym"}]
    inside = VIEWS["AtualizadoParaMarketing"].personal("contato")
    assert [mark["about"] for mark in inside] == ["identificação", "contato"]
    assert VIEWS["AlunoParaBI"].personal("origem") == []


def test_the_mark_changes_no_validation() -> None:
    class Seen(Event, type="seen", version=1):
        name: Annotated[str | None, Personal("identificação")]
        laudo: Annotated[str, Personal("saúde", category="sensitive")]

    class SeenByOne(Projection, of=Seen, audience="one"):
        name: str | None

    seen = Seen(name=None, laudo="x")
    assert SeenByOne.from_event(seen).name is None
    assert Seen.model_fields["laudo"].annotation is str


@pytest.mark.parametrize(
    ("about", "category", "said"),
    [("", "common", "say what the field tells"), ("x", "secret", "known are common, sensitive")],
)
def test_a_wrong_mark_is_refused(about: str, category: Any, said: str) -> None:
    with pytest.raises(EventError, match=said):
        Personal(about, category=category)


def test_a_field_called_title_stays() -> None:
    assert "title" in ODD.views[0].fields


@pytest.mark.parametrize("page", [markdown_page, html_page])
def test_the_page_shows_who_sees_what(page: Any) -> None:
    text = page(SCHOOL).replace("\\", "")
    assert "valor_mensalidade" in text
    assert "pseudonym: matrícula" in text
    assert "every service" in text
    assert "http" not in text  # nothing is fetched


def test_a_table_says_never_where_a_service_has_no_field() -> None:
    rows = [line for line in markdown_page(SCHOOL).splitlines() if line.startswith("| cpf")]
    assert rows == ["| cpf | common: identificação | never | yes | never | never |"] * 2


def test_the_page_escapes_what_stands_in_it() -> None:
    class Evil(Event, type="evil", version=1):
        """<script>alert(1)</script> | **x**"""

        name: str

    catalogue = catalogue_of([Evil], topic="alunos")
    assert "<script>" not in html_page(catalogue)
    assert r"\<script\>alert(1)\</script\> \| \*\*x\*\*" in markdown_page(catalogue)


def test_two_classes_of_one_type_are_refused() -> None:
    class Other(Event, type="odd.things", version=1):
        title: str

    with pytest.raises(ConfigurationError, match=r"Odd and .*Other are both odd\.things"):
        catalogue_of([Odd, Other], topic="odd")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no AsyncAPI document"),
        ({"openapi": "3.1"}, "no AsyncAPI document"),
        ({"needs": 1}, "needs of a service"),
        ({"asyncapi": "2.6.0"}, "AsyncAPI 2.6.0; version 3.0 is read"),
        ({"asyncapi": "3.0.0"}, "of another tool"),
        ({"asyncapi": "3.0.0", "x-messaging": {"format": 9}}, "format 9.*reads 1"),
        ({"asyncapi": "3.0.0", "x-messaging": {"format": 1}}, "damaged catalogue .components"),
    ],
)
def test_what_is_no_catalogue_is_named(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"here.json: .*{said}"):
        read_document(given, "here.json")
