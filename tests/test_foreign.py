"""Bodies that others send: read, or refused with a reason that says what it is."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import pytest

from messaging.claimcheck import ClaimCheck, DirectoryBlobStore, MemoryBlobStore
from messaging.codec import JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import CodecError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.runtime import Worker
from messaging.stores import BlobStore
from messaging.testing import FakeClock, deliver_raw, drain
from messaging.topology import Topology


class Enrolled(Event, type="student.enrolled", version=1):
    name: str


class Office(Consumer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    @handles
    def enrolled(self, student: Enrolled) -> None:
        self.seen.append(student.name)


EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/elsewhere",
    "type": "student.enrolled",
    "data": {"name": "Zuleica"},
}
TEXT = json.dumps(EVENT)


def notification(text: str, type: str = "Notification") -> str:
    return json.dumps({"Type": type, "MessageId": "m", "TopicArn": "t", "Message": text})


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


CELERY = {
    "body": in_base64(b"[[], {}, {}]"),
    "content-type": "application/json",
    "headers": {"task": "t"},
    "properties": {"delivery_info": {}},
}
S3 = {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}}}]}
POINTER = {"s3BucketName": "school-big", "s3Key": "claims/8f0c"}
REFUSED = {
    "an SNS SubscriptionConfirmation": notification("You have", "SubscriptionConfirmation"),
    "an SNS UnsubscribeConfirmation": notification("You have", "UnsubscribeConfirmation"),
    "an SNS notification inside of another": notification(notification(TEXT)),
    "an S3 test event": json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}),
    "an S3 event": json.dumps(S3),
    "Message: an S3 event": notification(json.dumps(S3)),
    "Records of aws:sns": json.dumps({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}),
    "an EventBridge event": json.dumps({"detail-type": "t", "source": "s", "detail": EVENT}),
    "a CloudWatch alarm": json.dumps({"AlarmName": "a", "NewStateValue": "ALARM"}),
    "an SES notification": json.dumps({"notificationType": "Bounce", "mail": {}}),
    "a Celery task": json.dumps(CELERY),
    "JSON in base64 (a Celery task": in_base64(json.dumps(CELERY).encode()),
    "an S3 event through EventBridge": json.dumps(
        {"detail-type": "Object Created", "source": "aws.s3", "detail": {"bucket": {"name": "b"}}}
    ),
    "a message of Dramatiq": json.dumps(
        {"queue_name": "q", "actor_name": "a", "args": [], "kwargs": {}}
    ),
    "a job of Laravel": json.dumps({"displayName": "J", "job": "call"}),
    "a message of MassTransit": json.dumps({"messageType": ["urn:x"], "message": {}}),
    "a text for each protocol": notification(json.dumps({"default": TEXT, "sqs": TEXT})),
    "the SQS or SNS extended client": json.dumps(
        ["software.amazon.payloadoffloading.PayloadS3Pointer", POINTER]
    ),
    "extended client (payloadoffloading)": json.dumps(
        ["com.amazon.sqs.javamessaging.MessageS3Pointer", POINTER]
    ),
    "gzip in base64": in_base64(gzip.compress(TEXT.encode())),
    "deflated data in base64": in_base64(zlib.compress(TEXT.encode())),
    "JSON in base64: send": in_base64(TEXT.encode()),
    "not JSON inside of a JSON string": json.dumps(TEXT),
    "it is JSON inside of a JSON string": json.dumps(EVENT | {"data": '{"name": "Zuleica"}'}),
    "it is missing or null": json.dumps(EVENT | {"data": None}),
    "a batch of CloudEvents": json.dumps([EVENT, EVENT]),
    "not an array": "[1, 2]",
    "XML": "<student>Zuleica</student>",
    "empty": " ",
    "nested too deep": "[" * 60_000,
    "NaN": TEXT.replace('"Zuleica"', "NaN"),
    "half a character": TEXT.replace("Zuleica", r"\ud800"),
    "specversion: missing": '{"name": "Zuleica"}',
    "not JSON": "Zuleica",
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_reason_says_what_a_foreign_body_is(what: str) -> None:
    office = Office()

    result = deliver_raw(office, REFUSED[what])

    assert result.rejected
    assert what in result.why
    assert "uleica" not in result.why
    assert office.seen == []


@pytest.mark.parametrize(
    "body",
    [
        "\ufeff" + TEXT,
        notification("\ufeff" + TEXT),
        "\ufeff" + notification(TEXT),
        json.dumps(EVENT | {"data_base64": None}),
        json.dumps(EVENT | {"datacontenttype": "text/json"}),
        json.dumps(EVENT | {"datacontenttype": "application/vnd.school+json; charset=utf-8"}),
    ],
)
def test_what_can_be_read_is_read(body: str) -> None:
    office = Office()

    assert deliver_raw(office, body).acknowledged
    assert office.seen == ["Zuleica"]


# The extended client's pointer


def pointer(bucket: str = "school-big", key: str = "claims/8f0c") -> str:
    kind = "software.amazon.payloadoffloading.PayloadS3Pointer"
    return json.dumps([kind, {"s3BucketName": bucket, "s3Key": key}])


def kept(key: str, data: bytes = TEXT.encode()) -> MemoryBlobStore:
    store = MemoryBlobStore()
    store.put(key, data)
    return store


@pytest.mark.parametrize("body", [pointer(), notification(pointer())])
def test_a_pointer_of_the_extended_client_is_read_from_the_store(body: str) -> None:
    office = Office()
    codec = ClaimCheck(kept("8f0c"), uri="s3://school-big/claims")

    assert deliver_raw(office, body, codec=codec).acknowledged
    assert office.seen == ["Zuleica"]


@pytest.mark.parametrize(
    ("codec", "body", "why"),
    [
        (JsonCodec(), pointer(), "codec=ClaimCheck(..., offloaded=S3BlobStore(that bucket))"),
        (ClaimCheck(kept("8f0c")), pointer(), "offloaded=S3BlobStore"),
        (ClaimCheck(kept("8f0c"), uri="s3://other/claims"), pointer(), "offloaded=S3BlobStore"),
        (
            ClaimCheck(kept("8f0c"), uri="s3://school-big/claims"),
            pointer(key="secrets/8f0c"),
            "offloaded=S3BlobStore",
        ),
        (ClaimCheck(kept("x"), uri="s3://school-big/claims"), pointer(), "is gone"),
        (
            ClaimCheck(kept("8f0c", b"\xff"), uri="s3://school-big/claims"),
            pointer(),
            "not text in UTF-8",
        ),
        (
            ClaimCheck(kept("8f0c", pointer().encode()), uri="s3://school-big/claims"),
            pointer(),
            "a pointer of the SQS or SNS extended client",
        ),
    ],
)
def test_a_pointer_that_leads_nowhere_is_refused_with_what_to_do(
    codec: JsonCodec | ClaimCheck, body: str, why: str
) -> None:
    result = deliver_raw(Office(), body, codec=codec)

    assert result.rejected
    assert why in result.why


def test_a_pointer_cannot_leave_the_directory_of_the_store(tmp_path: Any) -> None:
    store: BlobStore = DirectoryBlobStore(tmp_path / "claims")
    (tmp_path / "secret").write_text(TEXT)
    codec = ClaimCheck(store, uri="s3://school-big")

    with pytest.raises(CodecError, match="a key that this store cannot have"):
        codec.decode(pointer(key="../secret"))


def test_every_foreign_body_ends_in_the_dead_letter_queue_with_its_reason() -> None:
    """Through a worker, and through `drain`: nothing of it stops the good one behind."""
    for run in ("worker", "drain"):
        office, clock = Office(), FakeClock()
        with MemoryBroker(Topology.of(Office, topic="students"), clock=clock) as broker:
            for body in REFUSED.values():
                broker.send("office", body)
            broker.send("office", TEXT)
            if run == "drain":
                drain(broker, office, clock=clock)
            else:
                with Worker(office, broker=broker, wait=0.05) as worker:
                    while worker.stats.received <= len(REFUSED) or worker.stats.in_flight:
                        pass
            reasons = [
                str(one.attributes["dead-letter-reason"].value)
                for one in broker.dead_letters("office")
            ]
        assert office.seen == ["Zuleica"]
        for what in REFUSED:
            assert any(what in reason for reason in reasons)
