"""What events cost: counted in chunks of 64 KiB, as AWS charges them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from messaging.contract.prices import CHUNK, PRICES, Cost, cost_of

MOST = 4 * CHUNK
MILLION = 1_000_000
ONE_DOLLAR = replace(PRICES, publish=1.0, request=1.0)


def cost(copies: list[tuple[int, int]], together: int = 1) -> Cost:
    return cost_of(copies, events=MILLION, together=together, max_bytes=MOST, prices=ONE_DOLLAR)


@pytest.mark.parametrize(("size", "chunks"), [(1, 1), (CHUNK, 1), (CHUNK + 1, 2), (MOST, 4)])
def test_a_begun_chunk_is_charged_whole(size: int, chunks: int) -> None:
    found = cost([(size, 1)])
    assert found.publishes == chunks * MILLION
    assert found.requests == (chunks + 1) * MILLION, "a delete has no body: one request"
    assert found.usd == 2 * chunks + 1


def test_the_copies_of_one_event_share_a_publish() -> None:
    assert cost([(400, 1), (400, 1), (400, 1)]).publishes == MILLION


def test_each_queue_of_a_copy_receives_and_deletes_for_itself() -> None:
    assert cost([(400, 3)]).requests == 6 * MILLION


def test_a_copy_that_nobody_receives_is_published_all_the_same() -> None:
    assert cost([(400, 0)]) == Cost(publishes=MILLION, requests=0, usd=1.0)


def test_ten_together_cost_a_tenth_while_they_fit_into_one_chunk() -> None:
    small = cost([(400, 1)], together=10)
    assert (small.publishes, small.requests) == (MILLION / 10, 2 * MILLION / 10)
    large = cost([(CHUNK, 1)], together=10)
    assert large.publishes == MILLION, "nothing is saved: each fills a chunk"
    assert large.requests == MILLION + MILLION / 10


def test_what_does_not_fit_into_one_request_is_charged_as_two() -> None:
    assert cost([(MOST - 1, 1), (MOST - 1, 1)]).publishes == 8 * MILLION
