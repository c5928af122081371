"""`messaging_worker --reload`: the code that runs is the code that was saved last."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.django.conftest import PROJECT, DjangoProject, until

SERVICE = """
import sys

from messaging import Consumer, handles
from escola.eventos import AlunoParaBiblioteca


class Nova(Consumer):
    service = "biblioteca"

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        sys.stdout.write("VERSION handled " + aluno.aluno_id + "\\n")
        sys.stdout.flush()
"""
WORKER = ("messaging_worker", "nova:Nova", "--topology", "escola.servicos:TOPOLOGY", "--reload")


def save(path: Path, text: str) -> None:
    """As an editor does it; the time of the change is told apart whatever the clock's steps."""
    before = path.stat().st_mtime if path.exists() else 0
    path.write_text(text)
    os.utime(path, (before + 10, before + 10))


@contextmanager
def reloading(project: DjangoProject, folder: Path) -> Iterator[Callable[[], str]]:
    """A worker under the reloader, which is two processes; yields what they have said so far."""
    said = folder / "said.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *WORKER],
            cwd=project.cwd,
            env=project.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield said.read_text
        process.terminate()
        assert process.wait(30) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_saved_change_is_what_handles_the_next_event(
    lite_project: DjangoProject, tmp_path: Path
) -> None:
    project = lite_project
    project.cwd = tmp_path / "project"
    shutil.copytree(PROJECT, project.cwd, ignore=shutil.ignore_patterns("__pycache__"))
    module = project.cwd / "nova.py"
    save(module, SERVICE.replace("VERSION", "first"))
    project.apply()
    project.enrol("a")
    with reloading(project, tmp_path) as said:

        def saved(text: str, shown: str) -> bool:
            # The reloader takes a change in its first second for the state it began with.
            save(module, text)
            time.sleep(0.5)
            return shown in said()

        until(lambda: "first handled a" in said())
        until(lambda: saved("this is no Python", "SyntaxError"))
        # The first worker finished in order before its code was loaded again.
        assert said().count("worker stopped") == 1
        project.enrol("b")
        until(lambda: saved(SERVICE.replace("VERSION", "second"), "second handled b"))


def test_reload_is_for_one_worker_that_goes_on(lite_project: DjangoProject) -> None:
    for more in (("--processes", "2"), ("--until-empty",)):
        done = lite_project.manage(
            "messaging_worker", "escola.servicos:Biblioteca", "--reload", *more
        )
        assert done.returncode == 2
        assert "leave out --processes, --until-empty" in done.stderr
