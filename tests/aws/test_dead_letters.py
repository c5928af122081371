"""The box of letters as SQS sees it, and SQS's own mover, which no local server has."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from messaging.aws import connect
from messaging.aws.dead_letters import SqsDeadLetters
from messaging.dead_letters import Where, Workbench
from messaging.errors import NotFound, TransportError
from messaging.settings import Settings
from messaging.testing import FakeClock
from messaging.transport import Attribute, Delivery
from tests.aws.conftest import REGION, Say, Wire

ARN = f"arn:aws:sqs:{REGION}:000000000000:"
DLQ, ORIGIN = f"{ARN}alunos-bi-dlq", f"{ARN}alunos-bi"


class Stepping(FakeClock):
    """Sleeping is over at once, and is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


@pytest.fixture
def box(
    wire: Wire,
    say: type[Say],
    settings_of: Callable[..., Settings],
    session: boto3.Session,
) -> Iterator[SqsDeadLetters]:
    """The dead letters of `bi` on a wire that knows both queues."""
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/000000000000/q"))
    wire.say(
        "GetQueueAttributes",
        say.json(Attributes={"RedrivePolicy": f'{{"deadLetterTargetArn":"{DLQ}"}}'}),
        say.json(Attributes={"QueueArn": DLQ}),
        say.json(Attributes={"QueueArn": ORIGIN}),
    )
    broker = connect(settings_of(wire), session=session)
    letters = broker.letters("bi")
    letters._clock = Stepping()
    yield letters
    broker.close()


def task(status: str, moved: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "Status": status,
        "SourceArn": DLQ,
        "DestinationArn": ORIGIN,
        "ApproximateNumberOfMessagesMoved": moved,
        "ApproximateNumberOfMessagesToMove": 20,
        **more,
    }


def test_all_letters_are_moved_by_aws(box: SqsDeadLetters, wire: Wire, say: type[Say]) -> None:
    wire.say("StartMessageMoveTask", say.json(TaskHandle="t"))
    wire.say(
        "ListMessageMoveTasks",
        say.json(Results=[task("COMPLETED", 7)]),  # of last week
        say.json(Results=[task("RUNNING", 0)]),
        say.json(Results=[task("RUNNING", 11)]),
        say.json(Results=[task("COMPLETED", 20)]),
    )
    told: list[tuple[int, int | None]] = []

    report = Workbench(box).redrive(dry_run=False, on_progress=lambda *now: told.append(now))

    assert (report.matched, report.done, report.by_aws, report.stopped) == (20, 20, True, False)
    assert told == [(0, 20), (11, 20), (20, 20)]
    assert wire.asked("StartMessageMoveTask") == [{"SourceArn": DLQ, "DestinationArn": ORIGIN}]
    assert not wire.asked("ReceiveMessage")


