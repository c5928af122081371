"""What holds for every test: no way to a real AWS, the same examples each time, nothing left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import psutil
import pytest

from tests.rabbitmq_server import (
    rabbitmq_cluster,
    rabbitmq_node,
    rabbitmq_server,
    rabbitmq_url,
)
from tests.servers import (
    mariadb,
    mariadb_server,
    postgres,
    postgres_server,
    redis_server,
    redis_url,
)

__all__ = [  # fixtures for every test
    "mariadb",
    "mariadb_server",
    "postgres",
    "postgres_server",
    "rabbitmq_cluster",
    "rabbitmq_node",
    "rabbitmq_server",
    "rabbitmq_url",
    "redis_server",
    "redis_url",
]

hypothesis.settings.register_profile("house", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Whoever runs the tests may be logged in to an account with students in it.

    And may run them behind a shell that ignores Ctrl-C for what it puts into the background:
    processes inherit that, and ours are to be interrupted.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith(("AWS_", "MESSAGING_")):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """The last thing torn down: whatever process a test started has ended by now."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child not in before]
    _, alive = psutil.wait_procs(left, timeout=5)
    told = [f"{child.pid}: {' '.join(child.cmdline())[:120]}" for child in alive]
    for child in alive:
        child.kill()
    assert not told, "processes that tests left running:\n" + "\n".join(told)
