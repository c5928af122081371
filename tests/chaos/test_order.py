"""What the kit found in the room of waiting: who comes must not overtake who goes back."""

from __future__ import annotations

from messaging.runtime.in_flight import Disposition, InFlightMessage
from messaging.runtime.ready_queue import FifoReadyQueue
from messaging.testing.chaos.plan import ScenarioPlan, Step
from messaging.testing.chaos.scenario import play
from messaging.transport import Delivery
from tests.chaos.sample import sample_setup


def message(number: int, group: str = "a") -> InFlightMessage:
    one = Delivery(queue="q.fifo", message_id=f"m{number}", receipt="r", body="", group=group)
    return InFlightMessage(one.message_id, one, 0.0, 30.0)


def test_one_that_comes_is_held_up_while_one_before_it_goes_back() -> None:
    line, (first, second, third) = FifoReadyQueue(3), (message(1), message(2), message(3))
    line.put(first)
    line.put(second)
    assert line.get_nowait() is first
    assert line.failed(first) == [second]
    assert line.held_up(third)
    assert not line.held_up(message(4, group="b"))
    line.left(first, Disposition.ACKNOWLEDGED)  # its handler ended well after all
    assert line.held_up(message(5))
    line.left(second, Disposition.RELEASED)
    assert line.held_up(message(6))  # the third one is on its way, too


def test_the_group_goes_on_when_all_are_back() -> None:
    line, first, second = FifoReadyQueue(3), message(1), message(2)
    line.put(first)
    line.get_nowait()
    line.failed(first)
    assert line.held_up(second)
    line.left(second, Disposition.RELEASED)
    line.left(first, Disposition.RELEASED)
    assert not line.held_up(message(3))


def test_the_story_that_showed_it() -> None:
    """A lease is lost unseen, and all three come again: the second goes back, the third waits."""
    plan = ScenarioPlan(
        seed=71,
        services=(1,),
        fifo=True,
        mode="at least once",
        workers=3,
        concurrency=1,
        prefetch=10,
        events=(1, 6, 26),
        steps=(
            Step("start", 1),
            Step("publish", 7, 0),
            Step("poll", 1, 0),
            Step("wait", 0, 40),
            Step("handle", 1, 0),
            Step("settle", 1, 0),
            Step("publish", 6, 21),
            Step("poll", 1, 0),
        ),
        kinds=frozenset(),
        requests=0.0,
        handlers=0.0,
    )
    scenario = play(plan, sample_setup)
    assert not scenario.breaches
    assert scenario.count.redeliveries >= 2
