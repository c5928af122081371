"""Pytest fixtures for what `messaging.testing` offers.

pytest loads it if the library is installed. Nothing heavy is imported before a test needs it.

    messaging_clock   a `FakeClock`, one per test.
    messaging_topic   a `RecordingTopic` for tests of a producer.
    messaging_broker  makes a `MemoryBroker` on `messaging_clock`: `messaging_broker(TOPOLOGY)`,
                      or `messaging_broker()` with `messaging_topology = module:NAME` in the ini
                      file.
    deliver           `messaging.testing.deliver` on `messaging_clock`; the async handlers of one
                      test share one event loop, as they do in a worker.
    messaging_server  a `LocalServer`, one per session (and per xdist worker).
"""

from __future__ import annotations

import asyncio
import functools
import pkgutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from messaging.local import LocalServer
    from messaging.memory import MemoryBroker
    from messaging.testing import FakeClock, RecordingTopic, Result
    from messaging.topology import Topology

__all__ = [
    "deliver",
    "messaging_broker",
    "messaging_clock",
    "messaging_server",
    "messaging_topic",
]

_INI = "messaging_topology"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(_INI, "the Topology that messaging_broker() plays, as module:NAME", default="")


@pytest.fixture
def messaging_clock() -> FakeClock:
    """A clock that stands still until the test moves it.

    Example:
        ```python
        def test_is_retried(messaging_broker, messaging_clock) -> None:
            broker = messaging_broker(topology)
            messaging_clock.advance(60)
        ```
    """
    from messaging.testing import FakeClock

    return FakeClock()


@pytest.fixture
def messaging_topic() -> RecordingTopic:
    """A topic that records published events, and sends nothing.

    Example:
        ```python
        def test_publishes(messaging_topic) -> None:
            Publisher(messaging_topic, source="/cadastro").publish(ana)
            assert len(messaging_topic.published(AlunoCadastrado)) == 1
        ```
    """
    from messaging.testing import RecordingTopic

    return RecordingTopic()


@pytest.fixture
def messaging_broker(
    request: pytest.FixtureRequest, messaging_clock: FakeClock
) -> Iterator[Callable[..., MemoryBroker]]:
    """Creates a topic with its queues in this process; closed when the test ends.

    Args:
        request: pytest's request.
        messaging_clock: the fixture of this name.

    Example:
        ```python
        def test_reaches_marketing(messaging_broker) -> None:
            broker = messaging_broker(topology)
            Publisher(broker.topic(), source="/cadastro").publish(ana)
            assert len(broker.messages("marketing")) == 1
        ```
    """
    from messaging.memory import MemoryBroker

    made: list[MemoryBroker] = []

    def make(topology: Topology | None = None, **keywords: Any) -> MemoryBroker:
        keywords.setdefault("clock", messaging_clock)
        broker = MemoryBroker(topology or _topology_of(request.config), **keywords)
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def deliver(messaging_clock: FakeClock) -> Iterator[Callable[..., Result]]:
    """Delivers one event to one consumer, and returns the result.

    Args:
        messaging_clock: the fixture of this name.

    Example:
        ```python
        def test_welcomes(deliver) -> None:
            assert deliver(Marketing(), ana).acknowledged
        ```
    """
    from messaging.testing import deliver as plain

    with asyncio.Runner() as runner:
        yield functools.partial(plain, clock=messaging_clock, runner=runner)


@pytest.fixture(scope="session")
def messaging_server() -> Iterator[LocalServer]:
    """SNS and SQS on this machine, for tests through the real AWS transports.

    Example:
        ```python
        def test_on_aws(messaging_server) -> None:
            settings = messaging_server.settings(topic="alunos")
        ```
    """
    from messaging.local import LocalServer

    with LocalServer() as server:
        yield server


def _topology_of(config: pytest.Config) -> Topology:
    from messaging.topology import Topology

    name = str(config.getini(_INI))
    if not name:
        raise pytest.UsageError(
            "messaging_broker() needs a topology: messaging_broker(TOPOLOGY), or in the ini file "
            f"{_INI} = module:NAME"
        )
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"{_INI} = {name}: {error}") from error
    if not isinstance(found, Topology):
        raise pytest.UsageError(
            f"{_INI} = {name}: a Topology was expected, not {type(found).__qualname__}"
        )
    return found
