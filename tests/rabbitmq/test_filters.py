"""Bindings give a queue what SNS's filter policy would: on random topologies and messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from messaging.memory import MemoryBroker
from messaging.memory.filters import policy
from messaging.rabbitmq import apply, connect
from messaging.rabbitmq.names import unrouted_name
from messaging.rabbitmq.wire import keys_of, routing_keys
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import Attribute, Broker, Outgoing
from tests.contracts.conftest import Claims, Depot, receive_all

TYPES = ["parcel.sent", "parcel.lost", "parcel", "parcel.sent.late", "*", "#", "x" * 300]
AUDIENCE = ["*", "depot", "claims", "customs", "#", "y" * 254]

names = st.sampled_from(TYPES)
listeners = st.sampled_from(AUDIENCE)
policies = st.tuples(st.sets(names, min_size=1), st.sets(listeners, min_size=1))


@st.composite
def attributes(draw: st.DrawFn) -> dict[str, Attribute]:
    """What a message may carry: also without a type, or with an audience that is no list."""
    found = {}
    if draw(st.integers(0, 9)):
        found["type"] = Attribute.string(draw(names))
    if draw(st.integers(0, 9)):
        found["audience"] = draw(
            st.one_of(
                st.sets(listeners).map(sorted).map(Attribute.array),
                st.sampled_from([Attribute.string("*"), Attribute("String.Array", "no list")]),
            )
        )
    return found


@given(policies, attributes())
def test_a_binding_is_what_the_filter_policy_is(
    wanted: tuple[set[str], set[str]], message: dict[str, Attribute]
) -> None:
    types, audience = wanted
    by_policy = policy({"type": sorted(types), "audience": sorted(audience)})(message)
    by_binding = not set(keys_of(message)).isdisjoint(routing_keys(types, audience))

    assert by_binding == by_policy


def test_the_pairs_of_two_words_are_never_mistaken() -> None:
    assert routing_keys(["a"], ["b"]) != routing_keys(["a b"], ["c"])
    assert len({len(one.encode()) <= 255 for one in routing_keys(TYPES, AUDIENCE)}) == 1


@hypothesis_settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(attributes(), min_size=1, max_size=10),
    st.sets(names, min_size=1),
    st.sets(names, min_size=1),
)
def test_the_broker_delivers_what_the_filter_policy_lets_through(
    settings: Settings, sent: list[dict[str, Attribute]], depot: set[str], claims: set[str]
) -> None:
    topology = Topology.of(Depot, Claims, topic="parcels")
    wanted = [sorted(depot), sorted(claims)]
    subscriptions = tuple(
        replace(one, types=tuple(types))
        for one, types in zip(topology.subscriptions, wanted, strict=True)
    )
    topology = replace(topology, subscriptions=subscriptions)
    # The queues are the same in each round: `apply` takes the bindings of the last one off.
    apply(topology, settings, create_topic=True)
    broker = connect(settings)
    with MemoryBroker(topology) as memory:
        messages = [
            Outgoing(id=str(number), body=f"{number}", attributes=one, size=100)
            for number, one in enumerate(sent)
        ]
        assert not broker.topic().publish(messages)
        assert not memory.topic().publish(messages)
        unheard = len(sent)
        heard: set[str] = set()
        for service in ("depot", "claims"):
            mine, theirs = _bodies(broker, service), _bodies(memory, service)
            assert mine == theirs
            heard |= set(theirs)
        unheard -= len(heard)
        assert _unrouted(settings) == unheard
    broker.close()


def _bodies(broker: Broker, service: str) -> Counter[str]:
    queue = broker.queue(service)
    expected = queue.depth().visible
    found = receive_all(queue, expected)
    assert not found or not queue.delete(found)
    queue.close()
    return Counter(one.body for one in found)


def _unrouted(settings: Settings) -> int:
    """How many messages nobody heard; it takes them away."""
    from messaging.rabbitmq.link import Link
    from messaging.rabbitmq.session import Session

    link = Link(settings)
    session = Session(link, "unrouted")
    name = unrouted_name(settings.prefix + "parcels")
    frame = session.call(
        lambda channel, answer: channel.queue_purge(name, callback=answer.set_result)
    )
    link.close()
    return int(frame.method.message_count)
