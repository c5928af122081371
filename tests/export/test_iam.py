"""The exported policies are those of the pages, and what the code calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws import apply, connect
from messaging.aws.clients import Place
from messaging.aws.keys import SNS_ACTIONS
from messaging.aws.verdicts import verdict
from messaging.consuming.consumer import Consumer, handles
from messaging.doctor import examine
from messaging.envelope import new_id
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.export import CLOUDFORMATION, iam_template, key_template, policies, sns_statement
from messaging.lambda_handler import lambda_handler
from messaging.local import REGION, LocalServer
from messaging.outcome import Reject, Retry
from messaging.testing import lambda_event
from messaging.topology import Topology
from tests.aws.conftest import Wire
from tests.aws.test_iam import SCHOOL, Role, allowed, client, listed
from tests.aws.test_iam import policy as of_page
from tests.export.conftest import TOPOLOGIES, cfn_lint
from tests.validators import said

PAGES = Place("aws", "sa-east-1", "111111111111")
ACCOUNT = "444444444444"
HERE = Place("aws", REGION, ACCOUNT)


class Matriculado(Event, type="aluno.matriculado", version=1):
    numero: int


class Biblioteca(Consumer):
    @handles
    def abrir(self, aluno: Matriculado) -> None:
        if aluno.numero == 1:
            raise Reject("numero: 1")
        if aluno.numero == 2:
            raise Retry(delay=60)


SERVICE = Topology.of(Biblioteca, topic="alunos", owner="leitura")
PRODUCER = Topology.producer("alunos", owner="secretaria")


def flat(statements: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (action, resource.replace(ACCOUNT, PAGES.account), str(one.get("Condition")))
        for one in statements
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
    }


@pytest.mark.parametrize(
    ("topology", "role", "page", "title"),
    [
        (PRODUCER, "producer", "producer-repository.md", "run"),
        (PRODUCER, "topic-deploy", "producer-repository.md", "deploy"),
        (SERVICE, "biblioteca-worker", "service-repository.md", "run"),
        (SERVICE, "biblioteca-deploy", "service-repository.md", "deploy"),
    ],
)
def test_a_roles_policy_is_the_one_of_its_page_whose_calls_are_recorded(
    topology: Topology, role: str, page: str, title: str
) -> None:
    said = flat(of_page(page, title))
    exported = flat(policies(topology, PAGES)[role]["Statement"])
    assert {(a, r) for a, r, _ in exported} == {(a, r) for a, r, _ in said}
    assert len(exported) == len(said)


def needless(role: str, calls: list[tuple[str, str, dict[str, Any]]]) -> set[str]:
    """Actions of a role's policy that none of the calls needs; each call must be allowed."""
    statements = policies(SERVICE, HERE)[role]["Statement"]
    used = set()
    for action, arn, params in calls:
        by = [one["Sid"] for one in statements if allowed(one, action, arn, params)]
        assert by, f"{role} may not {action} on {arn}"
        used |= {(sid, action) for sid in by}
    granted = {(one["Sid"], action) for one in statements for action in listed(one["Action"])}
    return {f"{sid} {action}" for sid, action in granted - used}


@pytest.fixture
def school() -> Any:
    """A server of its own: the topic has no prefix, and the account is the pages'."""
    with LocalServer(engine="ministack") as started:
        session = boto3.Session(ACCOUNT, "local", region_name=REGION)
        settings = started.settings(topic="alunos")
        apply(PRODUCER, settings, session=session)
        apply(SERVICE, settings, session=session)
        yield started


def test_an_operators_policy_is_what_status_dlq_and_doctor_call(
    school: LocalServer, tmp_path: Path
) -> None:
    (tmp_path / "school.py").write_text(SCHOOL)
    role = Role(school, tmp_path)
    sqs = client(school, "sqs")
    urls = {
        option: sqs.get_queue_url(QueueName=f"alunos-biblioteca-{suffix}")["QueueUrl"]
        for option, suffix in (("", "dlq"), (" --undelivered", "undelivered"))
    }
    try:
        role.types("status --topology school:SERVICE")
        role.types("doctor --topology school:SERVICE")
        for option, url in urls.items():
            for word in ("redrive", "drop"):
                sqs.send_message(QueueUrl=url, MessageBody="x")
                role.types(f"dlq list biblioteca{option} --topology school:SERVICE")
                role.types(f"dlq {word} biblioteca{option} --yes --topology school:SERVICE")
        role.types("doctor --topology school:SERVICE")
        calls = role.calls()
    finally:
        role.wire.close()
    asked_by_other_ways = {
        "AgeAndMappings lambda:ListEventSourceMappings",
        "AgeAndMappings lambda:GetFunctionConfiguration",
        # AWS's own mover, which the local servers lack.
        "DeadLetters sqs:StartMessageMoveTask",
    }
    assert needless("operator", calls) == asked_by_other_ways


