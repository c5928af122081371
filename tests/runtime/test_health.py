"""What a probe is told: by a real server's answer, while a worker lives through what can happen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError
from messaging.local import LocalServer
from messaging.runtime.health import STILL, Health, serve_health
from tests.programs import SERVICE, eventually

PATIENCE = 20.0
ROOT = Path(__file__).resolve().parents[2]


class Happened(Event, type="happened", version=1):
    number: int


class Slow(Consumer):
    service = "slow"
    handler_timeout = 0.2

    def __init__(self) -> None:
        self.go_on = threading.Event()

    @handles
    def happened(self, event: Happened) -> None:
        self.go_on.wait(PATIENCE)


class Later:
    """The clock of somebody who looks when more time has gone by than a thread may need."""

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic() + STILL + 1

    def now(self) -> float:
        return SYSTEM_CLOCK.now()

    def sleep(self, seconds: float) -> None:
        SYSTEM_CLOCK.sleep(seconds)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(Topology.of(Slow, topic="t"))) as broker:
        yield broker


def publish(broker: MemoryBroker, count: int) -> None:
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish_many(Happened(number=number) for number in range(count))


def ask(url: str, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            return error.code, json.loads(text) if text else None


def test_it_is_not_ready_before_the_start_and_after_the_stop(broker: MemoryBroker) -> None:
    worker = Worker(Slow(), broker=broker, wait=0.1)
    with serve_health(worker, "127.0.0.1:0") as (host, port):
        url = f"http://{host}:{port}"
        assert ask(f"{url}/live")[0] == 200
        assert ask(f"{url}/ready") == (
            503,
            {"ok": False, "stage": "new", "problems": ["the worker is new"], "services": {}},
        )
        with worker:
            status, report = ask(f"{url}/ready")
            assert (status, report["ok"]) == (200, True)
            assert report["services"] == {
                "slow": {"state": "receiving", "in_flight": 0, "received": 0}
            }
            assert ask(f"{url}/live?probe=1", "HEAD") == (200, None)
            assert ask(f"{url}/else")[0] == 404
        assert ask(f"{url}/live") == (
            503,
            {
                "ok": False,
                "stage": "stopped",
                "problems": ["the worker has stopped"],
                "services": ask(f"{url}/live")[1]["services"],
            },
        )


def test_handlers_that_all_hang_make_it_not_live(broker: MemoryBroker) -> None:
    consumer = Slow()
    with Worker(consumer, broker=broker, concurrency=2, wait=0.1) as worker:
        health = Health(worker, wedged_limit=0.3)
        publish(broker, 2)
        assert eventually(lambda: not health.live().ok)
        assert "slow: all handlers have hung for" in health.live().problems[0]
        assert health.ready().problems == ("slow: wedged",)
        consumer.go_on.set()
        assert eventually(lambda: health.live().ok)


def test_a_receive_that_never_returns_makes_it_not_live(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    queue = broker.queue("slow")
    monkeypatch.setattr(
        type(queue), "receive", lambda self, count, wait: go_on.wait(PATIENCE) and ()
    )
    with Worker(Slow(), broker=broker, wait=0.1, poll_grace=0) as worker:
        assert eventually(lambda: worker.pipelines["slow"].receiver.asked_for(1e9) > 0)
        assert Health(worker).live().ok
        late = Health(worker, clock=Later()).live()
        assert any("slow: a receive has been out for" in problem for problem in late.problems)
        go_on.set()


def test_a_paused_service_is_live_and_not_ready(broker: MemoryBroker) -> None:
    with Worker(Slow(), broker=broker, wait=0.1) as worker:
        worker.pause("slow")
        assert Health(worker).live().ok
        assert Health(worker).ready().problems == ("slow: paused",)


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", ":80", "127.0.0.1:port", "x:70000"])
def test_an_address_that_is_none_says_how_to_write_it(broker: MemoryBroker, address: str) -> None:
    worker = Worker(Slow(), broker=broker)
    with pytest.raises(ConfigurationError, match="HOST:PORT"), serve_health(worker, address):
        pass


def test_an_address_that_is_taken_is_named(broker: MemoryBroker) -> None:
    worker = Worker(Slow(), broker=broker)
    with serve_health(worker, "127.0.0.1:0") as (host, port):
        taken = serve_health(worker, f"{host}:{port}")
        with pytest.raises(ConfigurationError, match=f"{port}: the address cannot be had"), taken:
            pass


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    (tmp_path / "service.py").write_text(SERVICE)
    processes: list[subprocess.Popen[str]] = []

    def start(environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "messaging", "run", "service:Mail", *options]
        processes.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{tmp_path}:{ROOT}",
                    "MESSAGING_TOPIC": "t",
                    **environment,
                },
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if "health at http://" in line:
            return line.partition("http://")[2].partition("/")[0]
    raise AssertionError("no address was told")


def test_the_command_answers_probes_until_it_is_stopped(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    with LocalServer() as server:
        environment = server.environment
        subprocess.run(
            [sys.executable, "-c", APPLY],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            check=True,
        )
        process = started(environment, "--health", "127.0.0.1:0")
        url = f"http://{told(process)}"
        assert eventually(lambda: ask(f"{url}/ready")[0] == 200)
        assert ask(f"{url}/live")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


APPLY = (
    SERVICE
    + """
from messaging import Settings
from messaging.aws import apply
apply(TOPOLOGY, Settings.from_environment())
"""
)


def test_a_queue_that_does_not_answer_is_live_and_not_ready(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "sa-east-1"}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    process = started({**nobody, **keys}, "--health", "127.0.0.1:0")
    url = f"http://{told(process)}"
    assert ask(f"{url}/live")[0] == 200
    assert ask(f"{url}/ready")[0] == 503


def test_several_processes_cannot_share_an_address(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    process = started({}, "--health", "127.0.0.1:0", "--processes", "2")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "one process in each" in said
