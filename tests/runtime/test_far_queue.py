"""A queue that is far away: many requests under way in one thread, nothing stranded or held up."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from messaging.backoff import Backoff
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import TransportError
from messaging.event import Event
from messaging.outcome import Retry
from messaging.runtime import Worker
from messaging.transport import Delivery, Failure


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    @handles
    def happened(self, event: Happened) -> None: ...


class Far:
    """Makes each answer of a scripted queue come `way` seconds late, on a socket of its own.

    look  called with "receive" or "delete" and the request's number, before it is carried out.
    """

    def __init__(
        self,
        queue: Any,
        way: float = 0.02,
        look: Callable[[str, int], None] = lambda name, number: None,
    ) -> None:
        self._receive, self._delete = queue.receive, queue.delete
        self._way = way
        self._look = look
        self._lock = threading.Lock()
        self._numbers = {name: itertools.count(1) for name in ("receive", "delete")}
        self.out: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.waits: list[float] = []
        """Of each receive that is out, and was."""
        self.begun = self.promised = 0
        self.in_one_piece: list[int] = []
        """Of each delete that was waited for, the receives that were out meanwhile."""
        self.worker: Worker | None = None
        queue.receive, queue.delete = self.receive, self.delete
        queue.begin_receive, queue.begin_delete = self.begin_receive, self.begin_delete

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        return self._answer("receive", self._receive, limit, wait)

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        self.in_one_piece.append(self.out["receive"])
        return self._answer("delete", self._delete, deliveries)

    def begin_receive(self, limit: int, wait: float) -> Generator[int, None, Any]:
        return self._steps("receive", self._receive, limit, wait)

    def begin_delete(self, deliveries: Sequence[Delivery]) -> Generator[int, None, Any]:
        return self._steps("delete", self._delete, deliveries)

    def _answer(self, name: str, call: Callable[..., Any], *asked: Any) -> Any:
        with self._lock:
            number = next(self._numbers[name])
            self.out[name] += 1
            self.most[name] = max(self.most[name], self.out[name])
            if name == "receive":
                self.waits.append(asked[1])
                if self.worker is not None:
                    held = self.worker.stats.in_flight
                    self.promised = max(self.promised, 10 * self.out[name] + held)
        try:
            self._look(name, number)
            time.sleep(self._way)
            return call(*asked)
        finally:
            with self._lock:
                self.out[name] -= 1

    def _steps(self, name: str, call: Callable[..., Any], *asked: Any) -> Generator[int, None, Any]:
        ours, theirs = socket.socketpair()
        said: list[Any] = []

        def answer() -> None:
            try:
                said.append(self._answer(name, call, *asked))
            except TransportError as error:
                said.append(error)
            theirs.close()  # which can be read as the end

        self.begun += 1
        threading.Thread(target=answer, daemon=True).start()
        with ours:
            yield ours.fileno()
            ours.recv(1)
        if isinstance(said[0], TransportError):
            raise said[0]
        return said[0]


def pollers() -> int:
    return sum("poller" in one.name for one in threading.enumerate())


def test_a_backlog_has_many_receives_and_deletes_under_way_in_one_thread(work, queue, until):
    far = Far(queue)
    queue.put(*range(2000))
    worker = work(Service())
    seen = 0
    while worker.stats.acknowledged < 2000:
        seen = max(seen, pollers())
        time.sleep(0.005)
    assert far.most["receive"] > 4
    assert far.most["delete"] > 4
    assert seen == 1
    assert len(queue.messages("delete")) == len(set(queue.messages("delete"))) == 2000


def test_when_the_backlog_is_done_one_long_poll_is_left(work, queue, until):
    far = Far(queue)
    queue.put(*range(1000))
    worker = work(Service(), wait=20)
    until(lambda: worker.stats.acknowledged == 1000)
    until(lambda: far.out["receive"] == 1 and far.waits[-1] == 20)
    asked = len(far.waits)
    time.sleep(0.3)
    assert (far.out["receive"], len(far.waits)) == (1, asked)
    queue.put(1001)
    until(lambda: worker.stats.acknowledged == 1001)
    queue.put(1002)  # so that the poll ends, and the test need not wait for it
    worker._pipelines["service"].backpressure.close()


def test_a_few_messages_are_received_as_from_a_queue_at_hand(work, queue, until):
    far = Far(queue)
    worker = work(Service(), wait=0.2)
    for number in range(5):
        queue.put(number)
        until(lambda number=number: worker.stats.acknowledged == number + 1)
    assert far.most["receive"] == 1
    assert set(far.waits) == {0.2}


def test_a_delete_that_is_not_answered_holds_up_no_receive_and_no_other_delete(work, queue, until):
    go_on = threading.Event()

    def look(name: str, number: int) -> None:
        if (name, number) == ("delete", 3):
            assert go_on.wait(10), "the others wait for this one"

    Far(queue, look=look)
    queue.put(*range(1000))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged >= 990)
    go_on.set()
    until(lambda: worker.stats.acknowledged == 1000)


def test_a_receive_that_is_not_answered_holds_up_no_other(work, queue, until):
    go_on = threading.Event()

    def look(name: str, number: int) -> None:
        if (name, number) == ("receive", 20):
            assert go_on.wait(10), "the others wait for this one"

    Far(queue, look=look)
    queue.put(*range(1000))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 1000)
    go_on.set()


def test_a_handler_that_hangs_leaves_the_receives_under_way_to_another_thread(
    work, queue, until, release
):
    class Hangs(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            if event.n == 300:
                release.wait(10)

    Far(queue)
    queue.put(*range(1000))
    worker = work(Hangs())
    until(lambda: worker.stats.acknowledged >= 999)
    assert worker.stats.in_flight == 1
    release.set()
    until(lambda: worker.stats.acknowledged == 1000)


def test_after_a_slow_handler_no_delete_is_waited_for_while_answers_wait(work, queue, until):
    class Hiccups(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            if event.n % 300 == 299:
                time.sleep(0.03)

    far = Far(queue)
    queue.put(*range(3000))
    worker = work(Hiccups())
    until(lambda: worker.stats.acknowledged == 3000)
    assert far.most["receive"] > 4
    assert set(far.in_one_piece) <= {0}


def test_slow_handlers_are_kept_busy_by_a_queue_that_is_far_away(work, queue, until):
    running: list[int] = []
    most: list[int] = []

    class Slow(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            running.append(event.n)
            most.append(len(running))
            time.sleep(0.01)
            running.remove(event.n)

    Far(queue, way=0.03)
    queue.put(*range(1500))
    worker = work(Slow(), concurrency=20)
    until(lambda: worker.stats.acknowledged == 1500)
    # One receive after the other would bring ten in the time of three handlers.
    assert sum(count > 15 for count in most) > 100


@pytest.mark.parametrize("prefetch", [10, 60])
def test_a_prefetch_that_is_named_is_not_exceeded(work, queue, until, prefetch):
    far = Far(queue)
    queue.put(*range(500))
    worker = work(Service(), concurrency=10, prefetch=prefetch, start=False)
    far.worker = worker
    worker.start()
    until(lambda: worker.stats.acknowledged == 500)
    # One receive may be counted twice: when it is in hand, and not taken off what is out yet.
    assert far.promised <= 10 + prefetch + 10


@pytest.mark.parametrize("after", [1, 5, 40, 150])
def test_stopped_with_requests_under_way_nothing_is_stranded(work, queue, until, after):
    Far(queue)
    queue.put(*range(3000))
    worker = work(Service(), wait=1)
    until(lambda: worker.stats.received >= after * 10)
    stats = worker.stop().stats
    assert stats.received == stats.acknowledged + stats.released
    assert stats.received + queue.depth().visible == 3000
    assert len(queue.messages("delete")) == stats.acknowledged
    assert len(queue.messages("change_visibility")) == stats.released


def test_paused_with_requests_under_way_everything_is_given_back_or_done(work, queue, until):
    far = Far(queue)
    queue.put(*range(3000))
    worker = work(Service(), wait=1)
    until(lambda: worker.stats.acknowledged >= 500)
    worker.pause()
    until(lambda: not far.out["receive"] and not worker.stats.in_flight)
    stats = worker.stats
    assert stats.received == stats.acknowledged + stats.released
    worker.resume()
    until(lambda: not queue.depth().visible and not worker.stats.in_flight)
    assert worker.stats.received == 3000


def test_an_outage_with_many_receives_under_way_is_told_once(
    work, queue, until, caplog, monkeypatch
):
    # How many of the twenty failures meet receives that are under way together is chance; those
    # that come one after the other must not double the pause to minutes.
    monkeypatch.setattr("messaging.runtime.receiver.BACKOFF", Backoff(first=0.01, longest=0.02))
    Far(queue)
    queue.put(*range(2000))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged >= 400)
    queue.fail_receive.extend(TransportError("no route to SQS", code="Outage") for _ in range(20))
    until(lambda: worker.stats.acknowledged == 2000)
    said = [one for one in caplog.messages if one.startswith("cannot receive from t-service")]
    again = [one for one in caplog.messages if one.startswith("receiving from t-service again")]
    assert 1 <= len(said) == len(again) <= 2


def test_deletes_that_are_refused_for_now_are_tried_again(work, queue, until, monkeypatch):
    monkeypatch.setattr("messaging.runtime.settlement.BACKOFF", Backoff(first=0.01, longest=5))
    refused: Counter[str] = Counter()

    def refuse(request: Any) -> Sequence[Failure]:
        found = []
        for index, message in enumerate(request.messages):
            if request.name == "delete" and int(message[1:]) % 7 == 3 and not refused[message]:
                refused[message] += 1
                found.append(Failure(index, "InternalError", "later", True))
        return found

    queue.refuse = refuse
    Far(queue)
    queue.put(*range(700))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 700)
    assert sum(refused.values()) == 100


def test_a_delete_that_nobody_answers_is_made_again(work, queue, until, monkeypatch, release):
    monkeypatch.setattr("messaging.runtime.under_way.PATIENCE", 0.3)

    def look(name: str, number: int) -> None:
        if (name, number) == ("delete", 10):
            release.wait(20)

    Far(queue, look=look)
    queue.put(*range(500))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 500)


def test_handlers_that_fail_release_their_messages_all_the_same(work, queue, until):
    class Failing(Service):
        service = "service"

        @handles
        def happened(self, event: Happened) -> None:
            if event.n % 3 == 0:
                raise Retry(delay=5)

    Far(queue)
    queue.put(*range(600))
    worker = work(Failing())
    until(lambda: worker.stats.acknowledged == 400 and worker.stats.released == 200)


def test_async_handlers_end_too(work, queue, until):
    class Async(Consumer):
        service = "service"

        @handles
        async def happened(self, event: Happened) -> None: ...

    far = Far(queue)
    queue.put(*range(1000))
    worker = work(Async())
    until(lambda: worker.stats.acknowledged == 1000)
    assert far.most["receive"] > 4


def test_a_fifo_queue_has_one_receive_under_way_and_deletes_beside_it(work, queue, until):
    queue.name = "t-service.fifo"
    far = Far(queue, way=0.002)
    queue.put(*range(200))
    worker = work(Service(), concurrency=20, prefetch=20)
    until(lambda: worker.stats.acknowledged == 200)
    assert far.most["receive"] == 1


def test_a_transport_that_cannot_begin_has_helpers(work, queue, until):
    far = Far(queue)
    queue.begin_receive = lambda limit, wait: None
    queue.begin_delete = lambda deliveries: None
    queue.put(*range(600))
    worker = work(Service(), concurrency=20, prefetch=20)
    until(lambda: worker.stats.acknowledged == 600)
    assert 2 <= far.most["receive"] <= 4
