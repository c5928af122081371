"""The workbench under bad luck: nothing is lost, at worst a letter is sent back twice."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.dead_letters import DeadLetterSource, Kind, Where, Workbench
from messaging.dead_letters.reason import attributes
from messaging.errors import ConfigurationError, TransportError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.testing import FakeClock
from messaging.topology import Topology
from messaging.transport import Attribute, DeadLetter, Delivery, Failure


class Sent(Event, type="parcel.sent", version=1):
    number: int


class Depot(Consumer):
    @handles
    def sent(self, parcel: Sent) -> None: ...


TOPOLOGY = Topology.of(Depot, topic="parcels")
SEGREDO = "segredo@example.com"


class Stepping(FakeClock):
    """Sleeping is over at once."""

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Unlucky:
    """A box of which the test says what goes wrong, before or after each request."""

    kind: Kind = "dead"

    def __init__(
        self, box: DeadLetterSource, before: Callable[[str], Any] = lambda action: None
    ) -> None:
        self._box = box
        self.before = before
        self.after: Callable[[str], Any] = lambda action: None
        self.name, self.origin = box.name, box.origin

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        return self._asked("receive", lambda: self._box.receive(limit, wait, hold))

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return self._asked("release", lambda: self._box.release(deliveries))

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return self._asked("send_back", lambda: self._box.send_back(deliveries))

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return self._asked("delete", lambda: self._box.delete(deliveries))

    def move_all(self, on_progress: Any, stop: Any) -> int | None:
        return None

    def _asked(self, action: str, request: Callable[[], Any]) -> Any:
        instead = self.before(action)
        if instead is not None:
            return instead
        answer = request()
        self.after(action)
        return answer


@pytest.fixture
def clock() -> Stepping:
    return Stepping()


@pytest.fixture
def broker(clock: Stepping) -> Iterator[MemoryBroker]:
    with MemoryBroker(TOPOLOGY, clock=clock) as broker:
        yield broker


def body(number: int) -> str:
    return (
        f'{{"specversion":"1.0","id":"e{number}","source":"/s","type":"parcel.sent",'
        f'"data":{{"email":"{SEGREDO}","number":{number}}}}}'
    )


def bury(broker: MemoryBroker, *bodies: str, **more: Any) -> None:
    queue = broker.queue("depot")
    for one in bodies:
        broker.send("depot", one, attributes={"type": Attribute.string("parcel.sent")})
        [delivery] = queue.receive(1, 0)
        letter = DeadLetter(
            delivery=delivery,
            reason=more.get("reason", "data.email: nobody is there"),
            error=more.get("error"),
            attempts=1,
            time=more.get("time", 1_764_000_000.0),
            queue=queue.name,
        )
        assert not queue.dead_letter([letter])
        assert not queue.delete([delivery])


def standing(broker: MemoryBroker) -> Counter[str]:
    """How often each body is in the queue or among the letters."""
    both = (*broker.messages("depot"), *broker.dead_letters("depot"))
    return Counter(one.body for one in both)


def test_nothing_of_a_body_is_told(
    broker: MemoryBroker, clock: Stepping, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bury(broker, body(1))
    bench = Workbench(broker.letters("depot"), clock=clock)
    [letter] = bench.letters()

    told = f"{letter!r} {letter} {json.dumps(letter.to_dict())} {bench.redrive(dry_run=False)}"

    assert letter.event_id == "e1"
    assert SEGREDO not in told + caplog.text


def test_a_letter_as_plain_data(broker: MemoryBroker) -> None:
    bury(broker, body(1), error="KeyError", time=1_764_000_000.5)
    [letter] = Workbench(broker.letters("depot")).letters()
    assert letter.to_dict() == {
        "id": letter.delivery.message_id,
        "kind": "dead",
        "type": "parcel.sent",
        "event_id": "e1",
        "reason": "data.email: nobody is there",
        "error": "KeyError",
        "attempts": 1,
        "time": "2025-11-24T16:00:00+00:00",
    }


def test_a_body_that_nobody_can_read_is_listed(broker: MemoryBroker) -> None:
    bury(broker, "\x00 no json")
    [letter] = Workbench(broker.letters("depot")).letters()
    assert (letter.type, letter.event_id) == ("parcel.sent", None)


def test_a_wrapped_notification_tells_its_type(broker: MemoryBroker) -> None:
    wrapped = {"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": body(7)}
    queue = broker.letters("depot", kind="undelivered")
    broker._of("depot").undelivered.put([broker._topic.message(json.dumps(wrapped), {}, None)])
    [letter] = Workbench(queue).letters()
    assert (letter.type, letter.event_id) == ("parcel.sent", "e7")

    Workbench(queue).redrive(dry_run=False)
    [back] = broker.messages("depot")
    assert back.body == json.dumps(wrapped), "as SNS put it"


def test_only_what_sns_added_is_taken_off(broker: MemoryBroker) -> None:
    added = {
        name: Attribute.string(f"of {name}") for name in ("RequestID", "ErrorCode", "ErrorMessage")
    }
    theirs = {"type": Attribute.string("parcel.sent"), **added}
    broker._of("depot").undelivered.put([broker._topic.message("1", theirs, None)])
    bench = Workbench(broker.letters("depot", kind="undelivered"))

    [letter] = bench.letters()
    assert letter.reason == ("SNS could not deliver it to the queue: of ErrorCode, of ErrorMessage")
    bench.redrive(dry_run=False)
    assert set(broker.messages("depot")[0].attributes) == {"type"}


def test_attributes_that_stood_in_the_note_go_back(broker: MemoryBroker) -> None:
    many = {f"a{n}": Attribute("Number", str(n)) for n in range(9)}
    original = {"type": Attribute.string("parcel.sent"), **many}
    delivery = Delivery(queue="q", message_id="m", receipt="r", body="1", attributes=original)
    letter = DeadLetter(
        delivery=delivery, reason="r", error=None, attempts=1, time=1.0, queue="parcels-depot"
    )
    moved = attributes(letter)
    assert len(moved) == 10
    broker._of("depot").dead_letters.put([broker._topic.message("1", moved, None)])

    assert Workbench(broker.letters("depot")).redrive(dry_run=False).done == 1

    assert dict(broker.messages("depot")[0].attributes) == original


@pytest.mark.parametrize("action", ["redrive", "drop"])
def test_ctrl_c_at_any_moment_loses_nothing(action: str) -> None:
    everything = {str(number) for number in range(25)}
    for moment in range(100):
        clock = Stepping()
        broker = MemoryBroker(TOPOLOGY, clock=clock)
        bury(broker, *everything)
        requests = Countdown(moment)
        box = Unlucky(broker.letters("depot"), requests)
        box.after = requests

        with contextlib.suppress(KeyboardInterrupt):
            getattr(Workbench(box, clock=clock), action)(dry_run=False)
        counts = standing(broker)
        clock.advance(301)
        getattr(Workbench(broker.letters("depot"), clock=clock), action)(dry_run=False)

        assert not broker.dead_letters("depot")
        if action == "redrive":
            assert set(counts) == everything, f"lost at request {moment}"
            assert sum(counts.values()) <= 25 + 10, "at worst one batch stands twice"
            assert set(standing(broker)) == everything
        if not requests.rang:
            return
    pytest.fail("the work never came to its end")


class Countdown:
    """Ctrl-C at a moment of the test's choice: before or after a request."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self.rang = False

    def __call__(self, request: str) -> None:
        self.left -= 1
        if self.left == -1:
            self.rang = True
            raise KeyboardInterrupt


