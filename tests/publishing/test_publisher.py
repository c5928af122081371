"""Events in, batches out: lazily, several requests at once, and with a result to resume from."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from messaging.errors import (
    AccessDenied,
    ConfigurationError,
    EventError,
    EventTooLarge,
    InvalidCharacters,
    PublishError,
    Throttled,
    TransportError,
)
from messaging.event import Event
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import Published, PublishProgress, PublishResult
from messaging.testing import FakeClock, RecordingTopic
from messaging.transport import Failure, Outgoing
from tests.scripted import Noted, ScriptedTopic, busy, wrong
from tools import walk

ROOT = Path(__file__).parent.parent


class Enrolled(Event, type="enrolled", version=1):
    number: int
    name: str = "Ana"
    fee: int = 0
    consent: bool = False
    fully: bool = True


class ForMail(Projection, of=Enrolled, audience="mail"):
    number: int
    name: str

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.consent


class ForBooks(Projection, of=Enrolled, audience="books"):
    number: int
    fee: int

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.fully


class Big(Event, type="big", version=1):
    a: str
    b: str


class BigForOne(Projection, of=Big, audience="one"):
    a: str


class BigForTwo(Projection, of=Big, audience="two"):
    b: str


class Ordered(Event, type="ordered", version=1, group="who"):
    who: str
    number: int


def publisher(topic: Any, **keywords: Any) -> Publisher:
    return Publisher(topic, source="/tests", clock=FakeClock(), **keywords)


def notes(many: int) -> Iterator[Noted]:
    return (Noted(number=number) for number in range(many))


# publish


def test_publish_returns_the_id_and_the_copies_when_the_topic_has_them() -> None:
    topic = ScriptedTopic()
    published = publisher(topic).publish(Enrolled(number=1, consent=True))
    assert published == Published(topic.accepted[0].id, 2)
    assert topic.sizes == [2], "the copies of one event share a request"


def test_publish_keeps_the_id_that_was_given() -> None:
    topic = RecordingTopic()
    assert publisher(topic).publish(Noted(number=1), id="mine") == Published("mine", 1)
    assert topic.copies[0].envelope.id == "mine"
    assert topic.copies[0].envelope.source == "/tests"


def test_an_event_that_every_view_declines_is_not_sent() -> None:
    topic = ScriptedTopic()
    assert publisher(topic).publish(Enrolled(number=1, fully=False)).copies == 0
    assert topic.requests == []


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Noted(number=1, text="x" * 300_000), EventTooLarge),
        (Noted(number=1, text="a\x00"), InvalidCharacters),
        (Noted(number=1, text="\ud800"), InvalidCharacters),
    ],
    ids=["large", "control", "surrogate"],
)
def test_an_event_that_cannot_be_sent_is_an_error_before_any_call(
    event: Noted, kind: type[PublishError]
) -> None:
    topic = ScriptedTopic()
    with pytest.raises(kind, match="text"):
        publisher(topic).publish(event)
    assert topic.requests == []


def test_publish_tries_again_and_only_what_was_refused() -> None:
    topic = ScriptedTopic(Throttled("slow down"), busy(1))
    publisher(topic).publish(Enrolled(number=1, consent=True))
    assert topic.sizes == [2, 2, 1]


def test_publish_raises_what_was_not_accepted() -> None:
    topic = ScriptedTopic(wrong(0))
    with pytest.raises(PublishError, match="InvalidParameter: no") as caught:
        publisher(topic).publish(Noted(number=1), id="mine")
    assert isinstance(caught.value.result, PublishResult)
    assert caught.value.result.failed[0].id == "mine"


def test_publish_says_what_kept_the_topic_from_answering() -> None:
    denied = AccessDenied("no", code="AccessDenied")
    with pytest.raises(PublishError, match="AccessDenied: no") as caught:
        publisher(ScriptedTopic(denied)).publish(Noted(number=1))
    assert caught.value.__cause__ is denied


def test_copies_too_big_for_one_request_go_in_two_and_silence_ends_both() -> None:
    event = Big(a="x" * 200_000, b="y" * 200_000)
    topic = ScriptedTopic()
    assert publisher(topic).publish(event).copies == 2
    assert topic.sizes == [1, 1]
    topic = ScriptedTopic(AccessDenied("no"), AccessDenied("no"))
    with pytest.raises(PublishError):
        publisher(topic).publish(event)
    assert topic.sizes == [1]


def test_the_requests_of_one_event_share_its_time_limit() -> None:
    clock = FakeClock()

    def slow(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        clock.advance(40)
        return busy(0) if len(topic.requests) == 2 else ()

    topic = ScriptedTopic(slow, slow)
    event = Big(a="x" * 200_000, b="y" * 200_000)
    with pytest.raises(PublishError, match=r"Timeout: .*given up after 1 attempt in 60 s"):
        Publisher(topic, source="/tests", clock=clock).publish(event)
    assert topic.sizes == [1, 1]


def test_more_copies_than_a_request_takes_go_in_two() -> None:
    def made(base: Any, names: Sequence[str], **keywords: Any) -> Any:
        fields: dict[str, Any] = dict.fromkeys(names, (int, 1))
        return create_model(
            "Of" + "_".join(names), __base__=base, __cls_kwargs__=keywords, **fields
        )

    names = [f"field_{at}" for at in range(11)]
    wide = made(Event, names, type="wide", version=1)
    views = [made(Projection, [name], of=wide, audience=name) for name in names]
    topic = ScriptedTopic(busy(3))
    assert publisher(topic).publish(wide()).copies == len(views)
    assert topic.sizes == [10, 1, 1]

    topic = ScriptedTopic(wrong(3))
    with pytest.raises(PublishError, match="1 of 1 events were not accepted"):
        publisher(topic).publish(wide())
    assert topic.sizes == [10, 1]


def test_one_event_is_published_without_a_detour() -> None:
    # Once in a while there is more to do: the clock's next second is written, a copy is read back.
    walks = [walk.publish().path for _ in range(3)]
    assert min(len(set(path)) for path in walks) <= 6
    assert min(len(path) - 1 for path in walks) <= 9, (
        "changes of module: see `python tools/walk.py`"
    )


@pytest.mark.parametrize("wrong_number", [{"in_flight": 0}, {"max_attempts": 0}])
def test_numbers_start_at_1(wrong_number: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="start at 1"):
        publisher(ScriptedTopic(), **wrong_number)


# publish_many


def test_all_are_published_in_full_requests() -> None:
    topic = ScriptedTopic()
    with publisher(topic) as many:
        result = many.publish_many(notes(95))
    assert result == PublishResult(consumed=95, accepted=95, declined=0, copies=95)
    assert sorted(topic.sizes) == [5, *[10] * 9]
    assert sorted(one["number"] for one in topic.data) == list(range(95))


def test_nothing_is_published_of_nothing() -> None:
    topic = ScriptedTopic()
    assert publisher(topic).publish_many([]).consumed == 0
    assert topic.requests == []


def test_declined_events_are_counted_and_not_sent() -> None:
    topic = ScriptedTopic()
    with publisher(topic) as many:
        result = many.publish_many(
            Enrolled(number=n, consent=n % 2 == 0, fully=n % 3 != 0) for n in range(12)
        )
    assert result == PublishResult(consumed=12, accepted=10, declined=2, copies=14)


def test_requests_are_filled_by_bytes_too() -> None:
    topic = ScriptedTopic(max_bytes=3000)
    with publisher(topic) as many:
        many.publish_many(Noted(number=n, text="é" * 400) for n in range(8))
    assert topic.sizes == [2, 2, 2, 2]
    assert all(sum(one.size for one in batch) <= 3000 for batch in topic.requests)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_events_are_taken_only_as_requests_go_out(in_flight: int) -> None:
    taken = 0
    ahead: list[int] = []
    done = 0

    def events() -> Iterator[Noted]:
        nonlocal taken
        for number in range(200):
            ahead.append(taken - done)
            taken += 1
            yield Noted(number=number)

    def progress(now: PublishProgress) -> None:
        nonlocal done
        done = now.accepted

    with publisher(ScriptedTopic(), in_flight=in_flight) as many:
        many.publish_many(events(), on_progress=progress)
    assert max(ahead) <= 10 * in_flight + 10


def test_several_requests_are_under_way_at_once() -> None:
    together = threading.Barrier(3, timeout=10)

    class Meeting(ScriptedTopic):
        def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
            together.wait()
            return super().publish(batch)

    with publisher(Meeting(), in_flight=3) as many:
        assert many.publish_many(notes(60)).accepted == 60


def test_no_more_requests_are_under_way_than_was_said() -> None:
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(2, timeout=10)

    class Counting(ScriptedTopic):
        def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            together.wait()
            threading.Event().wait(0.005)  # long enough for a third one to come
            with lock:
                now -= 1
            return ()

    with publisher(Counting(), in_flight=2) as many:
        many.publish_many(notes(100))
    assert most == 2


def test_a_group_keeps_its_order_one_request_after_the_other() -> None:
    lock = threading.Lock()

    class OneAtATime(ScriptedTopic):
        fifo = True

        def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
            assert lock.acquire(blocking=False), "a second request is under way"
            try:
                threading.Event().wait(0.002)  # long enough for a second one to come
                return super().publish(batch)
            finally:
                lock.release()

    topic = OneAtATime()
    with publisher(topic, in_flight=4) as many:
        result = many.publish_many(Ordered(who="a", number=n) for n in range(95))
    assert result.accepted == 95
    assert [one["number"] for one in topic.data] == list(range(95))


def test_a_refusal_for_now_lets_nobody_of_its_group_overtake() -> None:
    topic = ScriptedTopic(busy(0), (), busy(1))
    topic.fifo = True  # type: ignore[attr-defined] # read by the publisher where a topic has it
    events = [Ordered(who=who, number=n) for n in range(6) for who in ("a", "b", "c")]
    with publisher(topic, in_flight=4) as many:
        many.publish_many(events)
    for who in ("a", "b", "c"):
        assert [one["number"] for one in topic.data if one["who"] == who] == list(range(6))
    assert max(topic.sizes) == 3


def test_a_group_on_a_standard_topic_is_a_tenant_and_costs_no_request() -> None:
    topic = ScriptedTopic()
    with publisher(topic) as many:
        many.publish_many(Ordered(who="a", number=n) for n in range(30))
    assert topic.sizes == [10, 10, 10]
    assert {one.group for one in topic.accepted} == {"a"}


def test_only_refused_entries_are_sent_again() -> None:
    topic = ScriptedTopic(busy(2, 5), busy(1))
    with publisher(topic, in_flight=1) as many:
        assert many.publish_many(notes(20)).accepted == 20
    assert topic.sizes == [10, 2, 1, 10]
    assert sorted(one["number"] for one in topic.data) == list(range(20))


def test_the_result_says_which_were_not_accepted_and_why_in_order() -> None:
    topic = ScriptedTopic(wrong(7, 2), (), busy(4), busy(0), busy(0))
    events = list(notes(30))
    with (
        publisher(topic, in_flight=1, max_attempts=3) as many,
        pytest.raises(PublishError) as caught,
    ):
        many.publish_many(events)
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert (result.consumed, result.accepted, result.copies) == (30, 27, 27)
    assert [(one.index, one.code, one.reason, one.event) for one in result.failed] == [
        (2, "InvalidParameter", "no", events[2]),
        (7, "InvalidParameter", "no", events[7]),
        (24, "InternalError", "try again", events[24]),
    ]
    assert "3 of 30 events were not accepted; the first is number 2 (Noted, id" in str(caught.value)


def test_an_event_that_cannot_be_sent_does_not_keep_the_others_back() -> None:
    events = [Noted(number=n, text="\x00" * (n == 3) + "x" * (n == 5) * 300_000) for n in range(9)]
    topic = ScriptedTopic()
    with publisher(topic) as many, pytest.raises(PublishError) as caught:
        many.publish_many(events)
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert [(one.index, one.code) for one in result.failed] == [
        (3, "InvalidCharacters"),
        (5, "EventTooLarge"),
    ]
    assert result.accepted == len(topic.accepted) == 7


def test_a_topic_that_no_longer_answers_ends_the_run_and_the_result_resumes_it() -> None:
    topic = ScriptedTopic((), (), TransportError("no route", code="ConnectTimeout"))
    topic.script += topic.script[2:]
    events = list(notes(100))
    with publisher(topic, in_flight=1, max_attempts=2) as many:
        with pytest.raises(PublishError) as caught:
            many.publish_many(events)
        result = caught.value.result
        assert isinstance(result, PublishResult)
        assert result.accepted == 20
        assert result.consumed < 100
        assert {one.code for one in result.failed} == {"ConnectTimeout"}
        first = {one.index: one.id for one in result.failed}
        again = many.publish_again(result)
        rest = many.publish_many(islice(events, result.consumed, None))
    assert again.accepted + result.accepted + rest.accepted == 100
    assert sorted(one["number"] for one in topic.data) == list(range(100))
    sent = {json.loads(one.body)["data"]["number"]: one.id for one in topic.accepted}
    assert {index: sent[index] for index in first} == first, "again under the same id"


def test_an_error_that_no_retry_will_mend_stops_at_once() -> None:
    topic = ScriptedTopic(*[AccessDenied("no", code="AccessDenied")] * 99)
    with publisher(topic, in_flight=1) as many, pytest.raises(PublishError) as caught:
        many.publish_many(notes(1000))
    assert len(topic.requests) == 1
    assert caught.value.result.consumed <= 30  # type: ignore[attr-defined]


def test_ids_may_come_from_the_events() -> None:
    topic = RecordingTopic()
    with publisher(topic) as many:
        many.publish_many(
            notes(4),
            id=lambda one: f"n{one.number}" if one.number else None,  # type: ignore[attr-defined]
        )
    ids = [one.id for one in topic.copies]
    assert ids[1:] == ["n1", "n2", "n3"]
    assert len(ids[0]) == 36


def test_progress_is_told_after_each_answer() -> None:
    told: list[PublishProgress] = []
    with publisher(ScriptedTopic(wrong(0)), in_flight=1) as many, pytest.raises(PublishError):
        many.publish_many(notes(25), on_progress=told.append)
    assert [(one.accepted, one.failed) for one in told] == [(9, 1), (19, 1), (24, 1)]
    assert told[-1].consumed == 25


# a topic that sends and waits apart


class Stepwise(ScriptedTopic):
    """A topic with `begin`: the first `willing` requests go by it, and it counts them."""

    def __init__(self, *script: Any, willing: int = 1_000) -> None:
        super().__init__(*script)
        self.willing = willing
        self.out = self.most_out = self.given_up = 0

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]] | None:
        self.willing -= 1
        return self._steps(batch) if self.willing >= 0 else None

    def _steps(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            yield
            return super().publish(batch)
        except GeneratorExit:
            self.given_up += 1
            raise
        finally:
            self.out -= 1


@pytest.mark.parametrize("in_flight", [1, 3])
def test_requests_begun_are_as_many_as_was_said_and_need_no_thread(in_flight: int) -> None:
    topic = Stepwise()
    before = {*threading.enumerate()}  # those of earlier tests may end meanwhile
    with publisher(topic, in_flight=in_flight) as many:
        assert many.publish_many(notes(95)).accepted == 95
        assert {*threading.enumerate()} <= before
    assert (topic.most_out, topic.out, topic.given_up) == (in_flight, 0, 0)


def test_in_order_one_request_is_begun_after_the_other() -> None:
    topic = Stepwise(busy(3), busy(0))
    topic.fifo = True  # type: ignore[attr-defined] # read by the publisher where a topic has it
    with publisher(topic, in_flight=4) as many:
        many.publish_many(Ordered(who=str(n % 10), number=n) for n in range(60))
    assert topic.most_out == 1
    for who in map(str, range(10)):
        numbers = [one["number"] for one in topic.data if one["who"] == who]
        assert numbers == sorted(numbers)
    assert len(topic.accepted) == 60


def test_a_topic_that_does_not_begin_this_time_is_asked_in_a_thread() -> None:
    topic = Stepwise(willing=2)
    with publisher(topic, in_flight=2) as many:
        assert many.publish_many(notes(60)).accepted == 60
    assert topic.most_out == 2
    assert sorted(one["number"] for one in topic.data) == list(range(60))


def test_an_answer_that_comes_with_the_sending_is_taken() -> None:
    class AtOnce(ScriptedTopic):
        def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
            if batch:  # always; the yield below makes it a generator
                return super().publish(batch)
            yield

    topic = AtOnce(wrong(3))
    with publisher(topic) as many, pytest.raises(PublishError) as caught:
        many.publish_many(notes(20))
    assert [one.index for one in caught.value.result.failed] == [3]  # type: ignore[attr-defined]


def test_a_retry_waits_in_a_thread_while_other_requests_are_begun() -> None:
    class Stands(FakeClock):
        def sleep(self, seconds: float) -> None:
            assert begun.wait(10), "the run was held up by a wait between two attempts"

    begun = threading.Event()

    class Watched(Stepwise):
        def begin(
            self, batch: Sequence[Outgoing]
        ) -> Generator[None, None, Sequence[Failure]] | None:
            if len(self.requests) >= 2:
                begun.set()
            return super().begin(batch)

    topic = Watched(busy(0))
    with Publisher(topic, source="/tests", clock=Stands(), in_flight=3) as many:
        assert many.publish_many(notes(80)).accepted == 80
    assert sorted(topic.sizes) == [1, *[10] * 8]


def test_no_answer_to_a_request_begun_is_another_attempt() -> None:
    topic = Stepwise((), Throttled("slow down"), busy(1))
    with publisher(topic, in_flight=1) as many:
        assert many.publish_many(notes(30)).accepted == 30
    assert topic.sizes == [10, 10, 10, 1, 10]


def test_a_transport_that_breaks_its_word_between_its_steps_is_accounted_for() -> None:
    topic = Stepwise((), ValueError("Ana"))
    with publisher(topic, in_flight=1) as many, pytest.raises(PublishError) as caught:
        many.publish_many(notes(15))
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert (result.accepted, {one.code for one in result.failed}) == (10, {"ValueError"})
    assert isinstance(caught.value.__cause__, TransportError)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)
    assert "Ana" not in f"{caught.value} {result}"


def test_an_interrupt_gives_up_what_was_begun() -> None:
    def interrupted() -> Iterator[Noted]:
        yield from notes(25)
        raise KeyboardInterrupt

    topic = Stepwise()
    with publisher(topic) as many, pytest.raises(KeyboardInterrupt):
        many.publish_many(interrupted())
    assert (topic.given_up, topic.out) == (2, 0)
    assert topic.requests == []


# what breaks in the middle


def test_events_that_raise_in_the_middle_leave_a_result_of_those_before() -> None:
    def events() -> Iterator[Noted]:
        yield from notes(13)
        raise ValueError("row 14 of Ana")

    topic = ScriptedTopic()
    with publisher(topic) as many, pytest.raises(PublishError) as caught:
        many.publish_many(events())
    assert str(caught.value) == "stopped after 13 events: ValueError"
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.result == PublishResult(consumed=13, accepted=13, declined=0, copies=13)
    assert len(topic.accepted) == 13


def test_a_wrong_thing_among_the_events_is_said() -> None:
    many = publisher(ScriptedTopic())
    with pytest.raises(PublishError, match="cannot be published") as caught:
        many.publish_many([Noted(number=1), "Ana"])  # type: ignore[list-item]
    many.close()
    assert caught.value.result.accepted == 1  # type: ignore[attr-defined]
    assert isinstance(caught.value.__cause__, EventError)


@pytest.mark.parametrize("many_events", [9, 25, 100])
def test_progress_that_raises_does_not_cost_the_result(many_events: int) -> None:
    def progress(_now: PublishProgress) -> None:
        raise RuntimeError("no terminal")

    topic = ScriptedTopic()
    with publisher(topic, in_flight=2) as many, pytest.raises(PublishError) as caught:
        many.publish_many(notes(many_events), on_progress=progress)
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert result.accepted == result.consumed == len(topic.accepted)


def test_a_transport_that_breaks_its_word_is_accounted_for() -> None:
    topic = ScriptedTopic((), ValueError("Ana"))
    with publisher(topic, in_flight=1) as many, pytest.raises(PublishError) as caught:
        many.publish_many(notes(15))
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert (result.accepted, len(result.failed)) == (10, 5)
    assert "Ana" not in f"{caught.value} {result}"


SLOW = """
import os, time
from messaging import Publisher
from tests.scripted import Noted, ScriptedTopic

