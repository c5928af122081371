# ruff: noqa: N802 - a method for each action has the action's name
"""A server on loopback that answers as SNS and SQS do, over a broker in this process, with faults.

What is carried out and what is answered are two things here: an answer may be cut, late, broken or
untrue of single entries. A lie is always of one kind, which the library must not take for success:
an answer that says nothing of an entry, or says two things. What was in truth done stands in
`Stub.facts`.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from messaging.aws.messages import wire_value
from messaging.memory import MemoryBroker
from messaging.topology import queue_name
from messaging.transport import Attribute, Delivery, Failure, Outgoing
from tests.aws.broken import batch, http, refused, taken

__all__ = ["ARN", "FAULTS", "FIFO_ARN", "Fact", "Stub"]

ACCOUNT = "000000000000"
ARN = f"arn:aws:sns:us-east-1:{ACCOUNT}:chaos"
FIFO_ARN = f"{ARN}.fifo"
LATE = 1.5
"""Times the client's read timeout that a late answer takes."""
DEAD = "-dlq"
LONG_POLL = 0.05
"""Seconds of a poll that finds nothing: a scenario is short."""

UNDONE = ("reset", "500", "503", "throttled", "late refusal", "empty", "null", "list", "page")
"""Nothing was carried out. The last four are answers with status 200 that say nothing."""
DONE = ("lost", "cut", "late", "gzip", "gzip untold")
"""Carried out, and the answer is not as it should be."""
SINGLE = ("refused", "missing", "doubled", "foreign", "both", "null entry")
"""One entry of the batch is not carried out, and the answer says so plainly only in the first."""
FAULTS = (*UNDONE, *DONE, *SINGLE)
HOT = {
    "PublishBatch",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "SendMessageBatch",
}


class Fact(NamedTuple):
    """What was carried out: "took" (by the topic, of which group stands in place of the receipt),
    "received", "deleted", "released", "hidden" or "copied"."""

    what: str
    service: str
    event: str
    receipt: str
    at: int
    """Its place among all facts of the scenario, the handlers' included."""