def test_after_an_interruption_the_rest_follows(broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, *(str(number) for number in range(25)))
    asked = iter(["receive", "send_back", "delete", "receive"])

    def interrupt(request: str) -> None:
        if next(asked, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Workbench(Unlucky(broker.letters("depot"), interrupt), clock=clock).redrive(dry_run=False)
    assert len(broker.messages("depot")) == 10

    clock.advance(301)  # the release was interrupted, too: the second half is hidden
    assert Workbench(broker.letters("depot"), clock=clock).redrive(dry_run=False).done == 15
    assert standing(broker) == Counter(str(number) for number in range(25))
    assert not broker.dead_letters("depot")


def test_a_letter_that_was_refused_stays(broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, "1", "2", "3")

    class Refusing(Unlucky):
        def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
            kept = [one for one in deliveries if one.body != "2"]
            super().send_back(kept)
            return [
                Failure(place, "InvalidMessageContents", "refused", False)
                for place, one in enumerate(deliveries)
                if one.body == "2"
            ]

    report = Workbench(Refusing(broker.letters("depot")), clock=clock).redrive(dry_run=False)

    assert (report.matched, report.done) == (3, 2)
    [stuck] = report.failed
    [left] = broker.dead_letters("depot")
    assert (stuck.id, stuck.code, stuck.reason) == (
        left.message_id,
        "InvalidMessageContents",
        "refused",
    )
    assert left.state == "visible"
    assert report.to_dict()["failed"] == [
        {"id": left.message_id, "code": "InvalidMessageContents", "reason": "refused"}
    ]


def test_nobody_answers_and_nothing_is_deleted(broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, "1", "2")

    def away(request: str) -> None:
        if request == "send_back":
            raise TransportError("nobody answers")

    with pytest.raises(TransportError, match="nobody answers"):
        Workbench(Unlucky(broker.letters("depot"), away), clock=clock).redrive(dry_run=False)

    assert [one.state for one in broker.dead_letters("depot")] == ["visible", "visible"]
    assert not broker.messages("depot")


@pytest.mark.parametrize("how", ["raises", "refuses"])
def test_a_delete_is_tried_again(how: str, broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, "1")
    tries: list[str] = []

    def once(request: str) -> Any:
        if request != "delete":
            return None
        tries.append(request)
        if len(tries) > 2:
            return None
        if how == "raises":
            raise TransportError("lost", code="Timeout")
        return [Failure(0, "InternalError", "not now", True)]

    report = Workbench(Unlucky(broker.letters("depot"), once), clock=clock).redrive(dry_run=False)

    assert (report.done, report.failed, len(tries)) == (1, (), 3)
    assert not broker.dead_letters("depot")


def test_a_letter_that_cannot_be_deleted_is_told(broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, "1")

    def never(request: str) -> Any:
        return [Failure(0, "InternalError", "not now", True)] if request == "delete" else None

    report = Workbench(Unlucky(broker.letters("depot"), never), clock=clock).redrive(dry_run=False)

    assert report.done == 0
    [stuck] = report.failed
    assert stuck.code == "InternalError"
    assert "may have been sent back: not now" in stuck.reason
    assert standing(broker) == Counter({"1": 2})


def test_a_letter_that_fails_again_at_once_is_not_sent_back_for_ever(
    broker: MemoryBroker, clock: Stepping
) -> None:
    bury(broker, "1", "2")
    queue = broker.queue("depot")

    def fails_again(request: str) -> None:
        if request == "delete":
            clock.advance(0.1)
            bury_again = queue.receive(10, 0)
            letters = [
                DeadLetter(
                    delivery=one, reason="again", error=None, attempts=1, time=1.0, queue=queue.name
                )
                for one in bury_again
            ]
            queue.dead_letter(letters)
            queue.delete(bury_again)

    box = Unlucky(broker.letters("depot"))
    box.after = fails_again
    report = Workbench(box, clock=clock).redrive(dry_run=False)

    assert (report.done, report.arrived) == (2, 2)
    assert len(broker.dead_letters("depot")) == 2


def test_a_walk_ends_although_letters_come_round_again(
    broker: MemoryBroker, clock: Stepping
) -> None:
    bury(broker, *(str(number) for number in range(12)))

    def slow(request: str) -> None:
        clock.advance(301)  # each answer takes longer than letters are held

    found = list(Workbench(Unlucky(broker.letters("depot"), slow), clock=clock).letters())

    assert sorted(one.delivery.body for one in found) == sorted(str(n) for n in range(12))


def test_letters_that_cannot_be_released_are_told(
    broker: MemoryBroker, clock: Stepping, caplog: pytest.LogCaptureFixture
) -> None:
    bury(broker, body(1))

    def away(request: str) -> None:
        if request == "release":
            raise TransportError("nobody answers", code="Timeout")

    assert len(list(Workbench(Unlucky(broker.letters("depot"), away)).letters())) == 1

    assert "1 letters of parcels-depot-dlq stay hidden for up to 300 s" in caplog.text
    assert SEGREDO not in caplog.text


def test_progress_is_told(broker: MemoryBroker, clock: Stepping) -> None:
    bury(broker, *(str(number) for number in range(12)))
    told: list[int] = []
    Workbench(broker.letters("depot"), clock=clock).drop(
        dry_run=False, on_progress=lambda done, total: told.append(done)
    )
    assert told == [10, 12]


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        (Where(), True),
        (Where(ids=frozenset({"e1"})), True),
        (Where(ids=frozenset({"e2"})), False),
        (Where(types=frozenset({"parcel.sent", "x"})), True),
        (Where(types=frozenset({"parcel"})), False),
        (Where(reason="EMAIL"), True),
        (Where(reason="^nobody"), False),
        (Where(reason="keyerror"), True),
        (Where(since=100.0), True),
        (Where(since=100.5), False),
        (Where(until=100.0), False),
        (Where(until=100.5), True),
        (Where(reason="email", types=frozenset({"x"})), False),
    ],
)
def test_which_letters_are_meant(where: Where, meant: bool, broker: MemoryBroker) -> None:
    bury(broker, body(1), error="KeyError", time=100.0)
    assert len(list(Workbench(broker.letters("depot")).letters(where))) == meant


def test_a_place_to_search_that_cannot_be_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"reason '\(' is no regular expression: .*position 0"
    ):
        Where(reason="(")
    with pytest.raises(ConfigurationError, match="a set of them"):
        Where(types="parcel.sent")  # type: ignore[arg-type] - that is the point
    assert Where(types=["a"]) == Where(types={"a"})  # type: ignore[arg-type] - a list will do
    assert Where().everything
    assert not Where(since=0).everything
