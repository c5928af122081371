"""A handler that takes a batch: how it is declared, and what becomes of each of its messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from messaging.consuming.batch import Batch
from messaging.consuming.batch_dispatch import BatchCall
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call
from messaging.contract.needs import needs_of
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError, ConsumerError, InvalidReturn
from messaging.event import Event
from messaging.lambda_handler import lambda_handler
from messaging.memory.broker import MemoryBroker
from messaging.outcome import Discard, Outcome, Reject, Retry, RetryPolicy
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.testing import FakeClock, deliver, deliver_batch, deliver_raw, drain, lambda_event
from messaging.topology import Topology


class Enrolled(Event, type="enrolled", version=1):
    number: int
    email: str = "ana@example.com"


class EnrolledForBi(Projection, of=Enrolled, audience="bi"):
    number: int


class Paid(Event, type="paid", version=1, group="payer"):
    payer: str
    number: int


class Load(Consumer):
    service = "bi"
    retry = RetryPolicy(max_attempts=3, outage=0)

    def __init__(self, answer: Callable[[list[int]], Any] = lambda numbers: None) -> None:
        self.calls: list[list[int]] = []
        self.answer = answer

    @handles(batch=100, wait=0.05)
    def load(self, students: Batch[EnrolledForBi]) -> Outcome | Mapping[int, Outcome] | None:
        numbers = [one.number for one in students]
        self.calls.append(numbers)
        answer: Outcome | Mapping[int, Outcome] | None = self.answer(numbers)
        return answer


def enrolled(count: int) -> list[Event]:
    return [Enrolled(number=number) for number in range(count)]


def kinds(results: list[Any]) -> list[str]:
    return [type(one.outcome).__name__ for one in results]


def test_one_call_handles_all_and_none_acknowledges_all() -> None:
    load = Load()
    assert kinds(deliver_batch(load, enrolled(5))) == ["Ack"] * 5
    assert load.calls == [[0, 1, 2, 3, 4]]


def test_one_outcome_is_for_all() -> None:
    for answer in (Retry(7), Reject("closed"), Discard("not ours")):
        results = deliver_batch(Load(lambda numbers, one=answer: one), enrolled(3))
        assert kinds(results) == [type(answer).__name__] * 3
    assert deliver_batch(Load(lambda numbers: Retry(7)), enrolled(2))[1].delay == 7


def test_a_dict_has_an_outcome_by_position_and_the_others_are_acknowledged() -> None:
    load = Load(lambda numbers: {1: Reject("no such course"), 3: Retry()})
    results = deliver_batch(load, enrolled(4))
    assert kinds(results) == ["Ack", "Reject", "Ack", "Retry"]
    assert results[1].why == "no such course"
    assert results[3].delay is not None  # the policy's
    assert len(load.calls) == 1


def test_one_bad_row_costs_its_own_message_and_not_99_good_ones() -> None:
    def insert(numbers: list[int]) -> None:
        if 41 in numbers:
            raise ValueError("41")

    load = Load(insert)
    results = deliver_batch(load, enrolled(100), receive_count=3)
    assert [one.acknowledged for one in results] == [number != 41 for number in range(100)]
    assert results[41].rejected
    assert isinstance(results[41].error, ValueError)
    assert results[40].error is None
    assert len(load.calls) == 101


def test_a_database_that_is_away_is_not_asked_for_each_message() -> None:
    def insert(numbers: list[int]) -> None:
        raise ConnectionError

    load = Load(insert)
    assert kinds(deliver_batch(load, enrolled(100))) == ["Retry"] * 100
    assert len(load.calls) == 4


def test_nothing_is_dead_lettered_for_the_company_it_was_in() -> None:
    def insert(numbers: list[int]) -> None:
        if min(numbers) < 3:
            raise ValueError

    load = Load(insert)
    results = deliver_batch(load, enrolled(10), receive_count=3)
    assert kinds(results) == ["Reject"] * 3 + ["Ack"] * 7


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (True, "bool"),
        ([Retry()], "list"),
        ({9: Retry()}, "no position"),
        ({-1: Retry()}, "no position"),
        ({"0": Retry()}, "no position"),
        ({0: True}, "not an outcome"),
        ({0: Retry}, "not an outcome"),
    ],
)
def test_what_is_no_outcome_is_an_error_and_acknowledges_nothing(
    answer: object, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    results = deliver_batch(Load(lambda numbers: answer), enrolled(2))
    assert kinds(results) == ["Retry", "Retry"]
    assert isinstance(results[0].error, InvalidReturn)
    assert says in str(results[0].error)
    assert any(one.levelno == logging.ERROR for one in caplog.records)


def test_async_handlers_take_batches_too() -> None:
    class Bi(Consumer):
        @handles(batch=10)
        async def load(self, students: Batch[EnrolledForBi]) -> dict[int, Outcome]:
            if len(students) > 1 and students[0].number == 0:
                raise ValueError
            return {0: Discard("seen")} if students[0].number == 1 else {}

    assert kinds(deliver_batch(Bi(), enrolled(3))) == ["Ack", "Discard", "Ack"]


def test_a_message_that_cannot_be_read_does_not_keep_the_others_back() -> None:
    assert deliver_raw(Load(), "{").rejected
    assert deliver(Load(), Enrolled(number=1)).acknowledged


def test_a_batch_shows_no_personal_data_and_has_deliveries_and_envelopes() -> None:
    shown: list[str] = []

    class Bi(Consumer):
        @handles
        def load(self, students: Batch[EnrolledForBi]) -> None:
            shown.append(repr(students))
            assert [one.id for one in students.envelopes]
            assert len(students) == len(students.deliveries) == len(students.envelopes)
            assert students.deliveries[0].receive_count == 1
            assert students[0:1] == (students[0],)
            assert not students.cancelled

    assert all(one.acknowledged for one in deliver_batch(Bi(), enrolled(2)))
    assert shown == ["Batch(2 of EnrolledForBi)"]


def test_wrong_declarations_say_what_to_write_instead() -> None:
    def refused(make: Callable[[], object]) -> str:
        with pytest.raises(ConsumerError) as caught:
            make()
        return str(caught.value)

    def sized(**said: Any) -> Callable[[], object]:
        def make() -> object:
            class Bi(Consumer):
                max_lease = 60

                @handles(**said)
                def load(self, students: Batch[EnrolledForBi]) -> None: ...

            return Bi

        return make

    for said in ({"batch": 0}, {"batch": 1001}, {"batch": True}, {"batch": "9"}):
        assert "Bi.load: @handles(batch=" in refused(sized(**said))
        assert "1 to 1,000 messages" in refused(sized(**said))
    for said in ({"wait": -1}, {"wait": 301}, {"wait": None}, {"wait": float("nan")}):
        assert "0 to 300 seconds" in refused(sized(**said))
    assert "less than max_lease" in refused(sized(wait=60))

    def single() -> None:
        class Bi(Consumer):
            @handles(batch=10)  # type: ignore[type-var]  # wrong on purpose
            def load(self, student: EnrolledForBi) -> None: ...

    assert "annotate it with Batch[EnrolledForBi], or write @handles" in refused(single)

    def listed() -> None:
        class Bi(Consumer):
            @handles
            def load(self, students: list[EnrolledForBi]) -> None: ...

    assert "annotate it with Batch[EnrolledForBi]" in refused(listed)

    def bare() -> None:
        class Bi(Consumer):
            @handles
            def load(self, students: Batch) -> None: ...  # type: ignore[type-arg]  # the same

    assert "Batch of nothing" in refused(bare)

    def with_envelope() -> None:
        class Bi(Consumer):
            @handles
            def load(self, students: Batch[EnrolledForBi], envelope: Envelope) -> None: ...

    assert "read students.envelopes" in refused(with_envelope)

    def not_for_it() -> None:
        class Finance(Consumer):
            @handles
            def load(self, students: Batch[EnrolledForBi]) -> None: ...

    assert "which is for bi, not for finance" in refused(not_for_it)


def test_topology_and_needs_see_the_view_in_the_batch() -> None:
    topology = Topology.of(Load, topic="school")
    assert topology.subscription("bi").types == ("enrolled",)
    assert needs_of(Load).reads[0].name == "EnrolledForBi"


def test_a_middleware_that_knows_single_messages_only_is_refused() -> None:
    @contextmanager
    def transaction(call: Call) -> Iterator[None]:
        yield

    with pytest.raises(ConfigurationError, match=r"Load\.load takes a batch.*around_batch"):
        lambda_handler(Load(), middleware=[transaction])


class Around:
    """A middleware that knows batches, and keeps number 1 from the handler."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    @contextmanager
    def __call__(self, call: Call) -> Iterator[None]:
        yield

    @contextmanager
    def around_batch(self, batch: BatchCall) -> Iterator[None]:
        calls = batch.calls
        for call in calls:
            if getattr(call.view, "number", None) == 1:
                batch.leave_out(call, Discard("known"))
        yield
        self.seen.append([type(batch.outcome(call)).__name__ for call in calls])