class Stub:
    """The server. `rate` is the share of requests that meet one of `faults`, until `calm()`."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        seed: int,
        rate: float,
        faults: Sequence[str],
        read_timeout: float,
    ) -> None:
        self.broker = broker
        self.facts: list[Fact] = []
        self.injected: Counter[str] = Counter()
        self._random = random.Random(f"{seed} wire")
        self._rate = rate
        self._kinds = faults
        self._late = read_timeout * LATE
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._events: dict[str, str] = {}  # by message id
        self._topic = broker.topic()
        self._queues = {one: broker.queue(one) for one in broker.topology.services}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                said, keep = stub._answer(self.headers.get("X-Amz-Target"), body)
                with suppress(OSError):  # the client went away
                    self.wfile.write(said)
                self.close_connection = not keep

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def calm(self) -> None:
        """No more faults."""
        self._rate = 0.0

    def note(self, what: str, service: str, event: str, receipt: str = "") -> None:
        with self._lock:
            self.facts.append(Fact(what, service, event, receipt, len(self.facts)))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.broker.close()

    # -- what goes wrong

    def _answer(self, target: str | None, body: bytes) -> tuple[bytes, bool]:
        """An HTTP answer, and whether the connection stays open."""
        if target:
            action, said = target.rpartition(".")[2], json.loads(body)
        else:
            said = _form(body)
            action = said["Action"]
        entries = said.get("Entries", ())
        fault, at = self._fault(action, len(entries))
        xml = target is None
        if fault in UNDONE:
            return self._undone(fault, xml)
        answer = getattr(self, f"_{action}")(said, at if fault in SINGLE else None)
        if fault in SINGLE:
            _lie(answer, fault, str(at))
        good = batch(answer, xml)
        if fault == "lost":
            return b"", False
        if fault == "cut":
            head, _, whole = good.partition(b"\r\n\r\n")
            return head + b"\r\n\r\n" + whole[: len(whole) // 2], False
        if fault == "late":
            time.sleep(self._late)
        if fault.startswith("gzip"):
            told = () if fault == "gzip untold" else ("Content-Encoding: gzip",)
            return http(gzip.compress(good.partition(b"\r\n\r\n")[2]), 200, *told), True
        return good, True

    def _fault(self, action: str, entries: int) -> tuple[str, int]:
        with self._lock:
            if action not in HOT or self._random.random() >= self._rate:
                return "", 0
            fault = self._random.choice(self._kinds)
            if fault in SINGLE and not entries:
                return "", 0
            self.injected[fault] += 1
            return fault, self._random.randrange(entries or 1)

    def _undone(self, fault: str, xml: bool) -> tuple[bytes, bool]:
        if fault == "reset":
            return b"", False
        if fault == "late refusal":
            time.sleep(self._late)
        bodies = {"empty": b"", "null": b"null", "list": b"[]", "page": b"<html>Sign in</html>"}
        if fault in bodies:
            return http(bodies[fault]), True
        code = "Throttling" if fault == "throttled" else "InternalError"
        status = {"throttled": 400, "503": 503}.get(fault, 500)
        if not xml:
            return http(json.dumps({"__type": code, "message": "m"}).encode(), status), True
        error = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
        return http(error.encode(), status), True

    # -- what is carried out

    def _PublishBatch(self, said: Mapping[str, Any], but: int | None) -> dict[str, Any]:
        batch = [one["Outgoing"] for one in _all(said, but)]
        with self._publishing:
            failures = self._topic.publish(batch)
            failed = {one.index for one in failures}
            for place, one in enumerate(batch):
                if place not in failed:
                    self.note("took", "", str(json.loads(one.body)["id"]), one.group or "")
        return _said(said, failures, but)

    def _GetQueueUrl(self, said: Mapping[str, Any], _: None) -> dict[str, Any]:
        return {"QueueUrl": f"{self.url}/{ACCOUNT}/{said['QueueName']}"}

    def _GetQueueAttributes(self, said: Mapping[str, Any], _: None) -> dict[str, Any]:
        name = said["QueueUrl"].rpartition("/")[2]
        service = self._service(name)
        queue = self._queues.get(service)
        letters = queue_name(self.broker.topology.topic.name, service, DEAD)
        dlq = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{letters}"}
        known = {"MaximumMessageSize": "262144", "RedrivePolicy": json.dumps(dlq)}
        if queue is not None:
            known["VisibilityTimeout"] = str(queue.visibility_timeout)
        return {"Attributes": {one: known[one] for one in said["AttributeNames"] if one in known}}

    def _ReceiveMessage(self, said: Mapping[str, Any], _: None) -> dict[str, Any]:
        service = self._service(said["QueueUrl"])
        wait = min(float(said["WaitTimeSeconds"]), LONG_POLL)
        found = self._queues[service].receive(said["MaxNumberOfMessages"], wait)
        for one in found:
            self._events[one.message_id] = str(json.loads(one.body)["id"])
            self.note("received", service, self._events[one.message_id], one.receipt)
        return {"Messages": [_message(one) for one in found]} if found else {}

    def _DeleteMessageBatch(self, said: Mapping[str, Any], but: int | None) -> dict[str, Any]:
        service, entries = self._service(said["QueueUrl"]), _all(said, but)
        failures = self._queues[service].delete([_delivery(one) for one in entries])
        self._note_all("deleted", service, entries, failures)
        return _said(said, failures, but)

    def _ChangeMessageVisibilityBatch(
        self, said: Mapping[str, Any], but: int | None
    ) -> dict[str, Any]:
        service, entries = self._service(said["QueueUrl"]), _all(said, but)
        failures = self._queues[service].change_visibility(
            [_delivery(one) for one in entries], [one["VisibilityTimeout"] for one in entries]
        )
        self._note_all("hidden", service, entries, failures)
        return _said(said, failures, but)

    def _SendMessageBatch(self, said: Mapping[str, Any], but: int | None) -> dict[str, Any]:
        service = self._service(said["QueueUrl"])
        state: Any = self.broker
        for one in _all(said, but):
            attributes = {
                name: Attribute.received(
                    value.get("DataType"), value.get("StringValue"), value.get("BinaryValue")
                )
                for name, value in one.get("MessageAttributes", {}).items()
            }
            group = one.get("MessageGroupId")
            letter = state._topic.message(one["MessageBody"], attributes, group)
            state._of(service).dead_letters.put([letter])
            self.note("copied", service, str(json.loads(one["MessageBody"])["id"]))
        return _said(said, (), but)

    def _note_all(
        self,
        what: str,
        service: str,
        entries: Sequence[Mapping[str, Any]],
        failures: Sequence[Failure],
    ) -> None:
        failed = {one.index for one in failures}
        for place, one in enumerate(entries):
            if place not in failed:
                receipt = one["ReceiptHandle"]
                event = self._events[receipt.rpartition("/")[0]]
                self.note(what, service, event, receipt)

    def _service(self, url: str) -> str:
        name, topic = url.rpartition("/")[2], self.broker.topology.topic.name
        return next(
            (one for one in self._queues for suffix in ("", DEAD)
             if queue_name(topic, one, suffix) == name), "",
        )  # fmt: skip


def _all(said: Mapping[str, Any], but: int | None) -> list[dict[str, Any]]:
    return [one for place, one in enumerate(said["Entries"]) if place != but]


def _said(
    said: Mapping[str, Any], failures: Sequence[Failure], but: int | None
) -> dict[str, list[Any]]:
    """What became of the entries that were tried."""
    failed = {one.index: one for one in failures}
    answer: dict[str, list[Any]] = {"Successful": [], "Failed": []}
    for place, one in enumerate(_all(said, but)):
        why = failed.get(place)
        if why is None:
            answer["Successful"].append(taken(one["Id"]))
        else:
            ours = not why.retryable
            answer["Failed"].append(refused(one["Id"], Code=why.code, SenderFault=ours))
    return answer


def _lie(answer: dict[str, list[Any]], fault: str, id: str) -> None:
    """Add what the answer says of the entry `id`, which was not carried out."""
    if fault == "refused":
        answer["Failed"].append(refused(id))
    elif fault == "doubled":
        answer["Successful"] += [taken(id), taken(id)]
    elif fault == "foreign":
        answer["Successful"].append(taken("77"))
    elif fault == "both":
        answer["Successful"].append(taken(id))
        answer["Failed"].append(refused(id))
    elif fault == "null entry":
        answer["Successful"].append(None)


def _form(body: bytes) -> dict[str, Any]:
    """A PublishBatch in the query protocol; `Entries` with what each would send."""
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    said: dict[str, Any] = {"Action": fields["Action"], "Entries": []}
    number = 1
    while (at := f"PublishBatchRequestEntries.member.{number}") + ".Id" in fields:
        attributes: dict[str, Attribute] = {}
        place = 1
        while (one := f"{at}.MessageAttributes.entry.{place}") + ".Name" in fields:
            text = fields.get(f"{one}.Value.StringValue")
            binary = b64decode(fields.get(f"{one}.Value.BinaryValue", ""))
            kind = fields[f"{one}.Value.DataType"]
            attributes[fields[f"{one}.Name"]] = Attribute(kind, binary if text is None else text)
            place += 1
        group, once = (fields.get(f"{at}.Message{one}Id") for one in ("Group", "Deduplication"))
        sent = Outgoing(fields[f"{at}.Id"], fields[f"{at}.Message"], attributes, 0, group, once)
        said["Entries"].append({"Id": fields[f"{at}.Id"], "Outgoing": sent})
        number += 1
    return said


def _delivery(entry: Mapping[str, Any]) -> Delivery:
    receipt = entry["ReceiptHandle"]
    return Delivery(queue="", message_id=receipt.rpartition("/")[0], receipt=receipt, body="")


def _message(one: Delivery) -> dict[str, Any]:
    return {
        "MessageId": one.message_id,
        "ReceiptHandle": one.receipt,
        "Body": one.body,
        "Attributes": {
            "ApproximateReceiveCount": str(one.receive_count),
            "SentTimestamp": str(int(one.sent_at * 1000)),
            **({"MessageGroupId": one.group} if one.group else {}),
        },
        "MessageAttributes": {n: wire_value(value) for n, value in one.attributes.items()},
    }
