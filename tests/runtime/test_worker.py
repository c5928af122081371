"""What becomes of messages: outcomes, batches, bounds, and mistakes that are told at once."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, ConfigurationError, NotFound
from messaging.event import Event
from messaging.outcome import Discard, Outcome, Reject, Retry, RetryPolicy
from messaging.runtime import Stage, Stats, Worker
from messaging.runtime.settlement import Settlement


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    """Does what it is told."""

    def __init__(self, act=lambda n: None) -> None:
        self.act = act
        self.closed = 0

    @handles
    def happened(self, event: Happened) -> None:
        self.act(event.n)

    def close(self) -> None:
        self.closed += 1


def raising(error: BaseException):
    def act(n: int) -> None:
        raise error

    return act


def test_what_returns_is_deleted_in_batches_of_ten(work, queue, until):
    queue.put(*range(40))
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == 40)
    assert queue.messages("delete") == sorted(f"m{n}" for n in range(40))
    assert len(queue.asked("delete")) <= 8
    assert {request.name for request in queue.requests} == {"delete"}


def test_a_message_that_is_alone_is_settled_without_waiting_for_others(
    work, queue, until, monkeypatch
):
    monkeypatch.setattr("messaging.runtime.settler.LINGER", 60)
    worker = work(Service())
    for n in range(3):
        queue.put(n)
        until(lambda n=n: worker.stats.acknowledged == n + 1)
    assert len(queue.asked("delete")) == 3


def test_retry_hides_for_its_delay_in_whole_seconds_rounded_up(work, queue, until):
    queue.put(1)
    worker = work(Service(raising(Retry(delay=41.2))))
    until(lambda: worker.stats.released == 1)
    assert queue.asked("change_visibility")[0].seconds == (42,)
    assert not queue.asked("delete")


def test_reject_copies_with_the_reason_and_then_deletes(work, queue, until):
    queue.put(1, receive_count=3)
    worker = work(Service(raising(Reject("mensalidade: negative"))))
    until(lambda: worker.stats.dead_lettered == 1)
    assert [request.name for request in queue.requests] == ["dead_letter", "delete"]
    (letter,) = queue.asked("dead_letter")[0].letters
    assert (letter.reason, letter.error, letter.attempts, letter.queue) == (
        "mensalidade: negative",
        None,
        3,
        "t-service",
    )
    assert letter.time > 1_700_000_000


def test_discard_deletes_and_is_told_apart(work, queue, until, caplog):
    caplog.set_level("INFO", "messaging.runtime")
    queue.put(1)
    worker = work(Service(raising(Discard("test data"))))
    until(lambda: worker.stats.received and not worker.stats.in_flight)
    assert (worker.stats.acknowledged, worker.stats.discarded) == (1, 1)
    assert queue.messages("delete") == ["m1"]
    assert "discarded message m1: test data" in caplog.text


def test_any_other_exception_follows_the_retry_policy(work, queue, broker, until):
    class Careful(Service):
        service = "service"
        retry = RetryPolicy(max_attempts=2, wait=wait_fixed(7), outage=0)

    queue.put(1, receive_count=1)
    queue.put(2, receive_count=2)
    worker = work(Careful(raising(LookupError("Maria"))))
    until(lambda: worker.stats.released == worker.stats.dead_lettered == 1)
    assert (queue.messages("change_visibility"), queue.asked("change_visibility")[0].seconds) == (
        ["m1"],
        (7,),
    )
    (letter,) = queue.asked("dead_letter")[0].letters
    assert (letter.delivery.message_id, letter.error) == ("m2", "LookupError")


def test_what_cannot_be_read_is_dead_lettered_and_the_rest_goes_on(work, queue, until):
    queue.put(1, kind="nobody.knows")
    queue.put(2)
    worker = work(Service())
    until(lambda: worker.stats.acknowledged == worker.stats.dead_lettered == 1)
    assert queue.messages("dead_letter") == ["m1"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["happened", "happened.async"])
def test_an_exception_that_ends_programs_ends_no_thread(work, queue, until, error, kind):
    class Both(Service):
        service = "service"

        @handles
        async def happened_async(self, event: HappenedAsync) -> None:
            self.act(event.n)

    def act(n: int) -> None:
        if n < 5:
            raise error

    queue.put(*range(8), kind=kind)
    worker = work(Both(act), concurrency=1)
    until(lambda: worker.stats.released == 5 and worker.stats.acknowledged == 3)
    assert worker.stage is Stage.RUNNING


def test_a_retry_policy_that_breaks_retries(work, queue, until, caplog):
    class Broken(Service):
        service = "service"
        retry = RetryPolicy(wait=lambda state: 1 / 0)

    queue.put(1)
    worker = work(Broken(raising(ValueError("Maria"))))
    until(lambda: worker.stats.released == 1)
    assert queue.asked("change_visibility")[0].seconds == (60,)
    assert "Maria" not in caplog.text


def test_concurrency_bounds_sync_and_async_handlers_together(work, queue, until):
    class Both(Consumer):
        service = "service"
        running = most = 0
        lock = threading.Lock()

        def enter(self) -> None:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)

        def leave(self) -> None:
            with self.lock:
                self.running -= 1

        @handles
        def sync(self, event: Happened) -> None:
            self.enter()
            threading.Event().wait(0.01)
            self.leave()

        @handles
        async def not_sync(self, event: HappenedAsync) -> None:
            self.enter()
            await asyncio.sleep(0.01)
            self.leave()

    consumer = Both()
    for n in range(20):
        queue.put(n)
        queue.put(100 + n, kind="happened.async")
    worker = work(consumer, concurrency=4)
    until(lambda: worker.stats.acknowledged == 40)
    assert consumer.most == 4


def test_async_handlers_run_at_once_on_one_loop_and_block_no_thread(work, queue, until):
    class Meeting(Consumer):
        service = "service"

        def __init__(self) -> None:
            self.barrier: asyncio.Barrier | None = None
            self.threads: set[str] = set()

        @handles
        async def meet(self, event: HappenedAsync) -> None:
            self.threads.add(threading.current_thread().name)
            self.barrier = self.barrier or asyncio.Barrier(5)
            await self.barrier.wait()

    consumer = Meeting()
    queue.put(*range(5), kind="happened.async")
    worker = work(consumer, concurrency=5)
    until(lambda: worker.stats.acknowledged == 5)
    assert consumer.threads == {"messaging-loop"}


@pytest.mark.parametrize(("prefetch", "most"), [(None, 4), (0, 2), (3, 5)])
def test_no_more_is_held_than_concurrency_and_prefetch(work, queue, until, release, prefetch, most):
    queue.put(*range(50))
    worker = work(Service(lambda n: release.wait(5)), concurrency=2, prefetch=prefetch)
    until(lambda: worker.stats.in_flight == most)
    threading.Event().wait(0.05)
    assert worker.stats.in_flight == worker.stats.received == most
    assert max(queue.receives) <= most
    release.set()
    until(lambda: worker.stats.acknowledged == 50)


def test_several_consumers_each_with_its_queue(work, broker, until):
    class Marketing(Service):
        pass

    class BI(Service):
        service = "bi"

    broker.queue("marketing").put(1, 2)
    broker.queue("bi").put(3)
    worker = work(Marketing(), BI(raising(Reject("no"))))
    until(lambda: worker.stats == Stats(received=3, acknowledged=2, dead_lettered=1))
    assert worker.stats_of("marketing") == Stats(received=2, acknowledged=2)
    assert worker.stats_of("bi") == Stats(received=1, dead_lettered=1)
    with pytest.raises(ConfigurationError, match=r"no service 'rh'.*marketing, bi"):
        worker.stats_of("rh")


@pytest.mark.parametrize("error", [NotFound("no queue"), AccessDenied("not you")])
def test_a_queue_that_cannot_be_reached_is_told_at_start(work, queue, error):
    queue.visibility_timeout = error
    worker = work(Service(), start=False)
    for attempt in (worker.start, worker.run):
        with pytest.raises(type(error), match=str(error)):
            attempt()
    assert worker.stage is Stage.NEW
    assert queue.closed
    assert not [
        one
        for one in threading.enumerate()
        if one.name.startswith(("messaging-service", "messaging-loop"))
    ]


def test_the_second_queue_missing_closes_the_first(work, broker, queue):
    class Other(Service):
        pass

    broker.queue("other").visibility_timeout = NotFound("no queue")
    with pytest.raises(NotFound):
        work(Service(), Other(), start=False).start()
    assert queue.closed


def test_a_handler_may_stop_its_worker(work, queue, until):
    reports = []
    consumer = Service(lambda n: reports.append(worker.stop()))
    worker = work(consumer, start=False)
    queue.put(1)
    report = worker.run()
    assert report.stats == Stats(received=1, acknowledged=1)
    assert reports[0].stats.in_flight == 1
    assert consumer.closed == 1


def test_an_async_handler_may_stop_its_worker(work, queue):
    class Last(Consumer):
        service = "service"

        @handles
        async def last(self, event: HappenedAsync) -> None:
            worker.stop()

    worker = work(Last(), start=False)
    queue.put(1, kind="happened.async")
    assert worker.run().stats == Stats(received=1, acknowledged=1)


def test_a_thread_that_dies_stops_the_worker_and_is_raised(work, queue, until):
    queue.put(1)
    queue.fail_receive.append(ZeroDivisionError("a defect"))
    worker = work(Service(), start=False)
    with pytest.raises(ZeroDivisionError):
        worker.run()
    assert worker.stage is Stage.STOPPED


def test_a_settler_that_dies_leaves_nothing_uncounted(work, queue, until, monkeypatch):
    """Of a defect of the library's own: those of a transport it outlives."""

    def settle(self, chunk, under_way=None):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Settlement, "settle", settle)
    queue.put(3)
    worker = work(Service(), start=False)
    with pytest.raises(ZeroDivisionError), worker:
        until(lambda: worker.stage is Stage.STOPPED)
    assert worker.stats == Stats(received=1, expired=1)


