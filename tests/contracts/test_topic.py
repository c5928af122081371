"""What every topic does: fan out by type and audience, keep messages intact, refuse as values."""

from __future__ import annotations

import pytest

from messaging.errors import NotFound, TransportError
from messaging.transport import Attribute, Broker, Outgoing
from tests.contracts.conftest import Site, message, not_on, receive_all


def bodies(site: Site, service: str, expected: int) -> list[str]:
    return sorted(one.body for one in receive_all(site.queue(service), expected))


def test_broker_is_one(site: Site) -> None:
    assert isinstance(site.broker, Broker)


def test_type_decides_who_hears(site: Site) -> None:
    site.send("sent", type="parcel.sent")
    site.send("lost", type="parcel.lost")
    site.send("found", type="parcel.found")

    assert bodies(site, "depot", 2) == ["lost", "sent"]
    assert bodies(site, "claims", 1) == ["lost"]
    assert site.queue("depot").depth().visible == 0
    assert site.queue("claims").depth().visible == 0


def test_audience_decides_who_hears(site: Site) -> None:
    site.send("for depot", type="parcel.lost", audience="depot")
    site.send("for claims", type="parcel.lost", audience="claims")
    site.send("for nobody here", type="parcel.lost", audience="customs")

    assert bodies(site, "depot", 1) == ["for depot"]
    assert bodies(site, "claims", 1) == ["for claims"]
    assert site.queue("depot").depth().visible == 0
    assert site.queue("claims").depth().visible == 0


def test_one_copy_for_several_services(site: Site) -> None:
    both = message("for both", "parcel.lost", "claims", "depot", "customs")

    assert not site.broker.topic().publish([both])

    assert bodies(site, "depot", 1) == ["for both"]
    assert bodies(site, "claims", 1) == ["for both"]


def test_message_without_the_attributes_reaches_nobody(site: Site) -> None:
    bare = Outgoing(id="1", body="bare", attributes={}, size=4)

    assert not site.broker.topic().publish([bare, message("whole")])

    assert bodies(site, "depot", 1) == ["whole"]
    assert site.queue("depot").depth().visible == 0


def test_body_and_attributes_arrive_intact(site: Site) -> None:
    body = '{"nome": "João da Conceição 🎓",\n\t"cp": "<&>\\"\'", "𝄞": 1.10}'
    sent = message(
        body,
        "parcel.sent",
        "depot",
        "Não existe",
        word=Attribute.string("ação <&>"),
        number=Attribute("Number", "12.50"),
    )

    assert not site.broker.topic().publish([sent])

    [delivery] = receive_all(site.queue("depot"), 1)
    assert delivery.body == body
    assert delivery.attributes == sent.attributes
    assert delivery.attributes["audience"].strings == ("depot", "Não existe")


@not_on(
    "ministack",
    "moto",
    because="ministack hands on an empty value, and moto answers 500 to the receive",
)
def test_binary_attribute_arrives_intact(site: Site) -> None:
    sent = message("1", binary=Attribute("Binary", bytes(range(256))))

    assert not site.broker.topic().publish([sent])

    [delivery] = receive_all(site.queue("depot"), 1)
    assert delivery.attributes == sent.attributes


def test_batch_of_ten(site: Site) -> None:
    numbers = [str(number) for number in range(10)]

    site.send(*numbers)

    assert bodies(site, "depot", 10) == numbers


@not_on(
    "ministack",
    "moto",
    because="ministack accepts an empty attribute, and moto refuses the whole request",
)
def test_refused_entries_are_values_and_the_others_arrive(site: Site) -> None:
    empty = Outgoing(id="2", body="x", attributes={"type": Attribute.string("")}, size=10)

    failures = site.broker.topic().publish([message("one"), empty, message("three")])

    assert [(one.index, one.retryable) for one in failures] == [(1, False)]
    assert all(one.code and one.message for one in failures)
    assert bodies(site, "depot", 2) == ["one", "three"]


def test_empty_batch_is_nothing(site: Site) -> None:
    assert len(site.broker.topic().publish([])) == 0
    assert site.queue("depot").depth().visible == 0


def test_eleven_messages_are_refused_whole(site: Site) -> None:
    with pytest.raises(TransportError) as refused:
        site.broker.topic().publish([message(str(number)) for number in range(11)])

    assert not refused.value.retryable
    assert site.queue("depot").depth().visible == 0


def test_limit_is_that_of_the_topology(site: Site) -> None:
    assert site.broker.topic().max_bytes == 262_144


def test_missing_topic_is_told_with_a_remedy(site: Site) -> None:
    with pytest.raises(NotFound, match="topic") as missing:
        site.bare.topic().publish([message("lost")])

    assert not missing.value.retryable
    assert missing.value.code


def test_closed_topic_refuses_and_others_go_on(site: Site) -> None:
    closed, other = site.broker.topic(), site.broker.topic()
    closed.close()
    closed.close()

    with pytest.raises(TransportError) as refused:
        closed.publish([message("late")])
    assert not refused.value.retryable
    assert not other.publish([message("in time")])
    assert bodies(site, "depot", 1) == ["in time"]
