"""Settlement when SQS refuses: single entries, whole requests, for now or for good."""

from __future__ import annotations

import threading

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, TransportError
from messaging.event import Event
from messaging.outcome import Reject, Retry, RetryPolicy
from messaging.runtime import Stats
from messaging.transport import Failure


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    retry = RetryPolicy(wait=wait_fixed(3))

    def __init__(self, act=lambda n: None) -> None:
        self.act = act

    @handles
    def happened(self, event: Happened) -> None:
        self.act(event.n)


def reject(n: int) -> None:
    raise Reject("no")


class Refusing:
    """Refuses the first `times` requests of one name."""

    def __init__(self, name: str, how, times: int = 1) -> None:
        self.name, self.how, self.times = name, how, times

    def __call__(self, request):
        if request.name != self.name or self.times == 0:
            return ()
        self.times -= 1
        if isinstance(self.how, TransportError):
            raise self.how
        return self.how


LATER = Failure(0, "Throttled", "later", True)
NEVER = Failure(0, "ReceiptHandleIsInvalid", "never", False)


def test_only_what_was_refused_is_asked_for_again(work, queue, until):
    queue.refuse = Refusing("delete", [LATER._replace(index=1)])
    queue.put(1, 2, 3)
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 3)
    asked = [request.messages for request in queue.asked("delete")]
    assert sum(map(len, asked)) == 4
    assert asked[-1] == (asked[0][1],) or len(asked) > 2


@pytest.mark.parametrize("code", ["ConnectTimeout", "Throttled"])
def test_a_request_that_nobody_answered_is_asked_again(work, queue, until, code):
    queue.refuse = Refusing("delete", TransportError("nobody", code=code), times=2)
    queue.put(1)
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 1)
    assert len(queue.asked("delete")) == 1


def test_what_is_refused_for_good_is_left_to_its_lease(work, queue, until, caplog):
    queue.refuse = Refusing("delete", [NEVER])
    queue.put(1)
    worker = work(Service())
    until(lambda: worker.stats == Stats(received=1, expired=1))
    until(lambda: "message m1 of t-service is left to its lease" in caplog.text)
    assert "ReceiptHandleIsInvalid" in caplog.text


def test_a_release_that_is_refused_is_asked_for_again(work, queue, until):
    def retry(n: int) -> None:
        raise Retry(9)

    queue.refuse = Refusing("change_visibility", [LATER])
    queue.put(1)
    worker = work(Service(retry))
    until(lambda: worker.stats == Stats(received=1, released=1))
    assert [request.seconds for request in queue.asked("change_visibility")] == [(9,), (9,)]


def test_nothing_is_deleted_before_its_copy_stands(work, queue, until):
    queue.refuse = Refusing("dead_letter", [LATER])
    queue.put(1)
    worker = work(Service(reject))
    until(lambda: worker.stats == Stats(received=1, dead_lettered=1))
    assert [one.name for one in queue.requests] == ["dead_letter", "dead_letter", "delete"]


def test_a_copy_is_not_made_twice_when_the_delete_is_refused(work, queue, until):
    queue.refuse = Refusing("delete", [LATER])
    queue.put(1)
    worker = work(Service(reject))
    until(lambda: worker.stats == Stats(received=1, dead_lettered=1))
    assert [one.name for one in queue.requests] == ["dead_letter", "delete", "delete"]


@pytest.mark.parametrize(
    "how", [[NEVER._replace(code="InvalidMessageContents")], AccessDenied("no", code="Denied")]
)
def test_a_dead_letter_refused_for_good_is_released_for_sqs_to_move(
    work, queue, until, caplog, how
):
    queue.refuse = Refusing("dead_letter", how)
    queue.put(1)
    worker = work(Service(reject))
    until(lambda: worker.stats == Stats(received=1, released=1))
    assert [(one.name, one.seconds) for one in queue.requests[-1:]] == [("change_visibility", (3,))]
    assert not queue.asked("delete")
    assert "message m1 of t-service cannot be dead-lettered" in caplog.text


def test_a_refused_dead_letter_is_tried_again_and_its_handler_is_not_run_again(
    work, queue, until, caplog
):
    """SQS counts the receives and moves it in the end; or the copy is taken after all."""
    ran: list[int] = []

    def act(n: int) -> None:
        ran.append(n)
        raise Reject("no")

    queue.refuse = Refusing("dead_letter", [NEVER._replace(code="InvalidMessageContents")], times=2)
    worker = work(Service(act))
    for received in range(1, 4):
        queue.put(1)
        until(lambda received=received: worker.stats.received == received)
        until(lambda: worker.stats.in_flight == 0)
    assert ran == [1]
    assert worker.stats == Stats(received=3, released=2, dead_lettered=1, deduplicated=1)
    assert "its reason: no" in caplog.text


