"""Connections around handlers: a backend that is killed costs one attempt, and not the service."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import deque

import psycopg
import pytest
from django.db import connections

from tests.django.conftest import DjangoProject, until

TOPOLOGY = ("--topology", "escola.servicos:TOPOLOGY")
PLAIN = {"ESCOLA_MIDDLEWARE": ""}


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next lines that a worker prints."""
    assert process.stdout is not None
    found = [process.stdout.readline().strip() for _ in range(count)]
    assert all(found), "the worker has ended"
    return found


def kill_backends(project: DjangoProject) -> int:
    """As a database that is restarted does it: every connection to this one is gone."""
    connections.close_all()  # this process's own, so that the test's next look has another
    with psycopg.connect(project.url, autocommit=True) as admin:
        return len(
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
        )


@pytest.mark.parametrize("consumer", ["provas:PelaORM", "provas:Assincrona"])
def test_a_killed_backend_costs_one_attempt(pg_project: DjangoProject, consumer: str) -> None:
    pg_project.apply()
    worker = pg_project.start(
        "messaging_worker", consumer, *TOPOLOGY, "--concurrency", "1", **PLAIN
    )
    pg_project.enrol("a")
    assert lines(worker, 1)[0].startswith("handled a")
    assert kill_backends(pg_project) >= 1
    pg_project.enrol("b")
    assert [line.split(" on ")[0] for line in lines(worker, 2)] == [
        "raised OperationalError",
        "handled b",
    ]
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert worker.returncode == 0, pg_project.log(worker)


def test_a_killed_backend_costs_one_attempt_in_a_transaction_with_its_mark(
    pg_project: DjangoProject,
) -> None:
    pg_project.apply()
    worker = pg_project.start("messaging_worker", "provas:PelaORM", *TOPOLOGY, "--concurrency", "1")
    pg_project.enrol("a")
    assert lines(worker, 1)[0].startswith("handled a")
    until(pg_project.cards)  # the handler says so before its transaction is committed
    kill_backends(pg_project)
    pg_project.enrol("b")
    assert lines(worker, 1)[0].startswith("handled b")  # begun anew: the handler saw nothing of it
    log = until(lambda: pg_project.log(worker))
    assert log.count("receive 1") == 1, log
    assert "receive 2" not in log
    worker.terminate()
    worker.communicate(timeout=30)
    assert (worker.returncode, pg_project.cards()) == (0, ["a", "b"])


def test_a_killed_backend_costs_nothing_with_health_checks(pg_project: DjangoProject) -> None:
    pg_project.apply()
    worker = pg_project.start(
        *("messaging_worker", "provas:PelaORM", *TOPOLOGY, "--concurrency", "1"),
        ESCOLA_CONN_HEALTH_CHECKS="1",
    )
    pg_project.enrol("a")
    assert lines(worker, 1)[0].startswith("handled a")
    until(pg_project.cards)  # the handler says so before its transaction is committed
    kill_backends(pg_project)
    pg_project.enrol("b")
    assert lines(worker, 1)[0].startswith("handled b")
    worker.terminate()
    worker.communicate(timeout=30)
    assert "raised" not in pg_project.log(worker)


def test_a_connection_is_kept_between_handlers_and_closed_when_it_is_old(
    pg_project: DjangoProject,
) -> None:
    """CONN_MAX_AGE is 60 in the example: one connection serves handler after handler."""
    pg_project.apply()
    worker = pg_project.start(
        "messaging_worker", "provas:PelaORM", *TOPOLOGY, "--concurrency", "1", **PLAIN
    )
    pg_project.enrol("a", "b", "c")
    kept = {line.rpartition(" ")[2] for line in lines(worker, 3)}
    worker.terminate()
    worker.communicate(timeout=30)
    assert len(kept) == 1
    worker = pg_project.start(
        *("messaging_worker", "provas:PelaORM", *TOPOLOGY, "--concurrency", "1"),
        **PLAIN,
        ESCOLA_CONN_MAX_AGE="0",
    )
    pg_project.enrol("d", "e", "f")
    anew = {line.rpartition(" ")[2] for line in lines(worker, 3)}
    worker.terminate()
    worker.communicate(timeout=30)
    assert len(anew) == 3


def test_locks_and_savepoints_hold_while_many_handlers_run(project: DjangoProject) -> None:
    from escola.models import Carteirinha

    project.apply()
    Carteirinha.objects.create(aluno_id="total")
    project.enrol(*(f"a{number}" for number in range(10)))
    done = project.manage(
        "messaging_worker", "provas:Tranca", *TOPOLOGY, "--concurrency", "4", "--until-empty"
    )
    assert done.returncode == 0, done.stderr
    committed = deque(re.findall(r"^committed (\w+)$", done.stdout, flags=re.M))
    assert len(set(committed)) == len(committed) == 10
    assert Carteirinha.objects.get().livros == 10
