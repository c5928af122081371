"""The plan of a seed: a list of steps, any of which can be left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal, NamedTuple

from messaging.testing.chaos.seeded import Seeded

__all__ = [
    "EVERY_FAULT",
    "HANDLER_FAULTS",
    "REQUEST_FAULTS",
    "Mode",
    "Host",
    "Producer",
    "ScenarioPlan",
    "Step",
    "StepKind",
    "draw",
]

Mode = Literal["at least once", "idempotent", "transactional"]

Host = Literal["worker", "lambda"]
"""What runs the handlers."""
Producer = Literal["direct", "buffered", "outbox"]
"""How events are published: directly, through a buffer, or through an outbox."""

StepKind = Literal[
    "publish",
    "poll",
    "handle",
    "settle",
    "renew",
    "relay",
    "wait",
    "jump",
    "kill",
    "stop",
    "start",
    "junk",
]

REQUEST_FAULTS = (
    "unavailable",  # 503, nothing was done
    "throttled",  # nothing was done
    "reset",  # the connection breaks before the request arrives
    "lost",  # it was done, but the response is lost
    "slow",  # the response takes up to 45 s
    "refused",  # some entries of a batch are refused
    "lied",  # some entries of a batch are reported as failed, though they were done
    "denied",  # expired credentials
    "duplicated",  # received messages are visible to others immediately
    "shuffled",  # received messages are out of order
    "stopped",  # SIGTERM comes while a receive waits
    "killed",  # kill -9 before the request, or after it was executed
    "undelivered",  # SNS cannot reach a queue
)
HANDLER_FAULTS = (
    "raised",  # before the handler had any effect
    "raised late",  # after it
    "exited",  # SystemExit or KeyboardInterrupt, before it
    "poisoned",  # every attempt of this service on this event raises
    "stalled",  # longer than the lease
    "asked again",  # Retry
    "rejected",  # Reject
    "discarded",  # Discard
    "died",  # kill -9 before or after the effect
)
STEP_FAULTS: tuple[StepKind, ...] = ("kill", "stop", "jump", "junk")
EVERY_FAULT: tuple[str, ...] = (*REQUEST_FAULTS, *HANDLER_FAULTS, *STEP_FAULTS)

_WEIGHTS: Mapping[StepKind, int] = MappingProxyType(
    {"poll": 24, "handle": 30, "settle": 20, "renew": 7, "wait": 6, "start": 5}
)
_RARE: Mapping[StepKind, int] = MappingProxyType({"kill": 3, "stop": 2, "jump": 2, "junk": 3})


class Step(NamedTuple):
    """One step of the scenario. `who` is a worker's number, `what` depends on the step.

    publish  the events number `what` up to `what + who`
    poll, handle, settle, renew    worker `who`, service number `what`
    relay    one claim of the outbox is sent
    wait     `what` seconds pass
    jump     the wall clock is set forward or back by `what` seconds
    kill, stop, start              worker `who`
    junk     something unreadable for service number `what`
    """

    kind: StepKind
    who: int = 0
    what: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioPlan:
    """Everything that a scenario needs; running it twice gives the same scenario.

    Args:
        seed: the seed it was drawn from.
        services: the numbers of the participating consumers.
        fifo: whether topic and queues are FIFO.
        mode: the promise about effects.
        workers: how many workers share the queues.
        concurrency: concurrent handlers of one worker.
        prefetch: messages that may wait in addition.
        events: the numbers of the published events.
        steps: what happens, one after another.
        kinds: faults that may happen; each seed allows only some of them, so that common ones do
            not hide what rare ones find.
        requests: how often a request goes wrong, from 0 to 1.
        handlers: how often a handler goes wrong, from 0 to 1.
        host: the environment of the handlers.
        producer: how the events are published.
        completes: a poll handles and settles its messages, as in a worker whose handlers are quick.
        only: names of the drawn faults that may happen; None: all of them.

    Example:
        ```python
        from messaging.testing.chaos import draw

        plan = draw(7, services=2, events=3)
        assert (plan.seed, plan.services, plan.fifo) == (7, (0, 1), False)
        assert plan.steps  # the steps, in order
        ```
    """

    seed: int
    services: tuple[int, ...]
    fifo: bool
    mode: Mode
    workers: int
    concurrency: int
    prefetch: int
    events: tuple[int, ...]
    steps: tuple[Step, ...]
    kinds: frozenset[str]
    requests: float
    handlers: float
    host: Host = "worker"
    producer: Producer = "direct"
    completes: bool = False
    only: frozenset[str] | None = None

    def title(self) -> str:
        """The setting, in one line."""
        return (
            f"seed {self.seed}: {len(self.services)} services, {len(self.events)} events, "
            f"{self.workers} workers (concurrency {self.concurrency}, prefetch {self.prefetch}), "
            f"{'FIFO' if self.fifo else 'standard'}, {self.mode}, {self.host}"
            f"{', run to completion' if self.completes else ''}, {self.producer}, "
            f"{len(self.steps)} steps"
        )


def draw(
    seed: int,
    *,
    services: int,
    events: int,
    modes: Sequence[Mode] = ("at least once",),
    fifo: Sequence[bool] = (False,),
    kinds: Sequence[str] = EVERY_FAULT,
    hosts: Sequence[Host] = ("worker",),
    producers: Sequence[Producer] = ("direct",),
    all_services: bool = True,
) -> ScenarioPlan:
    """The plan of `seed` for so many services and events.

    Args:
        seed: any number; the same one draws the same plan.
        services: how many services there are.
        events: how many events are published.
        modes: promises that the seed may choose from.
        fifo: values of `fifo` that the seed may choose from.
        kinds: faults that the seed may choose from.
        hosts: environments that the seed may choose from.
        producers: ways of publishing that the seed may choose from.
        all_services: False: the seed may leave some of them out.

    Example:
        ```python
        from messaging.testing.chaos import draw

        plan = draw(7, services=2, events=3)
        assert plan == draw(7, services=2, events=3)
        ```
    """
    chance = Seeded(seed).stream("plan")
    part = services if all_services else chance.randint(1, services)
    workers = chance.choice((1, 1, 2, 3))
    published = chance.randint(min(3, events), events)
    allowed = frozenset(kind for kind in kinds if chance.random() < 0.6)
    host, producer = chance.choice(tuple(hosts)), chance.choice(tuple(producers))
    return ScenarioPlan(
        seed=seed,
        completes=Seeded(seed).stream("completes").random() < 0.5,
        host=host,
        producer=producer,
        services=tuple(sorted(chance.sample(range(services), part))),
        fifo=chance.choice(tuple(fifo)),
        mode=chance.choice(tuple(modes)),
        workers=workers,
        concurrency=chance.choice((1, 2, 5, 50)),
        prefetch=chance.choice((0, 2, 10, 50)),
        events=tuple(range(published)),
        steps=tuple(_steps(chance, part, workers, published, allowed, producer)),
        kinds=allowed,
        requests=chance.choice((0.02, 0.08, 0.2)),
        handlers=chance.choice((0.05, 0.2, 0.4)),
    )


def _steps(
    chance: Random,
    services: int,
    workers: int,
    events: int,
    kinds: frozenset[str],
    producer: Producer,
) -> Iterator[Step]:
    """All workers start; events arrive in bursts, with faults between and after them.

    Retries only happen after some seconds, so the end is as eventful as the middle.
    """
    rare: dict[StepKind, int] = {kind: _RARE[kind] for kind in STEP_FAULTS if kind in kinds}
    weights: dict[StepKind, int] = {**_WEIGHTS, **rare}
    if producer == "outbox":
        weights["relay"] = 12
    names: tuple[StepKind, ...] = tuple(weights)
    largest = chance.choice((7, 7, 30))
    yield from (Step("start", worker) for worker in range(workers))
    published = 0
    while published < events:
        burst = min(chance.randint(1, largest), events - published)
        yield Step("publish", burst, published)
        published += burst
        between = chance.randint(2, 6 * services + 8)
        if published == events:
            between += 40 * services
        for kind in chance.choices(names, tuple(weights.values()), k=between):
            yield Step(kind, chance.randrange(workers), _what(chance, kind, services))


def _what(chance: Random, kind: StepKind, services: int) -> int:
    if kind == "wait":
        return chance.choice((1, 1, 5, 20, 40))
    if kind == "jump":
        return chance.choice((-86_400, -3_600, -60, 60, 3_600, 86_400))
    return chance.randrange(services)
