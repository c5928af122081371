"""The whole way: a request to runserver, the outbox, a relay, a worker, and a library card."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

from tests.django.conftest import DjangoProject, until


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def post(port: int, **fields: str) -> int:
    body = urllib.parse.urlencode(fields).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/alunos", body, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_who_is_enrolled_by_a_request_gets_a_card_and_who_is_rolled_back_gets_none(
    project: DjangoProject,
) -> None:
    port = free_port()
    project.apply()
    web = project.start("runserver", "--noreload", str(port))
    until(lambda: answers(port))
    assert post(port, nome="Ana Lima", cpf="111.222.333-44") == 200
    assert post(port, nome="Bia Reis", cpf="555.666.777-88", erro="1") == 500

    relay = project.manage("messaging_relay", "--until-empty", "--json")
    assert relay.returncode == 0, relay.stderr
    assert json.loads(relay.stdout)["published"] == 1

    worker = project.manage(
        "messaging_worker", "escola.servicos:Biblioteca", "--until-empty", "--json"
    )
    assert worker.returncode == 0, worker.stderr
    assert json.loads(worker.stdout)["services"]["biblioteca"]["acknowledged"] == 1
    assert len(project.cards()) == 1
    from escola.models import Carteirinha

    assert Carteirinha.objects.get().nome == "Ana Lima"
    for said in (relay.stdout + relay.stderr, worker.stdout + worker.stderr):
        assert not re.search("Ana|111|Bia|555", said)
    web.terminate()


def test_a_relay_and_a_worker_stop_in_order_at_a_signal(project: DjangoProject) -> None:
    project.apply()
    relay = project.start("messaging_relay", "--poll", "0.1", "--json")
    worker = project.start("messaging_worker", "escola.servicos:Biblioteca", "--json")
    from django.db import transaction
    from escola.eventos import AlunoMatriculado

    from messaging.django import publish

    with transaction.atomic():
        publish(AlunoMatriculado(aluno_id="7", nome="Caio", cpf="1"))
    until(lambda: project.cards() == ["7"])
    for process in (relay, worker):
        process.terminate()
    printed = [json.loads(process.communicate(timeout=30)[0]) for process in (relay, worker)]
    assert (relay.returncode, worker.returncode) == (0, 0), project.log(worker)
    assert printed[0]["published"] == 1
    assert printed[1]["services"]["biblioteca"]["acknowledged"] == 1


def test_a_worker_in_several_processes_is_django_in_each(project: DjangoProject) -> None:
    project.apply()
    project.enrol(*(f"a{number}" for number in range(12)))
    done = project.manage(
        "messaging_worker",
        "escola.servicos:Biblioteca",
        *("--processes", "2", "--until-empty", "--json"),
    )
    assert done.returncode == 0, done.stderr
    counts = [json.loads(line)["services"]["biblioteca"] for line in done.stdout.splitlines()]
    assert len(counts) == 2
    assert sum(one["acknowledged"] for one in counts) == 12
    assert len(project.cards()) == 12


def test_a_file_is_published_with_what_the_setting_says(project: DjangoProject) -> None:
    project.apply()
    rows = project.folder / "alunos.csv"
    rows.write_text("aluno_id;nome;cpf\n1;Ana;111\n2;Bia;222\n")
    done = project.manage("messaging_publish", str(rows), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["published"] == 2
    done = project.manage("messaging_worker", "escola.servicos:Biblioteca", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert project.cards() == ["1", "2"]


def test_a_command_that_cannot_do_it_says_why_and_exits_with_2(lite_project: DjangoProject) -> None:
    done = lite_project.manage("messaging_worker", "escola.servicos:Cantina")
    assert done.returncode == 2
    assert "escola.servicos has no 'Cantina'" in done.stderr
    done = lite_project.manage("messaging_relay", "--using", "outro")
    assert done.returncode != 0
    assert "'outro' doesn't exist" in done.stderr
