"""`messaging run`: services at work in processes of their own, from the queue to a clean end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from messaging.aws import apply, connect
from messaging.aws.sessions import new_session
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from tests.cli.conftest import Run, load_school

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def publish(server: LocalServer, environment: dict[str, str]) -> Callable[..., None]:
    """Applies the topology and publishes students by name and fee."""
    school = load_school()
    settings = server.settings(topic="students", prefix=environment["MESSAGING_PREFIX"])
    session = new_session(**server.credentials)
    apply(school.TOPOLOGY, settings, session=session, create_topic=True)

    def publish(**fees: int) -> None:
        broker = connect(settings, session=session)
        with Publisher(broker.topic(), source="/office") as publisher:
            publisher.publish_many(
                school.Enrolled(name=name, email=f"{name}@example.com", fee=fee)
                for name, fee in fees.items()
            )
        broker.close()

    return publish


def test_run_until_empty_handles_everything_and_ends(
    messaging: Run, publish: Callable[..., None]
) -> None:
    publish(Ana=1, Bia=-1, Caio=3)
    done = messaging(
        "run", "school:Mail", "school:Books", "--until-empty", "--json", "--wait", "0.2"
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    assert sorted(printed) == ["closed", "handled Ana", "handled Bia", "handled Caio"]
    counts = json.loads(last)["services"]
    assert counts["mail"] == {
        "received": 3,
        "acknowledged": 3,
        "released": 0,
        "dead_lettered": 0,
        "expired": 0,
        "in_flight": 0,
        "discarded": 0,
        "deduplicated": 0,
    }
    assert (counts["books"]["acknowledged"], counts["books"]["dead_lettered"]) == (2, 1)
    assert "Ana" not in done.stderr
    status = json.loads(messaging("status", "--json").stdout)["queues"]
    assert [(one["visible"], one["dead_letters"]) for one in status] == [(0, 0), (0, 1)]


def test_until_empty_does_not_wait_for_a_server_that_does_not_answer(messaging: Run) -> None:
    done = messaging("run", "school:Mail", "--until-empty", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no answer" in done.stderr


def test_a_worker_that_cannot_start_closes_what_needed_no_open(messaging: Run) -> None:
    run = ("--until-empty", "--patience", "0")
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    for name, printed in (("AsyncMail", "closed in a loop\n"), ("OpenedMail", "")):
        done = messaging("run", f"school:{name}", *run, **away)
        assert (done.returncode, done.stdout) == (1, printed)
        assert "no answer" in done.stderr
        assert "never awaited" not in done.stderr


def test_an_async_close_is_awaited(messaging: Run, publish: Callable[..., None]) -> None:
    publish(Ana=1)
    done = messaging("run", "school:OpenedMail", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["handled Ana", "closed connection"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_in_order_at_a_signal(
    started: Start, publish: Callable[..., None], number: signal.Signals
) -> None:
    publish(Ana=1)
    process = started("run", "school:make_mail", "--wait", "0.2")
    assert process.stdout is not None
    assert process.stdout.readline() == "handled Ana\n"
    process.send_signal(number)
    printed, logged = process.communicate(timeout=30)
    assert process.returncode == 0, logged
    assert printed.startswith("closed\n")
    assert "mail" in printed
    assert "acknowledged" in printed
    assert "worker stopped" in logged
    assert "Traceback" not in logged


def test_run_in_several_processes(started: Start, publish: Callable[..., None]) -> None:
    publish(**{f"S{number}": number for number in range(20)})
    process = started(
        "run", "school:Mail", "--processes", "2", "--wait", "0.2", "--until-empty", "--json"
    )
    printed, logged = process.communicate(timeout=60)
    assert process.returncode == 0, logged
    lines = printed.splitlines()
    assert sum(line.startswith("handled") for line in lines) == 20
    counts = [json.loads(line)["services"]["mail"] for line in lines if line.startswith("{")]
    assert len(counts) == 2
    assert sum(one["acknowledged"] for one in counts) == 20


@pytest.mark.parametrize("name", ["NOTED", "make_noted"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_run_puts_middleware_around_every_handler(
    messaging: Run, publish: Callable[..., None], name: str, processes: str
) -> None:
    publish(Ana=1)
    done = messaging(
        *("run", "school:Mail", "--until-empty", "--wait", "0.2"),
        *("--processes", processes, "--middleware", f"school:{name}"),
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "Ana" in line or "around" in line]
    assert lines == ["around welcome", "handled Ana"]


def test_a_codec_of_yours_writes_and_reads(
    messaging: Run, publish: Callable[..., None], project: Path
) -> None:
    publish()
    (project / "alunos.csv").write_text("name,email\nAna,ana@example.com\n")
    sent = messaging("publish", "alunos.csv", "--codec", "school:Reversed")
    assert sent.returncode == 0, sent.stderr
    with (project / "pyproject.toml").open("a") as file:
        file.write('codec = "school:Reversed"\n')
    done = messaging("run", "school:Mail", "--until-empty", "--wait", "0.2")
    assert done.returncode == 0, done.stderr
    assert "handled Ana" in done.stdout
    plain = messaging(
        "run", "school:Books", "--codec", "messaging.codec:JsonCodec", "--until-empty"
    )
    assert "body: not JSON" in plain.stderr


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--middleware", "school:TOPOLOGY", "a middleware (it takes a call)"),
        ("--middleware", "school:Mail", "a middleware (it takes a call)"),
        ("--codec", "school:Mail", "a codec (encode and decode)"),
        ("--codec", "school:NOTED", "cannot be made without arguments"),
    ],
)
def test_what_is_no_middleware_and_no_codec_is_told(
    messaging: Run, publish: Callable[..., None], option: str, name: str, said: str
) -> None:
    publish()
    done = messaging("run", "school:Mail", "--until-empty", option, name)
    assert done.returncode == 2
    assert f"{option} '{name}'" in done.stderr
    assert said in " ".join(done.stderr.split())


def test_an_endpoint_that_does_not_answer_is_waited_for_as_long_as_was_said(messaging: Run) -> None:
    done = messaging(
        *("run", "school:Mail", "--patience", "0.1"), AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_takes_the_store_of_a_shared_rate_from_the_environment(
    messaging: Run, publish: Callable[..., None], redis_url: str
) -> None:
    publish(Ana=1)
    run = ("run", "school:SlowMail", "--until-empty", "--wait", "0.2")
    refused = messaging(*run)
    assert refused.returncode != 0
    assert "SlowMail.rate is shared" in refused.stderr
    assert "MESSAGING_RATES" in refused.stderr
    done = messaging(*run, MESSAGING_RATES=redis_url)
    assert done.returncode == 0, done.stderr
    assert "handled Ana" in done.stdout


def test_a_canary_passes_through_a_worker_without_a_handler(
    messaging: Run, publish: Callable[..., None], started: Start
) -> None:
    publish()
    sent = messaging("canary", "mail", "--json")
    assert sent.returncode == 0, sent.stderr
    [hop] = map(json.loads, sent.stdout.splitlines())
    assert (hop["service"], hop["end"]) == ("mail", "sent")
    done = messaging("run", "school:Mail", "--until-empty", "--json", "--wait", "0.2")
    assert f"received probe {hop['id']}" in done.stderr
    *printed, last = done.stdout.splitlines()
    assert printed == ["closed"], "no handler saw it"
    assert json.loads(last)["services"]["mail"]["discarded"] == 1

    again = started("canary", "mail", "--every", "1")
    assert again.stdout is not None
    lines = [again.stdout.readline() for _ in range(2)]
    assert all(" mail: sent, " in line for line in lines)
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0


def test_a_canary_for_a_service_of_another_topology_is_refused(messaging: Run) -> None:
    refused = messaging("canary", "post")
    assert refused.returncode == 2
    assert "post" in refused.stderr
