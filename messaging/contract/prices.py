"""What AWS charges for a request, and what a number of events costs at those prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from messaging.batching import Packer, Weight
from messaging.transport import BATCH_ENTRIES

__all__ = ["CHUNK", "PRICES", "Cost", "Prices", "cost_of"]

CHUNK = 65_536
"""Bytes of a request that are charged as one; a begun chunk is charged whole."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars for a million requests of 64 KiB each, without the free first million.

    publish  a publish to a standard SNS topic. Its deliveries to SQS are not charged.
    request  a request to a standard SQS queue: a receive, or a delete.
    region   whose prices these are, as of `date`.
    sources  who says so.
    given    which of `publish` and `request` somebody gave instead.
    """

    publish: float
    request: float
    region: str
    date: str
    sources: tuple[str, ...]
    given: tuple[str, ...] = ()


PRICES = Prices(
    publish=0.50,
    request=0.40,
    region="us-east-1",
    date="2026-06",
    sources=(
        "https://www.factualminds.com/blog/amazon-sns-pricing-publishes-fanout-protocols/",
        "https://www.factualminds.com/blog/amazon-sqs-pricing-64kb-rule-fifo-vs-standard/",
        "https://cloudburn.io/blog/amazon-sqs-pricing",
    ),
)
"""List prices as third parties quote AWS, whose own pages decide; other regions have others."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some events cost: requests as they are charged, and US dollars."""

    publishes: float
    requests: float
    usd: float


def cost_of(
    copies: Sequence[tuple[int, int]],
    *,
    events: int,
    together: int,
    max_bytes: int,
    prices: Prices = PRICES,
) -> Cost:
    """What `events` events cost, each of them sent in `copies`.

    copies     of each copy, its size in bytes and the number of queues that receive it.
    together   events that are published at once. Messages that one request receives and deletes:
               as many, at most ten.
    max_bytes  what one request to the topic takes.

    Not counted: receives that bring nothing, messages that come again, leases that are renewed.
    """
    sent = [(Weight(size), None) for _ in range(together) for size, _ in copies]
    packer: Packer[tuple[Weight, None]] = Packer(max_bytes)
    publishes = sum(_chunks(sum(one.size for one, _ in full)) for full in packer.all(sent))
    received = min(together, BATCH_ENTRIES)
    requests = sum(queues * (_chunks(received * size) + 1) for size, queues in copies)
    charged, asked = publishes * events / together, requests * events / received
    usd = (charged * prices.publish + asked * prices.request) / 1_000_000
    return Cost(publishes=charged, requests=asked, usd=usd)


def _chunks(size: int) -> int:
    return -(-size // CHUNK)
