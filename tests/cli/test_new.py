"""`messaging new service`: files that work as they come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

WITH_WHEELS = 'pip install --find-links wheels -e ".[dev]"'
"""The library is on no public index, so what installs it says where its wheel lies."""


@pytest.mark.parametrize(
    ("name", "options", "package", "consumer"),
    [
        ("biblioteca", (), "biblioteca", "Biblioteca"),
        ("vida-escolar", ("--event", "nota.lancada-tarde"), "vida_escolar", "VidaEscolar"),
    ],
)
def test_its_own_test_passes_and_its_topology_can_be_planned(
    messaging: Run,
    tmp_path: Path,
    name: str,
    options: tuple[str, ...],
    package: str,
    consumer: str,
) -> None:
    folder = tmp_path / "new"
    done = messaging("new", "service", name, *options, "--into", str(folder))
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {str(Path(line).relative_to(folder)) for line in done.stdout.splitlines()} == written
    assert {f"{package}/servico.py", "Dockerfile", ".gitignore", "pyproject.toml"} <= written
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in tests.stdout, tests.stdout
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "messaging", "topology", "show"),
            *("--topology", f"{package}.servico:TOPOLOGY"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert f"alunos-{name}" in shown.stdout
    assert f"{package}.servico:{consumer}" in (folder / "Dockerfile").read_text()
    assert WITH_WHEELS in (folder / "README.md").read_text()


def test_nothing_is_written_over(messaging: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = messaging("new", "service", "biblioteca", "--into", str(tmp_path))
    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name == "mine"] == ["mine"]
    assert not (tmp_path / "biblioteca").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Biblioteca", "is not a name for it"),
        ("9", "begin with a letter"),
        ("class", "cannot be a Python package"),
        ("json", "a module that Python imports already"),
        ("messaging", "a module that Python imports already"),
    ],
)
def test_a_name_that_would_not_work_is_refused(messaging: Run, name: str, says: str) -> None:
    done = messaging("new", "service", name)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_an_event_without_dots_is_refused(messaging: Run) -> None:
    done = messaging("new", "service", "biblioteca", "--event", "Aluno")
    assert done.returncode == 2
    assert "dotted words" in " ".join(done.stderr.split())


def test_a_producer_comes_with_a_test_and_a_topic_that_can_be_planned(
    messaging: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    done = messaging("new", "producer", "secretaria-geral", "--into", str(folder))
    assert done.returncode == 0, done.stderr
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in tests.stdout, tests.stdout
    shown = subprocess.run(
        [sys.executable, "-m", "messaging", "topology", "show"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "alunos" in shown.stdout
    assert WITH_WHEELS in (folder / "README.md").read_text()