def test_a_transport_that_breaks_down_does_not_stop_the_worker(work, queue, until, caplog):
    broken = [ZeroDivisionError("a defect"), ZeroDivisionError("a defect")]

    def refuse(request):
        if request.name == "delete" and broken:
            raise broken.pop()
        return ()

    queue.refuse = refuse
    queue.put(3)
    worker = work(Service())
    until(lambda: worker.stats == Stats(received=1, acknowledged=1))
    assert worker.stage is Stage.RUNNING
    assert "delete of t-service raised ZeroDivisionError at" in caplog.text


def test_it_starts_once_and_stops_as_often_as_you_like(work, queue):
    consumer = Service()
    worker = work(consumer)
    with pytest.raises(ConfigurationError, match="this worker is running"):
        worker.start()
    assert worker.stop().stats == worker.stop().stats
    assert (consumer.closed, queue.closed) == (1, 1)
    with pytest.raises(ConfigurationError, match="this worker is stopped"):
        worker.start()


def test_a_stop_before_the_start_stops_it_when_it_starts(work, until):
    worker = work(Service(), start=False)
    assert worker.stop().stats == Stats()
    assert worker.run().stats == Stats()


def test_a_consumer_that_cannot_close_does_not_keep_others_from_it(work, broker, caplog):
    class Stuck(Service):
        def close(self) -> None:
            raise RuntimeError("Maria")

    class Other(Service):
        pass

    other = Other()
    work(Stuck(), other).stop()
    assert other.closed == 1
    assert "Stuck.close() raised RuntimeError" in caplog.text
    assert "Maria" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        ((), {}, "at least one consumer"),
        ((Service,), {}, r"not its class: Service\(\)"),
        ((Service(), Service()), {}, "two consumers are service 'service'"),
        ((Service(),), {"concurrency": 0}, "concurrency=0"),
        ((Service(),), {"prefetch": -1}, "prefetch=-1"),
        ((Service(),), {"wait": 21}, "0 to 20 seconds"),
        ((Service(),), {"drain": -1}, "drain=-1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(broker, arguments, keywords, says):
    with pytest.raises(ConfigurationError, match=says):
        Worker(*arguments, broker=broker, **keywords)


def test_a_consumer_without_handlers_is_refused(broker):
    class Deaf(Consumer):
        pass

    with pytest.raises(ConfigurationError, match="Deaf handles nothing"):
        Worker(Deaf(), broker=broker)


def test_a_middleware_stands_around_every_handler(work, queue, until):
    class Watching:
        seen: list[Outcome | str]

        def __init__(self, call) -> None:
            self.seen.append(call.envelope.id)

        def __enter__(self) -> None: ...

        def __exit__(self, *exc: object) -> None: ...

    Watching.seen = []
    queue.put(1, 2)
    worker = work(Service(), middleware=[Watching])
    until(lambda: worker.stats.acknowledged == 2)
    assert sorted(map(str, Watching.seen)) == ["1", "2"]
