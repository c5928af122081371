"""The IAM policies on the pages: what each role's three commands call, all of it and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws.ownership import BEFORE
from messaging.local import LocalServer
from tests.aws.conftest import REGION, Wire

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
ACCOUNT = "444444444444"  # ministack takes a key of twelve digits for the account's number
IMPLIED = {  # the batch calls have no permission of their own
    "PublishBatch": "Publish",
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
SCHOOL = """
from messaging import Consumer, Event, Reject, Retry, Topology, handles
from messaging.topology import Topic


class AlunoMatriculado(Event, type="aluno.matriculado", version=1):
    numero: int


class AlunoSaiu(Event, type="aluno.saiu", version=1):
    numero: int


class Biblioteca(Consumer):
    seen = set()

    @handles
    def open_account(self, aluno: AlunoMatriculado) -> None:
        if aluno.numero == 1:
            raise Reject("numero: 1")
        if aluno.numero == 2 and 2 not in self.seen:
            self.seen.add(2)
            raise Retry(delay=0)


class Maior(Biblioteca):
    service = "biblioteca"
    visibility_timeout = 90

    @handles
    def close_account(self, aluno: AlunoSaiu) -> None: ...


PRODUCER = Topology.producer("alunos", owner="secretaria")
BIGGER = Topology.producer(Topic(name="alunos", max_bytes=1_048_576), owner="secretaria")
PLATFORM = Topology.producer("alunos", owner="plataforma")
SERVICE = Topology.of(Biblioteca, topic="alunos", owner="leitura")
CHANGED = Topology.of(Maior, topic="alunos", owner="leitura")
"""


class Role:
    """Types commands as one role, with the wire before the server."""

    def __init__(self, server: LocalServer, folder: Path) -> None:
        self.wire = Wire(server.url)
        self._folder = folder
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AWS_", "MESSAGING_"))
            },
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.wire.url,
        }

    def types(self, line: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "messaging", *line.split()],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def works_until_empty(self, line: str, server: LocalServer) -> None:
        """As in production: `--until-empty` looks at more queues than a worker does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "messaging", *line.split()],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while _holds(server, "alunos-biblioteca") or not _holds(
                server, "alunos-biblioteca-dlq"
            ):
                assert process.poll() is None, process.communicate()[1]
        finally:
            process.terminate()
            _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said

    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Action, resource and parameters of each request."""
        return [
            (*_permission(action, params), params)
            for action, params in self.wire.requests
            if action != "GetCallerIdentity"  # which needs no permission
        ]


def _permission(action: str, params: dict[str, Any]) -> tuple[str, str]:
    action = IMPLIED.get(action, action)
    for name in ("QueueUrl", "QueueName"):
        if name in params:
            queue = params[name].rpartition("/")[2]
            return f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
    if "SourceArn" in params:
        return f"sqs:{action}", params["SourceArn"]
    if action == "GetMetricStatistics":
        return f"cloudwatch:{action}", "*"
    arn = params.get("TopicArn") or params.get("ResourceArn") or params.get("SubscriptionArn")
    # A subscription's ARN is its topic's with an id; IAM knows the topic.
    topic = ":".join(arn.split(":")[:6]) if arn else _arn("sns", params["Name"])
    return f"sns:{action}", topic


def _arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def policy(page: str, title: str) -> list[dict[str, Any]]:
    text = (PAGES / page).read_text()
    (found,) = re.findall(rf'```json title="{title}"\n(.*?)```', text, flags=re.S)
    return list(json.loads(found.replace("111111111111", ACCOUNT))["Statement"])


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed(statement: dict[str, Any], action: str, arn: str, params: dict[str, Any]) -> bool:
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    return (
        action in listed(statement["Action"])
        and any(fnmatchcase(arn, one) for one in listed(statement["Resource"]))
        and all(params[key.removeprefix("sns:")] == one for key, one in conditions.items())
    )


def compare(role: Role, statements: list[dict[str, Any]]) -> None:
    calls = role.calls()
    needless = {
        (statement["Sid"], action)
        for statement in statements
        for action in listed(statement["Action"])
    }
    for action, arn, params in calls:
        by = [one["Sid"] for one in statements if allowed(one, action, arn, params)]
        assert by, f"the page's policy does not allow {action} on {arn}"
        needless -= {(sid, action) for sid in by}
    assert not needless, f"nothing calls {sorted(needless)}"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Of its own: the topic has the name of the pages, and no prefix."""
    with LocalServer(engine="ministack") as started:
        yield started


