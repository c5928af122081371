"""The project's own defaults, and which of several sayings counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from messaging.cli.project import Project, read_project
from messaging.errors import ConfigurationError


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert read_project(tmp_path) == Project()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert read_project(tmp_path) == Project()


def test_pyproject_is_read(project: Path) -> None:
    said = read_project(project)
    assert said.file == "pyproject.toml"
    assert (said.topology, said.event, said.source) == (
        "school:TOPOLOGY",
        "school:Enrolled",
        "/office",
    )


def test_a_file_of_its_own_comes_first(project: Path) -> None:
    (project / "messaging.toml").write_text(
        "topology = 'other:MAP'\n[csv]\ndefaults = { origem = 'csv' }\n"
    )
    said = read_project(project)
    assert said.topology == "other:MAP"
    assert said.csv == {"defaults": {"origem": "csv"}}
    assert said.event is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "topolgy = 'x:Y'",
            "unknown: topolgy; known are topology, event, source, codec and csv",
        ),
        ("topology = 3", "topology must be a text"),
        ("csv = 'x'", "csv must be a table"),
        ("topology = ", "not TOML"),
    ],
)
def test_mistakes_are_told_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "messaging.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"^messaging\.toml: .*{said}"):
        read_project(tmp_path)
