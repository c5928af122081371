"""`messaging run --reload`: what was saved is what handles the next event."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging.local import LocalServer
from tests.programs import SERVICE, eventually

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
TELLS = SERVICE.replace(
    "pass",
    'with open("notes", "a") as notes: print("WORD", event.number, file=notes)',
)
PUBLISH = """
import sys
from contextlib import closing
from messaging import Publisher, connect
from service import Happened
with closing(connect()) as broker:
    Publisher(broker.topic(), source="/x").publish(Happened(number=int(sys.argv[1])))
"""


class Project:
    def __init__(self, folder: Path, server: LocalServer) -> None:
        self.folder = folder
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **server.environment,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MESSAGING_TOPIC": "t",
            "MESSAGING_WAIT": "0.2",
        }
        (folder / "publish.py").write_text(PUBLISH)
        self.save("first")
        self.run("-m", "messaging", "topology", "apply", "--topology", "service:TOPOLOGY")

    def save(self, word: str) -> None:
        (self.folder / "service.py").write_text(TELLS.replace("WORD", word))

    def run(self, *command: str) -> None:
        subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=self.environment, check=True,
            capture_output=True,
        )  # fmt: skip

    def notes(self) -> list[str]:
        notes = self.folder / "notes"
        return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with LocalServer() as server:
        yield Project(tmp_path, server)


def test_a_change_is_what_handles_the_next_event_and_a_mistake_is_waited_out(
    project: Project,
) -> None:
    log = project.folder / "log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "messaging", "run", "service:Mail", "--reload"]
        process = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, stderr=stderr
        )
    try:
        project.run("publish.py", "1")
        assert eventually(lambda: project.notes() == ["first 1"]), log.read_text()
        (project.folder / "service.py").write_text("this is no Python")
        assert eventually(lambda: "started again at the next change" in log.read_text())
        assert "service.py has changed: starting again" in log.read_text()
        project.save("second")
        project.run("publish.py", "2")
        assert eventually(lambda: project.notes() == ["first 1", "second 2"]), log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def test_the_end_of_the_program_is_the_end(project: Project) -> None:
    project.run("publish.py", "1")
    project.run("-m", "messaging", "run", "service:Mail", "--reload", "--until-empty")
    assert project.notes() == ["first 1"]


def test_several_processes_are_refused(project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "messaging", "run", "service:Mail", "--reload", "--processes", "2"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "leave --processes out" in done.stderr
