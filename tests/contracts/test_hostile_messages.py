"""What foreign hands put beside a message ends in an outcome, whoever receives it.

Attributes that the library's own code reads, on the in-process broker and on a server, through a
worker, the Lambda handler, `drain` and the workbench of dead letters.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from messaging.dead_letters import Where, Workbench
from messaging.dead_letters import reason as dead_letter_reason
from messaging.local import Engine, LocalServer
from messaging.memory import MemoryBroker
from messaging.outcome import RetryPolicy
from messaging.topology import Topology
from messaging.transport import Attribute
from tests.contracts.conftest import Site, _site, message, receive_all
from tests.contracts.hosts import HOSTS, Host
from tests.contracts.test_outcomes import STANDARD, Clerk, body

DEEP = 60_000


def forged(**said: object) -> Attribute:
    return Attribute.string(json.dumps({"reason": "x", **said}))


FORGED: dict[str, dict[str, Attribute]] = {
    "a value that is a number": {
        "dead-letter": forged(attributes={"a": {"type": "String", "value": 5}})
    },
    "a type that is a number": {"dead-letter": forged(attributes={"a": {"type": 5, "value": "x"}})},
    "a type that SQS refuses": {
        "dead-letter": forged(attributes={"a": {"type": "Integer", "value": "5"}})
    },
    "a name that SQS refuses": {
        "dead-letter": forged(attributes={"AWS.x y": {"type": "String", "value": "5"}})
    },
    "an empty value": {"dead-letter": forged(attributes={"a": {"type": "String", "value": ""}})},
    "half a character": {
        "dead-letter": Attribute.string(
            r'{"reason":"\ud800","attributes":{"a":{"type":"String","value":"\udfff"}}}'
        )
    },
    "a character outside XML": {
        "dead-letter": Attribute.string(
            r'{"reason":"x","attributes":{"a":{"type":"String","value":"\u0000"}}}'
        )
    },
    "deep nesting": {"dead-letter": Attribute.string("[" * DEEP)},
    "deep nesting in its reason": {"dead-letter": Attribute.string('{"reason":' + "[" * DEEP)},
    "an array that is nested deep": {"audience": Attribute("String.Array", "[" * DEEP)},
    "an array that is no JSON": {"audience": Attribute("String.Array", "marketing")},
    "huge numbers": {
        "dead-letter": Attribute.string('{"reason":' + "9" * 5000 + "}"),
        "dead-letter-attempts": Attribute("Number", "9" * 30),
    },
    "numbers of an odd kind": {
        "dead-letter": forged(attempts=1e308, time=-1e308, queue=7, error=[])
    },
    "more attributes than SQS takes": {
        "dead-letter": forged(
            attributes={f"a{n}": {"type": "String", "value": "x"} for n in range(11)}
        )
    },
    "bytes where a reason is": {"dead-letter-reason": Attribute("Binary", b"\xff\x00")},
    "bytes where all is": {"dead-letter": Attribute("Binary", b'{"reason":"x"}')},
    "a time beyond all times": {
        "dead-letter-reason": Attribute.string("x"),
        "dead-letter-time": Attribute.string("0001-01-01T00:00:00+14:00"),
        "dead-letter-attempts": Attribute("Number", "-1"),
    },
    "a type of bytes": {"type": Attribute("Binary", b"step.taken")},
}


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server has one machine, which a short poll asks."""
    monkeypatch.setattr("messaging.dead_letters.workbench.WAIT", 0)


@pytest.fixture(params=["memory", "ministack"])
def site(
    request: pytest.FixtureRequest, servers: Callable[[Engine], LocalServer]
) -> Iterator[Site]:
    yield from _site(request.param, STANDARD, servers)


@pytest.fixture(params=list(HOSTS))
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


def send(site: Site, name: str, text: str, attributes: dict[str, Attribute]) -> None:
    sent = message(text, "step.taken")
    both = {**sent.attributes, **attributes}
    # A filter policy would keep out what has no type that it knows.
    if both["type"].type == "Binary":
        both["type"] = Attribute.string("step.taken")
        both["type-of"] = attributes["type"]
    assert not site.broker.topic().publish([replace(sent, attributes=both)]), name