def test_a_middleware_surrounds_the_call_and_may_leave_messages_out() -> None:
    load, around = Load(lambda numbers: {1: Retry(3)}), Around()
    results = deliver_batch(load, enrolled(3), middleware=[around])
    assert load.calls == [[0, 2]]
    assert kinds(results) == ["Ack", "Discard", "Retry"]
    assert around.seen == [["Ack", "Discard", "Retry"]]


def test_drain_hands_over_batches() -> None:
    clock, load = FakeClock(), Load(lambda numbers: {0: Reject("bad")} if 7 in numbers else None)
    broker = MemoryBroker(Topology.of(Load, topic="school"), clock=clock)
    with Publisher(broker.topic(), source="/school", clock=clock) as publisher:
        publisher.publish_many(enrolled(250))
        drained = drain(broker, load, clock=clock)
    assert sorted(map(len, load.calls)) == [50, 100, 100]
    assert (drained.received, drained.acknowledged, drained.dead_lettered) == (250, 249, 1)
    broker.close()


class Ledger(Consumer):
    retry = RetryPolicy(max_attempts=5, outage=0)

    def __init__(self, answer: Callable[[list[int]], Any]) -> None:
        self.calls: list[list[int]] = []
        self.answer = answer

    @handles(batch=10, wait=0.05)
    def paid(self, payments: Batch[Paid]) -> Outcome | Mapping[int, Outcome] | None:
        numbers = [one.number for one in payments]
        self.calls.append(numbers)
        answer: Outcome | Mapping[int, Outcome] | None = self.answer(numbers)
        return answer


