"""Messages packed into requests, and requests sent until they are taken or given up."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.batching import Packer
from messaging.deadline import CURRENT, Deadline
from messaging.errors import AccessDenied, Throttled, TransportError
from messaging.event import Event
from messaging.histogram import Histogram
from messaging.publishing.results import Owner, Tally
from messaging.publishing.sender import LONGEST_WAIT, Again, Answer, Begun, Sender
from messaging.testing import FakeClock
from messaging.transport import Failure, Outgoing
from tests.scripted import ScriptedTopic, busy, wrong


class Noted(Event, type="noted", version=1):
    pass


def entry(name: Any, size: int = 1) -> tuple[Outgoing, Owner]:
    message = Outgoing(id=str(name), body=f'{{"data": "{name}"}}', attributes={}, size=size)
    return message, Owner(0, str(name), Noted(), 1)


def pack(sizes: list[int], max_bytes: int) -> list[list[int]]:
    packer = Packer(max_bytes)
    batches = packer.all([entry(at, size) for at, size in enumerate(sizes)])
    return [[message.size for message, _ in batch] for batch in batches]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1] * 10, [[1] * 10]),
        ([1] * 11, [[1] * 10, [1]]),
        ([60, 40], [[60, 40]]),
        ([60, 41], [[60], [41]]),
        ([100, 100, 1], [[100], [100], [1]]),
        ([50, 50, 50, 50], [[50, 50], [50, 50]]),
    ],
)
def test_a_request_is_filled_by_count_and_by_bytes(
    sizes: list[int], batches: list[list[int]]
) -> None:
    assert pack(sizes, 100) == batches


@given(st.lists(st.integers(1, 100), max_size=60))
def test_nothing_is_lost_or_reordered_and_no_request_is_too_big(sizes: list[int]) -> None:
    batches = pack(sizes, 100)
    assert [size for batch in batches for size in batch] == sizes
    assert all(batch and len(batch) <= 10 and sum(batch) <= 100 for batch in batches)
    for one, following in pairwise(batches):
        assert len(one) == 10 or sum(one) + following[0] > 100, "a request that is not full"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40))
def test_in_order_two_events_of_a_group_never_share_a_request(
    given: list[tuple[str, int]],
) -> None:
    entries = [
        (replace(entry(f"{group}{number}")[0], group=group), entry(number)[1])
        for group, number in given
    ]
    packer = Packer(100, ordered=True)
    batches = list(packer.all(entries))
    assert [one for batch in batches for one in batch] == entries
    for batch in batches:
        for group in "abc":  # the copies of one event may
            assert len({message.id for message, _ in batch if message.group == group}) <= 1


def test_on_a_standard_topic_the_events_of_a_group_share_a_request() -> None:
    packer = Packer(100)
    entries = [(replace(entry(n)[0], group="a"), entry(n)[1]) for n in range(3)]
    assert list(packer.all(entries)) == [entries]


def test_a_request_after_another_may_be_as_full_and_no_fuller() -> None:
    packer = Packer(100)
    packer.add(entry("a"))
    packer.rest()
    assert packer.add(entry("b", 60)) is None
    assert packer.add(entry("c", 41)) is not None, "101 bytes together"


def test_no_two_attempts_are_more_than_five_seconds_apart() -> None:
    assert LONGEST_WAIT == 5.0


def test_a_full_request_is_given_at_once() -> None:
    packer = Packer(100)
    entries = [entry(number) for number in range(10)]
    assert not any(packer.add(one) for one in entries[:9])
    assert packer.add(entries[9]) == entries
    assert packer.rest() == []


class Sent:
    def __init__(self, *script: Any, many: int = 4, max_attempts: int = 5) -> None:
        self.clock = FakeClock()
        self.topic = ScriptedTopic(*script)
        sender = Sender(self.topic, max_attempts=max_attempts, clock=self.clock)
        self.failures, self.broken = sender.send([entry(at) for at in "abcd"[:many]])

    @property
    def asked(self) -> list[str]:
        return ["".join(one.id for one in batch) for batch in self.topic.requests]

    @property
    def failed(self) -> list[tuple[int, str]]:
        return sorted((one.index, one.code) for one in self.failures)


def test_what_is_accepted_is_sent_once() -> None:
    sent = Sent()
    assert (sent.asked, sent.failed, sent.broken) == (["abcd"], [], None)
    assert sent.clock.monotonic() == 0


def test_only_what_was_refused_is_sent_again() -> None:
    sent = Sent(busy(1, 3), busy(0), busy())
    assert sent.asked == ["abcd", "bd", "b"]
    assert sent.failed == []
    assert sent.topic.data == ["a", "c", "d", "b"]


def test_what_is_refused_for_good_is_not_sent_again() -> None:
    sent = Sent([*wrong(0), *busy(2)], wrong(0))
    assert sent.asked == ["abcd", "c"]
    assert sent.failed == [(0, "InvalidParameter"), (2, "InvalidParameter")]
    assert Sent(wrong(1)).asked == ["abcd"]


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_an_entry_is_sent_so_many_times_and_no_more(max_attempts: int) -> None:
    sent = Sent(*[busy(0)] * 9, max_attempts=max_attempts)
    assert len(sent.asked) == max_attempts
    assert sent.failed == [(0, "InternalError")]
    assert sent.broken is None


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_a_topic_that_does_not_answer_is_asked_so_many_times_and_no_more(max_attempts: int) -> None:
    error = Throttled("slow down", code="Throttling")
    sent = Sent(*[error] * 9, max_attempts=max_attempts)
    assert sent.asked == ["abcd"] * max_attempts
    assert sent.broken is error
    assert sent.failed == [(at, "Throttling") for at in range(4)]


def test_an_answer_that_comes_late_is_an_answer() -> None:
    sent = Sent(TransportError("?"), busy(0), TransportError("?"))
    assert sent.asked == ["abcd", "abcd", "a", "a"]
    assert (sent.failed, sent.broken) == ([], None)


def test_what_was_accepted_before_the_silence_stays_accepted() -> None:
    sent = Sent([*busy(1), *wrong(3)], *[TransportError("no answer")] * 9)
    assert sent.failed == [(1, "NoAnswer"), (3, "InvalidParameter")]
    assert sent.broken is not None


def test_an_error_that_no_retry_will_mend_ends_it_at_once() -> None:
    sent = Sent(AccessDenied("no", code="AccessDenied"))
    assert sent.asked == ["abcd"]
    assert sent.failed == [(at, "AccessDenied") for at in range(4)]
    sent = Sent(busy(0), AccessDenied("no", code="AccessDenied"))
    assert sent.asked == ["abcd", "a"]
    assert sent.failed == [(0, "AccessDenied")]


def test_a_transport_that_breaks_its_word_is_an_answer_that_quotes_nothing() -> None:
    for script in ([ValueError("Ana")], [busy(0), ValueError("Ana")]):
        sent = Sent(*script)
        assert sent.broken is not None
        assert "ValueError" in str(sent.broken)
        assert not any("Ana" in one.message for one in sent.failures)
        assert sent.failures[0].code == "ValueError"


def test_the_waits_are_full_jitter_and_pass_through_the_clock_that_was_handed_in() -> None:
    waits: list[float] = []

    class Watched(FakeClock):
        def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    topic = ScriptedTopic(*[busy(0)] * 40)
    Sender(topic, max_attempts=40, clock=Watched()).send([entry("a")])
    assert len(waits) == 39, "between two attempts, not after the last"
    bounds = [min(LONGEST_WAIT, 0.1 * 2**attempt) for attempt in range(39)]
    assert all(0 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) > 30, "not the same for everybody"


def test_after_silence_the_rest_is_not_sent() -> None:
    topic = ScriptedTopic((), AccessDenied("no", code="AccessDenied"))
    tally = Tally()
    batches = []
    for name in "abc":
        message, _ = entry(name)
        batches.append([(message, tally.take(Noted(), name, 1))])
    Sender(topic, max_attempts=2, clock=FakeClock()).settle(batches, tally)
    assert topic.sizes == [1, 1]
    assert [one.id for one in tally.result().failed] == ["b", "c"]
    assert tally.accepted == 1


def test_the_batch_that_was_handed_in_is_not_changed() -> None:
    batch = [entry(at) for at in "abc"]

    def spoil(asked: Sequence[Outgoing]) -> list[Failure]:
        return busy(*range(len(asked)))

    before = list(batch)
    Sender(ScriptedTopic(spoil, spoil), max_attempts=3, clock=FakeClock()).send(batch)
    assert batch == before


def test_what_one_attempt_left_open_no_later_refusal_closes() -> None:
    sent = Sent(TransportError("silent"), AccessDenied("no", code="AccessDenied"), many=2)
    assert [(one.code, one.unknown) for one in sent.failures] == [("AccessDenied", True)] * 2


def test_what_was_refused_plainly_is_not_in_doubt() -> None:
    sent = Sent(AccessDenied("no", code="AccessDenied"), many=2)
    assert [one.unknown for one in sent.failures] == [False] * 2


@pytest.mark.parametrize("places", [(5,), (2,), (-1,), (0, 0)], ids=str)
def test_a_transport_that_tells_of_foreign_entries_is_asked_again(places: tuple[int, ...]) -> None:
    sent = Sent(busy(*places), many=2)
    assert not sent.failures
    assert sent.asked == ["ab", "ab"]


def test_attempts_end_with_the_deadline_and_none_is_made_after_it() -> None:
    clock = FakeClock()

    def slow(_: object) -> list[Failure]:
        clock.advance(4)
        return busy(0, 1)

    topic = ScriptedTopic(*[slow] * 50)
    made = Sender(topic, max_attempts=50, clock=clock, timeout=10)
    answer = made.send([entry("a"), entry("b")])
    assert len(topic.requests) == 3
    assert [one.code for one in answer.failures] == ["Timeout"] * 2
    assert answer.broken is not None
    assert "given up after 3 attempts in 10 s" in str(answer.broken)


def test_nothing_is_sent_when_the_time_was_over_before_and_nothing_is_in_doubt() -> None:
    clock = FakeClock()
    topic = ScriptedTopic()
    over = Deadline(3, clock)
    clock.advance(3)
    answer = Sender(topic, max_attempts=5, clock=clock).send([entry("a")], over)
    assert topic.requests == []
    assert [(one.code, one.unknown) for one in answer.failures] == [("Timeout", False)]
    assert answer.broken is not None
    assert not answer.broken.unknown


def test_no_attempt_is_made_by_a_process_that_slept_beyond_its_time() -> None:
    class Suspended(FakeClock):
        def sleep(self, seconds: float) -> None:
            self.advance(seconds + 60)

    topic = ScriptedTopic(busy(0))
    answer = Sender(topic, max_attempts=5, clock=Suspended(), timeout=60).send([entry("a")])
    assert len(topic.requests) == 1
    assert [one.code for one in answer.failures] == ["Timeout"]
    assert "the time was over before" in str(answer.broken)


def test_no_attempt_begins_in_the_last_tenth_of_the_time() -> None:
    clock = FakeClock()

    def slow(_: object) -> list[Failure]:
        clock.advance(95)
        return [*busy(0), *busy(1, code="Throttled"), *busy(2, code="ServiceUnavailable")]

    topic = ScriptedTopic(slow)
    made = Sender(topic, max_attempts=50, clock=clock, timeout=100)
    answer = made.send([entry(at) for at in "abc"])
    assert len(topic.requests) == 1
    assert "did not take all entries (InternalError)" in str(answer.broken)
    assert "given up after 1 attempt in 100 s" in str(answer.broken)


def test_an_entry_that_may_have_been_taken_stays_in_doubt_when_it_is_refused_later() -> None:
    open_still = Failure(1, "InternalError", "try again", True, unknown=True)
    sent = Sent([*busy(0), open_still], wrong(0, 1), many=2)
    assert [(one.index, one.unknown) for one in sent.failures] == [(0, False), (1, True)]


class UnderWay(ScriptedTopic):
    """A topic that can send now and be waited for later."""

    closed = 0
    limit: Deadline | None = None

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]] | None:
        self.limit = CURRENT.get()
        return None if batch[0].id == "no" else self._steps(batch)

    def _steps(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        self.requests.append(list(batch))
        try:
            yield
            yield
        except GeneratorExit:
            self.closed += 1
            raise
        self.requests.pop()
        return self.publish(batch)


class Slow(UnderWay):
    """Takes two seconds for each answer."""

    def __init__(self, clock: FakeClock, *script: Any) -> None:
        super().__init__(*script)
        self.clock = clock

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self.clock.advance(2)
        return super().publish(batch)


def measured(way: str, *script: Any) -> tuple[Sender, Histogram]:
    """A request of four, of which somebody reads how long it took; `way` is send or begin."""
    clock = FakeClock()
    clock.advance(100)
    sender = Sender(Slow(clock, *script), max_attempts=1, clock=clock)
    sender.durations = durations = Histogram((1.0, 3.0, math.inf))
    entries = [entry(at) for at in "abcd"]
    if way == "begin":
        under_way = sender.begin(entries)
        assert under_way is not None
        answer = under_way.result()
        if isinstance(answer, Again):
            answer.run()
    else:
        sender.send(entries)
    return sender, durations


@pytest.mark.parametrize("way", ["send", "begin"])
@pytest.mark.parametrize(
    ("script", "refused"),
    [((), 0), ((wrong(2),), 1), ((busy(1, 3),), 2)],
    ids="all some busy".split(),
)
def test_each_request_is_counted_once_with_the_time_that_it_took(
    way: str, script: tuple[Any, ...], refused: int
) -> None:
    sender, durations = measured(way, *script)
    assert (sender.accepted, sender.refused) == (4 - refused, refused)
    read = durations.read()
    assert (read.total, [count for _, count in read.buckets]) == (2.0, [0, 1, 1])


def test_where_nobody_reads_how_long_requests_take_the_clock_is_not_asked() -> None:
    class Untold(FakeClock):
        told = 0

        def monotonic(self) -> float:
            self.told += 1
            return super().monotonic()

    clock = Untold()
    sender = Sender(ScriptedTopic(), max_attempts=1, clock=clock)
    assert sender.durations is None
    sender.count(3, 1, sender._begins())
    assert (sender.accepted, sender.refused, clock.told) == (2, 1, 0)


def test_what_began_before_anybody_read_is_not_measured() -> None:
    sender = Sender(ScriptedTopic(), max_attempts=1, clock=FakeClock())
    before = sender._begins()
    sender.durations = durations = Histogram((1.0, math.inf))
    sender.count(1, 0, before)
    assert durations.read().buckets[-1][1] == 0
    sender.count(1, 0, sender._begins())
    assert durations.read().buckets[-1][1] == 1


def begun(topic: UnderWay) -> Begun:
    sender = Sender(topic, max_attempts=5, clock=FakeClock(), timeout=7)
    under_way = sender.begin([entry(at) for at in "abcd"])
    assert under_way is not None
    return under_way


def result(*script: Any) -> tuple[UnderWay, Answer | Again]:
    topic = UnderWay(*script)
    return topic, begun(topic).result()


def test_a_request_that_was_begun_is_sent_at_once_and_its_answer_waited_for() -> None:
    topic = UnderWay(wrong(2))
    under_way = begun(topic)
    assert topic.sizes == [4], "sent before anybody asked for the answer"
    assert topic.accepted == []
    answer = under_way.result()
    assert answer == Answer(wrong(2))
    assert under_way.result() is answer
    assert topic.data == ["a", "b", "d"]


def test_a_request_that_was_begun_knows_its_deadline_and_the_next_call_does_not() -> None:
    topic = UnderWay()
    assert begun(topic).deadline.seconds == 7
    assert topic.limit is not None
    assert topic.limit.seconds == 7
    assert CURRENT.get() is None


def test_a_call_of_the_topic_knows_its_deadline_and_the_next_call_does_not() -> None:
    limits: list[Deadline | None] = []

    def look(_: object) -> list[Failure]:
        limits.append(CURRENT.get())
        return []

    until = Deadline(9, FakeClock())
    Sender(ScriptedTopic(look), max_attempts=1, clock=FakeClock()).send([entry("a")], until)
    assert limits == [until]
    assert CURRENT.get() is None


def test_a_deadline_that_was_handed_in_holds_for_a_request_that_was_begun() -> None:
    topic = UnderWay()
    until = Deadline(9, FakeClock())
    Sender(topic, max_attempts=1, clock=FakeClock()).begin([entry("a")], until)
    assert topic.limit is until


def test_a_topic_that_cannot_begin_is_asked_in_one_go() -> None:
    def sender(topic: ScriptedTopic) -> Sender:
        return Sender(topic, max_attempts=1, clock=FakeClock())

    assert sender(ScriptedTopic()).begin([entry("a")]) is None
    assert sender(UnderWay()).begin([entry("no")]) is None


@pytest.mark.parametrize(
    ("first", "sent_again"),
    [
        (busy(1, 3), ["b", "d"]),
        (TransportError("silent"), ["a", "b", "c", "d"]),
        (busy(9), ["a", "b", "c", "d"]),
    ],
    ids=["refused for now", "silent", "foreign entries"],
)
def test_what_was_begun_and_not_taken_is_sent_again(first: Any, sent_again: list[str]) -> None:
    topic, answer = result(first)
    assert isinstance(answer, Again)
    assert answer.run() == Answer([])
    assert [one.id for one in topic.requests[-1]] == sent_again
    assert len(topic.requests) == 2


def test_a_transport_that_breaks_its_word_under_way_is_an_answer_that_quotes_nothing() -> None:
    mistake = ValueError("Ana")
    topic, begun_again = result(mistake)
    assert isinstance(begun_again, Again)
    answer = begun_again.run()
    assert answer.broken is not None
    assert "ValueError" in str(answer.broken)
    assert answer.broken.__cause__ is mistake
    assert not any("Ana" in one.message for one in answer.failures)
    assert topic.sizes == [4]


def test_a_request_that_nobody_waits_for_gives_its_connection_back() -> None:
    topic = UnderWay()
    under_way = begun(topic)
    under_way.close()
    assert topic.closed == 1, "while somebody still holds it"
    del under_way
