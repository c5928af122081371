"""Whatever a queue brings: no crash, no silent delete, a reason, and nobody's data in the log.

More than 10,000 bodies and attributes, made by Hypothesis, go through the real dispatcher; some of
them through a whole lane, a whole worker, the Lambda handler, `drain` and the workbench of dead
letters on the in-process broker. Attributes are those that the library's own code reads, with
notes of dead letters that somebody else wrote.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from time import sleep
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, EmailStr, Field

from messaging.aws.messages import deliveries
from messaging.clock import utc
from messaging.codec import JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.dead_letters import Where, Workbench
from messaging.dead_letters import reason as dead_letter_reason
from messaging.dead_letters.letter import letter_of, without_note
from messaging.event import Event
from messaging.lambda_handler import delivery_of, lambda_handler
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Outcome, Reject
from messaging.runtime import Worker
from messaging.testing import FakeClock, drain
from messaging.testing.stepping import Steps
from messaging.topology import Topology
from messaging.transport import (
    MOST_RECEIVES,
    Attribute,
    DeadLetter,
    Delivery,
    epoch_seconds,
)
from tests.contracts.hosts import record

CANARY = "Zuleica <zuleica@example.org>"
"""Personal data: must never be seen outside of the body that holds it."""

AT_ONCE = 8
"""Bodies of one example: Hypothesis costs more than the dispatcher."""
DISPATCHED, THROUGH_A_LANE, THROUGH_A_HOST = 330, 60, 25
"""Examples; with eight bodies of four forms each, more than 10,000 through the dispatcher."""


class Guardian(BaseModel):
    name: str
    phone: str | None = None


class Enrolment(Event, type="hostile.enrolment", version=2):
    student: UUID
    name: str
    email: EmailStr
    since: AwareDatetime
    fee: Decimal
    grades: dict[str, int] = Field(default_factory=dict)
    guardians: list[Guardian] = Field(default_factory=list)


class Office(Consumer):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.handled: list[Enrolment] = []

    @handles
    def enrolled(self, event: Enrolment) -> None:
        self.handled.append(event)


VALID: dict[str, Any] = {
    "specversion": "1.0",
    "id": "event-1",
    "source": "/hostile",
    "type": "hostile.enrolment",
    "dataversion": 2,
    "datacontenttype": "application/json",
    "time": "2026-01-05T12:00:00Z",
    "data": {
        "student": "00000000-0000-4000-8000-000000000001",
        "name": CANARY,
        "email": "zuleica@example.org",
        "since": "2026-01-05T12:00:00-03:00",
        "fee": "777.25",
        "grades": {CANARY: 9},
        "guardians": [{"name": CANARY, "phone": CANARY}],
    },
}
SETTINGS = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


class Heard(logging.Handler):
    """All log lines, as they would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def check(self) -> None:
        """Nobody's data in what was written since the last time."""
        lines, self.lines = self.lines, []
        for line in lines:
            check_told(line, "log")


@dataclass
class Tally:
    """What the module's tests have seen together."""

    bodies: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, log = Heard(), logging.getLogger("messaging")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler
    log.removeHandler(handler)
    log.setLevel(before)


# What a hostile sender writes.

