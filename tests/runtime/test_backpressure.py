"""How many messages a service asks for, decided without a queue or a thread of the worker."""

from __future__ import annotations

import random
import threading

import pytest

from messaging.outcome import Ack, Circuit, Retry
from messaging.runtime import postponed as postponed_module
from messaging.runtime.backpressure import BackPressure, State
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.testing import FakeClock
from messaging.transport import Delivery


def delivery(number: int) -> Delivery:
    return Delivery(queue="t", message_id=f"m{number}", receipt=f"r{number}", body="{}")


class Service:
    """What the back-pressure looks at: 10 handlers, 10 that wait beside, a lease of 30 s."""

    def __init__(
        self, *, concurrency: int = 10, prefetch: int | None = 10, lease: float = 30
    ) -> None:
        self.clock = FakeClock()
        self.in_flight = InFlight()
        self.postponed = Postponed(self.clock)
        self.breaker = Breaker(
            Circuit(failures=1), self.postponed, service="mail", clock=self.clock
        )
        self.isolation = Isolation("t", self.in_flight, last_receive=20)
        self.wedged = False
        self.behind = 0
        self.pressure = BackPressure(
            self.in_flight,
            self.breaker,
            self.isolation,
            concurrency=concurrency,
            prefetch=prefetch,
            lease=lease,
            wedged=lambda: self.wedged,
            behind=lambda: self.behind,
        )

    def take(self, count: int) -> list[InFlightMessage]:
        taken: list[InFlightMessage] = []
        first = self.in_flight.stats().received
        self.in_flight.receive([delivery(first + n) for n in range(count)], 0.0, 30, taken.append)
        return taken

    def fail(self) -> None:
        outcome = Retry(1)
        outcome.origin = "error"
        self.breaker.judge(delivery(999), outcome)

    def asks(self) -> int:
        """How many it asks for without waiting."""
        return self.pressure.room(patience=0)


def test_it_asks_for_what_may_run_and_what_may_wait() -> None:
    service = Service()
    assert service.pressure.free(1) == 20
    service.take(5)
    assert service.pressure.free(1) == 15
    service.take(15)
    assert service.pressure.free(1) == 0
    assert service.asks() == 0


def test_a_request_asks_for_ten_at_most_and_counts_as_held_until_it_is_answered() -> None:
    service = Service(prefetch=15)
    assert service.asks() == 10
    assert service.pressure.asked == 10
    assert service.pressure.free(1) == 15
    assert service.asks() == 10
    assert service.pressure.asked == 20
    assert service.asks() == 0, "room for five is not worth a second request beside two"
    service.pressure.answered(10)
    assert service.pressure.asked == 10
    assert service.asks() == 10


def test_whoever_does_not_wait_takes_what_there_is() -> None:
    service = Service(prefetch=15)
    assert [service.pressure.take() for _ in range(3)] == [10, 10, 0]
    assert service.pressure.asked == 20


def test_room_for_few_is_not_worth_a_request_while_there_may_be_more() -> None:
    service = Service(concurrency=2, prefetch=8)
    taken = service.take(7)
    assert service.pressure.free(1) == 3
    assert service.asks() == 0, "less than half of what may wait"
    service.in_flight.settle(taken[:1], Disposition.ACKNOWLEDGED)
    assert service.asks() == 4


def test_with_little_prefetch_one_free_handler_is_worth_a_request() -> None:
    service = Service(concurrency=2, prefetch=0)
    service.take(1)
    assert service.asks() == 1


def test_with_much_prefetch_a_full_request_is_enough() -> None:
    service = Service(concurrency=1, prefetch=100)
    service.take(92)
    assert service.asks() == 0
    other = Service(concurrency=1, prefetch=100)
    other.take(91)
    assert other.asks() == 10


def test_a_full_request_beside_one_that_is_out_needs_room_for_ten() -> None:
    service = Service(concurrency=5, prefetch=15)
    assert service.pressure.free(10)
    taken = service.take(11)
    assert not service.pressure.free(10)
    service.in_flight.settle(taken[:1], Disposition.ACKNOWLEDGED)
    assert service.pressure.free(10)


