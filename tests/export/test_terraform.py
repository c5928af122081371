"""Terraform's JSON is as the provider's schema has it, and holds what `topology apply` makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from messaging.aws import desired
from messaging.aws.clients import Place
from messaging.export.places import TERRAFORM
from messaging.export.terraform import terraform
from tests.export.conftest import TOPOLOGIES
from tests.validators import said as said_by

SCHEMA = json.loads((Path(__file__).parent / "terraform-aws-6.25.json").read_text())
META = {"depends_on", "lifecycle"}  # Terraform's own, of every resource
TYPES: dict[Any, tuple[type, ...]] = {"string": (str,), "bool": (bool,), "number": (int,)}


def complaints(document: Any) -> list[str]:
    """What the provider's schema has against the arguments of a document."""
    found = []
    for kind, ones in document["resource"].items():
        schema = SCHEMA["resource"][kind]
        for name, arguments in ones.items():
            required = {one for one, said in schema.items() if said["required"]}
            found += [f"{kind}.{name} lacks {one}" for one in required - set(arguments)]
            for argument, value in arguments.items():
                if argument in META:
                    continue
                said = schema.get(argument, {"settable": False})
                if not said["settable"]:
                    found.append(f"{kind}.{name}.{argument} cannot be set")
                    continue
                type_ = said["type"]
                wanted = (dict,) if isinstance(type_, list) else TYPES[type_]
                if type(value) not in wanted:
                    found.append(f"{kind}.{name}.{argument} is no {type_}")
    return found


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_providers_schema_has_nothing_to_say(name: str) -> None:
    document = terraform(TOPOLOGIES[name])
    assert complaints(document) == []
    assert set(document["data"]) <= set(SCHEMA["data"])


def test_the_schema_would_see_a_wrong_argument() -> None:
    document = terraform(TOPOLOGIES["one service"])
    queue = document["resource"]["aws_sqs_queue"]["um_queue"]
    queue["visibility_timeout"] = queue.pop("visibility_timeout_seconds")
    queue["sqs_managed_sse_enabled"] = "true"
    del document["resource"]["aws_sns_topic_subscription"]["um"]["endpoint"]
    assert sorted(complaints(document)) == [
        "aws_sns_topic_subscription.um lacks endpoint",
        "aws_sqs_queue.um_queue.sqs_managed_sse_enabled is no bool",
        "aws_sqs_queue.um_queue.visibility_timeout cannot be set",
    ]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_what_is_referred_to_is_declared(name: str) -> None:
    document = terraform(TOPOLOGIES[name])
    declared = {f"{kind}.{one}" for kind, ones in document["resource"].items() for one in ones}
    declared |= {f"data.{kind}.current" for kind in document["data"]}
    text = json.dumps(document["resource"])
    named = set(re.findall(r"((?:data\.)?aws_\w+\.\w+)", text))
    assert named <= declared
    for place in re.findall(r"\$\{([^}]+)\}", text):
        *data, kind, _, attribute = place.split(".")
        assert attribute in SCHEMA["data" if data else "resource"][kind], place
    services = len(TOPOLOGIES[name].services)
    made = sum(len(ones) for ones in document["resource"].values())
    assert made == 7 * services + TOPOLOGIES[name].owns_topic


def as_terraform_reads_it(document: Any, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name the arguments; a reference is the number of what it refers to, and what only
    a provider knows is null."""
    (folder / "topology.tf.json").write_text(json.dumps(document))
    program = (
        "import json, sys, tfparse; json.dump(tfparse.load_from_path(sys.argv[1]), sys.stdout)"
    )
    status, text = said_by("python", "-I", "-c", program, folder)
    assert status == 0, text
    return {
        (kind, one["__tfmeta"]["path"].rpartition(".")[2]): one
        for kind, ones in json.loads(text).items()
        if kind != "terraform"
        for one in ones
    }


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_hashicorps_reader_finds_each_argument_and_what_it_refers_to(
    name: str, tmp_path: Path
) -> None:
    document = terraform(TOPOLOGIES[name])
    read = as_terraform_reads_it(document, tmp_path)
    given = {
        (kind, id): one for kind, ones in document["resource"].items() for id, one in ones.items()
    }
    assert set(read) == {*given, *((kind, "current") for kind in document["data"])}
    for place, arguments in given.items():
        for argument, value in arguments.items():
            found = read[place][argument]
            if refers := re.fullmatch(r"\$\{(aws_\w+)\.(\w+)\.(id|arn)\}", str(value)):
                assert found == read[refers[1], refers[2]]["id"], (place, argument)
            elif "${data." not in str(value):
                assert found == value, (place, argument)


def test_hashicorps_reader_loses_an_expression_that_is_none(tmp_path: Path) -> None:
    document = terraform(TOPOLOGIES["one service"])
    subscription = document["resource"]["aws_sns_topic_subscription"]["um"]
    subscription["endpoint"] = "${aws_sqs_queue.um_queue.arn"
    subscription["protocol"] = "${sqs}"
    read = as_terraform_reads_it(document, tmp_path)["aws_sns_topic_subscription", "um"]
    assert (read.get("endpoint"), read.get("protocol")) == (None, None)


@pytest.mark.parametrize("name", ["FIFO", "one service"])
def test_it_makes_what_apply_would_make(name: str) -> None:
    topology = TOPOLOGIES[name]
    place = Place("aws", "sa-east-1", "111111111111")
    text = json.dumps(terraform(topology)["resource"])
    for variable, value in zip(TERRAFORM, place, strict=True):
        text = text.replace(variable, value)  # as Terraform fills them in
    queues = {one["name"]: one for one in json.loads(text)["aws_sqs_queue"].values()}
    wanted = list(desired.queues(topology, place, place.topic_arn(topology.topic.name)))
    assert len(wanted) == len(queues)
    for one in wanted:
        made = queues[one.name]
        assert made["tags"] == dict(one.claim.tags)
        assert made.get("fifo_queue", False) is one.fifo
        assert made["message_retention_seconds"] == int(one.attributes["MessageRetentionPeriod"])
        for attribute, argument in (
            ("RedrivePolicy", "redrive_policy"),
            ("RedriveAllowPolicy", "redrive_allow_policy"),
        ):
            said = one.attributes.get(attribute)
            assert (said is None) is (argument not in made)
            assert said is None or json.loads(made[argument]) == json.loads(said)


def test_json_inside_is_written_as_terraform_writes_it() -> None:
    """Else each `terraform plan` would see changes of spaces."""
    made = terraform(TOPOLOGIES["one service"])["resource"]
    texts = [one["policy"] for one in made["aws_sqs_queue_policy"].values()]
    texts += [made["aws_sqs_queue"]["um_queue"]["redrive_policy"]]
    texts += [made["aws_sns_topic_subscription"]["um"]["filter_policy"]]
    assert all(json.dumps(json.loads(one), separators=(",", ":")) == one for one in texts)


def test_a_topic_in_another_account_is_named_by_its_arn() -> None:
    arn = "arn:aws:sns:sa-east-1:222222222222:alunos"
    made = terraform(TOPOLOGIES["one service"], others_topic=arn)["resource"]
    assert made["aws_sns_topic_subscription"]["um"]["topic_arn"] == arn
    assert arn in made["aws_sqs_queue_policy"]["um_queue"]["policy"]
    assert "aws_sns_topic" not in made
