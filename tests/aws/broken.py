"""Answers that no service should give, and a server that gives them.

A `Kind` is one way in which an answer is broken. Kinds are of three sorts: whole answers that
cannot be read, batch answers that say something odd of single entries, and messages that lack
something.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

SNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'

Answer = Callable[[Sequence[str], bool], bytes]
"""The Ids that were asked about, and whether XML is expected, to an HTTP answer."""


def http(body: bytes, status: int = 200, *lines: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {size}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# -- good answers


def batch(said: Mapping[str, Any], xml: bool) -> bytes:
    """`said` as SQS writes it, or as near to it as SNS's XML comes."""
    if not xml:
        return http(json.dumps(said).encode())
    lists = "".join(f"<{name}>{_members(value)}</{name}>" for name, value in said.items())
    return http(
        f"<PublishBatchResponse {SNS}><PublishBatchResult>{lists}</PublishBatchResult>"
        "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        "</PublishBatchResponse>".encode()
    )


def _members(value: Any) -> str:
    return (
        "".join(f"<member>{_fields(one)}</member>" for one in value)
        if isinstance(value, list)
        else _fields(value)
    )


def _fields(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(
            f"<{name}>{_fields(one)}</{name}>" for name, one in value.items() if one is not None
        )
    if isinstance(value, list):
        return _members(value)
    return "" if value is None else escape(str(value))


def taken(id: Any, **more: Any) -> dict[str, Any]:
    return {"Id": id, "MessageId": f"m{id}", **more}


def refused(id: Any, **more: Any) -> dict[str, Any]:
    return {"Id": id, "Code": "InternalError", "SenderFault": False, **more}


def good(ids: Sequence[str], xml: bool) -> bytes:
    return batch({"Successful": [taken(id) for id in ids], "Failed": []}, xml)


# -- whole answers that cannot be read


class Kind(NamedTuple):
    """`accepted`: which of the entries 0, 1 and 2 the answer says plainly were accepted."""

    name: str
    answer: Answer
    accepted: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return self.name


def _bytes(name: str, body: bytes, status: int = 200, *lines: str, **more: Any) -> Kind:
    return Kind(name, lambda ids, xml: http(body, status, *lines, **more))


def _around(name: str, change: Callable[[bytes], bytes], *lines: str) -> Kind:
    """A good answer whose body is changed."""

    def answer(ids: Sequence[str], xml: bool) -> bytes:
        return http(change(good(ids, xml).partition(b"\r\n\r\n")[2]), 200, *lines)

    return Kind(name, answer)


HTML = b"<html><head><title>Sign in</title></head><body><p>Hotel Wi-Fi<br></body></html>"
NESTED = 60_000
WHOLE = [
    _bytes("nothing", b""),
    _bytes("JSON null", b"null"),
    _bytes("JSON list", b"[]"),
    _bytes("JSON list of null", b"[null]"),
    _bytes("JSON number", b"5"),
    _bytes("JSON text", b'"Successful"'),
    _bytes("JSON true", b"true"),
    _bytes("JSON NaN", b"NaN"),
    _bytes("JSON nested too deep", b"[" * NESTED),
    _bytes("JSON objects nested too deep", b'{"Messages":' * NESTED),
    _bytes("XML nested too deep", b"<a>" * NESTED),
    _bytes("an empty object of another form", b"<Other/>"),
    _bytes("HTML", HTML, 200, "Content-Type: text/html"),
    _bytes("HTML that is XML", b"<html><body><p>Sign in</p></body></html>"),
    _bytes("text", b"OK"),
    _bytes("spaces", b"   \n "),
    _bytes("NUL bytes", b"\x00" * 40),
    _bytes("bad UTF-8", b'{"Successful": "\xff\xfe\x80"}'),
    _bytes("bad UTF-8 in XML", b"<PublishBatchResponse>\xff</PublishBatchResponse>"),
    _bytes("an encoding that nobody knows", b"<?xml version='1.0' encoding='klingon'?><a/>"),
    _bytes("an entity that does not exist", b"<PublishBatchResponse>&x;</PublishBatchResponse>"),
    _bytes("broken gzip that says so", b"\x1f\x8b\x08\x00rest", 200, "Content-Encoding: gzip"),
    _around("gzip that does not say so", gzip.compress),
    _around("cut in the middle", lambda body: body[: len(body) // 2]),
    _around("doubled", lambda body: body + body),
    _around("text before it", lambda body: b"ok: " + body),
    _around("UTF-32", lambda body: body.decode().encode("utf-32")),
    _bytes("broken off", b'{"Succ', length=500),
    _bytes("status 204", b"", 204),
    _bytes("status 302", b"", 302, "Location: http://127.0.0.1:1/"),
    _bytes("status 400 and JSON null", b"null", 400),
    _bytes("status 400 and a JSON list", b'["x"]', 400),
    _bytes("status 400 and bad UTF-8", b'{"__type": "\xff"}', 400),
    _bytes("status 400 and nothing", b"", 400),
    _bytes("status 400 and a code that is none", b'{"__type": {"a": 1}, "message": [2]}', 400),
    _bytes("status 403 and HTML", HTML, 403),
    _bytes("status 404 and HTML", HTML, 404),
    _bytes("status 500 and HTML", HTML, 500),
    _bytes("status 500 and JSON null", b"null", 500),
    _bytes("status 502 and nothing", b"", 502),
    _bytes("status 503 and a list", b"[]", 503),
    _bytes("status 999", b"", 999),
    Kind("no HTTP", lambda ids, xml: b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    Kind("an end at once", lambda ids, xml: b""),
]


# -- batch answers that say something odd of their entries: there are three, 0, 1 and 2


def _said(name: str, said: Mapping[str, Any], *accepted: int) -> Kind:
    return Kind(name, lambda ids, xml: batch(said, xml), frozenset(accepted))


def _two_and(name: str, *more: Any) -> Kind:
    """0 and 2 are accepted, and this is said beside."""
    return _said(name, {"Successful": [taken("0"), *more, taken("2")], "Failed": []}, 0, 2)


ENTRIES = [
    _two_and("one is missing"),
    _two_and("a foreign Id", taken("7")),
    _two_and("an Id that is a word", taken("um")),
    _two_and("an Id below 0", taken("-1")),
    _two_and("an Id with a zero before it", taken("01")),
    _two_and("an Id with a space", taken(" 1")),
    _two_and("an Id of Arabic digits", taken("\u0661")),
    _two_and("an Id of a thousand digits", taken("1" * 1000)),
    _two_and("an Id that is empty", taken("")),
    _two_and("an Id that is null", taken(None)),
    _two_and("an Id that is a list", taken(["1"])),
    _two_and("an Id that is an object", taken({"Id": "1"})),
    _two_and("no Id", {"MessageId": "m"}),
    _two_and("an empty entry", {}),
    _two_and("twice accepted", taken("1"), taken("1")),
    _said("all accepted twice", {"Successful": [taken(i) for i in "001122"], "Failed": []}),
    _said("another one twice", {"Successful": [taken("0"), taken("0"), taken("2")]}, 2),
    _said(
        "accepted and refused",
        {"Successful": [taken(i) for i in "012"], "Failed": [refused("1")]},
        *(0, 2),
    ),
    _said(
        "twice refused",
        {"Successful": [taken("0"), taken("2")], "Failed": [refused("1"), refused("1")]},
        *(0, 2),
    ),
    _said(
        "refused, and a foreign one",
        {"Successful": [taken("0"), taken("2")], "Failed": [refused("1"), refused("9")]},
        *(0, 2),
    ),
    _said(
        "refused without a code",
        {"Successful": [taken("0"), taken("2")], "Failed": [{"Id": "1"}]},
        *(0, 2),
    ),
    _said(
        "refused with a code that forges lines",
        {"Successful": [taken("0"), taken("2")], "Failed": [refused("1", Code="a\nERROR b")]},
        *(0, 2),
    ),
    _said(
        "a refusal without an Id",
        {"Successful": [taken("0"), taken("2")], "Failed": [{"Code": "InternalError"}]},
        *(0, 2),
    ),
    _said("nothing of any", {"Successful": [], "Failed": []}),
    _said("only foreign ones", {"Successful": [taken(i) for i in "345"], "Failed": []}),
]
JSON_ENTRIES = [  # what XML cannot say
    _two_and("a null entry", None),
    _two_and("an entry that is a text", "1"),
    _two_and("an entry that is a list", ["1"]),
    _two_and("an entry that is a number", 1),
    _two_and("an Id that is a number", taken(1)),
    _said("Successful is null", {"Successful": None, "Failed": []}),
    _said("Successful is an object", {"Successful": {"Id": "0"}, "Failed": []}),
    _said("Successful is a text", {"Successful": "012", "Failed": []}),
    _said("Failed is null", {"Successful": [taken("0")], "Failed": None}, 0),
    _said("Failed is an object", {"Successful": [taken("0")], "Failed": {"Id": "1"}}, 0),
    _said("both are null", {"Successful": None, "Failed": None}),
    _said("neither is there", {}),
    _said(
        "a code that is a number",
        {"Successful": [taken("0")], "Failed": [refused("1", Code=5), refused("2", Code=None)]},
        0,
    ),
    _said(
        "the sender's fault in a text",
        {"Successful": [taken("0"), taken("2")], "Failed": [refused("1", SenderFault="false")]},
        *(0, 2),
    ),
]
SENT_ENTRIES = [  # of messages: what was accepted has a MessageId
    _two_and("no MessageId", {"Id": "1"}),
    _two_and("a MessageId that is empty", taken("1", MessageId="")),
    _said("no MessageId of any", {"Successful": [{"Id": i} for i in "012"], "Failed": []}),
]


# -- messages that lack something


def message(number: int, **more: Any) -> dict[str, Any]:
    said = {"MessageId": f"m{number}", "ReceiptHandle": f"r{number}", "Body": "{}", **more}
    return {name: value for name, value in said.items() if value is not ...}


MESSAGES: Sequence[tuple[str, Any, bool]] = [
    # what it is, the message between two good ones, and whether it can be handled
    ("null", None, False),
    ("a number", 5, False),
    ("a text", "m1", False),
    ("a list", ["m1"], False),
    ("an empty object", {}, False),
    ("no ReceiptHandle", message(1, ReceiptHandle=...), False),
    ("a null ReceiptHandle", message(1, ReceiptHandle=None), False),
    ("an empty ReceiptHandle", message(1, ReceiptHandle=""), False),
    ("a ReceiptHandle that is a number", message(1, ReceiptHandle=5), False),
    ("a ReceiptHandle that is a list", message(1, ReceiptHandle=["r"]), False),
    ("no MessageId", message(1, MessageId=...), False),
    ("a null MessageId", message(1, MessageId=None), False),
    ("a MessageId that is an object", message(1, MessageId={"a": 1}), False),
    ("a MessageId that forges lines", message(1, MessageId="a\nERROR b", ReceiptHandle=""), False),
    ("a Body that is a number", message(1, Body=5), False),
    ("a Body that is an object", message(1, Body={"a": 1}), False),
    ("no Body", message(1, Body=...), True),
    ("Attributes that are null", message(1, Attributes=None), True),
    ("Attributes that are a list", message(1, Attributes=["a"]), True),
    ("a count that is a word", message(1, Attributes={"ApproximateReceiveCount": "x"}), True),
    ("a count that is null", message(1, Attributes={"ApproximateReceiveCount": None}), True),
    ("a count that is endless", message(1, Attributes={"SentTimestamp": "9" * 5000}), True),
    ("a time that is a list", message(1, Attributes={"SentTimestamp": ["1"]}), True),
    ("a group that is a number", message(1, Attributes={"MessageGroupId": 5}), True),
    ("MessageAttributes null", message(1, MessageAttributes=None), True),
    ("MessageAttributes a list", message(1, MessageAttributes=["a"]), True),
    ("an attribute that is null", message(1, MessageAttributes={"type": None}), True),
    ("an attribute without a type", message(1, MessageAttributes={"type": {}}), True),
    (
        "an attribute whose value is a list",
        message(1, MessageAttributes={"type": {"DataType": "String", "StringValue": ["a"]}}),
        True,
    ),
]


class Answers:
    """A server for SNS, SQS and STS that answers bytes.

    `say[action]` are its next answers, of which the last one stays; otherwise it gives good ones.
    """

    def __init__(self) -> None:
        self.say: dict[str, list[Answer]] = defaultdict(list)
        self.requests: list[tuple[str, list[str]]] = []
        """Action and Ids of each request."""
        answers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                said = answers._answer(self.headers.get("X-Amz-Target"), body)
                self.wfile.write(said)
                # Whatever stands there: who misreads its length must not find another answer.
                self.close_connection = b"Content-Length" not in said or b"500\r\n" in said

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.say.clear()
        self.requests.clear()

    def asked(self, action: str) -> list[list[str]]:
        """Of each request of that action, its Ids."""
        return [ids for name, ids in self.requests if name == action]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, target: str | None, body: bytes) -> bytes:
        if target:
            action, said = target.rpartition(".")[2], json.loads(body)
            ids = [one["Id"] for one in said.get("Entries", ())]
        else:
            form = parse_qs(body.decode())
            action = form["Action"][0]
            ids = [value[0] for name, value in sorted(form.items()) if name.endswith(".Id")]
        self.requests.append((action, ids))
        told = self.say[action]
        if told:
            return (told.pop(0) if len(told) > 1 else told[0])(ids, target is None)
        return self._good(action, ids, target is None)

    def _good(self, action: str, ids: Sequence[str], xml: bool) -> bytes:
        if action == "GetQueueUrl":
            return http(json.dumps({"QueueUrl": f"{self.url}/000000000000/q"}).encode())
        if action == "GetQueueAttributes":
            dlq = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:q-dlq"}
            attributes = {
                "VisibilityTimeout": "30",
                "RedrivePolicy": json.dumps(dlq),
                "ApproximateNumberOfMessages": "1",
                "ApproximateNumberOfMessagesNotVisible": "2",
                "ApproximateNumberOfMessagesDelayed": "3",
            }
            return http(json.dumps({"Attributes": attributes}).encode())
        if action == "ReceiveMessage":
            return http(b"{}")
        return good(ids, xml)