@pytest.fixture
def role(server: LocalServer, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "school.py").write_text(SCHOOL)
    (tmp_path / "alunos.csv").write_text("numero\n1\n2\n3\n")
    made: list[Role] = []

    def make() -> Role:
        made.append(Role(server, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.wire.close()


def client(server: LocalServer, service: str) -> Any:
    session = boto3.Session(ACCOUNT, "local", region_name=REGION)
    return session.client(service, endpoint_url=server.url)  # type: ignore[call-overload] # a name


def _holds(server: LocalServer, queue: str) -> bool:
    sqs = client(server, "sqs")
    attributes = sqs.get_queue_attributes(
        QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], AttributeNames=["All"]
    )["Attributes"]
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return any(int(attributes[name]) for name in names)


def from_before_owners(server: LocalServer) -> None:
    """Tags as a version before owners left them, on whatever is there."""
    sns, sqs = client(server, "sns"), client(server, "sqs")
    tag = {"Key": BEFORE, "Value": "alunos"}
    sns.tag_resource(ResourceArn=_arn("sns", "alunos"), Tags=[tag])
    for url in sqs.list_queues().get("QueueUrls", ()):
        sqs.tag_queue(QueueUrl=url, Tags={BEFORE: "alunos"})


def test_the_producers_policies_are_what_its_commands_call(server: LocalServer, role: Any) -> None:
    deploy, program, other = role(), role(), role()
    deploy.types("topology plan --topology school:PRODUCER")
    deploy.types("topology apply --topology school:PRODUCER")
    other.types("topology apply --topology school:SERVICE")
    from_before_owners(server)
    deploy.types("topology apply --topology school:BIGGER")
    compare(deploy, policy("producer-repository.md", "deploy"))

    program.types(
        "publish alunos.csv --event school:AlunoMatriculado --source /secretaria "
        "--topology school:PRODUCER"
    )
    compare(program, policy("producer-repository.md", "run"))


def test_a_services_policies_are_what_its_commands_call(server: LocalServer, role: Any) -> None:
    deploy, worker, other = role(), role(), role()
    other.types("topology apply --topology school:PRODUCER")
    deploy.types("topology apply --wait 1 --topology school:SERVICE")
    from_before_owners(server)
    deploy.types("topology plan --topology school:CHANGED")
    deploy.types("topology apply --topology school:CHANGED")
    other.types(
        "publish alunos.csv --event school:AlunoMatriculado --source /secretaria "
        "--topology school:PRODUCER"
    )
    worker.works_until_empty("run school:Biblioteca --topology school:SERVICE --wait 1", server)
    deploy.types("topology remove biblioteca --yes --lose-messages --topology school:CHANGED")
    compare(deploy, policy("service-repository.md", "deploy"))
    compare(worker, policy("service-repository.md", "run"))


def test_a_platform_teams_policy_is_what_its_commands_call(server: LocalServer, role: Any) -> None:
    platform, other = role(), role()
    platform.types("topology plan --topology school:PLATFORM")
    platform.types("topology apply --topology school:PLATFORM")
    other.types("topology apply --topology school:SERVICE")
    from_before_owners(server)
    sns = client(server, "sns")
    sns.set_topic_attributes(
        TopicArn=_arn("sns", "alunos"),
        AttributeName="MaximumMessageSize",
        AttributeValue="1048576",
    )
    platform.types("topology apply --topology school:PLATFORM")
    platform.types("topology remove biblioteca --take-over --topology school:PLATFORM")
    platform.types("topology remove biblioteca --take-over --yes --topology school:PLATFORM")
    compare(platform, policy("platform-team.md", "deploy"))


def test_a_policy_that_lacks_a_call_or_has_one_too_many_would_be_seen() -> None:
    statement = {"Sid": "A", "Action": ["sns:Publish"], "Resource": _arn("sns", "alunos")}

    class Published:
        def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
            return [("sns:Publish", _arn("sns", "alunos"), {})]

    compare(Published(), [statement])  # type: ignore[arg-type] # all that it asks of a role
    for wrong, said in (
        ({**statement, "Resource": _arn("sns", "outro")}, "does not allow sns:Publish"),
        ({**statement, "Action": ["sns:Publish", "sns:Subscribe"]}, "nothing calls"),
    ):
        with pytest.raises(AssertionError, match=said):
            compare(Published(), [wrong])  # type: ignore[arg-type] # as above
