"""What the tests of the RabbitMQ transport share: settings with a prefix of each test's own."""

from __future__ import annotations

import itertools
import os

import pytest

from messaging.settings import Settings

_numbers = itertools.count(1)


@pytest.fixture
def settings(rabbitmq_url: str) -> Settings:
    """Settings whose names nobody else has on the node that tests share."""
    prefix = f"r{os.getpid()}-{next(_numbers)}-"
    return Settings(broker_url=rabbitmq_url, topic="parcels", prefix=prefix)
