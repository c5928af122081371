"""What doctor finds on a real RabbitMQ: each thing broken by hand, and found by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from messaging.connecting import apply, connect, remove
from messaging.consuming.consumer import Consumer, handles
from messaging.doctor import Diagnosis, examine, not_told
from messaging.doctor.rabbitmq import _version
from messaging.event import Event
from messaging.publishing.publisher import Publisher
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import queue_arguments
from messaging.rabbitmq.requests import Requests
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import DeadLetter
from tests.doctor.conftest import SOUND, Aconteceu, Um

_numbers = count(1)


class Dois(Consumer):
    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


class Site:
    """The topology as it was applied under a prefix of its own, and hands to break it with."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(broker_url=url, prefix=f"d{os.getpid()}-{next(_numbers)}-")
        self.topic = f"{self.settings.prefix}alunos"
        self.queue = f"{self.topic}-um"
        self.link = Link(self.settings)
        self.hands = Requests(self.link, "what is broken here")

    def examined(self, topology: Topology = SOUND) -> list[Diagnosis]:
        return list(examine(topology, self.settings))

    def names(self, topology: Topology = SOUND) -> list[str]:
        return [one.name for one in self.examined(topology)]

    def publish(self) -> None:
        broker = connect(self.settings.model_copy(update={"topic": "alunos"}))
        with Publisher(broker.topic(), source="/teste") as publisher:
            publisher.publish(Aconteceu(numero=1))
        broker.close()


@pytest.fixture
def site(rabbitmq_url: str) -> Iterator[Site]:
    site = Site(rabbitmq_url)
    yield site
    site.link.close()


def test_before_anything_is_applied(site: Site) -> None:
    assert site.names() == ["topic-missing", "queue-missing", "dlq-missing"]


def test_nothing_is_found_where_all_is_well(site: Site) -> None:
    apply(SOUND, site.settings)
    assert site.examined() == []
    assert len(not_told(site.settings)) == 4
    assert not_told(Settings()) == ()


def without_queue(site: Site) -> None:
    site.hands.delete_queue(site.queue)


def without_dead_letters(site: Site) -> None:
    site.hands.delete_queue(f"{site.queue}-dlq")


def without_unrouted(site: Site) -> None:
    site.hands.delete_queue(f"{site.topic}-unrouted")


def without_record(site: Site) -> None:
    site.hands.delete_queue(f"{site.queue}-record")


def declared(**changes: object) -> Callable[[Site], None]:
    def anew(site: Site) -> None:
        site.hands.delete_queue(site.queue)
        standing = queue_arguments(SOUND.prefixed(site.settings.prefix).queues[0])
        site.hands.declare_queue(site.queue, standing | changes)

    return anew


@pytest.mark.parametrize(
    ("broken", "name", "said"),
    [
        (without_queue, "queue-missing", "the service receives nothing"),
        (without_dead_letters, "dlq-missing", "redelivered until expiry"),
        (without_unrouted, "alternate-missing", "they are lost"),
        (without_record, "record-missing", "its owner, lease and bindings are unknown"),
        (declared(**{"x-delivery-limit": 3}), "max-receives-low", "after 4 receives"),
        (declared(**{"x-delivery-limit": 30}), "queue-differs", "x-delivery-limit is 30"),
        (
            declared(**{"x-dead-letter-routing-key": "elsewhere"}),
            "redrive-elsewhere",
            "x-dead-letter-routing-key is elsewhere",
        ),
    ],
)
def test_what_is_broken_is_found(
    site: Site, broken: Callable[[Site], None], name: str, said: str
) -> None:
    apply(SOUND, site.settings)
    broken(site)

    found = {one.name: one for one in site.examined() if one.name != "subscriber-queue-missing"}
    assert set(found) == {name}
    assert said in found[name].said
    assert found[name].remedy


def test_an_exchange_of_another_kind_and_one_without_an_alternate(site: Site) -> None:
    site.hands.declare_exchange(site.topic, "fanout", {})
    assert "exchange-differs" in site.names()
    other = Site(str(site.settings.broker_url))
    other.hands.declare_exchange(other.topic, "direct", {})
    assert "alternate-missing" in other.names()
    other.link.close()


def test_what_waits_with_nobody_to_take_it_and_what_nobody_wants(site: Site) -> None:
    apply(SOUND, site.settings)
    site.publish()
    assert site.names() == ["nobody-receives"]

    site.hands.delete_queue(site.queue)
    site.publish()
    found = {one.name: one.said for one in site.examined()}
    assert found["unrouted-messages"] == "1 messages are in it, to which no service subscribes"


def test_dead_letters_and_a_queue_that_is_gone(site: Site) -> None:
    both = Topology.of(Um, Dois, topic="alunos", owns_topic=True)
    apply(both, site.settings)
    site.publish()
    broker = connect(site.settings.model_copy(update={"topic": "alunos"}))
    queue = broker.queue("um")
    [one] = queue.receive(1, 10)
    assert not queue.dead_letter([DeadLetter(reason="refused", delivery=one)])
    queue.delete([one])
    broker.close()
    site.hands.delete_queue(f"{site.topic}-dois")

    found = {one.name: one for one in site.examined()}
    assert set(found) == {"subscriber-queue-missing", "dead-letters"}
    assert found["subscriber-queue-missing"].where == f"queue {site.topic}-dois"
    assert found["dead-letters"].remedy == "messaging dlq list um"


class Depois(Event, type="teste.depois", version=1):
    numero: int


class Novo(Consumer):
    """`Um` as it is in another version."""

    service = "um"
    visibility_timeout = 60
    max_receives = 7

    @handles
    def ouvir(self, evento: Depois) -> None: ...


def test_another_version_of_the_consumer_and_another_owner(site: Site) -> None:
    apply(SOUND, site.settings)
    found = {one.name: one for one in site.examined(Topology.of(Novo, topic="alunos", owner="x"))}

    assert set(found) == {"another-owner", "visibility-short", "filter-differs", "contract-tag"}
    lacks, _, has = found["filter-differs"].said.partition("; ")
    assert lacks == "it lacks teste.depois *, teste.depois um"
    assert has == "has teste.aconteceu *, teste.aconteceu um besides"


def test_the_topic_tells_who_subscribes(site: Site) -> None:
    apply(SOUND, site.settings)
    broker = connect(site.settings.model_copy(update={"topic": "alunos"}))
    [one] = broker.topic().subscribers()
    assert (one.endpoint, one.types, one.audience) == (
        site.queue,
        ("teste.aconteceu",),
        ("*", "um"),
    )
    assert one.is_ours
    remove(SOUND, "um", site.settings)
    assert broker.topic().subscribers() == []
    broker.close()


def test_nobody_answers_and_nobody_is_let_in(site: Site) -> None:
    away = Settings(broker_url="amqp://escola:s3cret@127.0.0.1:1/")
    [one] = examine(SOUND, away)
    assert (one.name, one.severity) == ("no-answer", "error")
    refused = site.settings.model_copy(
        update={"broker_url": str(site.settings.broker_url).replace("guest:guest", "guest:s3cret")}
    )
    [other] = examine(SOUND, refused)
    assert (other.name, other.severity) == ("broker-refused", "error")
    assert "s3cret" not in f"{one}{other}"


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("3.9.29", ["broker-old"]),
        ("3.10.8", []),
        ("3.13.7", []),
        ("4.2.1", []),
        ("4.3.0", ["broker-new"]),
        ("", []),
    ],
)
def test_versions(version: str, names: list[str]) -> None:
    assert [one.name for one in _version("RabbitMQ", version)] == names
