"""Which subjects are measured, at which works, with which Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.environment import ROOT, others

__all__ = ["APART", "FAST", "RAW", "SUBJECTS", "Environment", "Subject", "environments", "roster"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One program in benchmarks/subjects/. `share` is the part of the events that it can do in
    about the time in which the quickest does all; `needs` are the packages it is made of; a
    subject with `transport` is one of several ways to use the same program. `apart`: its CPU is
    measured a second time, with a processor for itself."""

    name: str
    module: str
    works: tuple[str, ...]
    needs: tuple[str, ...]
    share: float = 0.1
    transport: str = ""
    apart: bool = False


_ALL = ("publish", "consume", "consume-async", "wait", "wait-async", "latency")
_MORE = ("bill", "bill-views", "drain", "end-to-end")
APART = "-apart"
"""At the end of a work's name: the same on two processors."""
RAW = "raw boto3 loop"
FAST = "messaging, fast"
SUBJECTS = (
    Subject(
        name=FAST,
        module="ours",
        works=(*_ALL, *_MORE),
        needs=("boto3", "pydantic", "tenacity"),
        share=1,
        apart=True,
        transport="fast",
    ),
    Subject(
        name="messaging, boto3",
        module="ours",
        works=(*_ALL, *_MORE),
        needs=("boto3", "pydantic", "tenacity"),
        share=0.3,
        transport="boto3",
    ),
    Subject(
        name=RAW,
        module="raw",
        works=("publish", "consume", "wait", "latency", "end-to-end"),
        needs=("boto3", "pydantic"),
        apart=True,
        share=0.3,
    ),
    Subject(
        name="fanferro",
        module="fanferro_core",
        works=("publish", "consume-async", "wait-async", "latency"),
        needs=("fanferro",),
        apart=True,
        share=1,
    ),
    Subject(
        name="fanferro, CloudEvents",
        module="fanferro_core",
        works=("publish", "consume-async"),
        needs=("fanferro",),
        share=1,
        transport="cloudevents",
    ),
    Subject(
        name="aiobotocore loop",
        module="aioboto",
        works=("publish", "consume-async", "wait-async"),
        needs=("aiobotocore",),
        share=0.3,
    ),
    Subject(
        name="taskiq-aio-sqs",
        module="taskiq_sqs",
        works=("publish", "consume-async", "wait-async"),
        needs=("taskiq_aio_sqs",),
    ),
    Subject(
        name="dramatiq-sqs",
        module="dramatiq_sqs",
        works=("publish", "consume", "wait"),
        needs=("dramatiq_sqs",),
    ),
    Subject(
        name="kombu, SNS fan-out",
        module="kombu_sqs",
        works=("publish", "consume"),
        needs=("kombu", "pycurl"),
    ),
)

_PROBE = """
import importlib.metadata as metadata, importlib.util as util, json, platform, sys
from messaging.settings import Settings
needed, shown = json.loads(sys.argv[1])
versions = {"python": platform.python_version()}
for name in shown:
    try: versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError: pass
field = Settings.model_fields.get("transport")
transports = [] if field is None else list(field.annotation.__args__)
print(json.dumps([[n for n in needed if util.find_spec(n)], versions, transports]))
"""
_SHOWN = (
    "boto3 botocore pydantic pydantic-core fanferro aiobotocore taskiq-aio-sqs dramatiq-sqs kombu "
    "ministack"
).split()


@dataclass(frozen=True)
class Environment:
    """One Python with its packages. Asked what it has once, by starting it."""

    name: str
    python: Path

    @cached_property
    def _facts(self) -> tuple[list[str], dict[str, str], list[str]]:
        needed = sorted({name for subject in SUBJECTS for name in subject.needs})
        asked = subprocess.run(
            [self.python, "-c", _PROBE, json.dumps([needed, _SHOWN])],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        there, versions, transports = json.loads(asked.stdout)
        return there, versions, transports

    @property
    def versions(self) -> dict[str, str]:
        return self._facts[1]

    @property
    def label(self) -> str:
        """ "3.13", as tables name it."""
        return ".".join(self.versions["python"].split(".")[:2])

    def subjects(self) -> Iterator[Subject]:
        """Those that can run here."""
        there, _, transports = self._facts
        for subject in SUBJECTS:
            known = subject.module != "ours" or subject.transport in transports
            if known and set(subject.needs) <= set(there):
                yield subject


def environments() -> list[Environment]:
    """The Python that runs this, and that of the others where it was made."""
    found = [Environment("project", Path(sys.executable))]
    if python := others():
        found.append(Environment("others", python))
    return found


def roster(work: str, only: tuple[str, ...] = ()) -> list[tuple[Environment, Subject]]:
    """Who does `work`: all, or those whose name holds one of `only`."""
    return [
        (environment, subject)
        for environment in environments()
        for subject in environment.subjects()
        if work.removesuffix(APART) in subject.works
        and (subject.apart or not work.endswith(APART))
        and (not only or any(part in subject.name for part in only))
    ]
