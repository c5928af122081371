"""Half-failed batches on the wire: entries taken out of a request or a response.

SQS speaks JSON, SNS a form and XML.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random
from urllib.parse import parse_qsl, urlencode

__all__ = ["CODE", "entries_of", "operation_of", "with_failed", "without"]

CODE = "InternalError"
_ENTRY = re.compile(r"PublishBatchRequestEntries\.(?:member|entry)\.(\d+)\.(.+)")
_MEMBER = re.compile(r"<member>(.*?)</member>", re.DOTALL)
_ID = re.compile(r"<Id>(.*?)</Id>", re.DOTALL)


def operation_of(target: str, body: bytes) -> str:
    """The operation's name: of the X-Amz-Target header, or of the form's Action; else ""."""
    if target:
        return target.rpartition(".")[2]
    found = re.search(rb"(?:^|&)Action=(\w+)", body[:4096])
    return found.group(1).decode() if found else ""


def entries_of(operation: str, body: bytes) -> Sequence[str]:
    """The ids of a batch request's entries; nothing for any other request."""
    if not operation.endswith("Batch"):
        return ()
    if body.startswith(b"{"):
        return [entry["Id"] for entry in json.loads(body).get("Entries", ())]
    return [value for _, _, name, value in _form(body) if name == "Id"]


def without(body: bytes, refused: Sequence[str]) -> bytes | None:
    """The request without these entries; None if no entry is left."""
    if body.startswith(b"{"):
        content = json.loads(body)
        content["Entries"] = [one for one in content["Entries"] if one["Id"] not in refused]
        return json.dumps(content).encode() if content["Entries"] else None
    fields = _form(body)
    gone = {number for _, number, name, value in fields if name == "Id" and value in refused}
    numbers = sorted({number for _, number, _, _ in fields if number} - gone)
    place = {number: at for at, number in enumerate(numbers, 1)}
    kept = [
        (f"PublishBatchRequestEntries.member.{place[number]}.{name}" if number else key, value)
        for key, number, name, value in fields
        if number not in gone
    ]
    return urlencode(kept).encode() if numbers else None


def with_failed(response: bytes, failed: Sequence[str]) -> bytes:
    """The response, in which these entries are told to have failed for the moment."""
    if response.lstrip().startswith(b"{"):
        content = json.loads(response)
        kept = [one for one in content.get("Successful", ()) if one["Id"] not in failed]
        more = [{"Id": id, "Code": CODE, "Message": "chaos", "SenderFault": False} for id in failed]
        content |= {"Successful": kept, "Failed": [*content.get("Failed", ()), *more]}
        return json.dumps(content).encode()
    text = response.decode()
    members = _MEMBER.findall(_inside(text, "Successful"))
    kept_members = [one for one in members if _ID.findall(one)[:1][0] not in failed]
    told = _inside(text, "Failed") + "".join(
        f"<member><Id>{id}</Id><Code>{CODE}</Code><Message>chaos</Message>"
        "<SenderFault>false</SenderFault></member>"
        for id in failed
    )
    good = "".join(f"<member>{one}</member>" for one in kept_members)
    result = (
        f"<PublishBatchResult><Successful>{good}</Successful><Failed>{told}</Failed>"
        "</PublishBatchResult>"
    )
    pattern = re.compile(r"<PublishBatchResult>.*?</PublishBatchResult>", re.DOTALL)
    return pattern.sub(lambda _: result, text).encode()


def nothing_done(operation: str) -> bytes:
    """The response of a batch whose every entry was refused, before `with_failed`."""
    if operation == "PublishBatch":
        return (
            b'<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
            b"<PublishBatchResult></PublishBatchResult><ResponseMetadata><RequestId>chaos"
            b"</RequestId></ResponseMetadata></PublishBatchResponse>"
        )
    return b"{}"


def some_of(entries: Sequence[str], chance: Random) -> Sequence[str]:
    """At least one of them."""
    return sorted(chance.sample(list(entries), chance.randint(1, len(entries))))


def _form(body: bytes) -> list[tuple[str, int, str, str]]:
    """Each field: its key, the number of its entry (0: none), its name in it, its value."""
    fields = []
    for key, value in parse_qsl(body.decode(), keep_blank_values=True):
        found = _ENTRY.fullmatch(key)
        number, name = (int(found[1]), found[2]) if found else (0, "")
        fields.append((key, number, name, value))
    return fields


def _inside(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found.group(1) if found else ""
