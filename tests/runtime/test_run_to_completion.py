"""Run-to-completion: who receives handles, while handlers are quick; and what if one is not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.runtime import Worker
from tests.runtime.conftest import ScriptedQueue
from tools import walk


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    """Notes in which thread it handles what. Waits at the number `slow`, and counts at once."""

    def __init__(self, release: threading.Event, slow: int = -1) -> None:
        self.release = release
        self.slow = slow
        self.threads: dict[int, str] = {}
        self.at_once = self.most = 0
        self.lock = threading.Lock()

    @handles
    def happened(self, event: Happened) -> None:
        with self.lock:
            self.threads[event.n] = threading.current_thread().name
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        if event.n == self.slow:
            self.release.wait(10)
        with self.lock:
            self.at_once -= 1

    @handles
    async def happened_async(self, event: HappenedAsync) -> None:
        self.threads[event.n] = threading.current_thread().name
        if event.n == self.slow:
            await asyncio.sleep(10)


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick is less than any pause that a busy machine makes."""
    monkeypatch.setattr("messaging.runtime.executor.QUICK", 0.5)
    monkeypatch.setattr("messaging.runtime.executor.BRIEF", 0.5)
    monkeypatch.setattr("messaging.runtime.executor.SLOW", 0.6)
    monkeypatch.setattr("messaging.runtime.receiver.FAR", 60)


def warm(worker: Worker, service: Service, queue: ScriptedQueue, until) -> None:
    """Quick messages one by one, until the thread that receives them handles them."""
    for number in range(-1000, -2):
        queue.put(number)
        until(lambda number=number: number in service.threads)
        until(lambda: worker.stats.in_flight == 0)
        if "poller" in service.threads[number]:
            break
    service.threads.clear()
    queue.requests.clear()


def test_quick_ones_are_handled_and_deleted_by_the_thread_that_received_them(
    work, queue, until, release
):
    deleters = set()
    queue.refuse = lambda request: deleters.add(threading.current_thread().name) or ()
    service = Service(release)
    worker = work(service)
    warm(worker, service, queue, until)
    deleters.clear()
    before = worker.stats.acknowledged
    queue.put(*range(30))
    until(lambda: worker.stats.acknowledged == before + 30)
    assert {service.threads[n] for n in range(30)} == {"messaging-service-poller"}
    assert deleters == {"messaging-service-poller"}
    assert service.most == 1


def test_behind_one_that_hangs_the_others_are_handled_and_more_is_received(
    work, queue, until, release
):
    service = Service(release, slow=0)
    worker = work(service)
    warm(worker, service, queue, until)
    queue.put(*range(10))
    until(lambda: len(service.threads) == 10)
    assert "poller" in service.threads[0]
    queue.put(*range(10, 40))
    until(lambda: service.threads.keys() >= set(range(40)))
    until(lambda: worker.stats.in_flight == 1)
    release.set()
    until(lambda: worker.stats.in_flight == 0)
    queue.put(50)
    until(lambda: 50 in service.threads)
    assert queue.messages("delete").count("m0") == 1


def test_concurrency_is_never_exceeded_however_it_is_handled(work, queue, until, release):
    service = Service(release, slow=0)
    worker = work(service, concurrency=1)
    warm(worker, service, queue, until)
    queue.put(*range(10))
    until(lambda: 0 in service.threads)
    assert worker.stats.in_flight <= 10
    release.set()
    until(lambda: service.threads.keys() >= set(range(10)))
    until(lambda: worker.stats.in_flight == 0)
    assert service.most == 1


def test_what_waits_behind_one_that_hangs_goes_back_at_the_stop(
    work, queue, until, release, monkeypatch
):
    monkeypatch.setattr("messaging.runtime.run_to_completion.LOOK", 60)  # the watch sees nothing
    service = Service(release, slow=0)
    worker = work(service, drain=0.05)
    warm(worker, service, queue, until)
    queue.put(*range(10))
    until(lambda: 0 in service.threads)
    report = worker.stop()
    assert report.unfinished == ("m0",)
    assert queue.messages("change_visibility") == sorted(f"m{n}" for n in range(1, 10))
    assert (report.stats.released, report.stats.expired) == (9, 1)


def test_what_waits_behind_one_that_hangs_goes_back_at_a_pause(
    work, queue, until, release, monkeypatch
):
    monkeypatch.setattr("messaging.runtime.run_to_completion.LOOK", 60)
    service = Service(release, slow=0)
    worker = work(service)
    warm(worker, service, queue, until)
    queue.put(*range(10))
    until(lambda: 0 in service.threads)
    worker.pause()
    until(lambda: len(queue.messages("change_visibility")) == 9)
    release.set()
    until(lambda: worker.stats.in_flight == 0)
    worker.resume()
    queue.put(20)
    until(lambda: 20 in service.threads)


def test_what_was_handled_before_one_that_hangs_is_deleted_meanwhile(work, queue, until, release):
    service = Service(release, slow=9)
    worker = work(service)
    warm(worker, service, queue, until)
    queue.put(*range(10))
    until(lambda: set(queue.messages("delete")) >= {f"m{n}" for n in range(9)})
    assert not release.is_set()


def test_one_whose_settling_takes_long_is_relieved_too(work, queue, until, release, monkeypatch):
    monkeypatch.setattr("messaging.runtime.run_to_completion.LOOKS_AT_SETTLING", 2)
    service = Service(release)
    worker = work(service)
    warm(worker, service, queue, until)
    slow = threading.Event()

    def refuse(request):
        if "m5" in request.messages:
            slow.set()
            release.wait(10)
        return ()

    queue.refuse = refuse
    queue.put(5)
    until(slow.is_set)
    queue.put(*range(20, 25))
    until(lambda: set(queue.messages("delete")) >= {f"m{n}" for n in range(20, 25)})
    release.set()
    until(lambda: worker.stats.in_flight == 0)


def test_async_ones_begun_together_are_deleted_together(work, queue, until, release):
    service = Service(release)
    worker = work(service)
    warm(worker, service, queue, until)
    for turn in range(1, 4):
        queue.put(*range(10 * turn, 10 * turn + 10), kind="happened.async")
        until(lambda: worker.stats.in_flight == 0)
    until(lambda: service.threads.keys() >= set(range(10, 40)))
    assert {service.threads[n] for n in range(10, 40)} == {"messaging-loop"}
    deletes = queue.asked("delete")
    assert len(deletes) <= 6


def test_an_async_one_that_goes_on_holds_up_nobody(work, queue, until, release):
    service = Service(release, slow=3)
    worker = work(service, drain=0.1)
    warm(worker, service, queue, until)
    queue.put(*range(10), kind="happened.async")
    until(lambda: set(queue.messages("delete")) >= {f"m{n}" for n in range(10) if n != 3})
    queue.put(*range(10, 30))
    until(lambda: service.threads.keys() >= set(range(30)))
    until(lambda: worker.stats.in_flight == 1)
    assert worker.stop().stats.released == 1


def test_one_message_is_delivered_without_a_detour() -> None:
    # Once in a while the watch takes it over, or another thread settles it.
    walks = [walk.deliver().path for _ in range(3)]
    assert min(len(set(path)) for path in walks) <= 11
    assert min(len(path) - 1 for path in walks) <= 23, (
        "changes of module: see `python tools/walk.py`"
    )
