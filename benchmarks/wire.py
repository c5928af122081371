"""The canned server's bytes: messages as SQS returns them, answers as SNS writes them."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

__all__ = ["Rendered", "published", "sent", "xml"]

_RECEIPT = "AQEBx7T" + "m9Q2+kLw/3Zr" * 14  # as long as one of AWS
_NUMBERED = "%012d"


class Rendered:
    """Messages ready to be given again and again, each time under another number.

    messages  dicts with "body" and "attributes" (name to [type, value]).
    """

    def __init__(self, messages: list[dict[str, Any]], now: float) -> None:
        mark = "\0"
        self._parts = []
        for message in messages:
            attributes = {
                name: {"StringValue": value, "DataType": kind}
                for name, (kind, value) in message.get("attributes", {}).items()
            }
            text = json.dumps(
                {
                    "MessageId": f"5fea7756-0ea4-451a-a703-{mark}",
                    "ReceiptHandle": f"{_RECEIPT}{mark}",
                    "MD5OfBody": hashlib.md5(message["body"].encode()).hexdigest(),
                    "Body": message["body"],
                    "Attributes": {
                        "ApproximateReceiveCount": "1",
                        "SentTimestamp": str(int(now * 1000)),
                    },
                    **({"MessageAttributes": attributes} if attributes else {}),
                }
            )
            self._parts.append([part.encode() for part in text.split("\\u0000")])

    def messages(self, first: int, count: int) -> list[bytes]:
        """`count` messages as JSON objects, numbered from `first`."""
        parts, size = self._parts, len(self._parts)
        return [
            (b"%012d" % number).join(parts[number % size]) for number in range(first, first + count)
        ]


def published(body: bytes) -> list[dict[str, Any]]:
    """The messages in a Publish or PublishBatch request, as a queue with raw delivery gets them."""
    form = {name: values[0] for name, values in parse_qs(body.decode(), True).items()}
    if form["Action"] == "Publish":
        prefixes = [""]
    else:
        prefixes = [
            name[: -len("Message")]
            for name in form
            if name.startswith("PublishBatch") and name.endswith(".Message")
        ]
    return [{"body": form[p + "Message"], "attributes": _attributes(form, p)} for p in prefixes]


def _attributes(form: dict[str, str], prefix: str) -> dict[str, list[str]]:
    found, number = {}, 1
    while (start := f"{prefix}MessageAttributes.entry.{number}.") + "Name" in form:
        found[form[start + "Name"]] = [
            form[start + "Value.DataType"],
            form.get(start + "Value.StringValue", ""),
        ]
        number += 1
    return found


def sent(action: str, body: bytes) -> list[dict[str, Any]]:
    """The messages in a SendMessage or SendMessageBatch request."""
    said = json.loads(body)
    return [
        {
            "body": one["MessageBody"],
            "attributes": {
                name: [value["DataType"], value.get("StringValue", "")]
                for name, value in (one.get("MessageAttributes") or {}).items()
            },
        }
        for one in (said["Entries"] if action == "SendMessageBatch" else [said])
    ]


def xml(action: str, ids: list[bytes], number: int, body: bytes, account: str) -> bytes:
    """The answer to a query request of SNS or STS."""
    if action == "PublishBatch":
        accepted = "".join(
            f"<member><Id>{one.decode()}</Id><MessageId>{_message_id(at)}</MessageId></member>"
            for at, one in enumerate(ids, number)
        )
        result = f"<Successful>{accepted}</Successful><Failed/>"
    elif action == "Publish":
        result = f"<MessageId>{_message_id(number)}</MessageId>"
    elif action == "GetCallerIdentity":
        result = f"<Account>{account}</Account><Arn>arn:aws:iam::{account}:root</Arn>"
    elif action in ("CreateTopic", "Subscribe"):
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        arn = form.get("TopicArn") or f"arn:aws:sns:us-east-1:{account}:{form.get('Name', '')}"
        kind = "TopicArn" if action == "CreateTopic" else "SubscriptionArn"
        result = f"<{kind}>{escape(arn)}{':1' if kind == 'SubscriptionArn' else ''}</{kind}>"
    elif action == "ListSubscriptionsByTopic":
        result = "<Subscriptions/>"
    else:
        result = ""
    space = (
        "https://sts.amazonaws.com/doc/2011-06-15/"
        if action == "GetCallerIdentity"
        else ("http://sns.amazonaws.com/doc/2010-03-31/")
    )
    return (
        f'<{action}Response xmlns="{space}"><{action}Result>{result}</{action}Result>'
        "<ResponseMetadata><RequestId>2d1e0b3c-4f5a-4b6c-8d7e-9f0a1b2c3d4e</RequestId>"
        f"</ResponseMetadata></{action}Response>"
    ).encode()


def _message_id(number: int) -> str:
    return "567910cd-659e-55d4-8ccb-" + _NUMBERED % number