@pytest.mark.parametrize("request_name", ["delete", "change_visibility", "dead_letter"])
def test_a_defect_of_a_transport_does_not_end_the_service(work, queue, until, caplog, request_name):
    """It is told with its type, without its text, and the message is settled by another try."""

    class Broken(Refusing):
        def __call__(self, request):
            if request.name == self.name and self.times:
                self.times -= 1
                raise KeyError("Zuleica")
            return ()

    def act(n: int) -> None:
        if n == 1:
            raise Retry(9)
        if n == 2:
            raise Reject("no")

    queue.refuse = Broken(request_name, None, times=2)
    queue.put(0, 1, 2)
    worker = work(Service(act))
    until(lambda: worker.stats == Stats(received=3, acknowledged=1, released=1, dead_lettered=1))
    assert f"{request_name} of t-service raised KeyError at" in caplog.text
    assert "Zuleica" not in caplog.text


def test_a_defect_that_stays_leaves_the_message_to_its_lease(work, queue, until, caplog):
    def broken(request):
        if request.name == "delete":
            raise IndexError("Zuleica")
        return ()

    queue.refuse = broken
    queue.put(1)
    worker = work(Service())
    until(lambda: "delete of t-service raised IndexError" in caplog.text)
    queue.refuse = lambda request: [NEVER] if request.name == "delete" else ()
    until(lambda: worker.stats == Stats(received=1, expired=1))
    until(lambda: "message m1 of t-service is left to its lease" in caplog.text)


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_an_answer_about_entries_that_nobody_asked_for_is_no_answer(
    work, queue, until, caplog, index
):
    queue.refuse = Refusing("delete", [LATER._replace(index=index)])
    queue.put(1)
    worker = work(Service())
    until(lambda: worker.stats == Stats(received=1, acknowledged=1))
    assert "returned entries that were not in the request" in caplog.text


def test_one_letter_that_the_service_does_not_take_does_not_keep_the_others(work, queue, until):
    def refuse(request):
        if request.name == "dead_letter" and "m2" in request.messages:
            raise TransportError("bad", code="InvalidMessageContents", retryable=False)
        return ()

    queue.refuse = refuse
    queue.put(1, 2, 3)
    worker = work(Service(reject), concurrency=3)
    until(lambda: worker.stats == Stats(received=3, dead_lettered=2, released=1))
    assert sorted(queue.messages("delete")) == ["m1", "m3"]


def test_a_reason_that_is_no_text_is_told_by_its_type(work, queue, until, caplog):
    """`Reject(error)`: the exception's text may hold somebody's data."""

    def act(n: int) -> None:
        raise Reject(ValueError("Zuleica"))  # type: ignore[arg-type]

    queue.put(1)
    worker = work(Service(act))
    until(lambda: worker.stats == Stats(received=1, dead_lettered=1))
    [request] = queue.asked("dead_letter")
    assert request.letters[0].reason == "a ValueError, not a text"
    assert "Zuleica" not in caplog.text


def test_outcomes_of_all_kinds_in_one_batch(work, queue, until):
    gate = threading.Barrier(9)

    def act(n: int) -> None:
        gate.wait(5)
        if n % 3 == 1:
            raise Retry(n)
        if n % 3 == 2:
            raise Reject("no")

    queue.put(*range(9))
    worker = work(Service(act))
    until(lambda: worker.stats == Stats(received=9, acknowledged=3, released=3, dead_lettered=3))
    hidden = {
        message: seconds
        for request in queue.asked("change_visibility")
        for message, seconds in zip(request.messages, request.seconds, strict=True)
    }
    assert hidden == {"m1": 1, "m4": 4, "m7": 7}
    assert queue.messages("dead_letter") == ["m2", "m5", "m8"]
    assert queue.messages("delete") == ["m0", "m2", "m3", "m5", "m6", "m8"]


def test_settlements_wait_for_others_while_others_are_in_hand(work, queue, until, release):
    """Nine short handlers beside a long one: one or two deletes, not nine."""

    def act(n: int) -> None:
        if n == 0:
            release.wait(5)
        else:
            threading.Event().wait(n * 0.005)

    queue.put(*range(10))
    worker = work(Service(act), concurrency=10)
    until(lambda: worker.stats.acknowledged == 9)
    assert len(queue.asked("delete")) <= 3
    release.set()
