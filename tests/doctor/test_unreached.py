"""Doctor says what keeps it from looking, and looks at the rest all the same."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import boto3
import pytest

from messaging.doctor import examine
from messaging.local import REGION, LocalServer
from tests.aws.conftest import SNS, Wire, sns_error, sqs_error
from tests.doctor.conftest import SOUND, School, bare

REACH = {
    "no-answer",
    "credentials-missing",
    "credentials-expired",
    "credentials-refused",
    "clock-skew",
    "access-denied",
    "not-answered",
    "subscription-pending",
}


@pytest.fixture
def wire(server: LocalServer) -> Iterator[Wire]:
    """A wire with the server behind it."""
    wire = Wire(server.url)
    yield wire
    wire.close()


def names(school: School, wire: Wire) -> set[str]:
    return {one.name for one in school.examined(wire.url)}


def test_an_endpoint_where_nobody_listens(school: School) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        (found,) = school.examined(f"http://127.0.0.1:{port}")
    assert found.name == "no-answer"
    assert "AWS_ENDPOINT_URL" in found.remedy


def test_no_credentials_at_all(server: LocalServer) -> None:
    (found,) = examine(SOUND, bare(server.url), session=boto3.Session(region_name=REGION))
    assert found.name == "credentials-missing"
    assert "AWS_PROFILE" in found.remedy


@pytest.mark.parametrize(
    ("code", "name"),
    [("ExpiredToken", "credentials-expired"), ("InvalidClientTokenId", "credentials-refused")],
)
def test_credentials_that_do_not_do(school: School, wire: Wire, code: str, name: str) -> None:
    wire.say("GetCallerIdentity", sns_error(code, status=403))
    assert names(school, wire) == {name}


@pytest.mark.parametrize(
    ("action", "answer", "permission"),
    [
        (
            "GetTopicAttributes",
            sns_error("AuthorizationError", status=403),
            "sns:GetTopicAttributes",
        ),
        (
            "ListSubscriptionsByTopic",
            sns_error("AuthorizationError", status=403),
            "sns:ListSubscriptionsByTopic",
        ),
        (
            "GetSubscriptionAttributes",
            sns_error("AuthorizationError", status=403),
            "sns:GetSubscriptionAttributes",
        ),
        (
            "ListTagsForResource",
            sns_error("AuthorizationError", status=403),
            "sns:ListTagsForResource",
        ),
        ("GetQueueUrl", sqs_error("AccessDenied", status=403), "sqs:GetQueueUrl"),
        ("GetQueueAttributes", sqs_error("AccessDenied", status=403), "sqs:GetQueueAttributes"),
        ("ListQueueTags", sqs_error("AccessDenied", status=403), "sqs:ListQueueTags"),
    ],
)
def test_a_call_that_the_role_may_not_make_is_named_and_the_rest_is_looked_at(
    school: School, wire: Wire, action: str, answer: tuple[int, str], permission: str
) -> None:
    school.set(school.queue, DelaySeconds="5")
    school.subscribe_so("RawMessageDelivery", "false")
    wire.say(action, answer)

    found = school.examined(wire.url)

    denied = [one for one in found if one.name == "access-denied"]
    assert denied
    assert all(f"the role lacks {permission}" in one.said for one in denied)
    others = {one.name for one in found} - {"access-denied"}
    about_queues = set() if action.startswith("GetQueue") else {"delivery-delayed"}
    unlisted = action in ("ListSubscriptionsByTopic", "GetSubscriptionAttributes")
    assert others == about_queues | (set() if unlisted else {"raw-delivery-off"})


def test_a_service_that_answers_with_an_error(school: School, wire: Wire) -> None:
    wire.say("ListQueueTags", sqs_error("InvalidAddress"))
    assert names(school, wire) == {"not-answered"}


def test_a_subscription_that_waits_for_confirmation(school: School, wire: Wire) -> None:
    waits = (
        f"<member><TopicArn>{school.topic_arn}</TopicArn><Protocol>sqs</Protocol>"
        f"<SubscriptionArn>PendingConfirmation</SubscriptionArn><Owner></Owner>"
        f"<Endpoint>{school.arn_of(school.queue)}</Endpoint></member>"
    )
    wire.say(
        "ListSubscriptionsByTopic",
        (
            200,
            (
                f"<ListSubscriptionsByTopicResponse {SNS}><ListSubscriptionsByTopicResult>"
                f"<Subscriptions>{waits}</Subscriptions></ListSubscriptionsByTopicResult>"
                "</ListSubscriptionsByTopicResponse>"
            ),
        ),
    )
    assert names(school, wire) == {"subscription-pending"}


@pytest.mark.parametrize("minutes", [-7, 7])
def test_a_clock_that_is_wrong(
    school: School, wire: Wire, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from email.utils import formatdate
    from http.server import BaseHTTPRequestHandler
    from time import time

    monkeypatch.setattr(
        BaseHTTPRequestHandler,
        "date_time_string",
        lambda *_: formatdate(time() - minutes * 60, usegmt=True),
    )
    (found,) = school.examined(wire.url)
    assert found.name == "clock-skew"
    assert ("ahead of" if minutes > 0 else "behind") in found.said


def test_a_clock_so_wrong_that_aws_refuses_is_named_before_the_refusal(
    school: School, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http.server import BaseHTTPRequestHandler

    monkeypatch.setattr(
        BaseHTTPRequestHandler,
        "date_time_string",
        lambda *_: "Thu, 01 Jan 2026 00:00:00 GMT",
    )
    wire.say("GetCallerIdentity", sns_error("SignatureDoesNotMatch", status=403))
    assert [one.name for one in school.examined(wire.url)] == ["clock-skew", "credentials-refused"]


def test_a_finding_is_plain_data(school: School) -> None:
    school.set(school.queue, DelaySeconds="5")
    (found,) = school.examined()
    assert json.loads(json.dumps(found.to_dict())) == {
        "name": "delivery-delayed",
        "severity": "warning",
        "where": f"queue {school.queue}",
        "said": "each message waits 5 s before it is seen",
        "remedy": "set the queue's DelaySeconds to 0",
    }