def test_a_task_that_runs_already_is_followed(
    box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say(
        "ListMessageMoveTasks",
        say.json(Results=[task("RUNNING", 5)]),
        say.json(Results=[task("COMPLETED", 20)]),
    )
    assert Workbench(box).redrive(dry_run=False).done == 20
    assert not wire.asked("StartMessageMoveTask")


def test_following_can_be_stopped(box: SqsDeadLetters, wire: Wire, say: type[Say]) -> None:
    wire.say("ListMessageMoveTasks", say.json(Results=[task("RUNNING", 5)]))
    report = Workbench(box).redrive(dry_run=False, stop=lambda: True)
    assert (report.done, report.by_aws, report.stopped) == (5, True, True)


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "CANCELLING"])
def test_a_task_that_fails_is_told(
    status: str, box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say("StartMessageMoveTask", say.json(TaskHandle="t"))
    wire.say(
        "ListMessageMoveTasks",
        say.json(Results=[]),
        say.json(Results=[task("RUNNING", 5)]),
        say.json(Results=[task(status, 9, FailureReason="AccessDenied")]),
    )
    with pytest.raises(TransportError, match=rf"{status} after 9 \(AccessDenied\); run it again"):
        Workbench(box).redrive(dry_run=False)


@pytest.mark.parametrize(
    "code", ["InvalidAction", "UnsupportedOperation", "AccessDeniedException", "InternalError"]
)
@pytest.mark.parametrize("action", ["ListMessageMoveTasks", "StartMessageMoveTask"])
def test_without_a_task_letters_are_moved_one_by_one(
    action: str, code: str, box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say("ListMessageMoveTasks", say.json(Results=[]))
    wire.say(action, say.sqs_error(code))
    wire.say("ReceiveMessage", message("m1", "1"), say.json())
    wire.say("SendMessageBatch", say.json(Successful=[{"Id": "0", "MessageId": "m"}]))
    wire.say("DeleteMessageBatch", say.json(Successful=[{"Id": "0"}]))

    report = Workbench(box).redrive(dry_run=False)

    assert (report.done, report.by_aws) == (1, False)
    assert len(wire.asked("SendMessageBatch")) == 1


def message(id: str, body: str, **attributes: Any) -> tuple[int, str]:
    found = {
        "MessageId": id,
        "ReceiptHandle": f"r-{id}",
        "Body": body,
        "Attributes": {"SentTimestamp": "1000", "ApproximateReceiveCount": "1"},
        "MessageAttributes": attributes,
    }
    return Say.json(Messages=[found])


@pytest.mark.parametrize("more", [{"where": Where(types={"t"})}, {"limit": 5}])
def test_a_choice_is_never_left_to_aws(
    more: dict[str, Any], box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say("ReceiveMessage", say.json())
    Workbench(box).redrive(dry_run=False, **more)
    assert not wire.asked("ListMessageMoveTasks")


def test_a_dry_run_starts_nothing(box: SqsDeadLetters, wire: Wire, say: type[Say]) -> None:
    wire.say("ReceiveMessage", message("m1", "1"), say.json())
    wire.say("ChangeMessageVisibilityBatch", say.json(Successful=[{"Id": "0"}]))
    Workbench(box).redrive()
    asked = {action for action, _ in wire.requests}
    assert asked == {
        "GetQueueUrl",
        "GetQueueAttributes",
        "ReceiveMessage",
        "ChangeMessageVisibilityBatch",
    }


def test_a_letter_is_held_while_the_walk_lasts(
    box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say("ReceiveMessage", message("m1", "1"), message("m2", "2"), say.json())
    wire.say("ChangeMessageVisibilityBatch", say.json(Successful=[{"Id": "0"}, {"Id": "1"}]))

    assert len(list(Workbench(box).letters())) == 2

    assert {one["VisibilityTimeout"] for one in wire.asked("ReceiveMessage")} == {300}
    assert {one["WaitTimeSeconds"] for one in wire.asked("ReceiveMessage")} == {1}
    [released] = wire.asked("ChangeMessageVisibilityBatch")
    assert released["Entries"] == [
        {"Id": "0", "ReceiptHandle": "r-m1", "VisibilityTimeout": 0},
        {"Id": "1", "ReceiptHandle": "r-m2", "VisibilityTimeout": 0},
    ]


def test_big_letters_go_back_in_several_requests(
    box: SqsDeadLetters, wire: Wire, say: type[Say]
) -> None:
    wire.say(
        "SendMessageBatch",
        say.json(Successful=[{"Id": "0", "MessageId": "m"}]),
        say.json(
            Successful=[{"Id": "2", "MessageId": "m"}],
            Failed=[{"Id": "1", "Code": "InternalError", "SenderFault": False}],
        ),
    )
    sizes = (200_000, 100_000, 100_000)
    letters = [
        Delivery(queue="q", message_id=f"m{n}", receipt="r", body="x" * size)
        for n, size in enumerate(sizes)
    ]

    [failure] = box.send_back(letters)

    assert (failure.index, failure.code, failure.retryable) == (1, "InternalError", True)
    asked = [[entry["Id"] for entry in one["Entries"]] for one in wire.asked("SendMessageBatch")]
    assert asked == [["0"], ["1", "2"]]


def test_attributes_and_groups_go_back(box: SqsDeadLetters, wire: Wire, say: type[Say]) -> None:
    wire.say(
        "SendMessageBatch",
        say.json(Successful=[{"Id": "0", "MessageId": "m"}, {"Id": "1", "MessageId": "m"}]),
    )
    blob = Attribute("Binary", b"\x00\xff")
    box.send_back(
        [
            Delivery(queue="q", message_id="m0", receipt="r", body="0", attributes={"b": blob}),
            Delivery(queue="q", message_id="m1", receipt="r", body="1", group="school-7"),
        ]
    )

    [plain, grouped] = wire.asked("SendMessageBatch")[0]["Entries"]
    assert base64.b64decode(plain["MessageAttributes"]["b"]["BinaryValue"]) == b"\x00\xff"
    assert "MessageGroupId" not in plain
    assert grouped["MessageGroupId"] == "school-7"
    assert "MessageDeduplicationId" not in grouped


def test_a_fifo_letter_is_no_repetition_of_the_message_it_was(
    wire: Wire, say: type[Say], settings_of: Callable[..., Settings], session: boto3.Session
) -> None:
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/000000000000/q"))
    wire.say(
        "SendMessageBatch",
        say.json(Successful=[{"Id": "0", "MessageId": "m"}, {"Id": "1", "MessageId": "m"}]),
    )
    broker = connect(settings_of(wire, topic="alunos.fifo"), session=session)
    box = broker.letters("bi")
    assert box.origin == "alunos-bi.fifo"
    box.send_back(
        [
            Delivery(queue="q", message_id="m0", receipt="r", body="0", group="g"),
            Delivery(queue="q", message_id="m1", receipt="r", body="1"),
        ]
    )

    entries = wire.asked("SendMessageBatch")[0]["Entries"]
    assert [one["MessageDeduplicationId"] for one in entries] == ["m0", "m1"]
    assert [one["MessageGroupId"] for one in entries] == ["g", "m1"]
    broker.close()


def test_a_queue_without_dead_letters_is_told(
    wire: Wire, say: type[Say], settings_of: Callable[..., Settings], session: boto3.Session
) -> None:
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/000000000000/q"))
    wire.say("GetQueueAttributes", say.json(Attributes={}))
    broker = connect(settings_of(wire), session=session)
    with pytest.raises(NotFound, match=r"queue alunos-bi in .* has no dead-letter queue"):
        list(Workbench(broker.letters("bi")).letters())
    broker.close()


def test_dead_letters_of_another_account(
    wire: Wire, say: type[Say], settings_of: Callable[..., Settings], session: boto3.Session
) -> None:
    theirs = f"arn:aws:sqs:{REGION}:111111111111:theirs"
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/q"))
    wire.say(
        "GetQueueAttributes",
        say.json(Attributes={"RedrivePolicy": f'{{"deadLetterTargetArn":"{theirs}"}}'}),
    )
    broker = connect(settings_of(wire), session=session)
    assert broker.letters("bi").name == "theirs"
    assert wire.asked("GetQueueUrl")[-1] == {
        "QueueName": "theirs",
        "QueueOwnerAWSAccountId": "111111111111",
    }
    broker.close()


def test_undelivered_letters_are_seen_although_the_queue_is_gone(
    wire: Wire, say: type[Say], settings_of: Callable[..., Settings], session: boto3.Session
) -> None:
    wire.say(
        "GetQueueUrl",
        say.json(QueueUrl=f"{wire.url}/000000000000/q"),
        say.sqs_error("QueueDoesNotExist"),
    )
    wire.say("ReceiveMessage", message("m1", "1"), say.json(), message("m1", "1"), say.json())
    wire.say("ChangeMessageVisibilityBatch", say.json(Successful=[{"Id": "0"}]))
    broker = connect(settings_of(wire), session=session)
    bench = Workbench(broker.letters("bi", kind="undelivered"))

    assert len(list(bench.letters())) == 1
    with pytest.raises(NotFound, match="cannot find queue alunos-bi in"):
        bench.redrive(dry_run=False)
    assert not wire.asked("DeleteMessageBatch")
    assert len(wire.asked("ChangeMessageVisibilityBatch")) == 2, "released after the failure, too"
    broker.close()
