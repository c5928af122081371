"""`messaging run` as a process on a server: stopped while idle, wedged, killed by a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws import apply, connect
from messaging.cli import names
from messaging.consuming.consumer import Consumer
from messaging.event import Event
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from messaging.topology import Topology

PROGRAM = '''
import os, sys, time
from messaging import Consumer, Event, handles

class Happened(Event, type="happened", version=1):
    n: int

class Idle(Consumer):
    @handles
    def happened(self, event: Happened) -> None:
        print("handled", event.n, flush=True)

class Hung(Consumer):
    handler_timeout = 0.2

    @handles
    def happened(self, event: Happened) -> None:
        time.sleep(30)

class Killed(Consumer):
    """Event 7 ends the process, as a crash of an extension or the kernel's memory killer would."""

    visibility_timeout = 1

    @handles
    def happened(self, event: Happened) -> None:
        if event.n == 7:
            os._exit(137)
        time.sleep(0.01)
        sys.stdout.write(f"handled {event.n}\\n")
        sys.stdout.flush()
'''


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as one:
        yield one


@pytest.fixture
def made() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class School:
    """A topic on the server, and the program that consumes it."""

    def __init__(
        self, server: LocalServer, folder: Path, consumer: str, topic: str, made: ExitStack
    ) -> None:
        (folder / "school.py").write_text(PROGRAM)
        self.folder = folder
        self.consumer = consumer
        sys.path.insert(0, str(folder))
        try:
            sys.modules.pop("school", None)
            self.service: type[Consumer] = names.load(f"school:{consumer}", "it", example="")
            self.event: type[Event] = names.load("school:Happened", "it", example="")
        finally:
            sys.path.remove(str(folder))
        settings = server.settings(topic=topic)
        session = boto3.Session(
            aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
        )
        apply(Topology.of(self.service, topic=topic), settings, session=session, create_topic=True)
        self.broker = connect(settings, session=session)
        made.callback(self.broker.close)
        self.environment = {**os.environ, **server.environment, "MESSAGING_TOPIC": topic}

    def publish(self, events: list[Any]) -> None:
        with Publisher(self.broker.topic(), source="/t") as publisher:
            publisher.publish_many(events)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "messaging", "run", f"school:{self.consumer}", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize("transport", ["fast", "boto3"])
def test_an_idle_worker_stops_long_before_its_long_poll_is_over(
    server: LocalServer, tmp_path: Path, made: ExitStack, transport: str
) -> None:
    school = School(server, tmp_path, "Idle", f"idle-{transport}", made)
    school.publish([school.event(n=1)])
    process = school.start("--wait", "20", MESSAGING_TRANSPORT=transport)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "handled 1\n"
        time.sleep(0.5)  # it is in its next long poll now
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
        took = time.monotonic() - asked
    finally:
        process.kill()
    assert process.returncode == 0
    assert took < 20 / 2, f"it waited for its long poll: {took:.1f} s"


def test_a_wedged_worker_ends_with_a_code_of_its_own(
    server: LocalServer, tmp_path: Path, made: ExitStack
) -> None:
    school = School(server, tmp_path, "Hung", "hung", made)
    school.publish([school.event(n=1)])
    process = school.start("--wedged", "1", "--concurrency", "1", "--wait", "1")
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3, said
    assert "hung is wedged: all 1 handlers have run for more than 0 s" in said
    assert " in Hung.happened" in said


def test_a_message_that_kills_its_process_takes_no_innocent_one_with_it(
    server: LocalServer, tmp_path: Path, made: ExitStack
) -> None:
    school = School(server, tmp_path, "Killed", "killed", made)
    innocent = set(range(20)) - {7}
    school.publish([school.event(n=n) for n in range(20)])
    handled: set[int] = set()
    crashes = 0
    while handled != innocent:
        process = school.start("--until-empty", "--concurrency", "10", "--wait", "1")
        out, said = process.communicate(timeout=60)
        handled |= {
            int(ready_queue.split()[1])
            for ready_queue in out.splitlines()
            if ready_queue[:8] == "handled "
        }
        assert process.returncode == 137, said
        crashes += 1
        assert crashes < 40, "it took the others with it"
    depth = school.broker.queue("killed").depth()
    assert depth.dead_letters == 0
    assert crashes >= 3
