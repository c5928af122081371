"""The example of many repositories: it plays to its end, and says so where something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.repositories import run as script
from examples.repositories.run import Account

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "repositories"
COMMAND = [sys.executable, "-m", "examples.repositories.run"]


def surroundings(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `make repositories ARGS=--json` prints, played once for all tests."""
    scratch = tmp_path_factory.mktemp("played")
    ended = subprocess.run(
        [*COMMAND, "--json"],
        cwd=ROOT,
        env=surroundings(scratch),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    assert list(scratch.iterdir()) == []  # and nothing stays behind
    return {**json.loads(ended.stdout), "code": ended.returncode}


# The fixture is the whole story, and the first test pays for it.
pytestmark = pytest.mark.timeout(600)


def came(played: Any, who: str, what: str) -> list[str]:
    """What came of the steps of `who` whose name has `what` in it."""
    found = [one for one in played["steps"] if one["who"] == who and what in one["what"]]
    assert found, f"{who} did not try {what!r}"
    return [one["came"] for one in found]


def test_everything_comes_out_as_it_should(played: Any) -> None:
    assert [one for one in played["steps"] if not one["right"]] == []
    assert (played["wrong"], played["code"]) == (0, 0)


def test_each_repository_passes_its_own_tests_with_the_wheel(played: Any) -> None:
    for who in ("contrato", "secretaria", "financeiro", "biblioteca", "portaria"):
        assert came(played, who, "its own tests") == ["1 passed"]


def test_a_service_is_deployed_before_the_topic_and_waits(played: Any) -> None:
    assert came(played, "biblioteca", "before the topic exists") == ["exit code 4"]


def test_no_team_can_delete_anothers_queue(played: Any) -> None:
    assert came(played, "biblioteca", "removes financeiro's queue") == ["refused"]
    assert came(played, "secretaria", "publishes after that") == ["reaches financeiro, biblioteca"]


def test_a_fifth_service_is_told_nothing_until_it_has_a_view(played: Any) -> None:
    assert came(played, "secretaria", "asks messaging doctor") == ["portaria is told nothing"]
    assert came(played, "secretaria", "asks again") == ["all are told"]
    (reached,) = came(played, "secretaria", "publishes with contrato 1.1")
    assert reached.endswith(", portaria")


def test_the_check_names_who_would_break_and_nobody_else(played: Any) -> None:
    assert came(played, "contrato", "unannounced") == ["breaks financeiro, exit code 1"]
    assert came(played, "contrato", "pinned") == ["breaks nobody, exit code 0"]


def test_a_version_goes_out_and_back_and_nobody_else_is_deployed(played: Any) -> None:
    everybody = "reaches financeiro, biblioteca, portaria"
    assert came(played, "secretaria", "rolled back") == [everybody] * 3
    assert came(played, "secretaria", "again") == ["all are told", *[everybody] * 3]
    # Stopped once, at the end: they ran through all of it.
    for who in ("biblioteca", "portaria"):
        assert came(played, who, "is stopped") == ["all acknowledged"]
    assert len(came(played, "financeiro", "is stopped")) == 4


def test_ctrl_c_ends_everything_that_it_started(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=surroundings(tmp_path), stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    ) as started:  # fmt: skip
        assert started.stderr is not None
        for line in started.stderr:
            if "secretaria: publishes" in line:  # the server and two services run
                break
        running = psutil.Process(started.pid).children(recursive=True)
        assert len(running) >= 3
        started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
        assert started.wait(60) == 130, rest
    assert "nothing is left behind" in rest
    psutil.wait_procs(running, timeout=30)
    assert [process for process in running if process.is_running()] == []
    assert list(tmp_path.iterdir()) == []


def test_what_comes_otherwise_is_told_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(self: Any) -> None:
        self._expect("biblioteca", "removes financeiro's queue", "refused", "exit code 0")

    monkeypatch.setattr(
        script.Story, "__init__", lambda self, *given: setattr(self, "_expect", given[-1])
    )
    monkeypatch.setattr(script.Story, "play", play)
    monkeypatch.setattr(script.Story, "kill", lambda self: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert script.main([]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    out = " ".join(capsys.readouterr().out.split())
    assert "exit code 0, and not: refused" in out
    assert "0 of 1 came out as they should" in out


def test_an_account_knows_right_from_wrong() -> None:
    account = Account()
    account.expect("a", "b", 1, 1)
    account.expect("a", "c", 1, 2)
    assert [step.what for step in account.wrong] == ["c"]


def test_committed_files_are_what_the_commands_write() -> None:
    """The catalogue, the generated views and the needs of the example are current."""
    events, views = "escola_contrato.eventos", "biblioteca/eventos.py"
    checks = [
        ("contrato", "export", events, "--topic", "alunos", "-o", "catalogo.json"),
        ("biblioteca", "generate", "catalogo.json", "--service", "biblioteca", "-o", views),
        ("biblioteca", "needs", "biblioteca.servico:Biblioteca", "-o", "needs.json"),
        ("financeiro", "needs", "financeiro.servico:Financeiro", "-o", "needs.json"),
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT), str(EXAMPLE / "contrato")])
    for repository, *words in checks:
        done = subprocess.run(
            [sys.executable, "-m", "messaging", "contract", *words, "--check"],
            cwd=EXAMPLE / repository,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{repository}: {done.stdout}{done.stderr}"
    for name in ("biblioteca", "financeiro"):
        given = (EXAMPLE / "contrato" / "needs" / f"{name}.json").read_bytes()
        assert given == (EXAMPLE / name / "needs.json").read_bytes()
    copied = (EXAMPLE / "biblioteca" / "catalogo.json").read_bytes()
    assert copied == (EXAMPLE / "contrato" / "catalogo.json").read_bytes()
