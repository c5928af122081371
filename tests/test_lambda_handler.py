"""AWS Lambda: records in the shape that AWS documents, and an answer exact to the message."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call
from messaging.errors import ConfigurationError, TransportError
from messaging.event import Event
from messaging.lambda_handler import delivery_of, lambda_handler
from messaging.lambda_records import deliveries_of
from messaging.memory import MemoryBroker
from messaging.outcome import Discard, Reject, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.testing import FakeClock, deliver
from messaging.topology import Topology
from messaging.transport import DeadLetter, Delivery, Failure, QueueTransport

ARN = "arn:aws:sqs:sa-east-1:123456789012:alunos-mail"


class Enrolled(Event, type="student.enrolled", version=1):
    name: str


class Left(Event, type="student.left", version=1):
    name: str


def says(name: str) -> None:
    """What a name asks of its handler: "retry", "reject"... everything else is fine."""
    match name:
        case "retry":
            raise Retry(7.2, "not yet")
        case "reject":
            raise Reject("name: refused")
        case "discard":
            raise Discard("not ours")
        case "raise":
            raise KeyError(name)


class Mail(Consumer):
    retry = RetryPolicy(max_attempts=3, wait=wait_fixed(30), outage=0)

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    @handles
    def enrolled(self, student: Enrolled) -> None:
        self.seen.append(student.name)
        says(student.name)

    @handles
    async def left(self, student: Left) -> None:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        self.seen.append(student.name)
        says(student.name)


def record(
    name: str,
    *,
    type: str = "student.enrolled",
    receives: int = 1,
    group: str | None = None,
    arn: str = ARN,
) -> dict[str, Any]:
    """As https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html shows one, value by value."""
    body = {
        "specversion": "1.0",
        "id": f"event-{name}",
        "source": "/s",
        "type": type,
        "dataversion": 1,
        "data": {"name": name},
    }
    system = {
        "ApproximateReceiveCount": str(receives),
        "SentTimestamp": "1545082649183",
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": "1545082649185",
    }
    if group is not None:
        system |= {
            "SequenceNumber": "18849496460467696128",
            "MessageGroupId": group,
            "MessageDeduplicationId": name,
        }
    return {
        "messageId": f"message-{name}",
        "receiptHandle": f"receipt-{name}",
        "body": json.dumps(body),
        "attributes": system,
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "sa-east-1",
    }


def event(*names: str, **said: Any) -> dict[str, Any]:
    return {"Records": [record(name, **said) for name in names]}


def again(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    assert list(answer) == ["batchItemFailures"]
    assert all(list(one) == ["itemIdentifier"] for one in answer["batchItemFailures"])
    return [one["itemIdentifier"].removeprefix("message-") for one in answer["batchItemFailures"]]


class ScriptedQueue(QueueTransport):
    """Keeps what it is asked; refuses the dead letters of messages named in `refuses`."""

    name = "alunos-mail"
    visibility_timeout = 60

    def __init__(self, *refuses: str, away: bool = False) -> None:
        self.letters: list[DeadLetter] = []
        self.hidden: list[tuple[str, int]] = []
        self.sizes: list[int] = []
        self._refuses = {f"message-{name}" for name in refuses}
        self._away = away

    def dead_letter(self, letters: Any) -> list[Failure]:
        self._ask(letters)
        refused = [
            Failure(index, "Refused", "", False)
            for index, letter in enumerate(letters)
            if letter.delivery.message_id in self._refuses
        ]
        places = {one.index for one in refused}
        self.letters += [one for index, one in enumerate(letters) if index not in places]
        return refused

    def change_visibility(self, deliveries: Any, seconds: Any) -> list[Failure]:
        self._ask(deliveries)
        names = [one.message_id.removeprefix("message-") for one in deliveries]
        self.hidden += list(zip(names, seconds, strict=True))
        return []

    def _ask(self, entries: Any) -> None:
        if self._away:
            raise TransportError("nobody answers", code="Away")
        self.sizes.append(len(entries))


def test_the_answer_names_those_that_come_again_and_no_other() -> None:
    handler = lambda_handler(Mail())

    answer = handler(event("ana", "retry", "bia", "reject", "discard", "raise", "caio"), None)

    assert again(answer) == ["retry", "reject", "raise"]


def test_a_batch_without_failures_has_an_empty_list() -> None:
    mail = Mail()

    assert lambda_handler(mail)(event("ana", "bia"), None) == {"batchItemFailures": []}
    assert mail.seen == ["ana", "bia"]


def test_what_cannot_be_read_is_rejected_and_keeps_nobody_back() -> None:
    broken = record("broken") | {"body": "no JSON"}
    foreign = record("foreign", type="student.unknown")

    answer = lambda_handler(mail := Mail())({"Records": [broken, foreign, record("ana")]}, None)

    assert again(answer) == ["broken", "foreign"]
    assert mail.seen == ["ana"]


def test_with_a_queue_a_retry_is_hidden_and_a_rejection_copied_with_its_reason() -> None:
    queue = ScriptedQueue()

    answer = lambda_handler(Mail(), queue=queue, clock=FakeClock(datetime(2026, 1, 2, tzinfo=UTC)))(
        event("ana", "retry", "reject", "raise"), None
    )

    assert again(answer) == ["retry", "raise"]
    assert queue.hidden == [("retry", 8), ("raise", 30)]  # whole seconds, never sooner
    [letter] = queue.letters
    assert (letter.reason, letter.error, letter.attempts) == ("name: refused", None, 1)
    assert (letter.queue, letter.time) == (
        "alunos-mail",
        datetime(2026, 1, 2, tzinfo=UTC).timestamp(),
    )
    assert letter.delivery.message_id == "message-reject"


def test_the_last_attempt_of_an_exception_is_dead_lettered_with_its_type() -> None:
    queue = ScriptedQueue()

    answer = lambda_handler(Mail(), queue=queue)(event("raise", receives=3), None)

    assert again(answer) == []
    assert (queue.letters[0].reason, queue.letters[0].error) == (
        "KeyError after 3 attempts",
        "KeyError",
    )


def test_a_dead_letter_that_is_refused_leaves_its_message_in_the_queue() -> None:
    queue = ScriptedQueue("reject")
    records = [record("reject"), record("other") | {"body": "no JSON"}]

    answer = lambda_handler(Mail(), queue=queue)({"Records": records}, None)

    assert again(answer) == ["reject"]
    assert [one.delivery.message_id for one in queue.letters] == ["message-other"]


def test_a_queue_that_is_away_loses_nothing() -> None:
    handler = lambda_handler(Mail(), queue=ScriptedQueue(away=True))

    assert again(handler(event("ana", "retry", "reject"), None)) == ["retry", "reject"]


def test_a_big_batch_is_settled_ten_by_ten() -> None:
    queue = ScriptedQueue()
    records = [record(f"m{number}") | {"body": ""} for number in range(25)]

    answer = lambda_handler(Mail(), queue=queue)({"Records": records}, None)

    assert again(answer) == []
    assert queue.sizes == [10, 10, 5]


class Outbound(Consumer):
    """Says of each message what its name asks, and in which order it saw them."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @handles
    def enrolled(self, student: Enrolled) -> None:
        self.seen.append(student.name)
        says(student.name.partition("-")[0])

    @handles
    async def left(self, student: Left) -> None:
        self.seen.append(student.name)
        says(student.name.partition("-")[0])


