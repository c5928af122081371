"""Names on the command line: what is found, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from messaging.cli import names
from messaging.consuming.consumer import Consumer
from messaging.errors import ConfigurationError, EventError
from messaging.topology import Topology


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of its own name, so that tests do not see each other's."""
    module = f"m_{''.join(filter(str.isalnum, project.name))}"
    (project / "school.py").rename(project / f"{module}.py")
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    return project / f"{module}.py"


def test_a_topology_an_event_and_a_consumer_are_found(in_project: Path) -> None:
    module = in_project.stem
    assert isinstance(names.topology(f"{module}:TOPOLOGY", "--topology"), Topology)
    assert names.event(f"{module}:Enrolled", "--event").event_type == "student.enrolled"
    for name in ("Mail", "MAIL", "make_mail"):
        found = names.consumer(f"{module}:{name}", "consumer")
        assert isinstance(found, Consumer)
        assert found.service == "mail"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("school", "write module:NAME, like consumers.marketing:Marketing"),
        ("school:", "write module:NAME"),
        (":Mail", "write module:NAME"),
        ("school:Mail()", "write module:NAME"),
        ("nowhere.school:Mail", "there is no module 'nowhere'"),
    ],
)
def test_a_name_that_cannot_be_is_told(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^consumer '.*{said}"):
        names.consumer(name, "consumer")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mial", "has no 'Mial'; it has Enrolled, EnrolledForMail"),
        ("Mail.service", "a Consumer class, a consumer, or a function that gives one was expected"),
        ("Enrolled", "cannot be made without arguments"),
        ("Choosy", r"cannot be made without arguments \(missing a required argument: 'mailing'\)"),
    ],
)
def test_a_wrong_object_is_told(in_project: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        names.consumer(f"{in_project.stem}:{name}", "consumer")


def test_a_module_that_says_what_is_public_is_believed(project: Path) -> None:
    (project / "shelf.py").write_text(
        "from uuid import UUID\n__all__ = ['Book']\nclass Book: ...\n"
    )
    with pytest.raises(ConfigurationError, match=r"has no 'Bok'; it has Book$"):
        names.consumer("shelf:Bok", "consumer")


def test_a_wrong_kind_is_told(in_project: Path) -> None:
    module = in_project.stem
    with pytest.raises(ConfigurationError, match="a Topology was expected, not the class Mail"):
        names.topology(f"{module}:Mail", "--topology")
    with pytest.raises(ConfigurationError, match=r"an Event class .* was expected, not Topology"):
        names.event(f"{module}:TOPOLOGY", "--event")


def test_a_module_that_breaks_is_told_by_type_and_place_without_its_text(project: Path) -> None:
    (project / "breaks.py").write_text("1 + 1\nraise ValueError('secret of Ana')\n")
    with pytest.raises(ConfigurationError) as caught:
        names.topology("breaks:TOPOLOGY", "--topology")
    assert "importing breaks raised ValueError at" in str(caught.value)
    assert "breaks.py:2" in str(caught.value)
    assert "Ana" not in str(caught.value)


def test_a_module_that_does_not_parse_or_misses_a_package_is_told(project: Path) -> None:
    (project / "typo.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ConfigurationError, match=r"SyntaxError at .*typo\.py:2"):
        names.topology("typo:TOPOLOGY", "--topology")
    (project / "lacks.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ConfigurationError, match="lacks imports 'not_installed_anywhere'"):
        names.topology("lacks:TOPOLOGY", "--topology")


def test_a_constructor_that_breaks_is_told_by_type_and_place(project: Path) -> None:
    (project / "broken_service.py").write_text(
        "from messaging.consuming.consumer import Consumer\n"
        "class Broken(Consumer):\n"
        "    def __init__(self):\n"
        "        raise OSError('password is hunter2')\n"
    )
    with pytest.raises(ConfigurationError, match=r"making it raised OSError at .*:4") as caught:
        names.consumer("broken_service:Broken", "consumer")
    assert "hunter2" not in str(caught.value)


def test_what_the_library_says_of_a_declaration_is_passed_on(project: Path) -> None:
    (project / "wrong_event.py").write_text(
        "from messaging.event import Event\nclass X(Event, type='no spaces', version=1): ...\n"
    )
    with pytest.raises(EventError, match="is not an event type"):
        names.event("wrong_event:X", "--event")