def test_slow_handlers_let_no_more_wait_than_start_within_half_a_lease() -> None:
    service = Service(concurrency=2, prefetch=100, lease=30)
    assert service.pressure.mean is None
    assert service.pressure.free(1) == 102
    service.pressure.took(5.0)
    assert service.pressure.mean == 5.0
    assert service.pressure.free(1) == 2 + 6  # 2 handlers, 15 s, 5 s each
    service.pressure.took(10.0)
    assert service.pressure.mean == 6.0  # a fifth of the way
    assert service.pressure.free(1) == 2 + 5
    fast = Service(concurrency=2, prefetch=100, lease=30)
    fast.pressure.took(0.0)
    assert fast.pressure.free(1) == 102
    fast.pressure.took(0.01)
    assert fast.pressure.free(1) == 102


def free_at(way: float | None, *, prefetch: int | None = None, weight: float | None = None) -> int:
    """How many it asks for where handlers take an eighth of a second, and answers `way` seconds."""
    service = Service(prefetch=prefetch)
    service.pressure.took(0.125)
    if way is not None:
        service.pressure.way = way
    if weight is not None:
        service.pressure._weight = weight
    return service.pressure.free(1)


def test_for_a_far_queue_it_holds_what_is_handled_in_three_answers_time() -> None:
    assert free_at(None) == 20, "nobody knows yet that it is far"
    assert free_at(0.25) == 20 + 3 * 10 * 2


def test_for_a_very_far_queue_it_holds_a_thousand_more_and_64_mib_of_bodies() -> None:
    assert free_at(8) == 20 + 1000
    assert free_at(8, weight=1024 * 1024) == 20 + 64


def test_the_weight_of_bodies_is_that_of_the_first_and_then_slowly_that_of_the_others() -> None:
    pressure = Service().pressure
    for size, weight in ((800, 800), (1600, 960)):
        pressure.way = 0.25
        body = "x" * size
        pressure.answered(
            0,
            [Delivery(queue="q", message_id=str(one), receipt="r", body=body) for one in range(5)],
        )
        assert pressure._weight == weight


def test_what_waits_for_others_of_its_group_takes_no_room_up_to_a_thousand() -> None:
    service = Service()
    service.take(15)
    service.behind = 12
    assert service.pressure.free(1) == 5 + 12
    service.take(1500)
    service.behind = 1500
    assert service.pressure.free(1) == 0
    big = Service()
    big.take(100)
    big.behind = 100
    big.pressure._weight = 1024 * 1024
    assert big.pressure.free(1) == 0, "64 of them, by their weight"


def test_an_empty_receive_weighs_nothing() -> None:
    pressure = Service().pressure
    pressure.way = 0.25
    pressure.answered(0)
    assert pressure._weight == 0.0


def test_a_prefetch_that_was_chosen_holds_for_a_far_queue_too() -> None:
    assert free_at(8, prefetch=10) == 20


def test_a_handler_that_hangs_is_taken_off_and_all_that_hang_ask_for_nothing() -> None:
    service = Service(concurrency=2, prefetch=0)
    one, two = service.take(2)
    service.in_flight.give_up(one)
    assert service.pressure.free(1) == 0
    service.in_flight.settle([two], Disposition.ACKNOWLEDGED)
    assert service.pressure.free(1) == 1
    (three,) = service.take(1)
    service.in_flight.give_up(three)
    assert service.pressure.free(1) == 0
    stuck = Service(concurrency=1, prefetch=5)
    stuck.in_flight.give_up(stuck.take(1)[0])
    assert stuck.pressure.free(1) == 0, "what waits would wait for ever"


def test_an_open_circuit_runs_half_and_lets_none_wait() -> None:
    service = Service(concurrency=10, prefetch=10)
    service.fail()
    assert service.pressure.state is State.OPEN
    assert service.pressure.free(1) == 5
    alone = Service(concurrency=1)
    alone.fail()
    assert alone.pressure.free(1) == 1
    stuck = Service(concurrency=10)
    for message in stuck.take(8):
        stuck.in_flight.give_up(message)
    stuck.fail()
    assert stuck.pressure.free(1) == 2


def test_an_open_circuit_with_too_many_hidden_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postponed_module, "MOST", 1)
    service = Service()
    service.postponed.add(delivery(1), 60)
    assert service.pressure.free(1) == 20
    service.fail()
    assert service.pressure.free(1) == 0


def test_the_state_says_what_keeps_it_from_receiving() -> None:
    service = Service()
    assert service.pressure.state is State.RECEIVING
    service.fail()
    service.wedged = True
    assert service.pressure.state is State.WEDGED
    assert service.pressure.free(1) == 0
    service.pressure.pause()
    assert service.pressure.state is State.PAUSED
    service.pressure.resume()
    service.wedged = False
    assert service.pressure.state is State.OPEN
    assert service.breaker.judge(delivery(1), Ack()) is False
    assert [state.value for state in State] == [
        "receiving",
        "paused",
        "wedged",
        "circuit open",
        "rate limited",
    ]


