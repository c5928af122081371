"""CloudFormation makes of the exported template what `topology apply` makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws import Plan, apply, plan
from messaging.doctor import examine
from messaging.export import cloudformation, key_template
from messaging.local import LocalServer
from messaging.topology import Topology
from tests.export.conftest import TOPOLOGIES, cfn_lint

OWNING = [name for name, one in TOPOLOGIES.items() if one.owns_topic]


class Stacks:
    """CloudFormation on the server."""

    def __init__(self, server: LocalServer, name: str) -> None:
        session = boto3.Session(**server.credentials)
        self.client: Any = session.client("cloudformation", endpoint_url=server.url)
        self.name = name

    def deploy(self, template: Any) -> None:
        self.client.create_stack(StackName=self.name, TemplateBody=json.dumps(template))
        self.client.get_waiter("stack_create_complete").wait(
            StackName=self.name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 200}
        )


def done(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (one.action, one.name, one.details)
        for one in plan.changes
        if one.action not in ("leave", "other")
    ]


def test_cfn_lint_has_nothing_to_say(tmp_path: Path) -> None:
    made = {name: cloudformation(one) for name, one in TOPOLOGIES.items()}
    assert cfn_lint(tmp_path, **made) == (0, "")


def test_cfn_lint_would_see_what_cloudformation_does_not_know(tmp_path: Path) -> None:
    template = cloudformation(TOPOLOGIES["one service"])
    queue = template["Resources"]["UmQueue"]["Properties"]
    queue["Visibility"] = queue.pop("VisibilityTimeout")
    queue["DelaySeconds"] = "soon"
    template["Resources"]["UmSubscription"]["DependsOn"] = ["Nobody"]
    status, said = cfn_lint(tmp_path, wrong=template)
    assert status != 0
    for wrong in ("'Visibility'", "'soon'", "'Nobody'"):
        assert wrong in said


@pytest.mark.parametrize("name", OWNING)
def test_what_cloudformation_deployed_leaves_nothing_to_apply(
    name: str, server: LocalServer
) -> None:
    prefix = re.sub(r"[^A-Za-z]+", "-", name) + "-"
    settings = server.settings(prefix=prefix)
    session = boto3.Session(**server.credentials)
    topology = TOPOLOGIES[name]

    if topology.kms_key is not None:
        Stacks(server, prefix + "key").deploy(key_template(topology.prefixed(prefix)))
    Stacks(server, prefix + "stack").deploy(cloudformation(topology.prefixed(prefix)))

    left = done(plan(topology, settings, session=session))
    # Two properties of a topic ministack's CloudFormation leaves out.
    if topology.topic.max_bytes != 262_144:
        lacks = "MaximumMessageSize: 262144 -> 1048576"
        assert left == [("change", f"{prefix}alunos", (lacks,))]
        return
    if topology.kms_key is not None:
        lacks = f"KmsMasterKeyId: not set -> {topology.kms_key}"
        assert left == [("change", f"{prefix}alunos", (lacks,))]
        apply(topology, settings, session=session)
        left = done(plan(topology, settings, session=session))
    assert left == []
    assert list(examine(topology, settings, session=session)) == []


def test_a_services_stack_beside_a_topic_that_another_made(server: LocalServer) -> None:
    session = boto3.Session(**server.credentials)
    settings = server.settings(prefix="beside-")
    apply(Topology.producer("alunos", owner="secretaria"), settings, session=session)
    topology = TOPOLOGIES["one service"]

    Stacks(server, "beside-stack").deploy(cloudformation(topology.prefixed("beside-")))

    assert done(plan(topology, settings, session=session)) == []


def test_a_topic_in_another_account_is_named_by_its_arn() -> None:
    arn = "arn:aws:sns:sa-east-1:222222222222:alunos"
    made = cloudformation(TOPOLOGIES["one service"], others_topic=arn)["Resources"]
    assert made["UmSubscription"]["Properties"]["TopicArn"] == arn
    (admits, _) = made["UmQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert admits["Condition"] == {"ArnEquals": {"aws:SourceArn": arn}}
    assert not [one for one in made.values() if one["Type"] == "AWS::SNS::Topic"]


def test_the_same_topology_gives_the_same_text() -> None:
    again = Topology.of(*_consumers(), topic="alunos", owns_topic=True)
    first, second = (
        json.dumps(cloudformation(one)) for one in (TOPOLOGIES["the whole map"], again)
    )
    assert first == second


def test_deleting_the_stack_deletes_no_queue() -> None:
    made = cloudformation(TOPOLOGIES["the whole map"])["Resources"]
    kept = [one for one in made.values() if one["Type"] in ("AWS::SQS::Queue", "AWS::SNS::Topic")]
    assert len(kept) == 7
    assert all(one["DeletionPolicy"] == one["UpdateReplacePolicy"] == "Retain" for one in kept)


def _consumers() -> Any:
    from tests.export.conftest import Dois, Um

    return Um, Dois