def fifo(*names: str, type: str = "student.enrolled") -> dict[str, Any]:
    """Each name's part behind the last "-" is its group."""
    arn = ARN + ".fifo"
    return {
        "Records": [
            record(name, type=type, group=name.rpartition("-")[2], arn=arn) for name in names
        ]
    }


@pytest.mark.parametrize("type", ["student.enrolled", "student.left"])
def test_a_fifo_batch_stops_at_the_first_failure_of_a_group(type: str) -> None:
    consumer = Outbound()
    handler = lambda_handler(consumer)

    answer = handler(fifo("1-a", "raise-a", "2-b", "3-a", "4-b", "5-a", type=type), None)

    assert again(answer) == ["raise-a", "3-a", "5-a"]
    assert consumer.seen == ["1-a", "raise-a", "2-b", "4-b"]


def test_what_follows_a_retry_in_its_group_is_given_back_behind_it() -> None:
    """At once, as a worker does: SQS gives nothing of a group whose first is hidden."""
    queue = ScriptedQueue()

    answer = lambda_handler(Outbound(), queue=queue)(fifo("retry-a", "1-a", "2-b"), None)

    assert again(answer) == ["retry-a", "1-a"]
    assert queue.hidden == [("retry-a", 8), ("1-a", 0)]


def test_a_rejection_that_is_copied_does_not_stop_its_group() -> None:
    consumer, queue = Outbound(), ScriptedQueue()

    answer = lambda_handler(consumer, queue=queue)(fifo("reject-a", "1-a", "discard-a", "2-a"))

    assert again(answer) == []
    assert consumer.seen == ["reject-a", "1-a", "discard-a", "2-a"]
    assert len(queue.letters) == 1


@pytest.mark.parametrize("queue", [None, ScriptedQueue("reject-a")])
def test_a_rejection_that_is_not_copied_stops_its_group(queue: ScriptedQueue | None) -> None:
    consumer = Outbound()

    answer = lambda_handler(consumer, queue=queue)(fifo("reject-a", "1-a", "1-b"), None)

    assert again(answer) == ["reject-a", "1-a"]
    assert consumer.seen == ["reject-a", "1-b"]


