"""What every box of letters does: they are seen, stay, go back to their own queue, or go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from messaging.dead_letters import DeadLetterSource, Where, Workbench, WorkbenchReport
from messaging.errors import NotFound
from messaging.transport import Attribute, DeadLetter, Delivery
from tests.contracts.conftest import Site, message, receive_all

TIME = 1_764_000_000.25


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server has one machine, which a short poll asks."""
    monkeypatch.setattr("messaging.dead_letters.workbench.WAIT", 0)


def bury(site: Site, *bodies: str, service: str = "depot", **more: Any) -> None:
    """Let a service give up messages with these bodies."""
    kind = more.get("type", "parcel.sent")
    queue = site.queue(service)
    for at in range(0, len(bodies), 10):
        some = bodies[at : at + 10]
        site.send(*some, type=kind)
        received = receive_all(queue, len(some))
        assert len(received) == len(some)
        letters = [
            DeadLetter(
                delivery=one,
                reason=more.get("reason", "number: too small"),
                error=more.get("error"),
                attempts=3,
                time=more.get("time", TIME),
                queue=more.get("queue", queue.name),
            )
            for one in received
        ]
        assert len(queue.dead_letter(letters)) == 0
        assert len(queue.delete(received)) == 0


def bench(site: Site, service: str = "depot", kind: Any = "dead") -> Workbench:
    return Workbench(box(site, service, kind))


def box(site: Site, service: str = "depot", kind: Any = "dead") -> DeadLetterSource:
    made: DeadLetterSource = site.broker.letters(service, kind=kind)  # type: ignore[attr-defined] - not of Broker
    return made


def bodies(deliveries: list[Delivery]) -> list[str]:
    return sorted(one.body for one in deliveries)


def numbers(report: WorkbenchReport) -> tuple[int, int, int, int]:
    return report.matched, report.done, report.arrived, len(report.failed)


def test_an_empty_box_has_no_letters(site: Site) -> None:
    assert list(bench(site).letters()) == []
    assert numbers(bench(site).redrive(dry_run=False)) == (0, 0, 0, 0)
    assert numbers(bench(site).drop(dry_run=False)) == (0, 0, 0, 0)


def test_a_letter_tells_why_it_is_here(site: Site) -> None:
    body = '{"specversion":"1.0","id":"e-1","source":"/s","type":"parcel.sent","data":{"n":1}}'
    bury(site, body, error="KeyError")

    [letter] = bench(site).letters()

    assert (letter.kind, letter.type, letter.event_id) == ("dead", "parcel.sent", "e-1")
    assert (letter.reason, letter.error, letter.attempts) == ("number: too small", "KeyError", 3)
    assert letter.time == TIME
    assert letter.queue == site.queue("depot").name
    assert letter.delivery.body == body


def test_looking_changes_nothing(site: Site) -> None:
    bury(site, *(str(number) for number in range(13)))

    for _ in range(2):  # the second finds them as soon as the first has ended
        found = list(bench(site).letters())
        assert bodies([one.delivery for one in found]) == sorted(str(n) for n in range(13))
    assert numbers(bench(site).redrive()) == (13, 0, 0, 0)
    assert numbers(bench(site).drop()) == (13, 0, 0, 0)
    assert len(list(bench(site).letters())) == 13


def test_a_look_that_is_broken_off_holds_nothing_back(site: Site) -> None:
    bury(site, "1", "2", "3")

    for _ in bench(site).letters():
        break

    assert len(list(bench(site).letters(limit=2))) == 2
    assert len(list(bench(site).letters())) == 3


def test_letters_go_back_as_they_were(site: Site) -> None:
    topic, queue = site.broker.topic(), site.queue("depot")
    extra = {"n": Attribute("Number", "7"), "s": Attribute.string("maçã")}
    assert not topic.publish([message("1", "parcel.sent", "depot", **extra)])
    [before] = receive_all(queue, 1)
    letter = DeadLetter(
        delivery=before, reason="r", error="E", attempts=1, time=TIME, queue=queue.name
    )
    assert not queue.dead_letter([letter])
    assert not queue.delete([before])

    assert numbers(bench(site).redrive(dry_run=False)) == (1, 1, 0, 0)

    [after] = receive_all(queue, 1)
    assert (after.body, dict(after.attributes)) == ("1", dict(before.attributes))
    assert after.receive_count == 1
    assert list(bench(site).letters()) == []


def test_letters_go_back_to_their_own_queue_only(site: Site) -> None:
    bury(site, "1", type="parcel.lost", service="depot")
    claims = site.queue("claims")
    [other] = receive_all(claims, 1)  # it heard of that parcel, too
    assert not claims.delete([other])

    bench(site).redrive(dry_run=False)

    assert bodies(receive_all(site.queue("depot"), 1)) == ["1"]
    assert len(claims.receive(10, 1)) == 0


def test_only_the_letters_that_are_meant(site: Site) -> None:
    bury(site, *(f"lost {n}" for n in range(11)), type="parcel.lost")
    bury(site, *(f"sent {n}" for n in range(11)))

    done = bench(site).redrive(Where(types={"parcel.lost"}), dry_run=False)
    assert numbers(done) == (11, 11, 0, 0)

    assert all(one.body.startswith("lost") for one in receive_all(site.queue("depot"), 11))
    left = list(bench(site).letters())  # at once: nobody waits for a visibility timeout
    assert bodies([one.delivery for one in left]) == sorted(f"sent {n}" for n in range(11))


