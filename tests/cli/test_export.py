"""`messaging export`, as a pipeline types it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_it_writes_a_file_and_says_when_the_code_has_gone_on(messaging: Run, project: Path) -> None:
    done = messaging("export", "cloudformation", "-o", "topology.json")
    assert done.returncode == 0, done.stderr
    resources = json.loads((project / "topology.json").read_text())["Resources"]
    assert {"Topic", "MailQueue", "BooksSubscription"} <= set(resources)
    assert messaging("export", "cloudformation", "-o", "topology.json", "--check").returncode == 0
    school = (project / "school.py").read_text()
    (project / "school.py").write_text(
        school.replace("Topology.of(Mail, Books", "Topology.of(Mail")
    )
    old = messaging("export", "cloudformation", "-o", "topology.json", "--check")
    assert old.returncode == 1
    assert "messaging export cloudformation -o topology.json" in old.stderr


def test_one_roles_policy_alone_is_plain_json(messaging: Run, environment: dict[str, str]) -> None:
    done = messaging(
        *("export", "iam", "--role", "mail-worker", "--account", "111111111111"),
        *("--region", "sa-east-1"),
    )
    assert done.returncode == 0, done.stderr
    queue = f"{environment['MESSAGING_PREFIX']}students-mail"
    assert json.loads(done.stdout)["Statement"][0]["Resource"] == (
        f"arn:aws:sqs:sa-east-1:111111111111:{queue}"
    )
    wrong = messaging("export", "iam", "--role", "worker")
    assert wrong.returncode == 2
    assert "mail-worker" in wrong.stderr


def test_every_export_is_json_and_the_same_twice(messaging: Run) -> None:
    scaling = ("--account", "111111111111", "--region", "sa-east-1")
    for words in (
        ["terraform"],
        ["alarms", "--oldest", "600", "--emf", "messaging"],
        ["prometheus", "--canary", "60"],
        ["grafana"],
        ["keda", *scaling, "--min", "0"],
        ["ecs", "--concurrency", "20", "--seconds", "0.05"],
    ):
        first, second = messaging("export", *words), messaging("export", *words)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)
        assert first.stdout == second.stdout
    wrong = messaging("export", "ecs", "--min", "0")
    assert wrong.returncode == 2
    assert "least=1" in wrong.stderr


def test_the_policy_of_a_key_that_stands_is_told_what_it_lacks(
    messaging: Run, project: Path, environment: dict[str, str]
) -> None:
    where = ("--account", "111111111111", "--region", "sa-east-1")
    done = messaging("export", "kms", "--statements", *where)
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    topic = f"arn:aws:sns:sa-east-1:111111111111:{environment['MESSAGING_PREFIX']}students"
    assert said["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    nowhere = messaging("export", "kms", "--statements")
    assert nowhere.returncode == 2
    assert "--account" in nowhere.stderr
    without = messaging("export", "kms")
    assert without.returncode == 2
    assert "kms_key" in without.stderr


def test_a_topic_that_is_not_the_topologys_is_not_exported(
    messaging: Run, project: Path, environment: dict[str, str]
) -> None:
    environment["MESSAGING_PREFIX"] = ""
    environment["MESSAGING_TOPIC"] = "arn:aws:sns:sa-east-1:111111111111:teachers"
    other = messaging("export", "cloudformation")
    assert other.returncode == 2
    assert "'teachers'" in other.stderr
    environment["MESSAGING_TOPIC"] = "arn:aws:sns:us-east-1:111111111111:students"
    environment["MESSAGING_REGION"] = "sa-east-1"
    elsewhere = messaging("export", "cloudformation")
    assert elsewhere.returncode == 2
    assert "region" in elsewhere.stderr
    environment["MESSAGING_REGION"] = "us-east-1"
    own = messaging("export", "cloudformation")
    assert own.returncode == 0, own.stderr
    assert "deploy it in that account and region" in " ".join(own.stderr.split())


def test_plan_against_an_exported_file_has_an_exit_code_for_ci(
    messaging: Run, project: Path
) -> None:
    plan = ("topology", "plan", "--against", "topology.tf.json", "--detailed-exitcode")
    assert messaging("export", "terraform", "-o", "topology.tf.json").returncode == 0
    same = messaging(*plan)
    assert same.returncode == 0, same.stderr
    assert "nothing to do" in same.stderr
    school = (project / "school.py").read_text()
    (project / "school.py").write_text(school.replace("class Mail(Consumer):\n", LONGER))
    changed = messaging(*plan)
    assert changed.returncode == 2
    assert "-> 77" in " ".join(changed.stdout.split())
    assert "messaging export terraform -o topology.tf.json" in " ".join(changed.stderr.split())
    (project / "other.json").write_text("not JSON")
    broken = messaging("topology", "plan", "--against", "other.json", "--detailed-exitcode")
    assert broken.returncode == 1
    assert "other.json is no JSON" in broken.stderr
    gone = messaging("topology", "plan", "--against", "gone.json")
    assert gone.returncode == 2
    assert "gone.json: No such file" in gone.stderr


LONGER = "class Mail(Consumer):\n    visibility_timeout = 77\n\n"
