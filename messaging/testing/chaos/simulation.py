"""The simulation: one thread, one clock, one broker, and the steps of all processes in turn."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from messaging.memory.broker import MemoryBroker
from messaging.testing.chaos.faults import InjectedFaults, RequestFaults
from messaging.testing.chaos.lambda_process import LambdaProcess
from messaging.testing.chaos.plan import ScenarioPlan, Step, StepKind
from messaging.testing.chaos.process import End, Process
from messaging.testing.chaos.producing import Buffered, Direct, Outboxed
from messaging.testing.chaos.record import Fact, Record
from messaging.testing.chaos.setup import Setup
from messaging.testing.chaos.wire import Killed, QueueWire, TopicWire
from messaging.testing.clock import FakeClock
from messaging.topology import Topology
from messaging.transport import Delivery, QueueTransport

__all__ = ["ChaosClock", "Simulation", "event_id"]

DEEPEST = 2
"""Maximum nesting of handlers that stall while another one stalls."""
ATTENDED, LOOK = 0.4, 5.0
"""Share of stalling handlers during which leases are checked as often as in a worker; the others
stall in a process whose threads are blocked as well."""
MOST_ROUNDS = 2000
"""Maximum rounds until everything must have come to rest without further faults.

Many, because of queues that only contain poison: their circuit opens, and messages are then tried
one at a time, until SQS itself moves them."""

_MEANWHILE: tuple[StepKind, ...] = ("poll", "poll", "handle", "handle", "settle", "renew", "renew")
_HANDLES: tuple[StepKind, ...] = ("handle",) * 10
_ROUND: tuple[StepKind, ...] = ("poll", *_HANDLES, "settle", "renew")


class ChaosClock(FakeClock):
    """A clock whose wall time can be set, while monotonic time passes as usual."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 1, 5, 12, tzinfo=UTC))
        self._set = 0.0

    def now(self) -> float:
        return super().now() + self._set

    def jump(self, seconds: float) -> None:
        """Set the wall time forward or back."""
        self._set += seconds


def event_id(number: int) -> str:
    """The id under which event `number` is published."""
    return f"event-{number}"


