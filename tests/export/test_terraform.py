"""Terraform takes the exported file, and plans what `topology apply` makes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from messaging.aws import desired
from messaging.aws.clients import Place
from messaging.aws.policies import same_json
from messaging.export.terraform import terraform
from messaging.local import REGION, LocalServer
from tests.export.conftest import TOPOLOGIES
from tests.servers import missing


class Tool:
    """Terraform in a folder of its own, with the provider from a mirror on this machine."""

    def __init__(self, folder: Path, server: LocalServer) -> None:
        self._folder = folder
        self._binary, self._mirror = _installed()
        self._environment = {
            **{name: one for name, one in os.environ.items() if not name.startswith("TF_")},
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        }
        provider = {
            "region": REGION,
            "access_key": "local",
            "secret_key": "local",
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "endpoints": dict.fromkeys(("sns", "sqs", "sts"), server.url),
        }
        self._write("provider.tf.json", {"provider": {"aws": provider}})

    def _write(self, name: str, document: Any) -> None:
        (self._folder / name).write_text(json.dumps(document))

    def take(self, document: Any) -> None:
        """`document`, made to fit an older provider as well, which takes no 1 MiB."""
        assert document["terraform"]["required_providers"]["aws"].pop("version") == ">= 6.8.0"
        for queue in document["resource"].get("aws_sqs_queue", {}).values():
            assert queue["max_message_size"] == 1_048_576
            queue["max_message_size"] = 262_144
        self._write("topology.tf.json", document)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._binary, *arguments, "-no-color"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def init(self) -> None:
        self.run("init", "-input=false", f"-plugin-dir={self._mirror}")


def _installed() -> tuple[str, Path]:
    """The program, and a folder as `terraform providers mirror` makes it."""
    binary = shutil.which("terraform")
    mirror = Path(os.environ.get("TERRAFORM_MIRROR", "/opt/tf-plugins"))
    if binary is None or not mirror.is_dir():
        missing("terraform", "see `terraform providers mirror`, and set TERRAFORM_MIRROR")
    return binary, mirror


@pytest.fixture
def tool(tmp_path: Path, server: LocalServer) -> Tool:
    return Tool(tmp_path, server)


def test_terraform_plans_what_apply_would_make(tool: Tool) -> None:
    topology = TOPOLOGIES["FIFO"]
    tool.take(terraform(topology))
    tool.init()
    tool.run("plan", "-input=false", "-out=planned")
    planned = json.loads(tool.run("show", "-json", "planned"))["planned_values"]["root_module"]
    queues = {
        one["values"]["name"]: one["values"]
        for one in planned["resources"]
        if one["type"] == "aws_sqs_queue"
    }
    place = Place("aws", REGION, "000000000000")
    wanted = list(desired.queues(topology, place, place.topic_arn("alunos.fifo")))
    assert len(wanted) == len(queues) == 6
    for one in wanted:
        values = queues[one.name]
        assert values["fifo_queue"]
        assert values["tags"] == dict(one.claim.tags)
        for attribute in ("RedrivePolicy", "RedriveAllowPolicy"):
            argument = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", attribute).lower()
            assert same_json(values.get(argument), one.attributes.get(attribute))
        assert str(values["message_retention_seconds"]) == one.attributes["MessageRetentionPeriod"]
    kinds = [one["type"] for one in planned["resources"]]
    assert kinds.count("aws_sqs_queue_policy") == 6
    assert kinds.count("aws_sns_topic_subscription") == 2
    assert kinds.count("aws_sns_topic") == 1


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_what_is_referred_to_is_declared(name: str) -> None:
    document = terraform(TOPOLOGIES[name])
    declared = {f"{kind}.{one}" for kind, ones in document["resource"].items() for one in ones}
    text = json.dumps(document["resource"])
    named = set(re.findall(r"(aws_\w+\.\w+)(?:\.(?:arn|id))?", text)) - {
        f"aws_{kind}.current" for kind in ("caller_identity", "partition", "region")
    }
    assert named <= declared
    services = len(TOPOLOGIES[name].services)
    assert len(declared) == 7 * services + TOPOLOGIES[name].owns_topic


def test_a_topic_in_another_account_is_named_by_its_arn() -> None:
    arn = "arn:aws:sns:sa-east-1:222222222222:alunos"
    made = terraform(TOPOLOGIES["one service"], others_topic=arn)["resource"]
    assert made["aws_sns_topic_subscription"]["um"]["topic_arn"] == arn
    assert arn in made["aws_sqs_queue_policy"]["um_queue"]["policy"]
    assert "aws_sns_topic" not in made