def test_groups_of_a_standard_queue_are_no_order() -> None:
    """A MessageGroupId on a standard queue is for fairness, not for order."""
    names = ["raise", "ana"]
    records = [record(name, group="a") for name in names]

    assert again(lambda_handler(mail := Mail())({"Records": records}, None)) == ["raise"]
    assert mail.seen == names


def test_async_handlers_run_together_on_one_loop_that_stays() -> None:
    mail = Mail()
    handler = lambda_handler(mail)

    first = handler(event("ana", "retry", "bia", type="student.left"), None)
    second = handler(event("caio", type="student.left"), None)

    assert (again(first), again(second)) == (["retry"], [])
    assert len(set(mail.loops)) == 1
    del handler
    gc.collect()
    assert mail.loops[0].is_closed()


def test_async_handlers_of_a_batch_wait_for_each_other() -> None:
    class Meeting(Consumer):
        def __init__(self) -> None:
            self.barrier = asyncio.Barrier(3)

        @handles
        async def left(self, student: Left) -> None:
            await asyncio.wait_for(self.barrier.wait(), 20)  # passes only if all three run

    records = event("ana", "bia", "caio", type="student.left")
    assert again(lambda_handler(Meeting())(records, None)) == []


def test_an_async_handler_that_cancels_itself_is_not_done() -> None:
    class Tired(Consumer):
        @handles
        async def left(self, student: Left) -> None:
            raise asyncio.CancelledError

    assert again(lambda_handler(Tired())(event("ana", type="student.left"), None)) == ["ana"]


def test_an_interrupted_handler_leaves_no_coroutine_that_nobody_awaits(
    recwarn: pytest.WarningsRecorder,
) -> None:
    class Both(Consumer):
        @handles
        async def enrolled(self, student: Enrolled) -> None: ...

        @handles
        def left(self, student: Left) -> None:
            raise KeyboardInterrupt

    records = event("one")["Records"] + [record("two", type="student.left")]
    with pytest.raises(KeyboardInterrupt):
        lambda_handler(Both())({"Records": records}, None)
    gc.collect()
    assert not [str(one.message) for one in recwarn if "never awaited" in str(one.message)]


class Context:
    """As Lambda's own, for as much as is asked of it: milliseconds, one look after another."""

    def __init__(self, *left: int) -> None:
        self._left = iter(left)

    def get_remaining_time_in_millis(self) -> int:
        return next(self._left)


@pytest.mark.parametrize("make", [event, fifo])
def test_no_record_is_begun_when_the_time_is_up(make: Callable[..., dict[str, Any]]) -> None:
    consumer = Outbound()
    context = Context(9000, 5001, 5000, *[4000] * 2)

    answer = lambda_handler(consumer, reserve=5.0)(make("1-a", "2-b", "3-c", "4-d"), context)

    assert again(answer) == ["3-c", "4-d"]
    assert consumer.seen == ["1-a", "2-b"]


def test_a_record_becomes_the_delivery_that_a_worker_would_see() -> None:
    """The casing differs by path: `stringValue` here, `StringValue` in the API."""
    said = record("ana", receives=4, group="turma-a") | {
        "messageAttributes": {
            "type": {
                "stringValue": "student.enrolled",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "String",
            },
            "audience": {"stringValue": '["mail"]', "dataType": "String.Array"},
            "key": {
                "binaryValue": base64.b64encode(b"\x00\xff").decode(),
                "dataType": "Binary",
            },
            "count": {"stringValue": "3", "dataType": "Number.int"},
        }
    }

    delivery = delivery_of(said, now=1545082650.0)

    assert delivery.queue == "alunos-mail"
    assert (delivery.message_id, delivery.receipt) == ("message-ana", "receipt-ana")
    assert delivery.body == said["body"]
    assert (delivery.receive_count, delivery.sent_at) == (4, 1545082649.183)
    assert (delivery.received_at, delivery.group) == (1545082650.0, "turma-a")
    assert delivery.attributes["audience"].strings == ("mail",)
    assert delivery.attributes["key"] == ("Binary", b"\x00\xff")
    assert delivery.attributes["count"] == ("Number.int", "3")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"Records": "none"},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {}}]},
        {"Records": [record("ana"), {"eventSource": "aws:kinesis"}]},
        ["a list"],
    ],
)
def test_an_event_of_another_service_is_refused_before_any_handler_runs(wrong: Any) -> None:
    mail = Mail()
    with pytest.raises(ConfigurationError, match="not of SQS"):
        lambda_handler(mail)(wrong, None)
    assert mail.seen == []


