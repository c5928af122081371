"""Pauses between attempts, and what is said while somebody cannot be reached."""

from __future__ import annotations

import logging

import pytest
from tenacity import wait_exponential, wait_random_exponential

from messaging.backoff import Backoff, Outages, half_jitter
from messaging.logs import logger
from messaging.testing.clock import FakeClock


def test_pauses_double_from_the_first_to_the_longest() -> None:
    pauses = Backoff(first=0.5, longest=30)
    assert [pauses.after(n) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pauses.after(1_000_000) == 30


def test_half_of_a_pause_is_random_with_half_jitter() -> None:
    pauses = Backoff(first=1, longest=8, jitter=0.5)
    for failures, whole in enumerate([1, 2, 4, 8, 8], start=1):
        drawn = [pauses.after(failures) for _ in range(200)]
        assert whole / 2 <= min(drawn) < max(drawn) <= whole
        assert max(drawn) - min(drawn) > whole / 4
    assert 5 <= half_jitter(10) <= 10
    assert pauses.after(1_000_000) <= 8


def test_the_strategies_are_those_of_tenacity() -> None:
    assert isinstance(Backoff(first=1, longest=8).strategy, wait_exponential)
    full = Backoff(first=1, longest=8, jitter=1)
    assert isinstance(full.strategy, wait_random_exponential)
    drawn = [full.after(4) for _ in range(200)]
    assert 0 <= min(drawn) < 4 < max(drawn) <= 8


def test_an_outage_is_told_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outages = Outages(Backoff(first=1, longest=4), clock, logger("messaging.outbox"))
    assert outages.seconds == 0
    with caplog.at_level(logging.INFO, "messaging.outbox"):
        assert [outages.lose("the topic", "Gone") for _ in range(4)] == [1, 2, 4, 4]
        outages.lose("the database", "OperationalError")
        assert outages.seconds == 4
        clock.advance(7)
        outages.regain("the topic")
        outages.regain("the topic")
    assert outages.seconds == 1
    assert [one.getMessage() for one in caplog.records] == [
        "cannot use the topic: Gone; trying again",
        "cannot use the database: OperationalError; trying again",
        "can use the topic again, after 7 s",
    ]
