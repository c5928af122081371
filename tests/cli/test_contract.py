"""`messaging contract` as a user meets it: files, folders, a bucket, exit codes, mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from messaging.contract.asyncapi import write_document
from messaging.contract.catalogue import catalogue_of
from messaging.contract.files import written
from messaging.local import LocalServer
from tests.cli.conftest import SCHOOL, Run, load_school

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def exported(messaging: Run, project: Path) -> Path:
    """catalogue.json as the first release of the school has it."""
    done = messaging("contract", "export", "school", "-o", "catalogue.json")
    assert done.returncode == 0, done.stderr
    return project / "catalogue.json"


def evolve(project: Path, old: str, new: str) -> None:
    assert old in SCHOOL
    (project / "school.py").write_text(SCHOOL.replace(old, new))


def test_the_committed_catalogue_is_held_against_the_code(
    messaging: Run, project: Path, exported: Path
) -> None:
    export = ["contract", "export", "school", "-o", "catalogue.json", "--check"]
    assert messaging(*export).returncode == 0
    evolve(project, "    fee: int | None\n", "    fee: int | None = 0\n")
    before = exported.read_bytes()

    done = messaging(*export)

    assert done.returncode == 1
    assert "catalogue.json differs from the code; write it again: messaging" in done.stderr
    assert exported.read_bytes() == before


@pytest.mark.parametrize("format", ["markdown", "html"])
def test_the_page_for_people_goes_to_stdout(messaging: Run, format: str) -> None:
    done = messaging("contract", "export", "school", "--format", format)
    assert done.returncode == 0, done.stderr
    assert "student.enrolled" in done.stdout


def test_nothing_changed_and_nobody_breaks(messaging: Run, exported: Path) -> None:
    done = messaging("contract", "check", "catalogue.json", "school")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nobody breaks" in done.stderr


def test_who_breaks_is_named_and_ci_fails(messaging: Run, project: Path, exported: Path) -> None:
    evolve(
        project,
        'class EnrolledForMail(Projection, of=Enrolled, audience="mail"):\n    name: str',
        'class EnrolledForMail(Projection, of=Enrolled, audience="mail"):\n    email: str',
    )

    done = messaging("contract", "check", "catalogue.json", "school", COLUMNS="200")

    assert done.returncode == 1
    assert "breaks mail (findings: 2)" in done.stderr
    assert "data.name" in done.stdout
    found = messaging("contract", "check", "catalogue.json", "school", "--json").stdout
    lines = [json.loads(line) for line in found.splitlines()]
    assert {(one["service"], one["way"], one["place"]) for one in lines} == {
        ("mail", "forward", "data.name"),
        ("mail", "backward", "data.email"),
    }
    forward = messaging(
        "contract", "check", "catalogue.json", "school", "--mode", "forward", "--json"
    )
    assert len(forward.stdout.splitlines()) == 1


def test_needs_in_a_folder_are_all_taken(messaging: Run, project: Path, exported: Path) -> None:
    (project / "needs").mkdir()
    for service in ("Mail", "Books"):
        done = messaging("contract", "needs", f"school:{service}", "-o", f"needs/{service}.json")
        assert done.returncode == 0, done.stderr
    check = ["contract", "check", "school", "--needs", "needs", "--json"]
    assert messaging(*check).returncode == 0
    evolve(project, "    name: str\n    fee: int | None\n", "    name: str\n")

    done = messaging(*check)

    assert done.returncode == 1
    assert [json.loads(line)["place"] for line in done.stdout.splitlines()] == ["data.fee"]


def test_needs_in_a_bucket_are_read(
    messaging: Run, server: LocalServer, exported: Path, project: Path
) -> None:
    done = messaging("contract", "needs", "school:Mail")
    assert done.returncode == 0
    bucket = f"needs-{uuid.uuid4().hex[:8]}"
    s3 = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    ).client("s3", endpoint_url=server.url)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="all/mail.json", Body=done.stdout.encode())
    s3.put_object(Bucket=bucket, Key="all/README.md", Body=b"no JSON")
    evolve(project, 'audience="mail"', 'audience="crm"')

    # Mail takes a view that is no longer for it: the module is not imported for --needs alone.
    for where in (f"s3://{bucket}/all", f"s3://{bucket}/all/", f"s3://{bucket}/all/mail.json"):
        found = messaging("contract", "check", "catalogue.json", "--needs", where)
        assert (found.returncode, found.stdout) == (0, ""), found.stderr

    for where, said in (
        (f"s3://{bucket}/none", "no .json there"),
        (f"s3://{bucket}/none.json", "none.json"),
        ("s3://", "which bucket"),
    ):
        found = messaging("contract", "check", "catalogue.json", "--needs", where)
        assert found.returncode in (1, 2)
        assert said in found.stderr
        assert "Traceback" not in found.stderr


def test_a_module_and_a_schema_are_written_from_the_file_alone(
    messaging: Run, project: Path, exported: Path
) -> None:
    (project / "school.py").unlink()
    (project / "pyproject.toml").unlink()
    done = messaging(
        "contract", "generate", "catalogue.json", "--service", "mail", "-o", "events.py"
    )
    assert done.returncode == 0, done.stderr
    assert "class EnrolledForMail(Event" in (project / "events.py").read_text()
    schema = messaging(
        *("contract", "schema", "catalogue.json", "--service", "mail"),
        *("--type", "student.enrolled"),
    )
    assert json.loads(schema.stdout)["properties"]["data"]["required"] == ["name"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "schools"], "there is no module 'schools'"),
        (["export", "json"], "the module 'json' has no event"),
        (["export", "school:Mail"], "an Event class with type= and version= was expected"),
        (["export", "school", "--check"], "Give --output FILE"),
        (["export", "school", "-o", "no/where.json"], "where.json: No such file or directory"),
        (["check", "gone.json", "school"], "gone.json: there is no such file or folder"),
        (["check", "a.yaml", "school"], "a.yaml: YAML; JSON is read"),
        (["check", "broken.json", "school"], "not JSON (Expecting"),
        (["check", "latin.json", "school"], "not text in UTF-8"),
        (["check", "deep.json", "school"], "nested too deep"),
        (["check", "needs.json", "school"], "needs of a service; a catalogue was expected"),
        (["check", "future.json", "school"], "a catalogue of format 2"),
        (["check", "empty", "school"], "no .json in this folder"),
        (["check", "https://example.org/c.json", "school"], "files, folders and s3:// are read"),
        (["check", "catalogue.json"], "Give NEW, or --needs, or both"),
        (["check", "school", "--needs", "catalogue.json"], "a catalogue; needs were expected"),
        (["needs", "school:Enrolled"], "a Consumer class was expected"),
        (["needs", "school"], "write module:NAME"),
        (["generate", "catalogue.json", "--service", "crm"], "it serves books, mail"),
        (
            ["schema", "catalogue.json", "--service", "mail", "--type", "student.gone"],
            "mail receives no student.gone; in this catalogue it receives student.enrolled",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_2(
    messaging: Run, project: Path, arguments: list[str], said: str
) -> None:
    (project / "empty").mkdir()
    catalogue = catalogue_of([load_school().Enrolled], topic="students")
    (project / "catalogue.json").write_text(written(write_document(catalogue, queues={})))
    for name, content in {
        "a.yaml": b"asyncapi: 3.0.0\n",
        "broken.json": b'{"asyncapi": ',
        "latin.json": "{'é'}".encode("latin-1"),
        "deep.json": b"[" * 200_000,
        "needs.json": b'{"needs": 1, "service": "x", "reads": []}',
        "future.json": b'{"asyncapi": "3.0.0", "x-messaging": {"format": 2}}',
    }.items():
        (project / name).write_bytes(content)

    done = messaging("contract", *arguments)

    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_with_130(started: Start, project: Path) -> None:
    (project / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = started("contract", "export", "slow")
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_the_doctor_names_who_would_be_told_nothing(messaging: Run, project: Path) -> None:
    missing = messaging("doctor", "school")
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr
    assert messaging("topology", "apply").returncode == 0

    found = messaging("doctor", "school", "--json")

    assert found.returncode == 1  # nobody handles Left in this topology
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(one["service"], one["type"], one["rule"]) for one in lines] == [
        ("*", "student.left", "unheard")
    ]
    assert messaging("doctor", "school:Enrolled").returncode == 0
    # The producer's repository, with a copy of the contract that does not know mail.
    events = SCHOOL.partition("class Mail(Consumer)")[0].replace(
        'audience="mail"', 'audience="crm"'
    )
    (project / "events.py").write_text(events)
    (project / "pyproject.toml").unlink()

    told = messaging("doctor", "events", "--json", MESSAGING_TOPIC="students")

    assert told.returncode == 1, told.stderr
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert {(one["service"], one["rule"], one["breaks"]) for one in lines} == {
        ("mail", "service", True),
        ("crm", "unheard", False),
    }
    assert "breaks mail" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "school", "--format", "yaml"], "one of 'asyncapi', 'markdown', 'html'"),
        (
            ["check", "old.json", "new.json", "--mode", "all"],
            "one of 'backward', 'forward', 'full'",
        ),
    ],
    ids=["format", "mode"],
)
def test_a_wrong_choice_is_told_with_the_right_ones(
    messaging: Run, arguments: list[str], said: str
) -> None:
    done = messaging("contract", *arguments, COLUMNS="200")
    assert done.returncode == 2
    assert all(part in done.stderr for part in (*arguments[-2:], said))