def test_one_message_with_a_forged_note_does_not_end_whoever_receives_it(
    site: Site, host: Host
) -> None:
    """An unreadable body each, and beside it what the writer of dead letters reads."""
    for place, (name, attributes) in enumerate(FORGED.items()):
        if "audience" in attributes:
            attributes = {"audience-of": attributes["audience"]}
        send(site, name, f"no JSON {place}", attributes)
    send(site, "good", body("fine-1"), {})

    clerk = Clerk()
    host(clerk, site.broker)

    assert clerk.done == ["fine-1"]
    bench = Workbench(site.broker.letters("clerk"))  # type: ignore[attr-defined] - not of Broker
    letters = list(bench.letters())
    assert len(letters) == len(FORGED)
    assert {one.reason.partition(" (")[0] for one in letters} == {"body: not JSON"}

    # And back, which hands every attribute to the queue again.
    report = bench.redrive(Where(reason="body"), dry_run=False)
    assert (report.done, report.failed) == (len(FORGED), ())
    host(clerk, site.broker)
    assert len(list(bench.letters())) == len(FORGED)
    assert bench.drop(dry_run=False).done == len(FORGED)


class Impatient(Clerk):
    """SQS moves a message of it at the third receive."""

    service = "clerk"
    retry = RetryPolicy(max_attempts=1)
    max_receives = 2


IMPATIENT = Topology.of(Impatient, topic="steps")


@pytest.mark.parametrize("engine", ["memory", "ministack"])
def test_a_message_that_sqs_itself_moved_is_listed_and_sent_back_whatever_is_beside_it(
    engine: str, servers: Callable[[Engine], LocalServer]
) -> None:
    """Nobody wrote a note: what stands beside it is as foreign hands put it."""
    for site in _site(engine, IMPATIENT, servers):
        queue = site.queue("clerk")
        for place, (name, attributes) in enumerate(FORGED.items()):
            if "audience" not in attributes:
                send(site, name, f"no JSON {place}", attributes)
        sent = queue.depth().visible
        assert sent > len(FORGED) - 3
        for _ in range(Impatient.max_receives):
            received = receive_all(queue, sent)
            for at in range(0, sent, 10):
                some = received[at : at + 10]
                assert not queue.change_visibility(some, [0] * len(some))
        assert not queue.receive(10, 0)
        bench = Workbench(site.broker.letters("clerk"))  # type: ignore[attr-defined] - not of Broker
        letters = list(bench.letters())
        for letter in letters:
            assert json.dumps(letter.to_dict())
        assert len(letters) == sent

        report = bench.redrive(Where(reason="."), dry_run=False)

        assert (report.done, report.failed) == (sent, ())


def _no_more_than_the_message(site: Site) -> None:
    """The dead-letter queue takes what one of SNS's messages has, and not a byte more."""
    broker: Any = site.broker
    queue = broker.queue("clerk")
    url = queue._facts().dead_letters
    queue._clients.sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"MaximumMessageSize": "262144"}
    )


@pytest.mark.parametrize(
    ("spare", "there"), [(0, None), (60, "name: refused"), (25, "n"), (28, "name")]
)
def test_a_message_at_the_size_limit_is_dead_lettered_and_handled_once(
    site: Site, host: Host, spare: int, there: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """`spare` bytes are left for the reason: all of it, a part, or nothing."""
    text = body("reject-1").replace('"data": {', '"data": {"filling": "FILL", ')
    memory = isinstance(site.broker, MemoryBroker)
    limit = dead_letter_reason.LARGEST if memory else 262_144
    filling = limit - spare - message(text, "step.taken").size + len("FILL")
    sent = message(text.replace("FILL", "x" * filling), "step.taken")
    assert sent.size == limit - spare
    if isinstance(site.broker, MemoryBroker):  # its topic takes less than its queues
        site.broker.send("clerk", sent.body, attributes=sent.attributes)
    else:
        _no_more_than_the_message(site)
        assert not site.broker.topic().publish([sent])
    clerk = Clerk()
    with caplog.at_level(logging.INFO, "messaging"):
        host(clerk, site.broker)

    assert clerk.begun == ["reject-1"]
    [(found, attributes)] = site.letters("clerk")
    assert found == sent.body
    note = {} if there is None else {"dead-letter-reason": Attribute.string(there)}
    assert dict(attributes) == {**sent.attributes, **note}
    # The log has what the letter has not.
    assert "is so big that its dead letter holds" in caplog.text
    assert "name: refused" in caplog.text
