"""The local RabbitMQ: a real node, and nothing left of it, however the parent ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from messaging import Settings, connect
from messaging.cli.app import run
from messaging.errors import ConfigurationError
from messaging.local import LocalRabbitMQ
from messaging.local import rabbitmq as local_rabbitmq
from tests.programs import SERVICE, eventually
from tests.servers import missing


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nodes of this test put their temporary folder, here and in child processes."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def installed() -> None:
    try:
        LocalRabbitMQ.installed()
    except ConfigurationError:
        missing("RabbitMQ", "apt-get install rabbitmq-server")


@pytest.fixture
def program(tmp_path: Path, installed: None) -> Iterator[subprocess.Popen[str]]:
    """`messaging local --broker rabbitmq`, just started."""
    (tmp_path / "post.py").write_text(SERVICE)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MESSAGING_"))}
    command = [sys.executable, "-m", "messaging", "local", "--broker", "rabbitmq", "--json"]
    started = subprocess.Popen(
        [*command, "--topology", "post:TOPOLOGY"],
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def ended(processes: list[psutil.Process]) -> bool:
    def gone(one: psutil.Process) -> bool:
        # An orphan whose new parent does not reap stays in the table; it is dead all the same.
        with suppress(psutil.NoSuchProcess):
            return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
        return True

    return all(map(gone, processes))


def test_local_starts_a_node_with_the_topology_and_leaves_nothing(
    program: subprocess.Popen[str], scratch: Path
) -> None:
    assert program.stdout is not None
    said = json.loads(program.stdout.readline())

    assert (said["engine"], said["topic"], said["services"]) == ("rabbitmq", "t", ["mail"])
    assert said["environment"] == {"MESSAGING_BROKER_URL": said["url"], "MESSAGING_TOPIC": "t"}
    processes = family(program.pid)
    heard = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert heard == {"127.0.0.1", "::1"}
    broker = connect(Settings(broker_url=said["url"], topic="t"))
    assert broker.queue("mail").depth().visible == 0
    broker.close()

    program.terminate()
    _, told = program.communicate(timeout=60)
    assert program.returncode == 0, told
    assert "nothing is left behind" in told
    assert ended(processes)
    assert list(scratch.iterdir()) == []


def test_a_node_ends_with_a_parent_that_is_killed(
    program: subprocess.Popen[str], scratch: Path
) -> None:
    def names() -> set[str]:
        return {one.name() for one in family(program.pid) if one.is_running()}

    assert eventually(lambda: {"epmd", "beam.smp"} <= names())
    processes = family(program.pid)
    program.send_signal(signal.SIGKILL)

    assert eventually(lambda: ended(processes))
    assert eventually(lambda: list(scratch.iterdir()) == [])


def test_without_a_server_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_rabbitmq, "_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="apt-get install rabbitmq-server"):
        LocalRabbitMQ().start()


def test_a_port_that_is_taken_is_named(installed: None, scratch: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            LocalRabbitMQ(port=port).start()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("option", [("--engine", "moto"), ("--install",)])
def test_what_is_of_aws_alone_is_refused(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["local", "--broker", "rabbitmq", *option]) == 2
    assert "apt-get install" in " ".join(capsys.readouterr().err.split())