def test_what_follows_a_failed_message_in_its_group_goes_back_with_it() -> None:
    first = iter([True])
    clock = FakeClock()
    ledger = Ledger(lambda numbers: {1: Retry(5)} if next(first, False) else None)
    broker = MemoryBroker(Topology.of(Ledger, topic="school.fifo"), clock=clock)
    with Publisher(broker.topic(), source="/school", clock=clock) as publisher:
        for number, payer in enumerate(["a", "a", "b", "a", "b"]):
            publisher.publish(Paid(payer=payer, number=number))
        drained = drain(broker, ledger, clock=clock)
    failed = ledger.calls[0][1]
    group = [0, 1, 3] if failed in (0, 1, 3) else [2, 4]
    again = [number for call in ledger.calls[1:] for number in call]
    assert again == group[group.index(failed) :]
    assert drained.retried == 1
    assert drained.released == len(again) - 1
    broker.close()


def test_lambda_hands_over_a_batch_and_says_which_failed() -> None:
    load = Load(lambda numbers: {1: Retry(5)})
    event = lambda_event(load, *enrolled(4))
    answer = lambda_handler(load)(event, None)
    assert load.calls == [[0, 1, 2, 3]]
    failed = event["Records"][1]["messageId"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": failed}]}


def test_lambda_tries_a_failed_batch_one_by_one() -> None:
    def insert(numbers: list[int]) -> None:
        if 2 in numbers:
            raise ValueError

    load = Load(insert)
    event = lambda_event(load, *enrolled(4))
    answer = lambda_handler(load)(event, None)
    failed = event["Records"][2]["messageId"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": failed}]}