texts = st.one_of(
    st.just(CANARY),
    st.text(max_size=20).map(lambda text: CANARY + text),
    st.text(st.characters(categories=("Cs", "Cc", "Lu", "So")), max_size=8),
    st.sampled_from(["", "\x00", "\ud800", "NaN", "null", "2.0", "1e999", "\r\nWARNING: all well"]),
)
numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([10**400, -(10**60), 2**63, 1e308, 0, -1, True]),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=6,
)
paths = st.sampled_from(
    [(name,) for name in [*VALID, "data_base64", "traceparent", "subject", "dataref"]]
    + [("data", name) for name in [*VALID["data"], CANARY]]
    + [("data", "guardians", 0), ("data", "guardians", 0, "name"), ("data", "grades", CANARY)]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The valid document with some places changed, or gone."""
    document = json.loads(json.dumps(VALID))
    for path in draw(st.lists(paths, min_size=0, max_size=3)):
        place: Any = document
        for step in path[:-1]:
            try:
                place = place[step]
            except (KeyError, TypeError, IndexError):
                place = None
        if isinstance(place, dict) and draw(st.booleans()):
            place.pop(path[-1], None)
        elif isinstance(place, dict):
            place[path[-1]] = draw(values)
    return json.dumps(document)


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + f'"{CANARY}"' + closing * depth


def with_data(text: str) -> str:
    head = {name: value for name, value in VALID.items() if name != "data"}
    return json.dumps(head)[:-1] + f', "data": {text}}}'


deep = st.builds(
    nested,
    st.sampled_from([10, 150, 300, 5_000]),
    st.sampled_from(["[", '{"a":']),
    st.sampled_from(["]", "}", ""]),
)
malformed = st.one_of(
    st.binary(max_size=60).map(lambda raw: CANARY + raw.decode("utf-8", "surrogateescape")),
    st.text(max_size=40),
    values.map(json.dumps),
    deep,
    deep.map(with_data),
    st.builds(lambda value: with_data(json.dumps({**VALID["data"], "fee": value})), numbers),
    mutated().map(lambda text: text.replace("{", '{"id": "twice", ', 1)),
)


def notification(text: str) -> str:
    """As SNS sends it where raw delivery is off."""
    return json.dumps({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": text})


in_base64 = values.map(
    lambda value: json.dumps(
        {
            **{name: said for name, said in VALID.items() if name != "data"},
            "data_base64": base64.b64encode(json.dumps(value).encode()).decode(),
        }
    )
)
versions = st.sampled_from([0, -1, 3, 999, 2**64, 1.5, "2", "two", None, True, [2]]).map(
    lambda version: json.dumps({**VALID, "dataversion": version})
)
huge = st.sampled_from(["x", "é", "\x01"]).map(
    lambda letter: json.dumps({**VALID, "data": {"name": CANARY + letter * 1_000_000}})
) | st.builds(nested, st.just(200_000), st.sampled_from(["[", '{"a":']), st.just("]"))
bodies = st.one_of(mutated(), mutated(), malformed, malformed, in_base64, versions)

attribute_names = st.sampled_from(
    ["type", "audience", "dead-letter", "traceparent", "ErrorCode", "ErrorMessage", "RequestID"]
    + [f"dead-letter-{name}" for name in ("reason", "error", "attempts", "time", "queue")]
    + [f"other-{number}" for number in range(12)]
)
harmless = st.one_of(
    st.sampled_from(["", "x", "5", "\x00", "\ud800", "2026-01-05T12:00:00Z", "AWS.x"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
)
"""Without the canary: a forged reason is shown, for it may be a real one."""
kept = st.dictionaries(
    st.sampled_from(["type", "value", "base64"]),
    harmless | st.sampled_from(["String", "Number.int", "Binary", "eA=="]),
)
notes = st.dictionaries(
    st.sampled_from(["reason", "error", "attempts", "time", "queue"]), harmless
).flatmap(
    lambda note: st.one_of(
        harmless, kept, st.dictionaries(st.sampled_from(["a", "b", "dead-letter", "a b", ""]), kept)
    ).map(lambda moved: {"reason": "x", **note, "attributes": moved})
)
own = st.one_of(
    notes.map(json.dumps),
    st.sampled_from(["[" * 3_000, '{"reason":' * 1_500, '{"reason":' + "9" * 5000 + "}"]),
    st.sampled_from(["9" * 5000, "-1", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
)
"""What stands in attributes that the library itself writes and reads."""
kinds = st.sampled_from(["String", "String.Array", "Number", "Binary", "String.Array.x"])
attributes = st.dictionaries(
    attribute_names,
    st.builds(
        Attribute, kinds, st.one_of(own, own, texts.filter(bool), st.binary(min_size=1, max_size=8))
    ),
    max_size=10,
)
systems = st.dictionaries(
    st.sampled_from(["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"]),
    harmless | st.sampled_from(["9" * 5000, "many", "-1", "1e400", [], {}]),
)
"""System attributes, of which SQS says that they are numbers."""


# What must hold.


def delivery(body: str, given: dict[str, Attribute], number: int) -> Delivery:
    return Delivery(queue="q", message_id=f"m-{number}", receipt="r", body=body, attributes=given)


def check_told(text: str, where: str) -> None:
    """One line, with nothing in it of what the body holds."""
    assert "uleica" not in text, where
    assert text.isprintable(), f"{where}: {text!r}"


def check_outcome(outcome: object, ran: bool) -> str:
    assert isinstance(outcome, Outcome)
    if ran:
        assert type(outcome) is Ack
    else:
        assert type(outcome) is Reject
        assert len(outcome.reason) > 5
        check_told(outcome.reason, "reason")
        check_told(outcome.error or "", "error")
    return type(outcome).__name__


def check_letter(one: Delivery, outcome: Reject) -> None:
    """The dead letter can be written by SQS's rules, and says why."""
    letter = DeadLetter(
        delivery=one, reason=outcome.reason, error=outcome.error, attempts=1, time=0.0, queue="q"
    )
    beside = dead_letter_reason.attributes(letter)
    _, note = dead_letter_reason.read(beside)
    assert len(beside) <= dead_letter_reason.MAX_ATTRIBUTES
    assert note is not None
    assert note.reason == outcome.reason[:1024]
    assert all(one.value for one in beside.values())


def messages(body: st.SearchStrategy[str], size: int) -> Any:
    return st.tuples(st.lists(body, min_size=size, max_size=size), attributes)


Given = tuple[list[str], dict[str, Attribute]]


def on_the_wire(given: dict[str, Attribute]) -> dict[str, Attribute]:
    """Without half characters: SQS speaks UTF-8, which has none."""
    return {
        name: one
        for name, one in given.items()
        if isinstance(one.value, bytes)
        or not any("\ud800" <= char <= "\udfff" for char in one.value)
    }


@settings(SETTINGS, max_examples=DISPATCHED)
@given(messages=messages(bodies, AT_ONCE))
def test_each_is_handled_or_rejected_with_a_reason(
    messages: Given, tally: Tally, heard: Heard
) -> None:
    office = Office()
    dispatch = Dispatcher(office)
    texts, beside = messages
    for number, body in enumerate(texts):
        for form in (body, notification(body), body[: len(body) * 2 // 3], with_data(body)):
            before = len(office.handled)
            one = delivery(form, beside, number)
            outcome = dispatch(one)
            tally.outcomes[check_outcome(outcome, len(office.handled) > before)] += 1
            if isinstance(outcome, Reject):
                check_letter(one, outcome)
            tally.bodies += 1
    heard.check()


def test_those_were_ten_thousand(tally: Tally) -> None:
    assert tally.bodies >= 10_000
    assert tally.outcomes["Ack"] > 100  # some are valid, or nothing of this would mean much
    assert tally.outcomes["Reject"] > 5_000


@settings(SETTINGS, max_examples=6)
@given(messages=messages(huge, 1))
def test_a_body_of_a_mebibyte(messages: Given, heard: Heard) -> None:
    office = Office()
    (body,), beside = messages
    outcome = Dispatcher(office)(delivery(body, beside, 0))
    check_outcome(outcome, bool(office.handled))
    heard.check()


@settings(SETTINGS, max_examples=THROUGH_A_LANE)
@given(messages=messages(bodies, AT_ONCE))
def test_nothing_is_deleted_in_silence(messages: Given, heard: Heard) -> None:
    """Through a whole lane: what was not handled stands in the dead-letter queue as it came."""
    clock, office = FakeClock(), Office()
    with MemoryBroker(Topology.of(Office, topic="hostile"), clock=clock) as broker:
        steps = Steps.of(Dispatcher(office), broker, clock=clock)
        texts, beside = messages
        for body in texts:
            broker.send("office", body, attributes=on_the_wire(beside))
        while steps.poll() or steps.handle() or steps.settle():
            pass
        letters = broker.dead_letters("office")
        assert not broker.messages("office")
        assert len(office.handled) + len(letters) == len(texts)
        stats = steps.stats
        assert (stats.acknowledged, stats.dead_lettered) == (len(office.handled), len(letters))
        sent = Counter(texts)
        for letter in letters:
            assert sent[letter.body] > 0
            _, note = dead_letter_reason.read(letter.attributes)
            assert note is not None
            check_told(note.reason, "reason")
    heard.check()


# And through whoever receives it.


def through_worker(office: Office, broker: MemoryBroker, clock: FakeClock) -> None:
    with Worker(office, broker=broker, wait=0.01) as worker:
        queue = broker.queue("office")
        while any(queue.depth()[:3]) or worker.stats.in_flight:
            sleep(0.001)
    assert worker.stats.balanced


def through_lambda(office: Office, broker: MemoryBroker, clock: FakeClock) -> None:
    queue = broker.queue("office")
    handler = lambda_handler(office, queue=queue, clock=clock)
    while received := queue.receive(10, 0):
        answer = handler({"Records": [record(one) for one in received]}, None)
        assert answer == {"batchItemFailures": []}
        assert not queue.delete(received)


def through_drain(office: Office, broker: MemoryBroker, clock: FakeClock) -> None:
    drained = drain(broker, office, clock=clock)
    assert drained.received == drained.acknowledged + drained.dead_lettered


@pytest.mark.parametrize("run", [through_worker, through_lambda, through_drain])
@settings(SETTINGS, max_examples=THROUGH_A_HOST)
@given(messages=messages(bodies, AT_ONCE))
def test_whoever_receives_it_outlives_it(
    run: Callable[[Office, MemoryBroker, FakeClock], None], messages: Given, heard: Heard
) -> None:
    """Handled, or a dead letter that can be listed, sent back, and dropped."""
    clock, office = FakeClock(), Office()
    with MemoryBroker(Topology.of(Office, topic="hostile"), clock=clock) as broker:
        texts, beside = messages
        for body in texts:
            broker.send("office", body, attributes=on_the_wire(beside))
        run(office, broker, clock)
        assert not broker.messages("office")
        handled = len(office.handled)
        assert handled + len(broker.dead_letters("office")) == len(texts)

        bench = Workbench(broker.letters("office"), clock=clock)
        for letter in bench.letters():
            check_told(letter.reason, "reason")
            json.dumps(letter.to_dict())
        report = bench.redrive(Where(since=0.0), dry_run=False)
        assert (report.done, report.failed) == (len(texts) - handled, ())
        run(office, broker, clock)
        assert len(office.handled) == handled
        assert bench.drop(dry_run=False).done == len(texts) - handled
    heard.check()


@settings(SETTINGS, max_examples=THROUGH_A_LANE)
@given(given=attributes, kind=st.sampled_from(["dead", "undelivered"]), sent_at=numbers)
def test_a_letter_that_nobody_wrote_a_note_for_can_be_told(
    given: dict[str, Attribute], kind: Literal["dead", "undelivered"], sent_at: Any
) -> None:
    one = delivery("no JSON", given, 0)
    vars(one)["sent_at"] = epoch_seconds(sent_at)
    letter = letter_of(one, kind, JsonCodec())
    json.dumps(letter.to_dict(), default=str)
    assert Where(reason="x", since=0.0)(letter) in {True, False}
    assert len(without_note(letter)) <= max(len(given), dead_letter_reason.MAX_ATTRIBUTES)


@settings(SETTINGS, max_examples=DISPATCHED)
@given(system=systems, given=attributes)
def test_system_attributes_that_are_no_numbers_are_read_as_none(
    system: dict[str, Any], given: dict[str, Attribute]
) -> None:
    """As SQS's API gives them, and as Lambda does."""
    [received] = deliveries(
        "q",
        [{"MessageId": "m", "ReceiptHandle": "r", "Body": "no JSON", "Attributes": system}],
        started=0.0,
        ended=0.0,
    )
    said = record(delivery("no JSON", on_the_wire(given), 0)) | {"attributes": system}
    for one in (received, delivery_of(said, now=0.0)):
        assert 1 <= one.receive_count <= MOST_RECEIVES
        assert utc(one.sent_at).year >= 1970
        assert one.group is None or isinstance(one.group, str)
        outcome = Dispatcher(Office())(one)
        assert isinstance(outcome, Reject)
        check_letter(one, outcome)
    assert Office().retry.delay(received.receive_count) >= 0
    queue = MemoryBroker(Topology.of(Office, topic="hostile")).queue("office")
    answer = lambda_handler(Office(), queue=queue)({"Records": [said]}, None)
    assert answer == {"batchItemFailures": []}


@settings(SETTINGS, max_examples=THROUGH_A_LANE)
@given(said=values)
def test_attributes_of_any_shape_are_attributes(said: Any) -> None:
    """Of an answer or an event that somebody else has put together."""
    one = {"messageId": "m", "receiptHandle": "r", "body": said, "messageAttributes": {"a": said}}
    read = delivery_of(one | {"attributes": said}, now=0.0)
    assert isinstance(read.body, str)
    for attribute in read.attributes.values():
        assert isinstance(attribute.strings, tuple)
        assert attribute.size("a") >= 0
    made = Attribute.received(said, said, said)
    assert isinstance(made.strings, tuple)