class Slow(ScriptedTopic):
    def publish(self, batch):
        os.write(1, b"under way\\n")  # whole: several threads come by here at once
        time.sleep(0.2)
        return super().publish(batch)

with Publisher(Slow(), source="/s") as publisher:
    publisher.publish_many(Noted(number=n) for n in iter(int, 1))
"""


def _script(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_ctrl_c_in_the_middle_ends_the_program() -> None:
    process = _script(SLOW)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert complaint.rstrip().endswith("KeyboardInterrupt")


FORKED = """
import os
from messaging import Publisher
from tests.scripted import Noted, ScriptedTopic

topic = ScriptedTopic()
publisher = Publisher(topic, source="/s")
publisher.publish_many(Noted(number=n) for n in range(25))
child = os.fork()
topic.accepted.clear()
result = publisher.publish_many(Noted(number=n) for n in range(30 if child else 20))
line = f"{result.accepted} {len(topic.accepted)}\\n"
os.write(1, line.encode())  # whole: both processes come by here at once
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_publishes_with_threads_of_its_own() -> None:
    process = _script(FORKED)
    try:
        out, complaint = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (sorted(out.split()), process.returncode) == (["20", "20", "30", "30"], 0), complaint


# asyncio, threads, and what is left behind


def test_publish_async_lets_the_loop_go_on() -> None:
    reached = threading.Event()

    class Waits(ScriptedTopic):
        def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
            assert reached.wait(10), "the loop was blocked"
            return super().publish(batch)

    async def main() -> Published:
        task = asyncio.create_task(publisher(Waits()).publish_async(Noted(number=1), id="mine"))
        await asyncio.sleep(0)
        reached.set()
        return await task

    assert asyncio.run(main()) == Published("mine", 1)


