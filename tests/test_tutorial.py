"""The tutorial, walked through: its commands in their order, against a server, on a short file."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from messaging.local import LocalServer

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
ROWS = 40  # of the file that it publishes; the tutorial has no need of more, and the test no time
SHOWN_BY_HAND = {"make demo", ". .venv/bin/activate", "messaging local"}


def commands() -> list[str]:
    """What the page says to type, in its order."""
    consoles = re.findall(r"```console\n(.*?)```", TEXT, flags=re.S)
    return [line[2:] for text in consoles for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like the clone that the tutorial walks in, with its two files already written."""
    for name in ("consumers", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    data = tmp_path / "examples" / "data"
    data.mkdir(parents=True)
    rows = (ROOT / "examples" / "data" / "alunos.csv").read_bytes().splitlines(keepends=True)
    (data / "alunos.csv").write_bytes(b"".join(rows[: ROWS + 1]))
    for name, code in re.findall(r'```python title="([\w.]+)"\n(.*?)```', TEXT, flags=re.S):
        (tmp_path / name).write_text(code)
    return tmp_path


def typed(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Type one command of the page; what it prints. Workers stop when their queues are empty."""
    words = shlex.split(line)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment = {**environment, name: value}
    if words[:2] == ["messaging", "run"] and "--until-empty" not in words:
        words.append("--until-empty")
    program = {"messaging": [sys.executable, "-m", "messaging"], "python": [sys.executable]}
    ended = subprocess.run(
        [*program[words[0]], *words[1:]],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(folder), "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def table(printed: str) -> dict[str, list[int]]:
    """The numbers of a printed table, by service; "-" is none."""
    rows = (line.split() for line in printed.splitlines())
    return {
        row[0]: [int(cell) for cell in row[1:] if cell != "-"]
        for row in rows
        if row[1:] and row[1].isdigit()
    }


def test_the_tutorial(folder: Path) -> None:
    walked: dict[str, str] = {}
    with LocalServer() as server:
        # What `messaging local` prints, and what it does.
        environment = {**server.environment, "MESSAGING_TOPIC": "alunos"}
        typed("messaging topology apply", folder, environment)
        for line in commands():
            if line not in SHOWN_BY_HAND:
                walked[line] = typed(line, folder, environment)

    publish, status, run, plan, _apply, _cancel, library = walked
    assert publish.startswith("messaging publish examples/data/alunos.csv")
    filled = table(walked[status])
    assert filled["plataforma"][0] == filled["bi"][0] == filled["financeiro"][0] > 30
    assert 0 < filled["marketing"][0] < filled["bi"][0]
    ended = table(walked[run])
    for name, (received, *ends) in ended.items():
        assert received == sum(ends) == filled[name][0]
    assert walked[plan].count("+ create") == 4
    assert walked[library].startswith("books of ")
    assert sorted(path.stem for path in (folder / "dados").glob("*.sqlite3")) == sorted(filled)
