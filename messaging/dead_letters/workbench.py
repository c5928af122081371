"""Lists dead letters, sends them back and drops them; none is deleted before its copy is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal, TypeAlias

from messaging.answers import ask
from messaging.backoff import Backoff
from messaging.batching import batches
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.closing import Closing
from messaging.codec import Codec, JsonCodec
from messaging.dead_letters.letter import Letter, Where, letter_of, without_note
from messaging.dead_letters.source import DeadLetterSource, OnProgress
from messaging.errors import TransportError
from messaging.logs import logger
from messaging.transport import BATCH_ENTRIES, Delivery, Failure

__all__ = ["WorkbenchReport", "Stuck", "Workbench"]

log = logger("messaging.dead_letters")

HOLD = 300
"""Seconds for which a seen letter is hidden, so that the scan gets to the others. All are released
when the scan ends; if the process is killed, they become visible again on their own."""
WAIT = 1.0
"""Seconds of a poll: a short poll (0) only asks some of SQS's machines, and may miss letters."""
TURNS = 3
"""Number of polls in a row with only known letters after which the scan has seen them all."""
BACKOFF = Backoff(first=0.4, longest=5)
TRIES = 3
"""Attempts to delete a letter whose copy is in the queue."""

EVERYTHING = Where()

_First: TypeAlias = Callable[[list[Letter]], tuple[list[Letter], list["Stuck"]]]
"""Decides before deletion: returns the letters that may be deleted, and those that must stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A selected letter that is still here, and why.

    Args:
        id: the letter's id.
        code: an error code.
        reason: the cause in words.

    Example:
        ```python
        from messaging.dead_letters import Workbench
        from messaging.transport import DeadLetter

        publisher.publish(ana)
        queue = broker.queue("marketing")
        (delivery,) = queue.receive(1, wait=0)
        letter = DeadLetter(delivery=delivery, reason="no such course", queue="alunos-old")
        queue.dead_letter([letter])
        (stuck,) = Workbench(broker.letters("marketing")).redrive(dry_run=False).failed
        assert stuck.code == "OtherQueue"
        ```
    """

    id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkbenchReport:
    """What `redrive` or `drop` did; with `dry_run`, what it would have done.

    Args:
        action: "redrive" or "drop".
        queue: the dead-letter queue.
        origin: the service's own queue.
        dry_run: whether letters were only counted.
        matched: selected letters.
        done: letters moved or deleted.
        arrived: letters that arrived meanwhile, and were left alone: some may have been sent back
            and failed again.
        failed: letters that are still here, each with its reason.
        by_aws: AWS moved them with StartMessageMoveTask: then only `done` is counted.
        stopped: it was stopped before the end; call it again to continue. A move by AWS continues
            anyway.

    Example:
        ```python
        from messaging.dead_letters import Workbench

        report = Workbench(broker.letters("marketing")).redrive()  # dry_run=False moves them
        assert (report.action, report.dry_run, report.matched) == ("redrive", True, 0)
        ```
    """

    action: Literal["redrive", "drop"]
    queue: str
    origin: str
    dry_run: bool
    matched: int = 0
    done: int = 0
    arrived: int = 0
    failed: tuple[Stuck, ...] = ()
    by_aws: bool = False
    stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        failed = [{"id": one.id, "code": one.code, "reason": one.reason} for one in self.failed]
        return {name: getattr(self, name) for name in self.__slots__} | {"failed": failed}


