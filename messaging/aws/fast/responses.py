"""Responses: the usual ones are read here, all others by botocore's parsers.

So a refusal by a service is the same exception in both transports: `ClientError`.
"""

from __future__ import annotations

import re
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Any, cast

from botocore.awsrequest import HeadersDict
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError, create_parser
from pydantic_core import from_json

from messaging.aws.fast.pool import Reply
from messaging.transport import BATCH_ENTRIES

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

__all__ = ["all_accepted", "json_answer", "messages", "understood"]

_ID = re.compile(rb"<Id>([0-9]+)</Id>(?!</Id>)")
_PLACES = tuple(b"%d" % place for place in range(BATCH_ENTRIES))
"""In order, as they nearly always are."""
_START, _END = (b"<PublishBatchResponse", b"<?xml "), b"</PublishBatchResponse>"


def all_accepted(reply: Reply, count: int) -> bool:
    """Whether `reply` clearly says that every entry of a PublishBatch, 0 to `count`, was accepted.

    False says nothing: the response must then be read in full. True is certain for any XML
    document: in one without comments, CDATA and entities, the searched tags are tags, none of them
    can be in an empty Failed list, and so all are in Successful.
    """
    body = reply.body
    # Searching memory for one letter is faster than for "<!".
    if reply.status != 200 or b"!" in body or not body.rstrip().endswith(_END):
        return False
    if not body.startswith(_START):
        return False
    failed = body.find(b"<Failed")
    if failed >= 0 and not body.startswith((b"<Failed/>", b"<Failed></Failed>"), failed):
        return False
    ids = _ID.findall(body)
    if tuple(ids) != _PLACES[:count] and sorted(ids) != sorted(_PLACES[:count]):
        return False
    if not body.count(b"<member>") == body.count(b"<MessageId>") == count:
        return False
    return b"<MessageId><" not in body


def json_answer(client: SQSClient, operation: str, reply: Reply) -> dict[str, Any]:
    """The response to an SQS operation. Raises `ClientError` and `ResponseParserError`."""
    if reply.status != 200:
        return understood(client, operation, reply)
    try:
        answer = from_json(reply.body, cache_strings="keys")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ResponseParserError(
            "the answer is not a JSON object"
        )  # its text may contain a message
    return answer


def messages(client: SQSClient, reply: Reply) -> list[dict[str, Any]]:
    """The messages of a ReceiveMessage in boto3's format, except that binary values are in
    base64."""
    found: list[dict[str, Any]] = json_answer(client, "ReceiveMessage", reply).get("Messages") or []
    return found


def understood(client: SNSClient | SQSClient, operation: str, reply: Reply) -> dict[str, Any]:
    """Return or raise `reply` as boto3 would."""
    model = client.meta.service_model.operation_model(operation)
    parser = cast("Any", create_parser)(model.service_model.resolved_protocol)
    parsed: dict[str, Any] = parser.parse(
        {
            "headers": HeadersDict(BytesHeaderParser().parsebytes(reply.head).items()),
            "status_code": reply.status,
            "body": reply.body,
            "context": {"operation_name": operation},
        },
        model.output_shape,
    )
    if reply.status >= 300:
        raise ClientError(cast("Any", parsed), operation)
    return parsed
