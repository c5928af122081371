"""A canned server: SNS and SQS that answer at once, with the same bytes for every subject.

    python -m benchmarks.canned        prints its URL, and ends when its standard input closes
    python -m benchmarks.canned FILE   prints that of a second port, too: TLS with this certificate

It checks nothing and stores nothing: what a queue gives is a stock of rendered messages that is
counted down, and what is published is counted. `/_canned/` is for the benchmark itself
(`benchmarks.control`). With `relay` on, what is published is received: that is for latency.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import ssl
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from benchmarks.wire import Rendered, published, sent, xml

HOST = "127.0.0.1"
ACCOUNT = "000000000000"
# Form values are percent-encoded and JSON strings escaped, so neither can hold these by chance.
_FORM_IDS = re.compile(rb"\.Id=([^&]+)")
_JSON_IDS = re.compile(rb'"Id" ?: ?"([^"]*)"')
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *AmazonSQS\.([A-Za-z]+)", re.IGNORECASE)
_NUMBER = re.compile(rb'"(MaxNumberOfMessages|WaitTimeSeconds)" ?: ?(\d+)')
_QUEUE = re.compile(rb'"Queue(?:Url|Name)" ?: ?"(?:[^"]*/)?([^"/]+)"')

Answer = Callable[[bytes], None]


class Queue:
    """A stock of messages that is counted down, and the receives that wait for more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stock = 0
        self.rendered: Rendered | None = None
        self.live: deque[bytes] = deque()
        self.given = 0
        self.waiting: deque[tuple[Answer, int, asyncio.TimerHandle]] = deque()

    def take(self, limit: int) -> bytes | None:
        """A ReceiveMessage answer; None when there is nothing to give."""
        if self.live:
            parts = [self.live.popleft() for _ in range(min(limit, len(self.live)))]
        elif self.stock and self.rendered is not None:
            count = min(limit, self.stock)
            self.stock -= count
            parts = self.rendered.messages(self.given, count)
        else:
            return None
        self.given += len(parts)
        return b'{"Messages":[' + b",".join(parts) + b"]}"

    def serve(self) -> None:
        """Give to those that wait, first come first served."""
        while self.waiting:
            body = self.take(self.waiting[0][1])
            if body is None:
                return
            answer, _, timer = self.waiting.popleft()
            timer.cancel()
            answer(body)


