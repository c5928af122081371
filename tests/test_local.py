"""The local server: real processes, and nothing left of them, however the parent ends."""

from __future__ import annotations

import gc
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from messaging.errors import ConfigurationError, TransportError
from messaging.local import Engine, LocalServer
from messaging.local.installation import environment_of
from messaging.settings import Settings
from tests.programs import eventually

ENGINES: list[Engine] = ["ministack", "moto"]
PATIENCE = 20.0  # seconds before something that must happen counts as not happening


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers of this test put their temporary folder, here and in child processes."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def client(server: LocalServer, service: Any = "sns") -> Any:
    session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
    return session.client(service, endpoint_url=server.url)


def topics(server: LocalServer) -> list[str]:
    return [
        topic["TopicArn"].rpartition(":")[2] for topic in client(server).list_topics()["Topics"]
    ]


def gone(pid: int) -> bool:
    try:
        # An orphan whose new parent does not reap stays in the table; it is dead all the same.
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def script() -> Iterator[Script]:
    """Starts Python programs that start a server and tell its pid and port."""
    start = (
        "import os, sys, time\n"
        "from messaging.local import LocalServer\n"
        "server = LocalServer().start()\n"
        "print(server.pid, server.port, flush=True)\n"
    )
    started: list[subprocess.Popen[str]] = []

    def run(body: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", start + body]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options))
        return started[-1]

    yield run
    for program in started:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def told(program: subprocess.Popen[str]) -> tuple[int, int]:
    assert program.stdout is not None
    pid, port = program.stdout.readline().split()
    return int(pid), int(port)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_answers_on_loopback_only_and_leaves_nothing(engine: Engine, scratch: Path) -> None:
    with LocalServer(engine=engine) as server:
        client(server).create_topic(Name="alunos")
        client(server, "sqs").create_queue(QueueName="alunos-bi")
        assert topics(server) == ["alunos"]
        assert server.pid is not None
        process = psutil.Process(server.pid)
        listening = [
            connection.laddr
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
        ]
        assert listening == [("127.0.0.1", server.port)]
    assert server.pid is None
    assert not process.is_running()
    assert refused(server.port)
    assert list(scratch.iterdir()) == []


def test_two_servers_at_once_share_nothing(server: LocalServer) -> None:
    with LocalServer() as other:
        client(server).create_topic(Name="one")
        client(other).create_topic(Name="other")
        assert other.port != server.port
        assert (topics(server), topics(other)) == (["one"], ["other"])


def test_a_port_that_is_taken_is_named_with_the_remedy(scratch: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .*choose another port"):
            LocalServer(port=port).start()
    assert list(scratch.iterdir()) == []


def test_a_port_taken_on_every_address_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="another program"):
            LocalServer(port=taken.getsockname()[1]).start()


def test_it_starts_again_on_its_port_and_is_empty(server: LocalServer) -> None:
    port, first = server.port, server.pid
    client(server).create_topic(Name="alunos")
    server.stop()
    server.start()
    assert (server.port, topics(server)) == (port, [])
    assert server.pid != first


def test_starting_one_that_runs_and_stopping_twice_do_nothing(server: LocalServer) -> None:
    pid = server.pid
    assert server.start().pid == pid
    server.stop()
    server.stop()
    LocalServer().stop()
    assert server.wait()


def test_one_that_was_killed_is_noticed_and_can_start_again(
    server: LocalServer, scratch: Path
) -> None:
    assert server.pid is not None
    assert not server.wait(0.01)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(PATIENCE)
    assert server.pid is None
    assert topics(server.start()) == []
    server.stop()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("end", ["server.stop()", "sys.exit()", "os.kill(os.getpid(), 9)"])
def test_with_a_folder_messages_and_files_are_there_at_the_next_start(
    end: str, script: Script, tmp_path: Path, scratch: Path
) -> None:
    folder = tmp_path / "kept"
    program = script(
        f"server.stop(); server = LocalServer(state={str(folder)!r}).start()\n"
        "import boto3\n"
        "ask = lambda what: boto3.Session(**server.credentials).client(\n"
        "    what, endpoint_url=server.url)\n"
        "url = ask('sqs').create_queue(QueueName='fila')['QueueUrl']\n"
        "ask('sqs').send_message(QueueUrl=url, MessageBody='at once')\n"
        "ask('sqs').send_message(QueueUrl=url, MessageBody='later', DelaySeconds=900)\n"
        "ask('s3').create_bucket(Bucket='balde', CreateBucketConfiguration={\n"
        "    'LocationConstraint': 'sa-east-1'})\n"
        "ask('s3').put_object(Bucket='balde', Key='a/b', Body=b'c')\n"
        "print(server.pid, server.port, flush=True)\n"
        f"{end}\n"
    )
    told(program)
    pid, port = told(program)
    program.wait(PATIENCE)
    assert eventually(lambda: gone(pid) and refused(port))

    # Another server, on another port.
    with LocalServer(state=folder) as server:
        assert server.port != port
        queue = client(server, "sqs")
        url = queue.get_queue_url(QueueName="fila")["QueueUrl"]
        received = queue.receive_message(QueueUrl=url)["Messages"]
        assert [message["Body"] for message in received] == ["at once"]
        depth = queue.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert depth["ApproximateNumberOfMessagesDelayed"] == "1"
        kept = client(server, "s3").get_object(Bucket="balde", Key="a/b")["Body"].read()
        assert kept == b"c"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_it_ends_when_its_parent_is_killed(engine: Engine, script: Script, scratch: Path) -> None:
    program = script(
        f"server.stop(); server = LocalServer(engine={engine!r}).start()\n"
        "print(server.pid, server.port, flush=True); time.sleep(60)"
    )
    told(program)
    pid, port = told(program)
    program.kill()
    program.wait()
    assert eventually(lambda: gone(pid) and refused(port))
    assert eventually(lambda: list(scratch.iterdir()) == [])


@pytest.mark.parametrize("site", ["", "import os; vars(os).pop('pidfd_open', None)"])
def test_it_ends_when_its_parent_is_killed_although_a_fork_of_the_parent_lives(
    site: str, script: Script, tmp_path: Path, scratch: Path
) -> None:
    # The fork holds the pipe's other end; without pidfd_open (macOS) only the clock is left.
    (tmp_path / "sitecustomize.py").write_text(site)
    program = script(
        "forked = os.fork()\nif forked: print(forked, 0, flush=True)\ntime.sleep(60)",
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    pid, _ = told(program)
    forked, _ = told(program)
    program.kill()
    program.wait()
    try:
        assert eventually(lambda: gone(pid))
        assert not gone(forked)
    finally:
        os.kill(forked, signal.SIGKILL)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "body", ["", "sys.exit(3)", "raise RuntimeError", "os.kill(os.getpid(), 15)"]
)
def test_it_ends_with_an_interpreter_that_did_not_stop_it(
    body: str, script: Script, scratch: Path
) -> None:
    program = script(body, stderr=subprocess.DEVNULL)
    pid, port = told(program)
    program.wait(PATIENCE)
    assert eventually(lambda: gone(pid) and refused(port))
    assert eventually(lambda: list(scratch.iterdir()) == [])


def test_ctrl_c_in_a_terminal_reaches_the_parent_which_stops_it_in_its_own_order(
    script: Script,
    scratch: Path,
) -> None:
    program = script(
        "try:\n"
        "    print(0, 0, flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print(server.wait(0.3), flush=True)\n"
        "    server.stop()\n",
        start_new_session=True,
    )
    pid, _ = told(program)
    told(program)  # that it is inside its try
    os.killpg(program.pid, signal.SIGINT)
    said, _ = program.communicate(timeout=PATIENCE)
    assert (said.strip(), program.returncode) == ("False", 0)
    assert gone(pid)
    assert list(scratch.iterdir()) == []


def test_it_outlives_the_thread_that_started_it() -> None:
    from threading import Thread

    server = LocalServer()
    thread = Thread(target=server.start)
    thread.start()
    thread.join()
    assert not server.wait(0.2)
    server.stop()


def test_a_forked_child_does_not_stop_its_parents_server(server: LocalServer) -> None:
    forked = os.fork()
    if forked == 0:
        server.stop()
        os._exit(0)
    os.waitpid(forked, 0)
    assert topics(server) == []


def test_one_that_nobody_holds_any_more_is_stopped(scratch: Path) -> None:
    server = LocalServer().start()
    pid = server.pid
    assert pid is not None
    del server
    gc.collect()
    assert gone(pid)
    assert list(scratch.iterdir()) == []


def test_the_library_side_loads_no_server_and_no_boto3() -> None:
    code = (
        "import sys; from messaging.local import LocalServer\n"
        "print([m for m in ('ministack', 'moto', 'hypercorn', 'boto3') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_one_that_dies_at_its_start_tells_what_its_log_ends_with(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = environment_of("ministack")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", broken], check=True)
    (site,) = broken.glob("lib/python*/site-packages")
    (site / "hypercorn.py").write_text("raise RuntimeError('a broken installation')")
    (broken / ".complete").touch()
    with pytest.raises(TransportError, match=r"exit code 1.*\n(.*\n)*.*a broken installation"):
        LocalServer().start()
    assert list(scratch.iterdir()) == []