def test_publish_async_raises_as_publish_does() -> None:
    with pytest.raises(InvalidCharacters):
        asyncio.run(publisher(ScriptedTopic()).publish_async(Noted(number=1, text="\x00")))


def test_many_threads_share_one_publisher() -> None:
    topic = ScriptedTopic()
    shared = publisher(topic)
    threads = [
        threading.Thread(target=call)
        for _ in range(3)
        for call in (
            lambda: shared.publish_many(notes(50)),
            lambda: shared.publish(Noted(number=0)),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    shared.close()
    assert len(topic.accepted) == 3 * 51


def test_closing_leaves_no_thread_and_may_be_done_twice() -> None:
    before = set(threading.enumerate())
    many = publisher(ScriptedTopic())
    many.publish_many(notes(100))
    threads = set(threading.enumerate()) - before
    assert threads
    many.close()
    many.close()
    assert not any(thread.is_alive() for thread in threads)


def test_a_publisher_that_is_forgotten_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    many = publisher(ScriptedTopic())
    many.publish_many(notes(100))
    threads = set(threading.enumerate()) - before
    assert threads
    del many
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


LOADED = """
import sys
import messaging
{use}
heavy = {{"boto3", "botocore", "tenacity", "asyncio", "typer", "rich", "moto", "ministack"}}
print(sorted(heavy & sys.modules.keys()))
"""
PRODUCER = """
from tests.scripted import Noted, ScriptedTopic
with messaging.Publisher(ScriptedTopic(), source="/s") as publisher:
    publisher.publish(Noted(number=1))
    publisher.publish_many([Noted(number=1)])
"""
NAMES = "messaging.Consumer, messaging.Topology, messaging.Projection, messaging.Settings"


@pytest.mark.parametrize("use", ["", NAMES, PRODUCER], ids=["import", "names", "publish"])
def test_who_publishes_loads_nothing_that_is_not_needed(use: str) -> None:
    process = _script(LOADED.format(use=use))
    try:
        out, complaint = process.communicate(timeout=20)
    finally:
        process.kill()
    assert out == "[]\n", complaint
