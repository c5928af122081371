"""The deployment page's way to ECS, typed line by line against a local server.

What `aws` does with a line is done here with botocore's own models of the same services: the
operation, its parameters by their names, and files where the line says file://.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name

from messaging.cli.app import run
from messaging.local import LocalServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
SECTION = PAGE.partition("\n## ECS on Fargate\n")[2].partition("\n## ")[0]
SERVICE = """
from messaging import Consumer, Event, Topology, handles


class AlunoMatriculado(Event, type="aluno.matriculado", version=1):
    id: str


class Biblioteca(Consumer):
    @handles
    def matricular(self, aluno: AlunoMatriculado) -> None: ...


TOPOLOGY = Topology.of(Biblioteca, topic="alunos")
"""


def lines() -> list[str]:
    text = "\n".join(re.findall(r"```console\n(.*?)```", SECTION, flags=re.S)).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def files() -> dict[str, str]:
    return dict(re.findall(r'```json title="([^"]+)"\n(.*?)```', SECTION, flags=re.S))


def typed(line: str, server: LocalServer) -> dict[str, Any]:
    """What AWS's command line sends for a line, and the answer."""
    _, service, operation, *options = shlex.split(line)
    client: Any = boto3.client(service, endpoint_url=server.url, **server.credentials)  # type: ignore[call-overload]  # a name
    names = {xform_name(name): name for name in client.meta.service_model.operation_names}
    shape = client.meta.service_model.operation_model(names[operation.replace("-", "_")])
    given: dict[str, Any] = {}
    for option, text in zip(options[::2], options[1::2], strict=True):
        value = Path(text[7:]).read_text() if text.startswith("file://") else text
        if option == "--cli-input-json":
            given |= json.loads(value)
            continue
        (name,) = [
            name
            for name in shape.input_shape.members
            if xform_name(name) == option[2:].replace("-", "_")
        ]
        kind = shape.input_shape.members[name].type_name
        read = {"structure": json.loads, "integer": int}.get(kind, str)
        given[name] = read(value)
    with closing(client):
        answer: dict[str, Any] = getattr(client, operation.replace("-", "_"))(**given)
    return answer


def test_the_files_on_the_page_are_those_of_the_examples() -> None:
    assert files()["ecs-task.json"] == (ROOT / "examples" / "deploy" / "ecs-task.json").read_text()


def test_each_line_of_the_way_to_ecs_is_one_that_aws_knows(
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "servico_do_ecs.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESSAGING_TOPOLOGY", "servico_do_ecs:TOPOLOGY")
    monkeypatch.setenv("MESSAGING_TOPIC", "alunos")
    monkeypatch.delenv("MESSAGING_PREFIX", raising=False)
    done: list[str] = []
    for line in lines():
        if "docker" in line:
            continue  # needs Docker, and is the same wherever an image goes
        if line.startswith("messaging "):
            assert run(shlex.split(line)[1:]) == 0, capsys.readouterr().err
        else:
            typed(line, server)
        done.append(line.split()[2])
    assert done.count("register-task-definition") == 2
    assert {"put-role-policy", "create-service", "update-service"} <= set(done)

    task = json.loads(files()["ecs-task.json"])
    roles = {f"arn:aws:iam::123456789012:role/{name}" for name in _made("role")}
    assert {task["taskRoleArn"], task["executionRoleArn"]} == roles
    (log,) = _made("log-group")
    (container,) = task["containerDefinitions"]
    assert container["logConfiguration"]["options"]["awslogs-group"] == log
    pushed = [line.split()[-1] for line in lines() if line.startswith("docker push")]
    assert pushed == [container["image"]]
    policy = json.loads((tmp_path / "worker.json").read_text())
    assert policy["Statement"][0]["Resource"] == (
        "arn:aws:sqs:sa-east-1:123456789012:alunos-biblioteca"
    )


def _made(what: str) -> list[str]:
    """The names that the page's lines give to things of one kind."""
    pattern = rf"create-{what} --{what}-name (\S+)"
    return [found for line in lines() for found in re.findall(pattern, line)]