def test_a_lambda_functions_policy_is_what_it_calls_and_what_its_mapping_needs(
    school: LocalServer,
) -> None:
    session = boto3.Session(ACCOUNT, "local", region_name=REGION)
    wire = Wire(school.url)
    settings = school.settings(topic="alunos", endpoint_url=wire.url)
    broker = connect(settings, session=session)
    sqs = client(school, "sqs")
    url = sqs.get_queue_url(QueueName="alunos-biblioteca")["QueueUrl"]
    try:
        handler = lambda_handler(Biblioteca(), queue=broker.queue("biblioteca"))
        for number in (1, 2):
            sqs.send_message(QueueUrl=url, MessageBody=new_id())
            (received,) = sqs.receive_message(QueueUrl=url)["Messages"]
            event = lambda_event(Biblioteca, Matriculado(numero=number))
            event["Records"][0]["receiptHandle"] = received["ReceiptHandle"]
            handler(event, None)
        role = Role.__new__(Role)
        role.wire = wire
        left = needless("biblioteca-lambda", role.calls())
    finally:
        broker.close()
        wire.close()
    # The mapping itself receives and deletes, with the function's role.
    assert left == {"Queue sqs:ReceiveMessage", "Queue sqs:DeleteMessage"}


KEY_ARN = "arn:aws:kms:sa-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def key_statements(topology: Topology, role: str) -> list[dict[str, Any]]:
    return [
        one
        for one in policies(topology, PAGES)[role]["Statement"]
        if listed(one["Action"])[0].startswith("kms:")
    ]


def test_each_role_may_use_the_key_for_what_it_does_and_through_that_service_only() -> None:
    whole = Topology.of(Biblioteca, topic="alunos", owns_topic=True, kms_key=KEY_ARN)
    (producer,) = key_statements(whole, "producer")
    (worker,) = key_statements(whole, "biblioteca-worker")
    assert producer["Action"] == worker["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert producer["Resource"] == worker["Resource"] == KEY_ARN
    via = {"kms:ViaService": "sns.sa-east-1.amazonaws.com*"}
    assert producer["Condition"] == {"StringLike": via}
    assert worker["Condition"]["StringLike"]["kms:ViaService"].startswith("sqs.sa-east-1.")
    assert key_statements(whole, "biblioteca-lambda") == [worker]
    # A service's key is not that of the topic of others.
    part = Topology.of(Biblioteca, topic="alunos", kms_key=KEY_ARN)
    assert key_statements(part, "producer") == []


def test_an_alias_is_a_condition_for_in_a_resource_it_would_allow_nothing() -> None:
    aliased = Topology.of(Biblioteca, topic="alunos", kms_key="alias/escola/alunos")
    (worker,) = key_statements(aliased, "biblioteca-worker")
    assert worker["Resource"] == "arn:aws:kms:sa-east-1:111111111111:key/*"
    alias = {"kms:ResourceAliases": "alias/escola/alunos"}
    assert worker["Condition"]["ForAnyValue:StringEquals"] == alias
    elsewhere = replace(aliased, kms_key="arn:aws:kms:sa-east-1:222222222222:alias/x")
    (worker,) = key_statements(elsewhere, "biblioteca-worker")
    assert worker["Resource"] == "arn:aws:kms:sa-east-1:222222222222:key/*"
    by_id = replace(aliased, kms_key=KEY_ARN.rpartition("/")[2])
    assert key_statements(by_id, "biblioteca-worker")[0]["Resource"] == KEY_ARN


def test_what_apply_and_doctor_ask_of_the_key_is_what_deploy_and_operator_may(
    school: LocalServer,
) -> None:
    session = boto3.Session(ACCOUNT, "local", region_name=REGION)
    kms: Any = session.client("kms", endpoint_url=school.url)
    made = str(kms.create_key()["KeyMetadata"]["Arn"])
    topology = replace(SERVICE, kms_key=made)
    policy = {
        "Version": "2012-10-17",
        "Statement": [sns_statement(topology, HERE)],
    }
    kms.put_key_policy(KeyId=made, PolicyName="default", Policy=json.dumps(policy))
    wire = Wire(school.url)
    try:
        settings = school.settings(topic="alunos", endpoint_url=wire.url)
        for role in ("biblioteca-deploy", "operator"):
            wire.requests.clear()
            if role == "operator":
                assert list(examine(topology, settings, session=session)) == []
            else:
                apply(topology, settings, session=session)
            asked = {f"kms:{name}" for name, params in wire.requests if "KeyId" in params}
            (look,) = [
                one
                for one in policies(topology, HERE)[role]["Statement"]
                if "kms:DescribeKey" in one["Action"]
            ]
            assert asked == set(look["Action"])
            assert look["Resource"] == made
    finally:
        wire.close()


def test_the_keys_template_admits_sns_for_this_topic_alone(tmp_path: Path) -> None:
    topology = TOPOLOGIES["a key of one's own"]
    made = key_template(topology)
    assert cfn_lint(tmp_path, key=made) == (0, "")
    resources = made["Resources"]
    assert resources["Alias"]["Properties"]["AliasName"] == topology.kms_key
    arn = CLOUDFORMATION.topic_arn("alunos")
    (_, sns) = resources["Key"]["Properties"]["KeyPolicy"]["Statement"]
    assert sns["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::Sub": arn}}}
    assert verdict(json.dumps(policy_of(sns, arn)), SNS_ACTIONS, arn) == "allowed"
    assert verdict(json.dumps(policy_of(sns, arn)), SNS_ACTIONS, f"{arn}2") != "allowed"
    with pytest.raises(ConfigurationError, match="--statements"):
        key_template(replace(topology, kms_key=KEY_ARN))
    with pytest.raises(ConfigurationError, match="no kms_key"):
        key_template(replace(topology, kms_key=None))


