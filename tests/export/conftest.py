"""What the tests of the exports share: topologies, a server, and cfn-lint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.local import LocalServer
from messaging.topology import Topic, Topology


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Mudou(Event, type="teste.mudou", version=1):
    numero: int


class Um(Consumer):
    visibility_timeout = 45
    max_receives = 7

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


class Dois(Consumer):
    service = "meia-entrada"

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...

    @handles
    def mudar(self, evento: Mudou) -> None: ...


class Tres(Consumer):
    """In CloudFormation it would have the other's name."""

    service = "meia_entrada"

    @handles
    def ouvir(self, evento: Mudou) -> None: ...


TOPOLOGIES = {
    "the whole map": Topology.of(Um, Dois, topic="alunos", owns_topic=True),
    "one service": Topology.of(Um, topic="alunos", owner="equipe um"),
    "FIFO": Topology.of(Um, Dois, topic="alunos.fifo", owns_topic=True),
    "the topic alone": Topology.producer(Topic(name="alunos", max_bytes=1_048_576)),
    "a key of one's own": Topology.of(
        Um, topic="alunos", owns_topic=True, kms_key="alias/escola/alunos"
    ),
    "names that are nearly the same": Topology.of(Dois, Tres, topic="alunos", owns_topic=True),
}


def cfn_lint(folder: Path, **templates: Any) -> tuple[int, str]:
    """What it ends with, and says; one run for all, since to start takes it longest."""
    paths = []
    for name, template in templates.items():
        paths.append(folder / f"{re.sub('[^A-Za-z]+', '-', name)}.json")
        paths[-1].write_text(json.dumps(template, indent=2))
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "sa-east-1", "--", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer(engine="ministack") as started:
        yield started