def test_another_program_finds_it_by_the_environment(server: LocalServer) -> None:
    code = "import boto3; print(boto3.client('sns').create_topic(Name='alunos')['TopicArn'])"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | server.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "arn:aws:sns:sa-east-1:000000000000:alunos"
    assert topics(server) == ["alunos"]


def test_settings_lead_to_it(server: LocalServer) -> None:
    given = server.settings(topic="alunos", prefix="dev-")
    assert given == Settings(
        topic="alunos", prefix="dev-", endpoint_url=server.url, region="sa-east-1"
    )
    read = Settings.from_environment(server.environment)
    assert (read.endpoint_url, read.region) == (server.url, "sa-east-1")


def test_variables_of_the_environment_do_not_steer_it(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = scratch.parent / "state"
    strays = {"USE_SSL": "1", "GATEWAY_PORT": "1", "PERSIST_STATE": "1", "BIND_HOST": "0.0.0.0"}
    strays |= {"STATE_DIR": str(state), "SERVICES": "s3", "IOT_MTLS_ENABLED": "1", "AUTH": "true"}
    strays |= {"http_proxy": "http://127.0.0.1:9", "AWS_PROFILE": "nobody"}
    for name, value in strays.items():
        monkeypatch.setenv(name, value)
    with LocalServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/_ministack/health")
        assert connection.getresponse().status == 200
        connection.close()
    assert not state.exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_log_is_appended_to_a_file_that_stays(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("before\n")
    with LocalServer(engine=engine, log=log) as server:
        client(server).create_topic(Name="alunos")
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) > 1


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.*No such file"):
        LocalServer(log=tmp_path / "nowhere" / "log").start()
    assert list(scratch.iterdir()) == []


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="engine='localstack': use one of ministack, moto"):
        LocalServer(engine="localstack")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="port=70000"):
        LocalServer(port=70000)
    with pytest.raises(ConfigurationError, match="engine='moto' keeps no state"):
        LocalServer(engine="moto", state="somewhere")


def test_its_repr_says_whether_it_runs(server: LocalServer) -> None:
    assert repr(server) == f"<LocalServer ministack at {server.url}, pid {server.pid}>"
    server.stop()
    assert repr(server) == "<LocalServer ministack not running>"