def test_a_pause_receives_nothing_and_gives_back_what_comes() -> None:
    service = Service()
    assert len(service.take(1)) == 1
    service.pressure.pause()
    assert not service.take(1)
    assert service.pressure.free(1) == service.asks() == 0
    service.pressure.resume()
    assert len(service.take(1)) == 1
    assert service.asks() == 10


def test_beside_a_suspect_nothing_is_received_and_what_comes_is_given_back() -> None:
    service = Service()
    (message,) = service.take(1)
    service.isolation.hold(message)
    assert service.pressure.free(1) == 0
    assert service.isolation.next() is message
    assert not service.take(1)
    service.isolation.left(message)
    assert len(service.take(1)) == 1
    assert service.pressure.free(1) == 17


def test_what_comes_before_a_suspect_runs_is_handled() -> None:
    service = Service()
    (message,) = service.take(1)
    service.isolation.hold(message)
    assert len(service.take(1)) == 1
    assert service.isolation.next() is None


def test_patience_is_time_in_which_room_may_come() -> None:
    service = Service()
    taken = service.take(20)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(service.pressure.room(patience=30)))
    thread.start()
    while not service.pressure._waiters:
        threading.Event().wait(0.001)
    service.in_flight.settle(taken, Disposition.ACKNOWLEDGED)
    service.pressure.look_again()
    thread.join(20)
    assert found == [10]


def test_after_the_end_nobody_waits_for_room() -> None:
    service = Service()
    service.pressure.close()
    assert service.pressure.free(1) == 0
    assert service.pressure.room() == 0


class Asker(threading.Thread):
    """Waits for room without an end."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.got: int | None = None
        self.start()
        while not service.pressure._waiters:
            threading.Event().wait(0.001)

    def run(self) -> None:
        self.got = self.service.pressure.room()


@pytest.mark.parametrize("what", ["resume", "close", "answered"])
def test_whoever_waits_for_room_is_woken_by_what_makes_some(what: str) -> None:
    service = Service()
    if what == "answered":
        assert [service.asks(), service.asks()] == [10, 10]
    else:
        service.pressure.pause()
    asker = Asker(service)
    if what == "resume":
        service.pressure.resume()
    elif what == "close":
        service.pressure.close()
    else:
        service.pressure.answered(10)
    asker.join(10)
    assert asker.got == (0 if what == "close" else 10)
    assert service.pressure._waiters == 0


def test_all_who_wait_are_woken_at_the_end() -> None:
    service = Service()
    service.pressure.pause()
    askers = [Asker(service) for _ in range(3)]
    while service.pressure._waiters < 3:
        threading.Event().wait(0.001)
    service.pressure.close()
    for asker in askers:
        asker.join(10)
        assert asker.got == 0


def test_one_who_got_room_wakes_the_next_if_there_is_more() -> None:
    service = Service()
    service.pressure.pause()
    askers = [Asker(service) for _ in range(2)]
    while service.pressure._waiters < 2:
        threading.Event().wait(0.001)
    service.pressure.resume()
    for asker in askers:
        asker.join(10)
        assert asker.got == 10


def test_an_open_circuit_is_looked_at_without_being_woken() -> None:
    service = Service(concurrency=2)
    taken = service.take(2)
    service.fail()
    asker = Asker(service)
    service.in_flight.settle(taken, Disposition.ACKNOWLEDGED)  # nobody tells the back-pressure
    asker.join(10)
    assert asker.got == 1


def test_the_order_of_events_does_not_let_it_hold_more_than_it_may() -> None:
    drawn = random.Random(7)
    service = Service(concurrency=3, prefetch=9)
    held: list[InFlightMessage] = []
    out: list[int] = []
    for _ in range(500):
        if asked := service.asks():
            out.append(asked)
        if out and drawn.random() < 0.5:
            asked = out.pop()
            held += service.take(drawn.randint(0, asked))
            service.pressure.answered(asked)
        if held and drawn.random() < 0.5:
            service.in_flight.settle([held.pop()], Disposition.ACKNOWLEDGED)
        assert service.in_flight.count + service.pressure.asked <= 12
        assert service.pressure.asked == sum(out)
