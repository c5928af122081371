"""SIGTERM under load, in a real process against a real server: nothing handled comes again."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from messaging.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
COUNT = 600

PROGRAM = """
import asyncio, json, random, sys, time
from messaging.aws import connect
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.runtime import Worker

class Happened(Event, type="happened", version=1):
    n: int

class HappenedAsync(Event, type="happened.async", version=1):
    n: int

class Service(Consumer):
    @handles
    def happened(self, event: Happened) -> None:
        time.sleep(random.uniform(0, 0.03))
        sys.stdout.write(f"{event.n}\\n")
        sys.stdout.flush()

    @handles
    async def happened_async(self, event: HappenedAsync) -> None:
        await asyncio.sleep(random.uniform(0, 0.03))
        sys.stdout.write(f"{event.n}\\n")
        sys.stdout.flush()

report = Worker(Service(), broker=connect(), wait=20, prefetch=30).run()
assert report.stats.balanced and report.stats.in_flight == 0
stages = {stage.value: seconds for stage, seconds in report.stages.items()}
stats = report.stats
print(json.dumps({
    "acknowledged": stats.acknowledged, "released": stats.released, "expired": stats.expired,
    "stop": sum(stages.values()) - stages["running"],
}))
"""


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    visibility_timeout = 60  # what is not released is not to be seen again in this test

    @handles
    def happened(self, event: Happened) -> None: ...

    @handles
    async def happened_async(self, event: HappenedAsync) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as one:
        yield one


@pytest.mark.parametrize("after", [5, 60, 150])
def test_sigterm_under_load(
    server: LocalServer, after: int, tmp_path: Path, record_property
) -> None:
    settings = server.settings(topic=f"t{after}")
    session = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    apply(Topology.of(Service, topic=settings.topic), settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    with Publisher(broker.topic(), source="/t") as publisher:
        publisher.publish_many((HappenedAsync if n % 2 else Happened)(n=n) for n in range(COUNT))

    environment = {**os.environ, **server.environment, "MESSAGING_TOPIC": settings.topic}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.readlines()
        assert process.wait(40) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.stdout.close()
    *rest, last = lines
    handled = [int(ready_queue) for ready_queue in rest]
    report = json.loads(last)
    logging.getLogger("tests").info("stopped in %.2f s", report["stop"])

    assert len(handled) == len(set(handled)) == report["acknowledged"]
    assert report["expired"] == 0
    assert len(handled) < COUNT, "it was not under load any more"
    queue = broker.queue("service")
    assert queue.depth().in_flight == 0, "what was not handled is still hidden"
    left: list[int] = []
    while len(left) < COUNT - len(handled):
        some = queue.receive(10, 2)
        assert some, "messages are hidden, or lost"
        left += [json.loads(one.body)["data"]["n"] for one in some]
    assert not set(left) & set(handled), "what was handled comes again"
    assert sorted([*left, *handled]) == list(range(COUNT))
    broker.close()