def test_a_letter_by_its_id(site: Site) -> None:
    bury(site, "1", "2", "3")
    chosen = next(one for one in bench(site).letters() if one.delivery.body == "2")

    assert numbers(bench(site).drop(Where(ids={chosen.id}), dry_run=False)) == (1, 1, 0, 0)

    assert bodies([one.delivery for one in bench(site).letters()]) == ["1", "3"]


def test_a_limit(site: Site) -> None:
    bury(site, *(str(number) for number in range(15)))

    assert numbers(bench(site).redrive(dry_run=False, limit=12)) == (12, 12, 0, 0)

    assert len(list(bench(site).letters())) == 3
    assert len(receive_all(site.queue("depot"), 12)) == 12


def test_dropped_letters_are_gone_for_good(site: Site) -> None:
    bury(site, "1", "2", reason="email: nobody")
    bury(site, "3", reason="nome: required")

    assert numbers(bench(site).drop(Where(reason="^EMAIL"), dry_run=False)) == (2, 2, 0, 0)

    assert bodies([one.delivery for one in bench(site).letters()]) == ["3"]
    assert len(site.queue("depot").receive(10, 0)) == 0


def test_a_letter_of_another_queue_stays(site: Site) -> None:
    bury(site, "theirs", queue="another-queue")
    bury(site, "ours")

    report = bench(site).redrive(Where(reason="."), dry_run=False)

    assert numbers(report) == (2, 1, 0, 1)
    assert report.failed[0].code == "OtherQueue"
    assert "another-queue" in report.failed[0].reason
    assert bodies([one.delivery for one in bench(site).letters()]) == ["theirs"]
    assert bodies(receive_all(site.queue("depot"), 1)) == ["ours"]


def test_what_sqs_moved_itself_is_told_and_goes_back(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    for _ in range(2):  # max_receives
        queue.change_visibility(receive_all(queue, 1), [0])
    assert len(queue.receive(1, 1)) == 0

    [letter] = bench(site).letters()
    assert letter.reason == "received too often without an outcome: SQS moved it"
    assert (letter.error, letter.attempts, letter.queue) == (None, None, None)
    assert letter.type == "parcel.sent"

    assert numbers(bench(site).redrive(dry_run=False)) == (1, 1, 0, 0)
    assert bodies(receive_all(queue, 1)) == ["1"]


def test_the_workbench_stops_between_batches_and_goes_on(site: Site) -> None:
    bury(site, *(str(number) for number in range(25)))
    told: list[int] = []

    report = bench(site).redrive(
        Where(reason="number"),
        dry_run=False,
        on_progress=lambda done, total: told.append(done),
        stop=lambda: bool(told),
    )
    assert report.stopped
    assert report.done == told[0] < 25

    rest = bench(site).redrive(dry_run=False)
    assert report.done + rest.done == 25
    assert not rest.stopped
    assert len({one.body for one in receive_all(site.queue("depot"), 25)}) == 25


def test_what_could_not_be_delivered(site: Site) -> None:
    if not getattr(box(site, kind="undelivered"), "keeps_undelivered", True):
        with pytest.raises(NotFound, match="a publish fails"):
            list(bench(site, kind="undelivered").letters())
        return
    assert site.lose is not None
    site.lose("depot", "1")

    assert list(bench(site).letters()) == []
    [letter] = bench(site, kind="undelivered").letters()
    assert (letter.kind, letter.type) == ("undelivered", "parcel.sent")
    assert letter.reason.startswith("SNS could not deliver it to the queue")

    report = bench(site, kind="undelivered").redrive(dry_run=False)
    assert numbers(report) == (1, 1, 0, 0)
    assert not report.by_aws
    [back] = receive_all(site.queue("depot"), 1)
    assert back.body == "1"
    assert set(back.attributes) == {"type", "audience"}
    assert list(bench(site, kind="undelivered").letters()) == []


def test_the_report_names_both_queues(site: Site) -> None:
    report = bench(site).redrive()
    assert report.dry_run
    assert report.origin == site.queue("depot").name
    assert report.queue == f"{report.origin}-dlq"
    assert box(site, kind="undelivered").name == f"{report.origin}-undelivered"


def test_no_box_where_there_is_no_queue(site: Site) -> None:
    with pytest.raises(NotFound):
        list(bench(replace(site, broker=site.bare), "nobody").letters())


def test_fifo_letters_go_back_in_order(fifo: Site) -> None:
    topic, queue = fifo.broker.topic(), fifo.queue("depot")
    for group in ("ana", "bia"):
        for number in range(4):
            name = f"{group} {number}"
            one = replace(message(name), group=group, deduplication=name.replace(" ", "-"))
            assert not topic.publish([one])
    received = receive_all(queue, 8)
    letters = [
        DeadLetter(delivery=one, reason="r", error=None, attempts=1, time=TIME, queue=queue.name)
        for one in received
    ]
    assert not queue.dead_letter(letters)
    assert not queue.delete(received)

    report = Workbench(box(fifo)).redrive(Where(reason="r"), dry_run=False)
    assert numbers(report) == (8, 8, 0, 0)

    back = receive_all(queue, 8)
    for group in ("ana", "bia"):
        assert [one.body for one in back if one.group == group] == [
            f"{group} {number}" for number in range(4)
        ]
