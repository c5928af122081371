"""A run of `publish_many`: its time, its requests' time, and the ids of what it cannot send."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pytest

from messaging.claimcheck import ClaimCheck, MemoryBlobStore
from messaging.deadline import CURRENT
from messaging.errors import PublishError
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import PublishResult
from messaging.testing import FakeClock
from messaging.transport import Failure, Outgoing
from messaging.window import RequestWindow
from tests.scripted import Noted, ScriptedTopic


class Slow(ScriptedTopic):
    """Takes ten seconds for each request, of the clock that all go by, in the caller's thread."""

    in_callers_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.left: list[float] = []
        """Seconds that each request was given."""

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        deadline = CURRENT.get()
        assert deadline is not None
        self.left.append(deadline.left())
        self.clock.advance(10)
        return super().publish(batch)


def notes(count: int) -> Iterator[Noted]:
    return (Noted(number=number) for number in range(count))


def failed(error: PublishError) -> PublishResult:
    assert isinstance(error.result, PublishResult)
    return error.result


def test_a_run_whose_time_is_over_says_so_and_where_to_go_on() -> None:
    topic = Slow()
    with (
        Publisher(topic, source="/t", clock=topic.clock, timeout=60) as many,
        pytest.raises(PublishError, match=r"not done in its 25 s: go on with the rest") as caught,
    ):
        many.publish_many(notes(95), timeout=25)
    result = failed(caught.value)
    assert topic.sizes == [10, 10, 10]
    assert (result.consumed, result.accepted) == (40, 30)
    assert {(one.code, one.unknown) for one in result.failed} == {("Timeout", False)}
    assert [one.index for one in result.failed] == list(range(30, 40))


@pytest.mark.parametrize(
    ("request_", "run", "left"), [(60, 35, [35, 25, 15, 5]), (7, 100, [7, 7, 7, 7])]
)
def test_a_request_has_the_shorter_of_its_own_time_and_what_is_left_of_the_run(
    request_: float, run: float, left: list[float]
) -> None:
    topic = Slow()
    with Publisher(topic, source="/t", clock=topic.clock, timeout=request_) as many:
        many.publish_many(notes(40), timeout=run)
    assert topic.left == left


def test_an_interrupt_while_requests_are_under_way_in_threads_is_what_the_caller_gets() -> None:
    answered = threading.Event()

    def held(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        answered.wait(10)
        return ()

    def interrupted() -> Iterator[Noted]:
        yield from notes(15)
        raise KeyboardInterrupt

    with Publisher(ScriptedTopic(held, held), source="/t") as many:
        with pytest.raises(KeyboardInterrupt):
            many.publish_many(interrupted())
        answered.set()


def test_what_stores_a_big_event_is_told_how_long_it_may_take() -> None:
    told: list[float | None] = []

    class Store(MemoryBlobStore):
        def put(self, key: str, data: bytes) -> None:
            deadline = CURRENT.get()
            told.append(None if deadline is None else deadline.left())
            super().put(key, data)

    topic = ScriptedTopic(max_bytes=2000)
    codec = ClaimCheck(Store(), threshold=1000)
    with Publisher(topic, source="/t", codec=codec, clock=FakeClock(), timeout=9) as many:
        assert many.publish_many([Noted(number=1, text="é" * 2000)]).accepted == 1
    assert told == [9]


def test_an_event_that_cannot_be_sent_is_told_by_the_id_that_was_chosen_for_it() -> None:
    with (
        Publisher(ScriptedTopic(), source="/t") as many,
        pytest.raises(PublishError) as caught,
    ):
        many.publish_many(
            [Noted(number=1), Noted(number=2, text="a\0")],
            id=lambda event: "n1" if event == Noted(number=1) else "n2",
        )
    assert [(one.index, one.id) for one in failed(caught.value).failed] == [(1, "n2")]


class Away(ScriptedTopic):
    """Answers after five milliseconds, and sends and waits apart."""

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        sent = time.monotonic()
        yield
        time.sleep(max(0.0, sent + 0.005 - time.monotonic()))
        return self.publish(batch)


def test_the_window_is_told_how_long_each_request_took_and_how_many_were_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[dict[str, float]] = []

    class Told(RequestWindow):
        def answered(self, **how: Any) -> None:
            told.append(how)
            super().answered(**how)

    monkeypatch.setattr("messaging.publishing.publisher.RequestWindow", Told)
    with Publisher(Away(), source="/t") as many:
        many.publish_many(notes(100))
    assert [one["out"] for one in told[:5]] == [1, 2, 3, 4, 4]
    assert all(0.005 <= one["took"] < 5 for one in told)
    first = told[0]
    assert first["waited"] > first["made"], "the window was full, and nothing was there yet"
    assert first["unseen"] == 0.0
    for one in told:
        assert (one["unseen"] == 0.0) == (one["waited"] > one["made"])


def test_progress_is_told_only_when_there_is_some() -> None:
    told: list[int] = []
    with Publisher(Away(), source="/t") as many:
        many.publish_many(notes(95), on_progress=lambda progress: told.append(progress.accepted))
    assert told == sorted(set(told))
    assert told[-1] == 95
