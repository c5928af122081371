"""The room of one queue: its poller, its handlers, its settler and its leases, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from messaging.clock import Clock
from messaging.dispatch import Dispatcher
from messaging.errors import TransportError
from messaging.logs import logger
from messaging.runtime.appetite import Appetite, State
from messaging.runtime.breaker import Breaker
from messaging.runtime.crew import Crew
from messaging.runtime.handling import BROKEN_POLICY_DELAY, Handling
from messaging.runtime.heartbeat import Heartbeat
from messaging.runtime.inline import Inline
from messaging.runtime.isolation import Isolation
from messaging.runtime.ledger import Ledger
from messaging.runtime.line import GroupLine, line_for
from messaging.runtime.loop import LoopRoom
from messaging.runtime.memo import Memo
from messaging.runtime.poller import Poller
from messaging.runtime.postponed import Postponed
from messaging.runtime.receipts import STOPPING, Account, Held, Stats, give_back
from messaging.runtime.settlement import Settlement
from messaging.runtime.settler import Settler
from messaging.runtime.wedge import Wedge
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Lane"]

log = logger("messaging.runtime")


class Lane:
    """Everything for one consumer and its queue.

    Making it asks the queue for its visibility timeout: a queue that does not exist is found
    here, before a thread starts.

    inlet        a transport of its own to receive by: closing it wakes a receive that waits, where
                 that can be done, while `queue` can still settle.
    concurrency  handlers that run at once, sync and async together.
    prefetch     receipts that may wait beside those in a handler.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        queue: QueueTransport,
        inlet: QueueTransport,
        *,
        concurrency: int,
        prefetch: int,
        wait: float,
        clock: Clock,
        wedged: Callable[[str, float], None] = lambda service, seconds: None,
    ) -> None:
        self.consumer = consumer = dispatcher.consumer
        self.queue = queue
        self._inlet = inlet
        self._clock = clock
        self._lease = max(1, queue.visibility_timeout)
        self._closing = self._abandoned = False
        self._inline: Inline | None = None

        self.ledger = Ledger(self._left)
        self.line = line_for(queue.name, concurrency)
        self.memo = Memo(clock=clock)
        self.postponed = Postponed(clock)
        service = consumer.service
        self.breaker = Breaker(consumer.circuit, self.postponed, service=service, clock=clock)
        self.isolation = self._make_isolation()
        self.wedge = self._make_wedge(concurrency, wedged)
        self.appetite = Appetite(
            self.ledger,
            self.breaker,
            self.isolation,
            concurrency=concurrency,
            prefetch=prefetch,
            lease=self._lease,
            wedged=lambda: self.wedge.wedged,
        )
        self.heartbeat = self._make_heartbeat()
        self._ordered = isinstance(self.line, GroupLine)
        self.settler = self._make_settler()
        self.handling = Handling(
            dispatcher,
            self.line,
            self.settler,
            memo=self.memo,
            breaker=self.breaker,
            appetite=self.appetite,
            concurrency=concurrency,
            clock=clock,
        )
        self.poller = self._make_poller(wait, most=(concurrency + prefetch) // BATCH_ENTRIES - 1)

    def _make_isolation(self) -> Isolation:
        return Isolation(
            self.queue.name,
            last_receive=self.consumer.max_receives,
            others=lambda: self.ledger.in_hand,
        )

    def _make_wedge(self, concurrency: int, wedged: Callable[[str, float], None]) -> Wedge:
        return Wedge(
            self.ledger,
            self.consumer,
            concurrency=concurrency,
            clock=self._clock,
            happened=self._give_back_waiting,
            goes_on=lambda seconds: wedged(self.consumer.service, seconds),
            over=lambda: self.appetite.look_again(),
        )

    def _make_heartbeat(self) -> Heartbeat:
        return Heartbeat(
            self.queue,
            self.ledger,
            lease=self._lease,
            max_lease=self.consumer.max_lease,
            handler_timeout=self.consumer.handler_timeout,
            tell=lambda held, reason: self.handling.tell(held, reason),
            look=self.wedge.look,
            clock=self._clock,
        )

    def _make_poller(self, wait: float, most: int) -> Poller:
        return Poller(
            self._inlet,
            self.appetite,
            wait=wait,
            clock=self._clock,
            taken=self._taken,
            onward=lambda near: self._inline is None or self._inline.work(near),
            # Of two receives of a FIFO queue the second might be entered first.
            most=0 if self._ordered else most,
        )

    def _make_settler(self) -> Settler:
        settlement = Settlement(
            self.queue,
            self.ledger,
            memo=self.memo,
            postponed=self.postponed,
            comes_again=self.isolation.comes_again,
            lock=self.heartbeat.lock,
            backoff=self._backoff,
            clock=self._clock,
        )
        return Settler(settlement, self.ledger, clock=self._clock, eager=self._ordered)

    def start(self, crew: Crew, loop: LoopRoom) -> None:
        name = self.consumer.service
        self.handling.start(crew, loop)
        self._settling = crew.start(f"{name}-settler", self.settler.run)
        self._leasing = crew.start(f"{name}-leases", self.heartbeat.run)
        if not self._ordered:
            self._inline = Inline(
                self.handling, self.line, self.settler, loop, replace=self.poller.replace
            )
            crew.start(f"{name}-watch", self._inline.watch)
        hire = partial(crew.start, f"{name}-poller-helper")
        crew.start(f"{name}-poller", partial(self.poller.run, hire))

    @property
    def stats(self) -> Stats:
        return self.ledger.stats()

    @property
    def state(self) -> State:
        return self.appetite.state

    @property
    def polls(self) -> bool:
        """True while a receive waits, or what it brought is being entered."""
        return self.appetite.asked > 0

    def pause(self) -> None:
        """Receive nothing until `resume`, and give back what waits for a handler."""
        self.appetite.pause()
        self._give_back_waiting()

    def resume(self) -> None:
        self.appetite.resume()

    def close_intake(self) -> int:
        """Ask for no more, and give back what waits for a handler; returns how many those were."""
        self._closing = True
        self.ledger.close()
        self.appetite.close()
        self.poller.stop()
        if self._inlet is not self.queue:
            self._inlet.close()
        self.settler.hurry()
        if self._inline is not None:
            self._inline.close()
        waiting = self._drain()
        for held in waiting:
            self.handling.put_back(held)
        self.handling.end()
        return len(waiting)

    def close_queues(self) -> None:
        """Close the transports. `close_intake` has closed the inlet, if the lane was started."""
        if self._inlet is not self.queue and not self._closing:
            self._inlet.close()
        self.queue.close()

    def running(self) -> int:
        """Handlers that have not ended."""
        return len(self.ledger.unfinished())

    def watching(self) -> int:
        """Of those, the ones that have asked whether they are to end."""
        return sum(held.watched for held in self.ledger.unfinished())

    def to_settle(self) -> int:
        """Receipts that the settler still has to settle."""
        return len(self.ledger.finished()) if self._settling.is_alive() else 0

    def cancelling(self) -> None:
        """The time of handlers is over: async ones are cancelled, and what they had given back."""
        for held in self.ledger.unfinished():
            self.handling.tell(held, STOPPING)

    def abandon_unfinished(self) -> list[Held]:
        """Count receipts whose handler goes on as expired: nobody renews their leases any more."""
        abandoned = self.ledger.unfinished()
        self.ledger.settle(abandoned, Account.EXPIRED)
        return abandoned

    def end_settling(self) -> None:
        """Let settler and leases end when everything is settled.

        A receive that is still out is not waited for: what it brings while the process lives is
        given back.
        """
        self._abandoned = True
        self.heartbeat.stop()
        self.settler.end()

    def settle_rest(self) -> int:
        """After the threads' end: what a settler that died left. Returns how many have expired."""
        while not self._settling.is_alive():
            before = self.ledger.in_hand
            try:
                self.settler.run()
                break
            except Exception:  # noqa: BLE001 - it died of this before, and that was told
                log.debug("the settler of %s died again", self.queue.name)
            if self.ledger.in_hand == before:
                break
        return self.ledger.settle(self.ledger.finished(), Account.EXPIRED)

    def _taken(self, deliveries: Sequence[Delivery], since: float) -> None:
        if self._abandoned and deliveries:
            self._return(deliveries)
            return
        self.postponed.received(deliveries)
        put = (self._inline and self._inline.open()) or self.line.put
        plain = not (self._ordered or self.isolation.among(deliveries))
        back = self.ledger.receive(
            deliveries,
            since,
            self._lease,
            put if plain else partial(self._enter, put),
            wanted=self.appetite.wants,
        )
        for held in back:
            self.settler.put(held, held.outcome or give_back())
        if not plain:
            self._isolate()

    def _enter(self, put: Callable[[Held], None], held: Held) -> None:
        suspect = self.isolation.suspects(held.delivery)
        if self.line.held_up(held):
            self.handling.put_back(held)
        elif self.isolation.blocks(held.delivery) or (suspect and self.line.busy(held)):
            # One of its group comes first, and may fail: then this one must come after it again.
            self.line.sent_back([held])
            self.handling.put_back(held)
            self.isolation.comes_again(held.delivery)
        elif suspect:
            self.isolation.hold(held)
        else:
            put(held)

    def _isolate(self) -> None:
        """Let a suspect go, if nothing else is in hand."""
        held = self.isolation.next()
        if held is not None:
            verdict = self.isolation.verdict(held)
            if verdict is None:
                self.line.put(held)
            else:
                self.settler.put(held, verdict)
                self.settler.rouse()

    def _return(self, deliveries: Sequence[Delivery]) -> None:
        """After the end, with nobody left to settle."""
        try:
            self.queue.hide(deliveries, [0] * len(deliveries))
        except TransportError as error:
            log.warning(
                "%d messages of %s came after the end and are left to their leases: %s",
                len(deliveries),
                self.queue.name,
                error.code or type(error).__name__,
            )

    def _left(self, helds: Sequence[Held], account: Account) -> None:
        """Called by the ledger with those that have just left it."""
        if self._ordered or account is Account.EXPIRED:
            for held in helds:
                if held.gone and held.ending:
                    self.handling.gave_up(held)
                for one in self.line.left(held, account):
                    self.handling.put_back(one)
        if self.isolation.active:
            for held in helds:
                self.isolation.left(held)
            self._isolate()
        self.appetite.look_again()

    def _give_back_waiting(self) -> None:
        """Nothing is wanted any more: what waits for a handler is given back."""
        self.ledger.stats()  # takes its lock: what was wanted before this has been entered by now
        for held in () if self._closing else self._drain():
            self.handling.put_back(held)
        self.settler.rouse()

    def _drain(self) -> list[Held]:
        """Take out all that wait for a handler."""
        received = self._inline.drain() if self._inline is not None else []
        suspects = self.isolation.drain()
        self.line.sent_back(suspects)
        return [*self.line.drain(), *received, *suspects]

    def _backoff(self, delivery: Delivery) -> float:
        try:
            return self.consumer.retry.delay(delivery.receive_count)
        except Exception:  # noqa: BLE001 - a wait strategy is the user's code
            return BROKEN_POLICY_DELAY
