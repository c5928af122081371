"""AWS's prices for requests, and the cost of a number of events at those prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from messaging.batching import Packer, Weight
from messaging.transport import BATCH_ENTRIES

__all__ = ["CHUNK", "PRICES", "Cost", "Prices", "cost_of"]

CHUNK = 65_536
"""Bytes of a request that are charged as one; a partial chunk is charged as a whole one."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars per million requests of up to 64 KiB, ignoring the free first million.

    publish  a publish to a standard SNS topic. Its deliveries to SQS are not charged.
    request  a request to a standard SQS queue: a receive, or a delete.
    region   the region of these prices, as of `date`.
    sources  where the prices are from.
    given    which of `publish` and `request` the user has replaced.
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
"""List prices as quoted by third parties; AWS's own pages are authoritative. Regions differ."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of some events: charged requests, and US dollars."""

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
    """The cost of `events` events, each of them sent in `copies`.

    copies     for each copy, its size in bytes and the number of queues that receive it.
    together   events that are published together. One request receives or deletes as many messages,
               but at most ten.
    max_bytes  maximum size of one request to the topic.

    Not counted: empty receives, redeliveries, lease renewals.
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