class Shop:
    """What the server holds: queues, counts, and whoever waits for a count."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.delay = 0.0
        """Seconds from each request of a client's to its answer, as if the server were far away."""
        self.jitter = 0.0
        """So many seconds more, at most, each answer as chance has it."""
        self.chance = random.Random(1)
        self.reset()

    def reset(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.requests: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self.relay: tuple[str, ...] = ()
        self.last: tuple[str, bytes] = ("", b"")
        self.awaited: list[tuple[str, int, Answer]] = []
        self.received = 0

    def queue(self, name: str) -> Queue:
        return self.queues.setdefault(name, Queue(name))

    def count(self, action: str, entries: int) -> None:
        self.requests[action] += 1
        self.entries[action] += entries
        for one in list(self.awaited):
            what, target, answer = one
            if self.total(what) >= target:
                self.awaited.remove(one)
                answer(b"{}")

    def total(self, what: str) -> int:
        """Entries of an action, whether they came in batches or alone."""
        return self.entries[what] + self.entries[what + "Batch"]

    # -- the service

    def sqs(self, action: str, body: bytes, answer: Answer) -> None:
        found = _QUEUE.search(body)
        name = found[1].decode() if found else ""
        if action == "ReceiveMessage":
            self._receive(self.queue(name), body, answer)
            return
        if action in ("DeleteMessageBatch", "ChangeMessageVisibilityBatch", "SendMessageBatch"):
            ids = _JSON_IDS.findall(body)
            answer(_successful(ids, action))
            self.count(action, len(ids))
        else:
            answer(self._small(action, name))
            self.count(action, 1)
        if action.startswith("SendMessage"):
            self.last = (action, body)
            self._relay(lambda: sent(action, body), (name,))

    def query(self, action: str, body: bytes, answer: Answer) -> None:
        ids = _FORM_IDS.findall(body) if action == "PublishBatch" else [b""]
        answer(xml(action, ids, self.entries[action], body, ACCOUNT))
        self.count(action, len(ids))
        if action.startswith("Publish"):
            self.last = (action, body)
            self._relay(lambda: published(body), self.relay)

    def _relay(self, messages: Callable[[], list[dict[str, Any]]], queues: tuple[str, ...]) -> None:
        if not self.relay:
            return
        for message in messages():
            for name in queues:
                self.received += 1
                one = Rendered([message], time.time())
                self.queue(name).live += one.messages(self.received, 1)
                self.queue(name).serve()

    def _receive(self, queue: Queue, body: bytes, answer: Answer) -> None:
        said = {name: int(number) for name, number in _NUMBER.findall(body)}
        self.count("ReceiveMessage", 0)
        given = queue.take(limit := said.get(b"MaxNumberOfMessages", 1))
        wait = said.get(b"WaitTimeSeconds", 0)
        if given is not None or wait == 0:
            answer(given or b"{}")
            return

        def nothing() -> None:
            queue.waiting.remove(entry)
            answer(b"{}")

        entry = (answer, limit, asyncio.get_running_loop().call_later(wait, nothing))
        queue.waiting.append(entry)

    def _small(self, action: str, name: str) -> bytes:
        url = f"{self.url}/{ACCOUNT}/{name}"
        attributes = {
            "VisibilityTimeout": "60",
            "ApproximateNumberOfMessages": "0",
            "ApproximateNumberOfMessagesNotVisible": "0",
            "ApproximateNumberOfMessagesDelayed": "0",
            "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}",
        }
        known: dict[str, Any] = {
            "GetQueueUrl": {"QueueUrl": url},
            "CreateQueue": {"QueueUrl": url},
            "GetQueueAttributes": {"Attributes": attributes},
            "ListQueues": {
                "QueueUrls": [f"{self.url}/{ACCOUNT}/{one}" for one in self.queues if one]
            },
            "SendMessage": {"MessageId": "0" * 8 + "-0000-4000-8000-" + "0" * 12},
        }
        return json.dumps(known.get(action, {})).encode()

    # -- the benchmark

    def control(self, path: str, body: bytes, answer: Answer) -> None:
        said = json.loads(body) if body else {}
        if path == "reset":
            self.reset()
        elif path == "load":
            queue = self.queue(said["queue"])
            if said.get("messages"):
                queue.rendered = Rendered(said["messages"], time.time())
            queue.stock += said["count"]
            queue.serve()
        elif path == "relay":
            self.relay = tuple(said["queues"])
        elif path == "delay":
            self.delay = float(said["seconds"])
            self.jitter = float(said.get("jitter", 0.0))
        elif path == "await" and self.total(said["what"]) < said["count"]:
            self.awaited.append((said["what"], said["count"], answer))
            return
        elif path == "counts":
            used = resource.getrusage(resource.RUSAGE_SELF)
            answer(
                json.dumps(
                    {
                        "requests": self.requests,
                        "entries": self.entries,
                        "cpu": used.ru_utime + used.ru_stime,
                    }
                ).encode()
            )
            return
        elif path == "last":
            action, text = self.last
            found = published(text) if action.startswith("Publish") else sent(action, text)
            answer(json.dumps(found).encode())
            return
        answer(b"{}")


class Connection(asyncio.Protocol):
    """One keep-alive connection: whole requests out of the stream, answers into it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[: end + 2]
            if b"\r\nExpect:" in head or b"\r\nexpect:" in head:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        target = _TARGET.search(head)
        if target:
            self.shop.sqs(target[1].decode(), body, self._json)
            return
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/_canned/"):
            self.shop.control(path[9:].decode(), body, self._at_once)
            return
        action = _ACTION.search(body)
        self.shop.query(action[1].decode() if action else "", body, self._xml)

    def _json(self, body: bytes) -> None:
        self._answer(b"application/x-amz-json-1.0", body)

    def _xml(self, body: bytes) -> None:
        self._answer(b"text/xml", body)

    def _at_once(self, body: bytes) -> None:
        self._write(b"application/json", body)

    def _answer(self, kind: bytes, body: bytes) -> None:
        if self.shop.delay or self.shop.jitter:
            late = self.shop.delay + self.shop.chance.uniform(0, self.shop.jitter)
            asyncio.get_running_loop().call_later(late, self._write, kind, body)
        else:
            self._write(kind, body)

    def _write(self, kind: bytes, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 0b3c2d1e-4f5a-4b6c-8d7e-9f0a1b2c3d4e\r\n"
                b"Date: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: %s\r\n"
                b"Content-Length: %d\r\nconnection: keep-alive\r\n\r\n%s" % (kind, len(body), body)
            )


def _successful(ids: list[bytes], action: str) -> bytes:
    more = b',"MessageId":"00000000-0000-4000-8000-000000000000","MD5OfMessageBody":"0"'
    end = (more if action == "SendMessageBatch" else b"") + b"}"
    return b'{"Successful":[' + b",".join(b'{"Id":"' + i + b'"' + end for i in ids) + b"]}"


async def serve(certificate: str | None = None) -> None:
    """Until standard input closes: whoever started the server is gone then."""
    loop = asyncio.get_running_loop()
    shop = Shop("")
    server = await loop.create_server(lambda: Connection(shop), HOST, 0, backlog=512)
    shop.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    print(shop.url, flush=True)
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
        second = await loop.create_server(lambda: Connection(shop), HOST, 0, backlog=512, ssl=tls)
        print(f"https://{HOST}:{second.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:2]))
