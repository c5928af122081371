"""Several publishes under way in one thread: each on its own connection, none lost or forgotten."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from messaging.aws import connect
from messaging.errors import PublishError
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import PublishProgress, PublishResult
from messaging.settings import Settings
from messaging.testing import FakeClock
from tests.aws.fast.conftest import Scripted, answer
from tests.scripted import Noted

TOPIC = "arn:aws:sns:us-east-1:000000000000:alunos"


def said(accepted: range | list[int], *refused: int) -> bytes:
    good = "".join(f"<member><MessageId>m</MessageId><Id>{n}</Id></member>" for n in accepted)
    bad = "".join(
        f"<member><Id>{n}</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member>"
        for n in refused
    )
    return answer(
        b"<PublishBatchResponse><PublishBatchResult>"
        + f"<Failed>{bad}</Failed><Successful>{good}</Successful>".encode()
        + b"</PublishBatchResult></PublishBatchResponse>"
    )


TEN = said(range(10))


@contextmanager
def publisher(server: Scripted, **more: Any) -> Iterator[Publisher]:
    session: Any = boto3.Session("a", "b", region_name="us-east-1")
    settings = Settings(topic=TOPIC, endpoint_url=server.url, region="us-east-1")
    broker = connect(settings, session=session)
    try:
        with Publisher(broker.topic(), source="/s", clock=FakeClock(), **more) as made:
            yield made
    finally:
        broker.close()


def notes(many: int) -> Iterator[Noted]:
    return (Noted(number=number) for number in range(many))


def idle(made: Publisher) -> int:
    """Connections kept for the next request."""
    topic: Any = made._topic
    return len(topic._clients.topics._endpoint._pool._idle)


def test_requests_are_out_together_without_a_thread(scripted: Callable[..., Scripted]) -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(sock: Any) -> None:
        together.wait()  # no answer until three have come
        sock.sendall(TEN)

    server = scripted(*[[meet, meet]] * 3)
    with publisher(server, in_flight=3) as made:
        assert made.publish_many(notes(60)).accepted == 60
        assert made._pool is None, "a thread was made"
        assert idle(made) == 3
    assert sorted(server.asked()) == [0, 0, 1, 1, 2, 2]


def test_no_more_are_out_than_was_said(scripted: Callable[..., Scripted]) -> None:
    server = scripted([TEN] * 5, [TEN] * 5)
    told: list[PublishProgress] = []
    with publisher(server, in_flight=2) as made:
        made.publish_many(notes(100), on_progress=told.append)
    assert server.accepted == 2
    assert [one.consumed - one.accepted for one in told[:3]] == [20, 20, 20]


class Far:
    """Answers each request `WAY` seconds late, after what a test does at a request's number."""

    WAY = 0.02

    def __init__(self, first: Callable[[int], None] = lambda number: None) -> None:
        self._first = first
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, sock: Any) -> None:
        with self._lock:
            number = next(self._numbers)
        self._first(number)
        time.sleep(self.WAY)
        sock.sendall(TEN)


def test_a_topic_that_is_far_away_gets_more_requests_at_once(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*[[Far()] * 100] * 128)
    with publisher(server) as made:
        assert made.publish_many(notes(2000)).accepted == 2000
    assert server.accepted >= 12


def test_one_answer_that_is_late_does_not_hold_up_the_others(
    scripted: Callable[..., Scripted],
) -> None:
    enough = threading.Event()

    def look(number: int) -> None:
        if number == 60:
            assert enough.wait(10), "the others wait for this one"
        if number == 250:
            enough.set()

    far = Far(look)
    server = scripted(*[[far] * 300] * 128)
    with publisher(server) as made:
        assert made.publish_many(notes(3000)).accepted == 3000
    assert enough.is_set()


def test_an_answer_that_others_have_overtaken_is_still_that_of_its_own_request(
    scripted: Callable[..., Scripted],
) -> None:
    enough = threading.Event()
    numbers = itertools.count(1)

    def far(sock: Any) -> None:
        number = next(numbers)
        if number == 60:
            assert enough.wait(10)
        if number == 150:
            enough.set()
        time.sleep(Far.WAY)
        sock.sendall(said([0, 1, 2, 3, 4, 6, 7, 8, 9], 5) if number == 60 else TEN)

    server = scripted(*[[far] * 300] * 128)
    with (
        publisher(server, max_attempts=1) as made,
        pytest.raises(PublishError) as caught,
    ):
        made.publish_many(notes(2000))
    result: Any = caught.value.result
    assert (result.consumed, result.accepted, len(result.failed)) == (2000, 1999, 1)
    assert result.failed[0].event.number % 10 == 5


def test_only_what_was_refused_is_sent_again(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted([said([0, 1, 2, 3, 4, 6, 7, 8, 9], 5), said([0]), TEN, TEN])
    with publisher(server, in_flight=1) as made:
        assert made.publish_many(notes(30)).accepted == 30
        assert made._pool is not None
    (_, again), *_ = [one for one in server.requests if b"member.2" not in one[1]]
    assert b"%22number%22%3A5%2C" in again
    assert len(server.requests) == 4


def test_no_answer_is_another_attempt_under_the_same_ids(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted([TEN, None], [TEN])
    with publisher(server, in_flight=1) as made:
        assert made.publish_many(notes(20)).accepted == 20
    lost, again = (request.partition(b"\r\n\r\n")[2] for _, request in server.requests[1:])
    assert lost == again


def test_a_topic_that_does_not_answer_ends_the_run(scripted: Callable[..., Scripted]) -> None:
    server = scripted(*[[None]] * 20)
    with publisher(server, in_flight=2, max_attempts=2) as made:
        with pytest.raises(PublishError) as caught:
            made.publish_many(notes(1000))
        assert idle(made) == 0
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert result.accepted == 0
    assert result.consumed == len(result.failed) <= 60


class Interrupt(BaseException):
    """As a signal's handler raises it, in the middle of anything."""


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("at", [11, 20, 21, 25])
def test_an_interrupt_leaves_no_connection_with_an_answer_to_come(
    scripted: Callable[..., Scripted], at: int
) -> None:
    def interrupted() -> Iterator[Noted]:
        yield from notes(at)
        raise Interrupt

    server = scripted([TEN, TEN], [TEN, TEN], [said([0])])
    with publisher(server) as made:
        with pytest.raises(Interrupt):
            made.publish_many(interrupted())
        assert idle(made) == 0
        gc.collect()  # a socket that was forgotten would warn here
        made.publish(Noted(number=0))
    assert server.accepted == at // 10 + 1, "not a new connection"


def test_events_that_raise_wait_for_what_is_under_way(scripted: Callable[..., Scripted]) -> None:
    def broken() -> Iterator[Noted]:
        yield from notes(20)
        raise ValueError

    server = scripted([TEN], [TEN])
    with publisher(server) as made:
        with pytest.raises(PublishError, match="stopped after 20 events: ValueError") as caught:
            made.publish_many(broken())
        assert idle(made) == 2
    assert isinstance(caught.value.result, PublishResult)
    assert caught.value.result.accepted == 20