class Simulation:
    """Runs one plan with one setup. The record and the broker's content remain for the
    invariants."""

    def __init__(self, plan: ScenarioPlan, setup: Setup, clock: ChaosClock) -> None:
        self.plan = plan
        self.setup = setup
        self.clock = clock
        self.record = Record()
        self.injected = InjectedFaults(plan, self.record, clock)
        self.ends: list[End] = []
        self.current: dict[str, str] = {}
        """The latest receipts of all messages."""
        self.published: dict[str, bool] = {}
        """Whether the publisher was told that each event was accepted."""
        self.at_rest = False
        self.services = plan.services
        topic = "chaos.fifo" if plan.fifo else "chaos"
        self.topology = Topology.of(*(setup.services[at] for at in plan.services), topic=topic)
        self.broker = MemoryBroker(self.topology, clock=clock, faults=self.injected.deliver)
        self._events: dict[str, str] = {}
        self._slots: list[Process | LambdaProcess | None] = [None] * plan.workers
        self._starts: Counter[int] = Counter()
        self._depth = 0
        self._producer = self._make_producer()

    def play(self) -> None:
        """Run the plan's steps, then as many as it takes until everything is at rest."""
        state = random.getstate()
        random.seed(self.plan.seed)
        try:
            for step in self.plan.steps:
                self._step(step)
            self._come_to_rest()
        finally:
            random.setstate(state)
            self._producer.close()
            self.broker.close()

    # Used by processes and wires.

    def tell(self, who: str, service: str, what: str, event: str = "", detail: str = "", /) -> None:
        self.record.add(Fact(self.clock.monotonic(), who, service, what, event, detail))

    def queue_for(self, process: Process | LambdaProcess, service: str, /) -> QueueTransport:
        # Without the number of the start: removing something from a scenario must not rename the
        # rest.
        who = f"{process.name.partition('.')[0]} {service}"
        faults = RequestFaults(self.injected, who, die=process.die)
        wire = QueueWire(self.broker.queue(service), service, self, process, faults)
        return self.setup.parts.queue(wire)

    def event_of(self, message_id: str, body: str, /) -> str:
        known = self._events.get(message_id)
        if known is None:
            known = self._events[message_id] = _event_of(body)
        return known

    def shuffled(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]:
        chance = self.injected.seeded.stream(f"shuffle {len(self.record)}")
        return chance.sample(list(deliveries), len(deliveries))

    def meanwhile(self, name: str, seconds: float, /) -> None:
        """Let `seconds` pass inside a handler; others, and its own process, continue."""
        chance = self.injected.seeded.stream(f"{name} meanwhile")
        if chance.random() < ATTENDED:
            self._attended(seconds)
            return
        self._depth += 1
        parts = chance.randint(1, 6)
        for _ in range(parts):
            self.clock.advance(seconds / parts)
            if self._depth <= DEEPEST:
                who = chance.randrange(len(self._slots))
                what = chance.randrange(len(self.services))
                self._step(Step(chance.choice(_MEANWHILE), who, what))
        self._depth -= 1

    def _attended(self, seconds: float) -> None:
        """Let `seconds` pass while all processes check their leases, as their threads would."""
        while seconds > 0:
            self.clock.advance(min(LOOK, seconds))
            seconds -= LOOK
            for who in range(len(self._slots)):
                for what in range(len(self.services)):
                    self._step(Step("renew", who, what))

    # Steps.

    def _step(self, step: Step) -> bool:
        kind, who, what = step
        if kind == "publish":
            self._publish(range(what, what + who))
        elif kind == "wait":
            self.clock.advance(what)
        elif kind == "jump":
            self._fault("jump", f"{what:+d} s")
            self.clock.jump(what)
        elif kind == "junk":
            self._junk(what)
        elif kind == "relay":
            return self._producer.relay()
        elif kind == "start":
            self._start(who)
        else:
            return self._of_a_process(step)
        return True

    def _of_a_process(self, step: Step) -> bool:
        kind, who, what = step
        process = self._slots[who % len(self._slots)]
        if process is None:
            return False
        if kind == "kill":
            self._fault("kill")
            process.kill()
            acted = True
        elif kind == "stop":
            self._fault("stop")
            process.hear_signal()
            acted = True
        else:
            acted = process.step(kind, self.services[what % len(self.services)])
        if process.try_to_end() and self._slots[who % len(self._slots)] is process:
            self._slots[who % len(self._slots)] = None
        return acted

    def _start(self, who: int) -> None:
        who %= len(self._slots)
        if self._slots[who] is None:
            self._starts[who] += 1
            make = LambdaProcess if self.plan.host == "lambda" else Process
            self._slots[who] = make(f"worker-{who + 1}.{self._starts[who]}", self)

    def _publish(self, numbers: range) -> None:
        failed = [name for name, accepted in self.published.items() if not accepted]
        fresh = [number for number in numbers if number in self.plan.events]
        again = [int(name.partition("-")[2]) for name in failed[:3]]
        events = [(event_id(number), self.setup.events[number]) for number in (*again, *fresh)]
        if not events:
            return
        refused = self._producer.publish(events)
        for name, _ in events:
            accepted = name not in refused
            self.published[name] = accepted
            word = "accepted" if accepted else "not accepted"
            self.tell("publisher", "", word, name, refused.get(name, ""))

    def _junk(self, what: int) -> None:
        number = self.services[what % len(self.services)]
        service = self.setup.services[number].service
        self.record.injected["junk"] += 1
        name = f"junk-{self.record.injected['junk']}"
        self.broker.send(service, f"{name} {{", group="junk" if self.plan.fifo else None)
        self.tell("world", service, "junk", name)

    def _fault(self, kind: str, detail: str = "") -> None:
        self.record.injected[kind] += 1
        self.tell("world", "", kind, "", detail)

    def _make_producer(self) -> Direct | Outboxed:
        outbox = self.plan.producer == "outbox"
        who, operation = ("relay", "relay") if outbox else ("publisher", "")
        faults = RequestFaults(self.injected, who, die=_die, as_operation=operation)
        topic = self.setup.parts.topic(TopicWire(self.broker.topic(), self, faults))
        if outbox:
            return Outboxed(topic, self.clock, lambda what: self.tell("relay", "", what))
        make = Buffered if self.plan.producer == "buffered" else Direct
        return make(topic, self.clock)

    def _come_to_rest(self) -> None:
        """Without further faults, run all processes until nothing is left, then stop them in
        order."""
        self.injected.calm = True
        self.tell("world", "", "calm")
        for round_ in range(MOST_ROUNDS):
            for who in range(len(self._slots)):
                self._start(who)
            if self._empty():
                self.at_rest = True
                break
            worked = self._producer.relay()
            for who in range(len(self._slots)):
                for what in range(len(self.services)):
                    for kind in _ROUND:
                        worked |= self._step(Step(kind, who, what)) and kind != "renew"
            # In flight, or about to be redelivered; sometimes after a long time, for claims of dead
            # processes.
            self.clock.advance(1 if worked else 3600 if round_ % 20 == 19 else 30)
        for who, process in enumerate(self._slots):
            if process is not None:
                process.hear_signal()
                process.try_to_end()
                self._slots[who] = None

    def _empty(self) -> bool:
        idle = all(process is None or process.idle for process in self._slots)
        left = any(self.broker.messages(one) for one in self.topology.services)
        return idle and not left and not self._producer.waits


def _die() -> None:
    raise Killed


def _event_of(body: str) -> str:
    try:
        return str(json.loads(body)["id"])
    except (ValueError, KeyError, TypeError):
        return body.partition(" ")[0]  # junk says its name first