def policy_of(statement: dict[str, Any], arn: str) -> dict[str, Any]:
    return {"Statement": [{**statement, "Condition": {"ArnEquals": {"aws:SourceArn": arn}}}]}


def test_cfn_lint_has_nothing_to_say_of_the_policies(tmp_path: Path) -> None:
    made = {name: iam_template(one) for name, one in TOPOLOGIES.items()}
    assert cfn_lint(tmp_path, **made) == (0, "")


def test_no_role_may_do_everything_anywhere() -> None:
    for topology in TOPOLOGIES.values():
        for role, document in policies(topology, HERE).items():
            for one in document["Statement"]:
                assert all("*" not in action for action in one["Action"]), role
                if one["Resource"] == "*":  # CloudWatch knows no resources, Lambda hardly any
                    assert not [a for a in one["Action"] if a.startswith(("sns:", "sqs:"))], role


KNOWN_BETTER = {
    # SNS asks for them on the topic, which is what its AuthorizationError names. AWS's list of
    # actions, which parliament knows, has no resource for them.
    "RESOURCE_MISMATCH sns:GetSubscriptionAttributes",
    "RESOURCE_MISMATCH sns:SetSubscriptionAttributes",
    "RESOURCE_MISMATCH sns:Unsubscribe",
    # A topology does not know the names of functions.
    "RESOURCE_STAR lambda:GetFunctionConfiguration",
    # In the policy of a key "*" is that key.
    "RESOURCE_STAR kms:Decrypt",
    "RESOURCE_STAR kms:GenerateDataKey",
    # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-resource-aliases
    *(
        f"UNKNOWN_CONDITION_FOR_ACTION Unknown condition kms:ResourceAliases for action kms:{one}"
        for one in ("Decrypt", "GenerateDataKey", "DescribeKey", "GetKeyPolicy")
    ),
}


def parliament(documents: dict[str, Any], folder: Path) -> set[str]:
    """What the linter of IAM policies says of any of them: the kind, and the action."""
    folder.mkdir()
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    _, text = said("parliament", "--json", "--directory", folder)
    found = set()
    for one in map(json.loads, text.splitlines()):
        details = one["detail"] if isinstance(one["detail"], list) else [one["detail"]]
        for detail in details:
            named = detail["action"] if isinstance(detail, dict) else detail
            found.add(f"{one['issue']} {named}")
    return found


def test_a_linter_of_policies_says_nothing_of_them_that_is_not_known_better(
    tmp_path: Path,
) -> None:
    documents = {
        f"{number} {role}": document
        for number, topology in enumerate(TOPOLOGIES.values())
        for role, document in policies(topology, PAGES).items()
    }
    statement = sns_statement(TOPOLOGIES["a key of one's own"], PAGES)
    documents["key"] = {"Version": "2012-10-17", "Statement": [statement]}
    assert parliament(documents, tmp_path / "all") == KNOWN_BETTER


def test_the_linter_of_policies_would_see_what_aws_does_not_know(tmp_path: Path) -> None:
    (found,) = policies(SERVICE, PAGES)["biblioteca-worker"]["Statement"][:1]
    wrong = {
        "action": {**found, "Action": ["sqs:ReceiveMessages"]},
        "resource": {**found, "Resource": "arn:aws:sns:sa-east-1:111111111111:alunos"},
        "condition": {**found, "Condition": {"StringEquals": {"sqs:Sender": "x"}}},
    }
    documents = {name: {"Version": "2012-10-17", "Statement": [one]} for name, one in wrong.items()}
    kinds = {one.partition(" ")[0] for one in parliament(documents, tmp_path / "wrong")}
    assert kinds == {"UNKNOWN_ACTION", "RESOURCE_MISMATCH", "UNKNOWN_CONDITION_FOR_ACTION"}
