"""The topic on AWS: one request, refusals as values, errors that say what to do."""

from __future__ import annotations

import pytest

from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.event import Event
from messaging.topology import Topology
from messaging.transport import Attribute, Outgoing


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Um(Consumer):
    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


def message(body: str = "{}", **more) -> Outgoing:
    attributes = {
        "type": Attribute.array(["teste.aconteceu"]),
        "audience": Attribute.array(["*"]),
    }
    return Outgoing(id="e", body=body, attributes=attributes, size=100, **more)


def test_a_message_arrives_as_it_was_published(server, session, prefix):
    settings = server.settings(topic="alunos", prefix=prefix)
    apply(Topology.of(Um, topic="alunos"), settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    # Binary values: neither server keeps them through SNS; see test_clients and test_sqs.
    extra = {"n": Attribute("Number", "3"), "s": Attribute.string("três")}
    sent = message("ação 🎓")
    attributes = {**sent.attributes, **extra}

    topic = broker.topic()
    assert topic.publish([Outgoing(id="e", body=sent.body, attributes=attributes, size=9)]) == ()

    (got,) = broker.queue("um").receive(10, 5)
    broker.close()
    assert got.body == "ação 🎓"
    assert got.attributes == attributes
    assert topic.arn.endswith(f":{prefix}alunos")


def test_failures_are_values_with_their_places(wire, say, settings_of, session):
    wire.say("PublishBatch", say.batch([0, 2], [(1, "InvalidParameter", True)]))
    broker = connect(settings_of(wire), session=session)
    failures = broker.topic().publish([message(), message(), message()])
    broker.close()
    assert [(one.index, one.code, one.retryable) for one in failures] == [
        (1, "InvalidParameter", False)
    ]
    assert "segredo" not in failures[0].message


def test_no_entries_are_no_request_and_eleven_are_an_error(wire, settings_of, session):
    topic = connect(settings_of(wire), session=session).topic()
    assert topic.publish([]) == ()
    with pytest.raises(TransportError, match="11 entries"):
        topic.publish([message()] * 11)
    assert wire.requests == []


def test_the_size_limit_is_told_and_never_asked_for(wire, settings_of, session):
    settings = settings_of(wire).model_copy(update={"max_bytes": 524_288})
    broker = connect(settings, session=session)
    assert broker.topic().max_bytes == 524_288
    assert connect(settings_of(wire), session=session).topic().max_bytes == 262_144
    broker.close()
    assert wire.requests == []


def test_a_missing_topic_says_which_where_and_what_to_do(server, session, prefix):
    broker = connect(server.settings(topic="nenhum", prefix=prefix), session=session)
    with pytest.raises(NotFound) as caught:
        broker.topic().publish([message()])
    said = str(caught.value)
    assert f"topic {prefix}nenhum in sa-east-1 at {server.url}" in said
    assert "messaging topology apply" in said
    assert not caught.value.retryable
    broker.close()


def test_a_producer_that_may_only_publish_asks_for_nothing_else(wire, say, settings_of, session):
    wire.say("PublishBatch", say.batch([0]))
    broker = connect(settings_of(wire), session=session)
    broker.topic().publish([message()])
    broker.close()
    assert [action for action, _ in wire.requests] == ["PublishBatch"]


def test_refused_credentials_are_told_and_not_retried(wire, say, settings_of, session):
    wire.say("PublishBatch", say.sns_error("InvalidClientTokenId", "the token is invalid", 403))
    broker = connect(settings_of(wire), session=session)
    with pytest.raises(AccessDenied, match="the token is invalid") as caught:
        broker.topic().publish([message()])
    broker.close()
    assert not caught.value.retryable


@pytest.mark.parametrize("answer", [(0, ""), (200, "<not xml"), (502, "<html>bad gateway</html>")])
def test_an_answer_that_is_none_may_be_tried_again(wire, settings_of, session, answer):
    wire.say("PublishBatch", answer)
    broker = connect(settings_of(wire), session=session)
    with pytest.raises(TransportError) as caught:
        broker.topic().publish([message("segredo")])
    broker.close()
    assert caught.value.retryable
    assert "segredo" not in str(caught.value)


def test_nobody_there_is_an_error_that_names_the_endpoint(wire, settings_of, session):
    settings = settings_of(wire)
    wire.close()
    broker = connect(settings, session=session)
    with pytest.raises(TransportError, match=settings.endpoint_url) as caught:
        broker.topic().publish([message()])
    assert caught.value.retryable
    broker.close()


def test_a_closed_topic_is_not_used_again(wire, settings_of, session):
    topic = connect(settings_of(wire), session=session).topic()
    topic.close()
    with pytest.raises(TransportError, match="was closed"):
        topic.publish([message()])


@pytest.mark.parametrize("name", ["alunos", "alunos.fifo"])
def test_a_group_is_a_tenant_on_a_standard_topic_and_an_order_on_a_fifo_one(
    wire, say, settings_of, session, name
):
    wire.say("PublishBatch", say.batch([0, 1]))
    settings = settings_of(wire).model_copy(
        update={"topic": f"arn:aws:sns:sa-east-1:000000000000:{name}"}
    )
    broker = connect(settings, session=session)
    topic = broker.topic()
    topic.publish([message(group="ana", deduplication="1:*"), message()])
    broker.close()
    assert topic.fifo is name.endswith(".fifo")
    (asked,) = wire.asked("PublishBatch")
    place = "PublishBatchRequestEntries.member.1."
    assert asked[place + "MessageGroupId"] == "ana"
    # SNS takes a deduplication id on a FIFO topic only.
    assert ((place + "MessageDeduplicationId") in asked) is topic.fifo
    assert "PublishBatchRequestEntries.member.2.MessageGroupId" not in asked


@pytest.mark.parametrize("transport", ["fast"])
def test_two_steps_are_not_offered_where_they_would_not_be_two(wire, settings_of, session):
    broker = connect(settings_of(wire), session=session)
    topic = broker.topic()
    steps = topic.begin([message()])
    assert steps is not None
    steps.close()
    assert topic.begin([]) is None
    assert topic.begin([message()] * 11) is None
    topic.close()
    assert topic.begin([message()]) is None
    broker.close()
    slow = connect(settings_of(wire).model_copy(update={"transport": "boto3"}), session=session)
    assert slow.topic().begin([message()]) is None
    slow.close()
    assert wire.requests == [], "a request before the first step"


def test_what_keeps_a_request_from_being_made_is_told_by_publish(wire, settings_of, session):
    settings = settings_of(wire).model_copy(update={"topic": "alunos"})
    wire.say("GetCallerIdentity", (500, ""))
    broker = connect(settings, session=session)
    assert broker.topic().begin([message()]) is None
    broker.close()


@pytest.mark.parametrize("transport", ["fast"])
@pytest.mark.parametrize("answer", [(0, ""), (200, "<not xml"), (502, "<html>bad gateway</html>")])
def test_an_answer_that_is_none_is_the_same_error_in_two_steps(wire, settings_of, session, answer):
    wire.say("PublishBatch", answer)
    broker = connect(settings_of(wire), session=session)
    steps = broker.topic().begin([message("segredo")])
    assert steps is not None
    next(steps)
    with pytest.raises(TransportError, match="cannot publish to topic") as caught:
        next(steps)
    broker.close()
    assert caught.value.retryable
    assert "segredo" not in str(caught.value)
