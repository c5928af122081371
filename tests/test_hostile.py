"""Whatever a queue brings: no crash, no silent delete, a reason, and nobody's data in the log.

More than 10,000 bodies and attributes, made by Hypothesis, go through the real dispatcher; some of
them through a whole lane on the in-process broker.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, EmailStr, Field

from messaging import deadletter
from messaging.consumer import Consumer, handles
from messaging.dispatch import Dispatcher
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Outcome, Reject
from messaging.runtime.stepping import Steps
from messaging.testing import FakeClock
from messaging.topology import Topology
from messaging.transport import Attribute, DeadLetter, Delivery

CANARY = "Zuleica <zuleica@example.org>"
"""Personal data: must never be seen outside of the body that holds it."""

AT_ONCE = 8
"""Bodies of one example: Hypothesis costs more than the dispatcher."""
DISPATCHED, THROUGH_A_LANE = 330, 60
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
    ["type", "audience", "dead-letter", "dead-letter-reason", "dead-letter-attempts", "traceparent"]
    + [f"other-{number}" for number in range(12)]
)
attributes = st.dictionaries(
    attribute_names,
    st.builds(
        Attribute,
        st.sampled_from(["String", "String.Array", "Number", "Binary", "String.Array.x"]),
        st.one_of(texts.filter(bool), st.binary(min_size=1, max_size=8)),
    ),
    max_size=10,
)


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
    beside = deadletter.attributes(letter)
    _, note = deadletter.read(beside)
    assert len(beside) <= deadletter.MAX_ATTRIBUTES
    assert note is not None
    assert note.reason == outcome.reason[:1024]


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
            _, note = deadletter.read(letter.attributes)
            assert note is not None
            check_told(note.reason, "reason")
    heard.check()
