"""AWS Lambda: this library's function beside Powertools' batch processor, on one batch of ten.

    python -m benchmarks.functions            microseconds a record, and cold starts, as tables

Powertools (`aws-lambda-powertools`) is measured where it can be imported. Both parse an SQS event
of ten records, validate the same student with pydantic, call a handler that does nothing, and
answer which records failed. Both are given the whole CloudEvents document: Powertools' model holds
it, as its users write it. A cold start is the CPU of a whole process: the interpreter, the imports
and the first batch. A third program only imports pydantic and declares the same model, which is
what both have in common. Each is started with compiled modules, without pydantic's look for
plugins, and without compiled modules, as from a zip that has none.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.environment import ROOT, compiled
from benchmarks.payload import body

__all__ = ["FUNCTIONS", "WAYS", "cold", "environments", "main", "sqs_event", "warm"]

OURS = """
from decimal import Decimal
from uuid import UUID
from pydantic import AwareDatetime
from messaging import Consumer, Event, handles
from messaging.lambda_handler import lambda_handler

class Student(Event, type="bench.student", version=1):
    aluno_id: UUID
    nome: str
    email: str
    curso: str | None = None
    matricula: AwareDatetime
    mensalidade: Decimal | None = None
    marketing: bool = False

class A(Consumer):
    @handles
    def student(self, student: Student) -> None:
        pass

handler = lambda_handler(A())
"""
POWERTOOLS = """
import os
os.environ["POWERTOOLS_TRACE_DISABLED"] = "1"
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor, EventType, process_partial_response
)
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from pydantic import BaseModel, Json
from benchmarks.plain import Plain

class Document(BaseModel):
    id: str
    type: str
    data: Plain

class Record(SqsRecordModel):
    body: Json[Document]

processor = BatchProcessor(event_type=EventType.SQS, model=Record)

def one(record):
    pass

def handler(event, context):
    return process_partial_response(
        event=event, record_handler=one, processor=processor, context=context
    )
"""
PYDANTIC = """
from decimal import Decimal
from uuid import UUID
from pydantic import AwareDatetime, BaseModel

class Student(BaseModel):
    aluno_id: UUID
    nome: str
    email: str
    curso: str | None = None
    matricula: AwareDatetime
    mensalidade: Decimal | None = None
    marketing: bool = False

def handler(event, context):
    return {"batchItemFailures": []}
"""
FUNCTIONS: Mapping[str, str] = {"messaging": OURS, "powertools": POWERTOOLS, "pydantic": PYDANTIC}
"""By name: the source of a module with a `handler`. The last does nothing with its records."""
WAYS = ("compiled", "compiled, no plugins", "not compiled")
BATCH = 10
ONCE = "import json, sys\nanswer = handler(json.load(sys.stdin), None)\nassert answer == {answer}\n"


def sqs_event(first: int = 0) -> dict[str, Any]:
    """What Lambda hands to a function: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    return {"Records": [_record(number) for number in range(first, first + BATCH)]}


def _record(number: int) -> dict[str, Any]:
    return {
        "messageId": f"059f36b4-87a3-44ab-83d2-{number:012d}",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body(number),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {
            "type": {"stringValue": "bench.student", "dataType": "String",
                     "stringListValues": [], "binaryListValues": []},
            "audience": {"stringValue": '["*"]', "dataType": "String.Array",
                         "stringListValues": [], "binaryListValues": []},
        },
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:bench-a",
        "awsRegion": "us-east-1",
    }  # fmt: skip


def warm(source: str, seconds: float) -> float:
    """Microseconds of CPU a record, in batches of ten, after a tenth of the time to warm up."""
    names: dict[str, Any] = {"__name__": "function"}
    exec(compile(source, "function", "exec", dont_inherit=True), names)
    handler: Callable[[Any, Any], Any] = names["handler"]
    events = [sqs_event(first) for first in range(0, 50 * BATCH, BATCH)]
    assert handler(events[0], None) == {"batchItemFailures": []}
    _run(handler, events, seconds / 10)
    done, taken = _run(handler, events, seconds)
    return taken / done * 1e6


def _run(
    handler: Callable[[Any, Any], Any], events: list[dict[str, Any]], seconds: float
) -> tuple[int, float]:
    done, end, began = 0, time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < end:
        for event in events:
            handler(event, None)
        done += len(events) * BATCH
    return done, time.process_time() - began


def cold(source: str, environment: Mapping[str, str]) -> float:
    """Milliseconds of CPU of one process: start, imports and the first batch."""
    answer = {"batchItemFailures": list[str]()}
    program = source + ONCE.format(answer=answer)
    given = json.dumps(sqs_event())
    before = _children()
    subprocess.run(
        [sys.executable, "-c", program],
        input=given, text=True, cwd=ROOT, check=True, env=dict(environment),
    )  # fmt: skip
    return (_children() - before) * 1000


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environments(folder: str) -> dict[str, Mapping[str, str]]:
    """By way: what a process finds in its environment. Compiled modules lie in `folder`."""
    there = compiled(folder)
    no_plugins = {**there, "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    # Another folder, into which nothing is written: as if there were no compiled modules at all.
    nothing = {**there, "PYTHONPYCACHEPREFIX": f"{folder}/none", "PYTHONDONTWRITEBYTECODE": "1"}
    return dict(zip(WAYS, (there, no_plugins, nothing), strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; figures of one sitting, each the median of the rounds in turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.functions")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each warm round")
    options = parser.parse_args(argv)
    known = dict(FUNCTIONS)
    try:
        import aws_lambda_powertools  # noqa: F401
    except ImportError:
        del known["powertools"]
        print("aws-lambda-powertools is not installed: measured alone", file=sys.stderr)
    records: dict[str, list[float]] = {name: [] for name in known if name != "pydantic"}
    starts: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="messaging-bench-") as folder:
        for turn in range(options.rounds + 1):
            for name, values in records.items():
                values.append(warm(known[name], options.seconds))
            for way, environment in environments(folder).items():
                for name, source in known.items():
                    taken = cold(source, environment)
                    if turn:  # the first compiles, and fills the caches of the system
                        starts.setdefault((way, name), []).append(taken)
    print("| function | CPU us a record |\n|---|--:|")
    for name, values in records.items():
        print(f"| {name} | {_shown(values[1:], 1)} |")
    print(f"\n| cold start, ms of CPU | {' | '.join(known)} |\n|---|{'--:|' * len(known)}")
    for way in WAYS:
        print(f"| {way} | {' | '.join(_shown(starts[way, name], 0) for name in known)} |")
    return 0


def _shown(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
