"""The main job, end to end: real processes, a real CSV, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from consumers import TOPOLOGY
from examples import demo
from examples._fleet import Ended
from examples.data import make_alunos
from messaging.errors import ConfigurationError
from messaging.local import LocalRabbitMQ
from tests.programs import eventually
from tests.servers import missing

ROOT = Path(__file__).parents[1]
SMALL = """nome;email;valor_mensalidade;aceita_marketing
Ana Sá;ana@example.com;1.350,50;sim
Bia Ávila;bia@example.com;-10,00;não
Caio Frazão;sem e-mail;;sim
Davi Leão;davi@example.com;;
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.demo", *arguments]


def surroundings(folder: Path) -> dict[str, str]:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(scratch), "PYTHONUTF8": "1", "COLUMNS": "80"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=surroundings(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def processes(folder: Path) -> list[psutil.Process]:
    """Whatever runs with this test's TMPDIR or a folder in it, whoever its parent is."""
    scratch = folder / "scratch"
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.environ().get("TMPDIR", "/")).is_relative_to(scratch):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


def left_behind(folder: Path) -> list[str]:
    return [str(process) for process in processes(folder)] + [
        path.name for path in (folder / "scratch").iterdir()
    ]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "alunos.csv"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_two_thousand_students_reach_four_services(tmp_path: Path) -> None:
    ended = run(tmp_path, "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    services = result["services"]

    dirty = sum(make_alunos.DIRTY.values())
    good = make_alunos.ALUNOS - dirty
    assert (result["published"], result["rejected_rows"]) == (good, dirty)
    assert result["mistakes"] == []
    assert {name: counts["fields"] for name, counts in services.items()} == {
        "plataforma": ["aluno_id", "curso", "email", "nome"],
        "financeiro": ["aluno_id", "cpf", "email", "nome", "valor_mensalidade"],
        "marketing": ["aluno_id", "curso", "email", "nome"],
        "bi": ["aluno_id", "curso", "data_matricula", "origem"],
    }
    for name, counts in services.items():
        rejected = make_alunos.NEGATIVE if name == "financeiro" else 0
        assert (counts["rejected"], counts["dead_lettered"]) == (rejected, rejected)
        assert counts["handled"] == counts["expected"] - rejected
        assert counts["expected"] == good or name == "marketing"
    assert 0 < services["marketing"]["expected"] < good
    assert left_behind(tmp_path) == []


def test_a_table_for_people_and_twice_in_a_row(tmp_path: Path, small: Path) -> None:
    for more in ((), ("--trace",)):
        ended = run(tmp_path, "--csv", str(small), *more)

        assert ended.returncode == 0, ended.stderr
        counts, _, rest = ended.stdout.partition("trace ")
        rows = {line.split()[0]: line.split()[1:5] for line in counts.splitlines() if line.strip()}
        assert {name: rows[name] for name in TOPOLOGY.services} == {
            "plataforma": ["3", "3", "0", "0"],
            "financeiro": ["3", "2", "1", "1"],
            "marketing": ["1", "1", "0", "0"],
            "bi": ["3", "3", "0", "0"],
        }
        assert "3 students published" in ended.stdout
        assert "rows refused: 1" in ended.stdout
        # Names and addresses are for the services, not for the screen.
        assert "example.com" not in ended.stdout + ended.stderr
        assert left_behind(tmp_path) == []
    lines = rest.splitlines()
    assert [line.split()[:3] for line in lines if "POST /alunos" in line] == [
        ["POST", "/alunos", "cadastro"]
    ]
    for service in TOPOLOGY.services:
        (handled,) = (line for line in lines if f"process alunos-{service} " in line)
        assert handled.strip(" │├└─").startswith(f"process alunos-{service}")
        assert any(f"   {bar}  └─ delete alunos-{service} " in rest for bar in "│ "), rest
    assert [line.split()[:4] for line in lines if "receiving" in line] == [
        [service, "yes", "yes", "receiving"] for service in TOPOLOGY.services
    ]


def test_the_same_on_rabbitmq(tmp_path: Path, small: Path) -> None:
    try:
        LocalRabbitMQ.installed()
    except ConfigurationError:
        missing("RabbitMQ", "apt-get install rabbitmq-server")
    ended = run(tmp_path, "--csv", str(small), "--broker", "rabbitmq", "--json")

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["mistakes"] == []
    assert (result["published"], result["rejected_rows"]) == (3, 1)
    assert {name: one["handled"] for name, one in result["services"].items()} == {
        "plataforma": 3,
        "financeiro": 2,
        "marketing": 1,
        "bi": 3,
    }
    assert result["services"]["financeiro"]["dead_lettered"] == 1
    assert left_behind(tmp_path) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ended = run(tmp_path, "--csv", "nowhere.csv")

    assert ended.returncode == 1
    assert "nowhere.csv" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_however_it_ends_its_processes_end_too(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with subprocess.Popen(
        command(), cwd=ROOT, env=surroundings(tmp_path), stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as started:  # fmt: skip
        # In the middle of its work: the four services have opened their databases.
        assert eventually(
            lambda: len(list(tmp_path.glob("scratch/messaging-demo-*/dados/*3"))) == 4
        )
        assert len(processes(tmp_path)) >= 6  # itself, the server and the four services
        started.send_signal(number)

        assert started.wait(40) == code
        assert eventually(lambda: processes(tmp_path) == [])
    if number != signal.SIGKILL:
        assert left_behind(tmp_path) == []


def judged(**changes: Any) -> list[str]:
    """What the demo finds wrong with one good result of two students, and with `changes` to it."""
    expected = demo.Expected()
    expected.copies.update(dict.fromkeys(TOPOLOGY.services, 2))
    expected.rejected["financeiro"] = 1
    fields = {
        consumer.service: sorted(consumer.handlers["aluno.cadastrado"].view.model_fields)
        for consumer in demo.SERVICES
    }
    counts = {
        name: {"expected": 2, "handled": 2, "rejected": 0, "dead_lettered": 0, "fields": seen}
        for name, seen in fields.items()
    }
    counts["financeiro"] |= {"handled": 1, "rejected": 1, "dead_lettered": 1}
    counts["bi"] |= {key: value for key, value in changes.items() if key in counts["bi"]}
    stats = {"received": 2, "acknowledged": 2, "released": 0, "dead_lettered": 0, "expired": 0,
             "in_flight": 0}  # fmt: skip
    ended = {
        name: Ended(stats=stats, notes={"handled": counts[name]["handled"]}) for name in counts
    }
    if "stats" in changes:
        ended["bi"] = replace(ended["bi"], stats=stats | changes["stats"])
    if "effects" in changes:
        counts["bi"]["handled"] = changes["effects"]
    return list(demo._mistakes(expected, counts, ended))


def test_a_good_result_has_no_mistakes() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"handled": 1}, "bi: handled 1 instead of 2"),
        ({"rejected": 1}, "bi: rejected 1 instead of 0"),
        ({"dead_lettered": 3}, "bi: dead_lettered 3 instead of 0"),
        ({"effects": 3}, "bi: 2 handled, but 3 took effect"),
        ({"fields": ["nome"]}, "bi: received ['nome'], and its view declares"),
        ({"stats": {"received": 3}}, "bi: of 3 receipts some are not accounted for"),
    ],
)
def test_a_count_that_is_off_is_told(changes: dict[str, Any], told: str) -> None:
    assert any(mistake.startswith(told) for mistake in judged(**changes))


def test_the_shipped_file_is_what_its_generator_makes() -> None:
    assert demo.CSV.read_bytes() == make_alunos.table()


def test_the_shipped_file_is_as_messy_as_real_ones() -> None:
    data = demo.CSV.read_bytes()
    lines = data.splitlines()
    unlike_utf8 = [line for line in lines if b"\xe7\xe3o" in line]  # "ção" in Windows-1252

    assert data.startswith(b"\xef\xbb\xbf")
    assert len([line for line in lines if line]) == make_alunos.ALUNOS + 1
    assert 50 < len(unlike_utf8) < len(lines) / 2
    assert "ção".encode() in data
    assert b"\r\n" in data
