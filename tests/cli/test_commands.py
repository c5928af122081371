"""The commands as a user meets them: real processes against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from messaging.local.installation import environment_of
from tests.cli.conftest import Run

Start = Callable[..., "subprocess.Popen[str]"]


def test_without_the_extra_it_says_what_to_install(project: Path) -> None:
    (project / "typer.py").write_text("raise ModuleNotFoundError(name='typer')\n")
    done = subprocess.run(
        [sys.executable, "-c", "import messaging.__main__ as m; m.main()", "status"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "messaging-sns-sqs[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run"], ["run", "school:Mail", "--concurrency", "0"], ["local", "--port", "x"]],
)
def test_wrong_usage_exits_with_2(messaging: Run, arguments: list[str]) -> None:
    done = messaging(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["topology", "show", "--topology", "school:NONE"], {}, "school has no 'NONE'"),
        (["status"], {"MESSAGING_WAIT": "x", "MESSAGING_NOPE": "1"}, "unknown setting"),
        (["run", "school:Post"], {}, "no service 'post' in this topology; it has mail, books"),
        (["run", "school:Choosy"], {}, "cannot be made without arguments"),
        (["run", "school:Nobody", "--processes", "2"], {}, "school has no 'Nobody'"),
    ],
)
def test_wrong_configuration_is_one_message_and_2(
    messaging: Run, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = messaging(*arguments, **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_that_names_no_topology_is_told_how(messaging: Run, project: Path) -> None:
    (project / "pyproject.toml").unlink()
    done = messaging("status")
    assert done.returncode == 2
    assert "--topology module:NAME, or MESSAGING_TOPOLOGY, or in pyproject.toml" in done.stderr


def test_an_endpoint_that_does_not_answer_is_one_message_and_1(messaging: Run) -> None:
    done = messaging("status", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_prints_the_map_and_asks_nobody(messaging: Run) -> None:
    done = messaging("topology", "show", "--json", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 0
    assert set(json.loads(done.stdout)["services"]) == {"mail", "books"}
    drawn = messaging(
        "topology", "show", AWS_ENDPOINT_URL="http://127.0.0.1:9", MESSAGING_PREFIX=""
    )
    assert "students-books" in drawn.stdout
    assert max(map(len, drawn.stdout.splitlines())) <= 80


def test_plan_apply_and_status(messaging: Run) -> None:
    before = messaging("topology", "plan", "--detailed-exitcode", "--json")
    assert before.returncode == 2
    assert json.loads(before.stdout)["pending"] is True
    missing = messaging("status", "--json")
    assert missing.returncode == 1
    assert [one["missing"] for one in json.loads(missing.stdout)["queues"]] == [True, True]
    assert "messaging topology apply" in missing.stderr

    done = messaging("topology", "apply")
    assert done.returncode == 0
    assert "create" in done.stdout
    assert "done" in done.stderr

    after = messaging("topology", "plan", "--detailed-exitcode")
    assert after.returncode == 0
    assert "leave" in after.stdout
    assert "create" not in after.stdout
    status = messaging("status")
    assert status.returncode == 0
    assert [line.split()[1:] for line in status.stdout.splitlines() if "books" in line] == [
        ["0", "0", "0", "-", "0", "0"]
    ]


def test_a_plan_that_fails_is_not_taken_for_one_with_changes(messaging: Run) -> None:
    done = messaging("topology", "plan", "--detailed-exitcode", "--topology", "school:NONE")
    assert done.returncode == 1
    assert "has no 'NONE'" in done.stderr


def test_output_to_a_file_has_no_colours(messaging: Run) -> None:
    messaging("topology", "apply")
    assert "\x1b" not in messaging("topology", "plan").stdout
    coloured = re.compile("\x1b\\[[0-9;]*3[0-7]m")
    forced = {"FORCE_COLOR": "1", "TERM": "xterm"}
    assert coloured.search(messaging("status", MESSAGING_PREFIX="no-", **forced).stdout)
    plain = messaging("status", MESSAGING_PREFIX="no-", NO_COLOR="1", **forced)
    assert not coloured.search(plain.stdout)


def test_local_prints_its_environment_and_ends_in_order(started: Start) -> None:
    process = started("local", "--port", "0", "--json")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["services"] == ["mail", "books"]
    assert said["environment"]["AWS_ENDPOINT_URL"] == said["url"]
    # connect() puts the prefix of the environment before it again.
    assert said["topic"].endswith("-" + said["environment"]["MESSAGING_TOPIC"])
    process.send_signal(signal.SIGINT)
    _, heard = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Ctrl-C ends it" in heard
    assert "Traceback" not in heard
    with pytest.raises(ProcessLookupError):
        _signal(said["pid"])


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def test_local_exports_can_be_sourced_and_sigterm_is_clean(started: Start) -> None:
    process = started("local", "--port", "0")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("export AWS_ENDPOINT_URL=http://127.0.0.1:")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_local_says_when_the_port_is_taken(messaging: Run, server: object) -> None:
    done = messaging("local", "--port", str(server.port))  # type: ignore[attr-defined] # a LocalServer
    assert done.returncode == 2
    assert str(server.port) in done.stderr  # type: ignore[attr-defined] # a LocalServer
    assert "Traceback" not in done.stderr


def test_local_says_when_the_server_dies(started: Start) -> None:
    process = started("local", "--port", "0", "--json")
    assert process.stdout is not None
    os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
    _, heard = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped unexpectedly" in heard


def test_run_on_a_missing_queue_says_so_and_closes(messaging: Run) -> None:
    done = messaging("run", "school:Mail", "--wait", "0")
    assert done.returncode == 1
    assert "students-mail" in done.stderr
    assert done.stdout.strip() == "closed"


@pytest.mark.parametrize(
    "command",
    [
        ("topology", "plan"),
        ("topology", "plan", "--detailed-exitcode"),
        ("topology", "apply"),
        ("topology", "show"),
        ("status",),
        ("run", "school:Mail", "--until-empty"),
        ("dlq", "list", "mail"),
        ("outbox", "relay", "--database", "sqlite:///x.db"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "topic", ["others", "arn:aws:sns:sa-east-1:111111111111:others"], ids=["name", "arn"]
)
def test_a_topic_that_is_not_the_topologys_is_refused_by_every_command_alike(
    messaging: Run, environment: dict[str, str], command: tuple[str, ...], topic: str
) -> None:
    """Else `apply` makes one topic, and producers publish to another that nobody listens to."""
    environment["MESSAGING_TOPIC"] = topic
    environment["MESSAGING_PREFIX"] = ""
    done = messaging(*command)
    assert done.returncode == (1 if "--detailed-exitcode" in command else 2), done.stderr
    said = " ".join(done.stderr.split())
    assert "MESSAGING_TOPIC names topic 'others', the topology is that of 'students'" in said


def test_local_install_makes_the_server_ready_and_starts_none(messaging: Run) -> None:
    done = messaging("local", "--install", "--engine", "moto")
    assert (done.returncode, done.stdout.strip()) == (0, str(environment_of("moto")))
