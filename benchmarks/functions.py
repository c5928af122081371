"""AWS Lambda: this library's function beside Powertools' batch processor, on one batch of ten.

    python -m benchmarks.functions            microseconds a record, and cold starts, as a table

Powertools (`aws-lambda-powertools`) is measured where it can be imported. Both parse an SQS event
of ten records, validate the same student with pydantic, call a handler that does nothing, and
answer which records failed. Both are given the whole CloudEvents document: Powertools' model holds
it, as its users write it. A cold start is a whole process: the interpreter, the imports and the
first batch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.payload import body

__all__ = ["FUNCTIONS", "cold", "sqs_event", "warm"]

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
FUNCTIONS: Mapping[str, str] = {"messaging": OURS, "powertools": POWERTOOLS}
"""By name: the source of a module with a `handler`."""
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


def cold(source: str) -> float:
    """Milliseconds of wall time of one process: start, imports and the first batch."""
    answer = {"batchItemFailures": list[str]()}
    program = source + ONCE.format(answer=answer)
    given = json.dumps(sqs_event())
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], input=given, text=True, cwd=ROOT, check=True)
    return (time.perf_counter() - began) * 1000


def main(argv: list[str] | None = None) -> int:
    """Print the table; figures of one sitting, each the median of the rounds in turn."""
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
    records: dict[str, list[float]] = {name: [] for name in known}
    starts: dict[str, list[float]] = {name: [] for name in known}
    for turn in range(options.rounds + 1):
        for name, source in known.items():
            records[name].append(warm(source, options.seconds))
            starts[name].append(cold(source))
        if turn == 0:  # the first fills the caches of the system
            records, starts = {name: [] for name in known}, {name: [] for name in known}
    print("| function | CPU us a record | cold start, ms |\n|---|--:|--:|")
    for name in known:
        print(f"| {name} | {median(records[name]):.1f} | {median(starts[name]):.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
