"""What becomes of an outcome, whoever runs the handler: a worker, the Lambda handler, `drain`.

Each host is tried on the in-process broker and on a server, with a standard and a FIFO queue.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.dead_letters import reason as dead_letter_reason
from messaging.event import Event
from messaging.local import Engine, LocalServer
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry, RetryPolicy
from messaging.settlement import Action, action_of, seconds_of
from messaging.topology import Topology
from messaging.transport import Outgoing
from tests.contracts.conftest import Site, _site, message
from tests.contracts.hosts import HOSTS, Host


class Step(Event, type="step.taken", version=1):
    name: str


class Clerk(Consumer):
    """Does what a name says: "retry-1-a" is asked for again once, and then fine."""

    # A message that was given back behind another has been received once more.
    retry = RetryPolicy(max_attempts=3, wait=wait_fixed(1), outage=0)
    visibility_timeout = 30
    max_receives = 20

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self._lock = threading.Lock()

    @handles
    def taken(self, step: Step) -> Ack | None:
        with self._lock:
            again = step.name in self.begun
            self.begun.append(step.name)
        what = step.name.partition("-")[0]
        if what == "reject":
            raise Reject("name: refused")
        if what == "discard":
            raise Discard("not ours")
        if what == "break" or (what == "stumble" and not again):
            raise KeyError(step.name)
        if what == "retry" and not again:
            raise Retry(1, "not yet")
        with self._lock:
            self.done.append(step.name)
        return Ack() if what == "ack" else None


STANDARD = Topology.of(Clerk, topic="steps")
FIFO = Topology.of(Clerk, topic="steps.fifo")
_numbers = count(1)


def body(name: str) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"event-{name}",
            "source": "/contracts",
            "type": "step.taken",
            "data": {"name": name},
        }
    )


def outgoing(name: str) -> Outgoing:
    """A message called `name`; its group is what follows the last "-"."""
    text = name if name.startswith("unreadable") else body(name)
    sent = message(text, "step.taken")
    return replace(sent, group=name.rpartition("-")[2], deduplication=f"{name}-{next(_numbers)}")


@pytest.fixture(params=["memory", "ministack"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(HOSTS))
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


@dataclass(frozen=True)
class Play:
    """Publishes messages of these names, and lets the host run until the queue is empty."""

    site: Site
    host: Host
    ordered: bool

    def __call__(self, *names: str) -> Clerk:
        clerk = Clerk()
        batch = [outgoing(name) for name in names]
        if not self.ordered:
            batch = [replace(one, group=None, deduplication=None) for one in batch]
        assert not self.site.broker.topic().publish(batch)
        self.host(clerk, self.site.broker)
        return clerk

    def reasons(self) -> dict[str, str]:
        """Of each dead letter, by what it is called."""
        found = {}
        for text, attributes in self.site.letters("clerk"):
            _, note = dead_letter_reason.read(attributes)
            assert note is not None, "SQS moved it, without a reason"
            name = text if text.startswith("unreadable") else json.loads(text)["data"]["name"]
            found[name] = note.reason
        return found


@pytest.fixture
def play(engine: str, host: Host, servers: Callable[[Engine], LocalServer]) -> Iterator[Play]:
    for site in _site(engine, STANDARD, servers):
        yield Play(site, host, ordered=False)


@pytest.fixture
def play_in_order(
    engine: str, host: Host, servers: Callable[[Engine], LocalServer]
) -> Iterator[Play]:
    for site in _site(engine, FIFO, servers):
        yield Play(site, host, ordered=True)


def test_each_outcome_does_the_same_to_a_message(play: Play) -> None:
    clerk = play(
        "fine-1", "ack-1", "retry-1", "reject-1", "discard-1", "stumble-1", "break-1",
        "unreadable-1",
    )  # fmt: skip

    assert sorted(clerk.done) == ["ack-1", "fine-1", "retry-1", "stumble-1"]
    begun = {name: clerk.begun.count(name) for name in clerk.begun}
    assert begun == {
        "fine-1": 1, "ack-1": 1, "retry-1": 2, "reject-1": 1, "discard-1": 1, "stumble-1": 2,
        "break-1": 3,
    }  # fmt: skip
    told = play.reasons()
    assert told.keys() == {"reject-1", "break-1", "unreadable-1"}
    assert told["reject-1"] == "name: refused"
    assert told["break-1"] == "KeyError after 3 attempts"
    assert told["unreadable-1"].startswith("body: ")


# FIFO


@pytest.mark.parametrize("first", ["fine", "retry", "stumble", "reject", "discard", "break"])
def test_order_of_a_group_is_kept_whatever_becomes_of_the_first(
    play_in_order: Play, first: str
) -> None:
    clerk = play_in_order(f"{first}-1-a", "fine-2-a", "fine-3-a")

    done = [f"{first}-1-a"] if first in {"fine", "retry", "stumble"} else []
    assert clerk.done == [*done, "fine-2-a", "fine-3-a"]
    # And not only done in order: none was begun before the one ahead of it had its end.
    times = {"retry": 2, "stumble": 2, "break": 3}.get(first, 1)
    assert clerk.begun == [f"{first}-1-a"] * times + ["fine-2-a", "fine-3-a"]
    assert list(play_in_order.reasons()) == (
        [f"{first}-1-a"] if first in {"reject", "break"} else []
    )


def test_an_unreadable_message_in_the_middle_does_not_hold_up_or_disorder_its_group(
    play_in_order: Play,
) -> None:
    clerk = play_in_order("retry-1-a", "unreadable-2-a", "stumble-3-a", "fine-4-a")

    assert clerk.done == ["retry-1-a", "stumble-3-a", "fine-4-a"]
    assert clerk.begun == ["retry-1-a"] * 2 + ["stumble-3-a"] * 2 + ["fine-4-a"]
    assert list(play_in_order.reasons()) == ["unreadable-2-a"]


def test_groups_do_not_wait_for_each_other(play_in_order: Play) -> None:
    clerk = play_in_order(
        "retry-1-a", "fine-1-b", "fine-2-a", "reject-2-b", "stumble-3-a", "fine-3-b", "fine-1-c"
    )

    def of(group: str) -> list[str]:
        return [name for name in clerk.done if name.endswith(f"-{group}")]

    assert of("a") == ["retry-1-a", "fine-2-a", "stumble-3-a"]
    assert of("b") == ["fine-1-b", "fine-3-b"]
    assert clerk.done.index("fine-3-b") < clerk.done.index("fine-2-a")
    assert list(play_in_order.reasons()) == ["reject-2-b"]


# The table itself


class OfNoKind(Outcome):
    """A subclass that is none of the four."""


class Bare(Retry):
    """A subclass that forgets what its base needs."""

    def __init__(self) -> None: ...


@pytest.mark.parametrize(
    ("outcome", "copied", "action"),
    [
        (Ack(), False, Action.DELETE),
        (Discard("x"), False, Action.DELETE),
        (Retry(3), False, Action.HIDE),
        (Bare(), False, Action.HIDE),
        (Reject("x"), False, Action.DEAD_LETTER),
        (Reject("x"), True, Action.DELETE),
        (None, False, Action.LEAVE),
        (OfNoKind(), False, Action.LEAVE),
    ],
)
def test_nothing_is_deleted_that_nobody_said_to_delete(
    outcome: Outcome | None, copied: bool, action: Action
) -> None:
    assert action_of(outcome, copied=copied) is action


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (None, 0), (0, 0), (0.1, 1), (7.2, 8), (43_200, 43_200), (1e300, 43_200), (-5, 0),
        (float("inf"), 43_200), (float("nan"), 0), ("soon", 0), ("7", 7), (10**400, 0), ([], 0),
    ],
)  # fmt: skip
def test_a_delay_is_what_sqs_takes(delay: Any, seconds: int) -> None:
    outcome = Retry(0)
    outcome.delay = delay

    assert seconds_of(outcome) == seconds
    assert seconds_of(Bare()) == 0