def test_a_class_instead_of_a_consumer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"takes a consumer, not its class: Mail\(\)"):
        lambda_handler(Mail)  # type: ignore[arg-type]


def test_middleware_is_around_each_handler() -> None:
    around: list[str] = []

    @contextmanager
    def note(call: Call) -> Iterator[None]:
        around.append(call.envelope.id)
        yield

    lambda_handler(Mail(), middleware=[note])(event("ana", "bia"), None)

    assert around == ["event-ana", "event-bia"]


def test_the_log_has_ids_and_reasons_and_no_names(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "messaging")
    secret = record("Maria") | {"messageId": "message-1"}
    queue = ScriptedQueue("discard")
    for given in ("discard", "reject", "raise"):
        lambda_handler(Mail(), queue=queue)(event(given), None)
    lambda_handler(Mail())({"Records": [secret | {"body": "Maria"}]}, None)

    said = caplog.text
    assert "message-discard of alunos-mail is discarded: not ours" in said
    assert "message-reject of alunos-mail is dead-lettered: name: refused" in said
    assert "message-1 of alunos-mail is rejected and left to SQS's redrive" in said
    assert "Maria" not in said


NAMES = ["ana", "discard", "reject", "bia"]


def through_lambda(mail: Mail, broker: MemoryBroker) -> None:
    """What an event source mapping does: receive, invoke, delete what did not fail."""
    queue = broker.queue("mail")
    handler = lambda_handler(mail, queue=queue)
    while received := queue.receive(10, 0):
        answer = handler({"Records": [_record_of(one) for one in received]}, None)
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        assert not queue.delete([one for one in received if one.message_id not in failed])


def _record_of(delivery: Delivery) -> dict[str, Any]:
    return record("x") | {
        "messageId": delivery.message_id,
        "receiptHandle": delivery.receipt,
        "body": delivery.body,
        "messageAttributes": {
            name: {"dataType": one.type, "stringValue": one.value}
            for name, one in delivery.attributes.items()
        },
    }


def through_worker(mail: Mail, broker: MemoryBroker) -> None:
    with Worker(mail, broker=broker, wait=0.05, concurrency=1) as worker:
        while worker.stats.received < len(NAMES) or worker.stats.in_flight:
            time.sleep(0.005)


@pytest.mark.parametrize("run", [through_lambda, through_worker])
def test_the_same_class_does_the_same_in_lambda_and_in_a_worker(
    run: Callable[[Mail, MemoryBroker], None],
) -> None:
    mail = Mail()
    with MemoryBroker(Topology.of(Mail, topic="alunos")) as broker:
        Publisher(broker.topic(), source="/s").publish_many(Enrolled(name=name) for name in NAMES)
        run(mail, broker)
        depth = broker.queue("mail").depth()

    assert sorted(mail.seen) == sorted(NAMES)
    assert (depth.visible, depth.in_flight, depth.dead_letters) == (0, 0, 1)


def test_and_in_a_test_without_queue() -> None:
    results = [deliver(Mail(), Enrolled(name=name)) for name in NAMES]

    assert [one.acknowledged for one in results] == [True, False, False, True]
    assert (results[1].discarded, results[2].rejected) == (True, True)


def test_each_record_of_an_invocation_keeps_its_own_attributes() -> None:
    def said(text: str) -> dict[str, Any]:
        return {"type": {"stringValue": text, "dataType": "String"}}

    records = [
        record("a") | {"messageAttributes": attributes}
        for attributes in (said("x"), said("x"), said("y"), {}, None, said("x"), "nonsense")
    ]
    read = deliveries_of(records, now=1.0)
    assert read == [delivery_of(one, now=1.0) for one in records]
    assert [one.attributes.keys() for one in read] == [{"type"}] * 3 + [set()] * 2 + [
        {"type"},
        set(),
    ]
    assert read[2].attributes["type"].value == "y"


FIRST_RECORD = """
import sys
from messaging import Consumer, Event, Projection, handles
from messaging.lambda_handler import lambda_handler

class Enrolled(Event, type="student.enrolled", version=1):
    name: str

class ForMail(Projection, of=Enrolled, audience="mail"):
    name: str

class Mail(Consumer):
    @handles
    def enrolled(self, view: ForMail) -> None:
        pass

import json
assert lambda_handler(Mail())(json.load(sys.stdin), None) == {"batchItemFailures": []}
heavy = "boto3 botocore asyncio tenacity pydantic.networks messaging.runtime"
print(sorted(set(heavy.split()) & sys.modules.keys()))
"""


def test_the_first_record_of_a_function_loads_nothing_that_it_does_not_need() -> None:
    given = json.dumps(event("ana"))
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_RECORD],
        input=given, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.stdout == "[]\n", ran.stderr