class Workbench:
    """The letters of one source: `Workbench(broker.letters("marketing"))`.

    Every method scans the queue by receiving, because SQS has no other way to look. A seen letter
    is hidden from others until the scan ends, and then released. In a FIFO queue, only the first
    ten letters of a group can be seen, unless they are removed.

    Args:
        source: the source: `broker.letters("marketing")`.
        codec: reads the id and type of the event; by default `JsonCodec`.
        clock: the source of time; a test may pass a `FakeClock`.

    Example:
        ```python
        from messaging import Reject
        from messaging.dead_letters import Where, Workbench
        from messaging.testing import FakeClock, drain


        class Mailing(Consumer):
            service = "marketing"

            @handles
            def welcome(self, aluno: AlunoParaMarketing) -> None:
                raise Reject("the mailing list is not there yet")


        clock = FakeClock()
        broker = MemoryBroker(topology, clock=clock)
        Publisher(broker.topic(), source="/cadastro").publish(ana)
        drain(broker, Mailing(), clock=clock)

        bench = Workbench(broker.letters("marketing"))
        assert [letter.reason for letter in bench.letters()] == [
            "the mailing list is not there yet"
        ]
        report = bench.redrive(Where(reason="mailing list"), dry_run=False)
        assert (report.done, report.failed) == (1, ())
        ```
    """

    def __init__(
        self, source: DeadLetterSource, *, codec: Codec | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.source = source
        self._codec = codec or JsonCodec()
        self._clock = clock

    def letters(self, where: Where = EVERYTHING, *, limit: int | None = None) -> Iterator[Letter]:
        """Return at most `limit` selected letters, which stay where they are.

        Args:
            where: selects letters; by default all.
            limit: maximum number of letters; None: all of them.
        """
        with _Inspection(self.source, self._codec) as walk:
            yield from islice(filter(where, chain.from_iterable(walk)), limit)

    def redrive(
        self,
        where: Where = EVERYTHING,
        *,
        limit: int | None = None,
        dry_run: bool = True,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = bool,
    ) -> WorkbenchReport:
        """Send letters back to the service's own queue, never to the topic, where all services
        would see them again. Their receive count restarts, and their reason is removed.

        A letter is deleted here once its copy has been made; an interruption between the two leaves
        both, so a handler may see that message twice. To continue, call it again.

        Without a selection, AWS is asked to move all letters (StartMessageMoveTask); their reason
        then remains until there is a new one. Letters of another queue are left alone, and
        reported.

        Args:
            where: selects letters; by default all.
            limit: maximum number of letters; None: all of them.
            dry_run: only count. This is the default.
            on_progress: called with (done, of how many or None) after each batch.
            stop: checked between batches: True ends it in an orderly way.

        Raises:
            TransportError: if there is no answer; letters moved until then remain moved.
        """
        tell = on_progress or (lambda done, total: None)
        report = self._report("redrive", dry_run)
        if where.everything and limit is None and not dry_run and self.source.kind == "dead":
            moved = self.source.move_all(tell, stop)
            if moved is not None:
                return replace(report, matched=moved, done=moved, by_aws=True, stopped=stop())
        return self._through(report, self._send_back, where, limit, tell, stop)

    def drop(
        self,
        where: Where = EVERYTHING,
        *,
        limit: int | None = None,
        dry_run: bool = True,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = bool,
    ) -> WorkbenchReport:
        """Delete letters permanently.

        See `Workbench.redrive`.

        Example:
            ```python
            from messaging.dead_letters import Workbench

            report = Workbench(
                broker.letters("marketing")
            ).drop()  # counts only: dry_run=False deletes
            assert report.matched == 0
            ```
        """
        tell = on_progress or (lambda done, total: None)
        report = self._report("drop", dry_run)
        return self._through(report, lambda letters: (letters, []), where, limit, tell, stop)

    def _report(self, action: Literal["redrive", "drop"], dry_run: bool) -> WorkbenchReport:
        return WorkbenchReport(
            action=action, queue=self.source.name, origin=self.source.origin, dry_run=dry_run
        )

    def _through(
        self,
        report: WorkbenchReport,
        first: _First,
        where: Where,
        limit: int | None,
        tell: OnProgress,
        stop: Callable[[], bool],
    ) -> WorkbenchReport:
        work = _Work(self.source, self._clock, report, first)
        with _Inspection(self.source, self._codec) as walk:
            for batch in walk:
                left = None if limit is None else limit - work.report.matched
                walk.gone(work.do([one for one in batch if where(one)][:left]))
                tell(work.report.done, None)
                if limit is not None and work.report.matched >= limit:
                    break
                if stop():
                    return replace(work.report, stopped=True)
        return work.report

    def _send_back(self, letters: list[Letter]) -> tuple[list[Letter], list[Stuck]]:
        ours, stuck = [], []
        for letter in letters:
            if letter.queue in (None, self.source.origin):
                ours.append(letter)
                continue
            why = f"it comes from {letter.queue}, and cannot be sent to another queue"
            stuck.append(Stuck(id=letter.id, code="OtherQueue", reason=why))
        if not ours:
            return [], stuck
        copies = [replace(one.delivery, attributes=without_note(one)) for one in ours]
        # A refused letter does not hold up the others.
        answer = ask(
            self.source.send_back, copies, f"send_back to {self.source.origin}", apart=True
        )
        if answer.error is not None:
            raise answer.error
        refused = {one.index: one for one in answer.failures}
        stuck += [
            Stuck(id=ours[place].id, code=one.code, reason=one.message)
            for place, one in refused.items()
        ]
        return [one for place, one in enumerate(ours) if place not in refused], stuck


@dataclass
class _Work:
    """Processes the selected letters batch by batch, and counts them."""

    source: DeadLetterSource
    clock: Clock
    report: WorkbenchReport
    first: _First
    began: float | None = None
    """When the first of them was received, by the source's clock."""

    def do(self, letters: list[Letter]) -> list[Letter]:
        """Returns the letters that are gone."""
        if letters and self.began is None:
            self.began = letters[0].delivery.received_at
        # A letter that was sent back may fail immediately and return: without this, it would never
        # end.
        due = [one for one in letters if one.delivery.sent_at <= (self.began or 0)]
        self._count(arrived=len(letters) - len(due), matched=len(due))
        if self.report.dry_run or not due:
            return []
        may_go, stuck = self.first(due)
        gone, left = self._delete(may_go)
        self._count(done=len(gone), failed=(*stuck, *left))
        return gone

    def _count(self, **more: Any) -> None:
        now = {name: getattr(self.report, name) + one for name, one in more.items()}
        self.report = replace(self.report, **now)

    def _delete(self, letters: list[Letter]) -> tuple[list[Letter], list[Stuck]]:
        left, refused = letters, [Failure(0, "", "", True)]
        for attempt in range(TRIES):
            if not left:
                break
            if attempt:
                self.clock.sleep(BACKOFF.after(attempt))
            try:
                refused = list(self.source.delete([one.delivery for one in left]))
            except TransportError as error:
                code = error.code or type(error).__name__
                refused = [Failure(n, code, str(error), True) for n in range(len(left))]
            left = [left[one.index] for one in refused]
        why = "it could not be deleted, and may have been sent back"
        stuck = {
            letter.id: Stuck(id=letter.id, code=one.code, reason=f"{why}: {one.message}")
            for letter, one in zip(left, refused, strict=False)
        }
        return [one for one in letters if one.id not in stuck], [*stuck.values()]


class _Inspection(Closing):
    """One scan of a queue. Seen letters stay hidden until the scan ends, in whatever way."""

    def __init__(self, source: DeadLetterSource, codec: Codec) -> None:
        self._box = source
        self._codec = codec
        self._seen: set[str] = set()
        self._held: dict[str, Delivery] = {}

    def close(self) -> None:
        """Release the letters that are still held."""
        left = len(self._held)
        for part in batches(list(self._held.values())):
            try:
                # A refused one was received again, or is gone: either way it is not ours.
                self._box.release(part)
                left -= len(part)
            except TransportError as error:
                log.warning(
                    "%d letters of %s stay hidden for up to %d s: they could not be released (%s)",
                    left,
                    self._box.name,
                    HOLD,
                    error.code or type(error).__name__,
                )
                return

    def __iter__(self) -> Iterator[list[Letter]]:
        turns = 0
        while turns < TURNS:
            some = self._box.receive(BATCH_ENTRIES, WAIT, HOLD)
            if not some:
                return
            # The receipt is enough for a release: the bodies of a full queue would fill the memory.
            self._held |= {one.message_id: replace(one, body="", attributes={}) for one in some}
            fresh = [one for one in some if one.message_id not in self._seen]
            self._seen |= {one.message_id for one in fresh}
            turns = 0 if fresh else turns + 1
            if fresh:
                yield [letter_of(one, self._box.kind, self._codec) for one in fresh]

    def gone(self, letters: Sequence[Letter]) -> None:
        """These are deleted, and must not be released."""
        for letter in letters:
            self._held.pop(letter.id, None)
