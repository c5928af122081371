"""How many threads a buffer has, and when: two, more for a topic that is far away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from messaging.publishing.senders import LEAVES, Senders
from messaging.transport import BATCH_ENTRIES
from messaging.window import FAR

MANY = 2 * BATCH_ENTRIES


@pytest.fixture
def work() -> Iterator[Callable[[], None]]:
    ended = threading.Event()

    def work() -> None:
        ended.wait()

    yield work
    ended.set()


@pytest.fixture
def senders(work: Callable[[], None]) -> Senders:
    """Threads that do nothing until the test is over; the topic is far away."""
    senders = Senders(work, 5)
    senders.way = FAR
    return senders


@pytest.mark.parametrize(("most", "first"), [(1, 1), (2, 2), (5, 2)])
def test_the_first_event_starts_two_threads_or_as_many_as_there_may_be(
    work: Callable[[], None], most: int, first: int
) -> None:
    senders = Senders(work, most)
    senders.enough(1)
    senders.enough(1)
    assert len(senders.threads) == first


def test_where_nothing_was_sent_yet_nobody_takes_the_topic_for_far_away(
    work: Callable[[], None],
) -> None:
    senders = Senders(work, 5)
    senders.enough(MANY)
    senders.enough(MANY)
    assert len(senders.threads) == 2


def test_a_far_topic_gets_one_more_each_time_that_two_requests_wait(senders: Senders) -> None:
    senders.enough(1)
    senders.enough(MANY - 1)
    assert len(senders.threads) == 2
    for expected in (3, 4, 5, 5):
        senders.enough(MANY)
        assert len(senders.threads) == expected


def test_a_topic_that_answers_quickly_needs_no_more(senders: Senders) -> None:
    senders.enough(1)
    senders.way = FAR * 0.99
    senders.enough(10 * MANY)
    assert len(senders.threads) == 2


def test_no_thread_is_started_beside_one_that_waits_for_something_to_do(senders: Senders) -> None:
    senders.enough(1)
    senders.idle = 1
    senders.enough(10 * MANY)
    assert len(senders.threads) == 2


def test_only_threads_beyond_the_first_two_leave(
    work: Callable[[], None], senders: Senders
) -> None:
    senders.enough(1)
    assert senders.longest_wait() is None
    senders.enough(MANY)
    assert senders.longest_wait() == LEAVES
    senders.threads.append(threading.current_thread())
    senders.leave()
    assert len(senders.threads) == 3
    assert threading.current_thread() not in senders.threads


def test_a_program_can_end_while_they_wait(senders: Senders) -> None:
    senders.enough(1)
    assert all(thread.daemon for thread in senders.threads)
    assert len({thread.name for thread in senders.threads}) == 2


def test_a_system_without_more_threads_goes_on_with_those_there_are(
    senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    senders.enough(1)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    senders.enough(MANY)
    assert len(senders.threads) == 2


def test_a_buffer_without_any_thread_says_so(
    senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError, match="can't start"):
        senders.enough(1)
    assert senders.threads == []
