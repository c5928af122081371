"""One worker process built from the real runtime modules; it can be killed at any step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple

from messaging.consuming.dispatch import Dispatcher, Middleware
from messaging.errors import ConfigurationError
from messaging.runtime import Stats
from messaging.testing.chaos.handler_faults import Accounted, HandlerFaults
from messaging.testing.chaos.leases import Leases
from messaging.testing.chaos.wire import Killed
from messaging.testing.stepping import Steps
from messaging.transport import QueueTransport, TopicTransport

if TYPE_CHECKING:
    from messaging.testing.chaos.simulation import Simulation

__all__ = ["End", "Mortal", "Process", "in_a_loop"]

PATIENCE = 60
"""Seconds after which a stopping process gives up on unsettled messages."""


def in_a_loop() -> bool:
    """True inside an async handler: no other one can run there, because a thread has one loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_hook(opening: Awaitable[None] | None) -> None:
    async def wait(one: Awaitable[None]) -> None:
        await one

    if opening is not None:
        with asyncio.Runner() as runner:
            runner.run(wait(opening))


class End(NamedTuple):
    """The counts of one process and one service, after an orderly stop."""

    who: str
    service: str
    stats: Stats
    left: int = 0
    """Receipts that it had not settled by then."""


class Mortal:
    """The base of worker processes and Lambda environments, which can both be killed.

    doing   the current step.
    leases  of its messages, by service.
    """

    def __init__(self, name: str, stage: Simulation) -> None:
        self.name = name
        self.doing = "start"
        self.alive = True
        self._stage = stage
        stage.tell(name, "", "started")
        setup = stage.setup
        self.leases = {
            one.service: Leases(lease=one.visibility_timeout, max_lease=one.max_lease)
            for one in (setup.services[number] for number in stage.services)
        }
        self._hired = setup.hire(stage.clock, self.check_alive)

    def middleware(self) -> list[Middleware]:
        """The middleware around the handlers of one service."""
        return [Accounted(self, self._stage), *self._hired, HandlerFaults(self, self._stage)]

    def check_alive(self) -> None:
        """Raise if the process has been killed: it must get no further."""
        if not self.alive:
            raise Killed(self.name)

    def kill(self) -> None:
        """Kill the process, like kill -9."""
        if self.alive:
            self.alive = False
            self._stage.tell(self.name, "", "killed")

    def die(self) -> None:
        """Kill the calling process."""
        self.kill()
        self.check_alive()


class Process(Mortal):
    """One process with a pipeline for each service. It is also the `Broker` of its pipelines.

    running  running handlers, by service.
    """

    def __init__(self, name: str, stage: Simulation) -> None:
        super().__init__(name, stage)
        self.stopping = False
        self.running: dict[int, int] = dict.fromkeys(stage.services, 0)
        self._concurrency, setup = stage.plan.concurrency, stage.setup
        self._pipelines: dict[int, Steps] = {}
        for number in stage.services:
            consumer = setup.consumers[number]()
            _run_hook(consumer.open())
            steps = Steps.of(
                Dispatcher(consumer, middleware=self.middleware()),
                self,
                concurrency=self._concurrency,
                prefetch=stage.plan.prefetch,
                clock=stage.clock,
            )
            self._pipelines[number] = setup.parts.steps(steps)

    def topic(self) -> TopicTransport:
        raise ConfigurationError("a worker of the kit does not publish")

    def queue(self, service: str) -> QueueTransport:
        return self._stage.queue_for(self, service)

    def close(self) -> None:
        """Do nothing: the underlying broker belongs to the simulation."""

    def step(self, doing: str, service: int) -> bool:
        """Take one step of one pipeline; returns False if there was nothing to do."""
        steps, before = self._pipelines[service], self.doing
        self.doing = doing
        try:
            if doing == "poll":
                return self._poll(steps, service)
            if doing == "settle":
                return bool(steps.settle())
            if doing == "renew":
                self._renew(steps, service)
                return True
            return self._handle(steps, service)
        except Killed:
            return True
        finally:
            self.doing = before

    def _renew(self, steps: Steps, number: int) -> None:
        """Check the leases once, and record the ones that it missed."""
        consumer = self._stage.setup.services[number]
        leases = self.leases[consumer.service]
        now = self._stage.clock.monotonic()
        due = leases.due(steps.in_flight, now, self._stage.current)
        leases.asked.clear()
        steps.renew()
        if consumer.handler_timeout is None:  # otherwise it may have given some up
            for receipt in sorted(due - leases.asked):
                self._stage.tell(self.name, consumer.service, "not renewed", "", receipt)

    def _poll(self, steps: Steps, service: int) -> bool:
        if not self._stage.plan.completes or self._full(service):
            return bool(steps.poll())
        self.running[service] += 1
        try:
            return bool(steps.complete())
        finally:
            self.running[service] -= 1

    def _full(self, service: int) -> bool:
        return self.running[service] >= self._concurrency or in_a_loop()

    def _handle(self, steps: Steps, service: int) -> bool:
        if self._full(service):
            return False
        self.running[service] += 1
        try:
            return steps.handle()
        finally:
            self.running[service] -= 1

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not any(steps.in_flight for steps in self._pipelines.values())

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            super().kill()
            for steps in self._pipelines.values():
                steps.crash()

    def hear_signal(self) -> None:
        """Stop, like SIGTERM: no pipeline receives any more, and waiting messages are released."""
        if self.alive and not self.stopping:
            self.stopping = True
            self._stage.tell(self.name, "", "is asked to stop")
            for steps in self._pipelines.values():
                steps.close_intake()

    def try_to_end(self) -> bool:
        """Whether it is gone: it was killed, or it was asked to stop and no handler runs."""
        if self.alive and self.stopping and not any(self.running.values()):
            self._end()
        return not self.alive

    def _end(self) -> None:
        for _ in range(PATIENCE):
            if self.idle:
                break
            for number in self._pipelines:
                handlers = self._stage.setup.services[number].handlers.values()
                if any(one.batch for one in handlers):  # a stop passes on partial batches
                    self.step("handle", number)
                self.step("settle", number)
            self._stage.clock.advance(1)
        if self.alive:
            self._leave()

    def _leave(self) -> None:
        for number, steps in self._pipelines.items():
            left = steps.expire_rest()
            service = self._stage.setup.services[number].service
            self._stage.ends.append(End(self.name, service, steps.stats, left))
        self.alive = False
        self._stage.tell(self.name, "", "stopped")
