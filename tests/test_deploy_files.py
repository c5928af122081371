"""The files of examples/deploy: what they run is a command of ours, and its health check works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import typer.main
import yaml
from botocore.validate import ParamValidator

from messaging import Consumer, Event, MemoryBroker, Topology, Worker, handles
from messaging.cli.app import app
from messaging.cli.app import command as command_of
from messaging.runtime.health import serve_health
from tests import validators

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "deploy"
STOP = 30  # seconds that a stop takes at most with the defaults: docs/how-to/run-a-worker.md


class Happened(Event, type="happened", version=1):
    number: int


class Biblioteca(Consumer):
    service = "biblioteca"

    @handles
    def happened(self, event: Happened) -> None:
        pass


@pytest.fixture
def worker() -> Iterator[Worker]:
    with closing(MemoryBroker(Topology.of(Biblioteca, topic="t"))) as broker:
        yield Worker(Biblioteca(), broker=broker, wait=0.1)


def dockerfile(instruction: str) -> str:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    (found,) = re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)
    return str(found)


def ecs() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "ecs-task.json").read_text()))


def kubernetes() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "kubernetes.yaml").read_text()))


def container() -> dict[str, Any]:
    return dict(kubernetes()["spec"]["template"]["spec"]["containers"][0])


COMMANDS = {
    "Dockerfile": lambda: json.loads(dockerfile("CMD")),
    "ECS": lambda: ecs()["containerDefinitions"][0]["command"],
    "Kubernetes": lambda: container()["args"],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_what_is_run_is_a_command_with_options_that_there_are(where: str) -> None:
    program, name, *arguments = COMMANDS[where]()
    assert (program, name) == ("messaging", "run")
    group: Any = typer.main.get_command(app)
    with group.make_context("messaging", [name]) as context:
        group.get_command(context, name).make_context(name, list(arguments)).close()
    assert "--health" in arguments


@pytest.mark.parametrize("where", ["Dockerfile", "ECS"])
def test_the_health_check_passes_while_the_worker_lives_and_fails_when_it_does_not(
    where: str, worker: Worker
) -> None:
    if where == "Dockerfile":
        command = json.loads(dockerfile("HEALTHCHECK").partition("CMD ")[2])
    else:
        kind, *command = ecs()["containerDefinitions"][0]["healthCheck"]["command"]
        assert kind == "CMD"
    python, option, code = command
    assert (python, option) == ("python", "-c")
    with serve_health(worker, "127.0.0.1:0") as (_, port):
        check = [sys.executable, "-c", code.replace("8080", str(port))]
        with worker:
            assert subprocess.run(check, check=False).returncode == 0
        assert subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode != 0
    assert subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_the_image_is_not_run_by_root_and_is_stopped_in_order() -> None:
    assert dockerfile("USER") == "worker"
    assert dockerfile("STOPSIGNAL") == "SIGTERM"
    assert dockerfile("CMD").startswith("[")  # the exec form: no shell keeps the signal


def test_aws_takes_the_task_definition() -> None:
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    assert not ParamValidator().validate(ecs(), shape).has_errors()
    wrong = {**ecs(), "cpus": "256"}
    assert "cpus" in ParamValidator().validate(wrong, shape).generate_report()
    assert ecs()["containerDefinitions"][0]["stopTimeout"] > STOP


def test_kubernetes_asks_the_pages_that_there_are_and_waits_for_the_stop(worker: Worker) -> None:
    pod = kubernetes()["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > STOP
    assert pod["enableServiceLinks"] is False
    paths = [container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")]
    assert paths == ["/live", "/ready"]
    names = kubernetes()["spec"]["selector"]["matchLabels"]
    assert kubernetes()["spec"]["template"]["metadata"]["labels"] == names


def test_kubernetes_takes_the_files_and_would_refuse_what_it_does_not_know() -> None:
    canary = dict(yaml.safe_load((FOLDER / "canary.yaml").read_text()))
    wrong = kubernetes()
    wrong["spec"]["replicas"] = "2"
    probe = wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    probe["timeout"] = probe.pop("timeoutSeconds")
    taken, run_by_the_clock, refused = validators.kubernetes(kubernetes(), canary, wrong)
    assert taken == run_by_the_clock == []
    assert sorted(refused) == [
        "spec.replicas: Input should be a valid integer",
        "spec.template.spec.containers.0.livenessProbe.timeout: Extra inputs are not permitted",
    ]


def test_the_canary_of_kubernetes_is_a_command_of_ours_and_one_at_a_time() -> None:
    job = dict(yaml.safe_load((FOLDER / "canary.yaml").read_text()))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    [canary] = pod["containers"]
    program, command, service, *options = canary["args"]
    assert (program, command, service) == ("messaging", "canary", "biblioteca")
    known = {name for one in command_of("canary").params for name in one.opts}
    assert {one for one in options if one.startswith("--")} <= known
