"""The page for newcomers, walked through: its commands as they stand there, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "first-service.md").read_text()
VENV = "python3 -m venv .venv"


def terminal(title: str) -> list[str]:
    """What the page says to type, in the terminal of that title ("" is the first), in its order."""
    found = re.findall(r'```console(?: title="([^"]*)")?\n(.*?)```', TEXT, flags=re.S)
    lines = [line for name, text in found if name == title for line in text.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the wheel in it, and beside it the packages of an index."""
    place = tmp_path / "empty"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    index = tmp_path / "index"
    index.mkdir()
    # What the library needs is not downloaded. The library itself, which is installed there from
    # this clone, is left out: the wheel must do.
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("messaging_sns_sqs", "_messaging")) and path.suffix != ".pth":
            (index / path.name).symlink_to(path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    return place


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MESSAGING_", "PYTHON", "PYTEST_", "COV_", "VIRTUAL_ENV"))
    }
    path = f"{folder.parent / 'bin'}{os.pathsep}{clean['PATH']}"
    return {**clean, "PATH": path, "PIP_NO_INDEX": "1", "PYTHONUTF8": "1", "COLUMNS": "100"}


def typed(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a shell prints that is given these lines, and stops at the first that fails."""
    ended = subprocess.run(
        ["bash", "-e"],
        input="\n".join(lines) + "\n",
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, f"{lines}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


@pytest.fixture
def server(folder: Path, environment: dict[str, str]) -> Iterator[list[str]]:
    """The first terminal up to the server's start; then the second, and what it says to paste."""
    first = terminal("")
    until = next(at for at, line in enumerate(first) if line.startswith("messaging try"))
    install = first[: first.index(VENV) + 1]
    typed(install, folder, environment)
    (site,) = folder.glob(".venv/lib/python*/site-packages")
    (site / "index.pth").write_text(f"{folder.parent / 'index'}\n")
    # pytest is there already, so pip does not write its command, and another one would be found.
    command = folder / ".venv" / "bin" / "pytest"
    command.write_text(
        f"#!{command.with_name('python')}\nimport pytest\nraise SystemExit(pytest.main())\n"
    )
    command.chmod(0o755)
    said = typed(first[len(install) : until], folder, environment)
    assert "1 passed" in said
    # The page's port may be taken on this machine; everything else is as it stands there.
    second = "\n".join(terminal("second terminal"))
    second = second.replace("messaging local", "exec messaging local --port 0")
    with subprocess.Popen(
        ["bash", "-ec", second], cwd=folder / "biblioteca", env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            exports: list[str] = []
            while not any("MESSAGING_TOPIC" in line for line in exports):
                line = running.stdout.readline()  # "" when the server has ended
                assert line, f"messaging local ended: {exports}"
                exports.append(line.strip())
            yield exports
        finally:
            running.terminate()
            running.communicate(timeout=30)


def test_from_an_empty_folder_to_a_service_that_receives(
    folder: Path, environment: dict[str, str], server: list[str]
) -> None:
    first = terminal("")
    until = next(at for at, line in enumerate(first) if line.startswith("messaging try"))
    shell = [". ../.venv/bin/activate", *server]  # the first terminal has both already
    said = typed([*shell, *first[until:]], folder / "biblioteca", environment)
    published = re.findall(r"published aluno\.matriculado \S+ for biblioteca alone", said)
    assert len(published) == 2
    assert re.search(r"biblioteca +2 +0 +0 ", said), said
    assert "aluno.matriculado 2026-0001" in said
    assert re.search(r"biblioteca +2 +2 +0 +0 +0", said), said
    assert "1 passed" in said  # the producer's own test
    assert "aluno.matriculado 2026-0002" in said
    assert re.search(r"biblioteca +1 +1 +0 +0 +0", said), said
    where = 'python -c "import messaging; print(messaging.__file__)"'
    assert "site-packages" in typed([shell[0], where], folder / "biblioteca", environment)
