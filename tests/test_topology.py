"""Topic, queues, dead letters and subscriptions, derived from consumers."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import TopologyError
from messaging.event import Event
from messaging.outcome import RetryPolicy
from messaging.topology import (
    DAY,
    DeadLetterQueue,
    Queue,
    Subscription,
    Topic,
    Topology,
    queue_name,
)


class Enrolled(Event, type="student.enrolled", version=1):
    name: str


class Left(Event, type="student.left", version=1):
    name: str


class Mail(Consumer):
    visibility_timeout = 90
    retry = RetryPolicy(max_attempts=8)

    @handles
    def left(self, event: Left) -> None: ...

    @handles
    def enrolled(self, event: Enrolled) -> None: ...


class Books(Consumer):
    @handles
    def enrolled(self, event: Enrolled) -> None: ...


def test_everything_is_derived_from_the_consumers() -> None:
    assert Topology.of(Mail, Books, topic="students").to_dict() == {
        "owner": None,
        "owns_topic": False,
        "kms_key": None,
        "topic": {"name": "students", "fifo": False, "max_bytes": 262_144},
        "services": {
            "mail": {
                "owner": "mail",
                "queue": "students-mail",
                "dead_letters": "students-mail-dlq",
                "undelivered": "students-mail-undelivered",
                "visibility_timeout": 90,
                "max_receives": 53,
                "retention": 4 * DAY,
                "contract": "student.enrolled/1 student.left/1",
                "filter_policy": {
                    "type": ["student.enrolled", "student.left"],
                    "audience": ["*", "mail"],
                },
            },
            "books": {
                "owner": "books",
                "queue": "students-books",
                "dead_letters": "students-books-dlq",
                "undelivered": "students-books-undelivered",
                "visibility_timeout": 60,
                "max_receives": 50,
                "retention": 4 * DAY,
                "contract": "student.enrolled/1",
                "filter_policy": {"type": ["student.enrolled"], "audience": ["*", "books"]},
            },
        },
    }


def test_a_topology_can_be_printed_and_compared_and_not_changed() -> None:
    topology = Topology.of(Mail, topic="students")
    assert json.loads(json.dumps(topology.to_dict()))["topic"]["name"] == "students"
    assert topology == Topology.of(Mail, topic=Topic(name="students"))
    with pytest.raises(FrozenInstanceError):
        topology.topic = Topic(name="other")  # type: ignore[misc]


def test_the_queues_of_a_fifo_topic_are_fifo() -> None:
    topology = Topology.of(Mail, topic="students.fifo")
    queue = topology.queue("mail")
    assert topology.topic.fifo
    assert (queue.name, queue.dead_letters.name) == ("students-mail.fifo", "students-mail-dlq.fifo")
    assert topology.subscription("mail").undelivered.name == "students-mail-undelivered.fifo"


def test_a_prefix_stands_before_every_name_and_nowhere_else() -> None:
    plain = Topology.of(Mail, Books, topic="students")
    text = json.dumps(plain.prefixed("dev-").to_dict())
    assert text.replace("dev-", "") == json.dumps(plain.to_dict())
    assert text.count("dev-students") == 1 + 2 * 3
    assert plain.prefixed("") is plain


def test_an_unknown_service_is_told_with_those_there_are() -> None:
    topology = Topology.of(Mail, Books, topic="students")
    for ask in (topology.queue, topology.subscription):
        with pytest.raises(TopologyError, match="no service 'post' in this topology; it has mail"):
            ask("post")


def test_retention_is_that_of_the_queues() -> None:
    assert Topology.of(Mail, topic="t", retention=60).queue("mail").retention == 60


# limits of SNS and SQS: each error names the limit


@pytest.mark.parametrize("name", ["", ".fifo", "with space", "é", "a.b", "x" * 257, "a\n"])
def test_a_topic_name_that_sns_refuses(name: str) -> None:
    with pytest.raises(TopologyError, match="1 to 256 of A to Z"):
        Topology.of(Mail, topic=name)


@pytest.mark.parametrize("size", [262_143, 1_048_577])
def test_a_message_size_that_sns_refuses(size: int) -> None:
    with pytest.raises(TopologyError, match="from 262144 to 1048576"):
        Topic(name="t", max_bytes=size)


def test_a_message_size_that_sns_takes() -> None:
    assert Topology.of(Mail, topic=Topic(name="t", max_bytes=1_048_576)).topic.max_bytes == 2**20


def test_every_name_that_is_made_of_topic_and_service_is_at_most_80() -> None:
    longest = 80 - len("-mail-undelivered")
    Topology.of(Mail, topic="x" * longest)
    with pytest.raises(TopologyError, match=r"-undelivered.*at most 80 .* it has 81 \(shorten"):
        Topology.of(Mail, topic="x" * (longest + 1))
    with pytest.raises(TopologyError, match="at most 80"):
        Topology.of(Mail, topic="x" * longest).prefixed("d")


@pytest.mark.parametrize("retention", [59, 14 * DAY, 15 * DAY])
def test_a_queue_keeps_messages_for_less_time_than_its_dead_letters(retention: int) -> None:
    with pytest.raises(TopologyError, match="at least 60 s and below that of its dead letters"):
        Topology.of(Mail, topic="t", retention=retention)


def test_dead_letters_are_kept_for_fourteen_days_at_most() -> None:
    with pytest.raises(TopologyError, match="keeps for at most 1209600 s"):
        Queue(
            name="q",
            service="s",
            visibility_timeout=60,
            max_receives=10,
            dead_letters=DeadLetterQueue(name="d", retention=15 * DAY),
        )


def _subscription(types: int) -> Subscription:
    return Subscription(
        service="s",
        queue="q",
        types=tuple(f"t{one}" for one in range(types)),
        audience=("*", "s"),
        undelivered=DeadLetterQueue(name="u"),
    )


def test_a_filter_policy_has_at_most_150_combinations() -> None:
    assert len(_subscription(75).filter_policy["type"]) == 75
    with pytest.raises(TopologyError, match="152 combinations, and an SNS filter policy takes 150"):
        _subscription(76)


def test_a_consumer_without_handlers_has_nothing_to_subscribe_to() -> None:
    class Idle(Consumer):
        pass

    with pytest.raises(TopologyError, match="idle handles no event: mark a method"):
        Topology.of(Idle, topic="t")


def test_a_topology_needs_a_consumer() -> None:
    with pytest.raises(TopologyError, match="at least one consumer"):
        Topology.of(topic="t")


def test_two_consumers_of_one_service_would_take_each_others_messages() -> None:
    class Second(Consumer):
        service = "mail"

        @handles
        def left(self, event: Left) -> None: ...

    with pytest.raises(TopologyError, match=r"Mail and .*Second are both service 'mail'"):
        Topology.of(Mail, Second, topic="t")


def test_a_consumer_that_is_named_twice_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"Mail and Mail are both service 'mail'"):
        Topology.of(Mail, Mail, topic="t")


def test_a_service_that_is_named_like_anothers_dead_letters_is_refused() -> None:
    class Sly(Consumer):
        service = "mail-dlq"

        @handles
        def left(self, event: Left) -> None: ...

    with pytest.raises(TopologyError, match="'t-mail-dlq' would be of two services, mail and"):
        Topology.of(Mail, Sly, topic="t")


def test_a_topic_has_at_most_200_filter_policies() -> None:
    def numbered(number: int) -> type[Consumer]:
        members: dict[str, Any] = {"service": f"s{number}", "left": Mail.left}
        return type(f"S{number}", (Consumer,), members)

    many = [numbered(number) for number in range(201)]
    assert len(Topology.of(*many[:200], topic="t").services) == 200
    with pytest.raises(TopologyError, match="201 services: SNS takes 200 filter policies"):
        Topology.of(*many, topic="t")


@pytest.mark.parametrize(
    ("topic", "service", "suffix", "name"),
    [
        ("alunos", "marketing", "", "alunos-marketing"),
        ("alunos", "marketing", "-dlq", "alunos-marketing-dlq"),
        ("alunos.fifo", "marketing", "-dlq", "alunos-marketing-dlq.fifo"),
    ],
)
def test_the_name_of_a_queue(topic: str, service: str, suffix: str, name: str) -> None:
    assert queue_name(topic, service, suffix) == name


def test_who_owns_what_is_said_or_follows() -> None:
    """A name to be held against another's: the team's, else the service's, else the topic's."""
    part = Topology.of(Mail, Books, topic="students")
    assert (part.owner_of("mail"), part.owners) == ("mail", {"mail", "books"})
    assert not part.owns_topic
    whole = Topology.of(Mail, Books, topic="students", owns_topic=True)
    assert (whole.owner_of("mail"), whole.owners) == ("students", {"students"})
    team = Topology.of(Mail, Books, topic="students", owner="reception").prefixed("dev-")
    assert (team.owner_of("mail"), team.owners) == ("reception", {"reception"})
    topic = Topology.producer("students", owner="office")
    assert (topic.services, topic.owners, topic.owns_topic) == ((), {"office"}, True)
    with pytest.raises(TopologyError, match="it has no service, only the topic"):
        topic.queue("mail")


@pytest.mark.parametrize("owner", ["", " x", "x ", "a,b", "tab\t", "x" * 257, "aws*", "AWS:x"])
def test_an_owner_that_no_tag_holds_is_refused(owner: str) -> None:
    with pytest.raises(TopologyError, match=r"owner .* value of a tag"):
        Topology.of(Mail, topic="students", owner=owner)


def test_an_owner_is_any_text_that_a_tag_holds() -> None:
    for owner in ("Equipe Acervo", "são-paulo:acervo@escola.br", "a", "x" * 256):
        assert Topology.of(Mail, topic="students", owner=owner).owner == owner


def test_a_contract_that_no_tag_holds_is_told_apart_all_the_same() -> None:
    def service(*versions: int) -> Consumer:
        members: dict[str, Any] = {}
        for number, version in enumerate(versions):
            happened = type(Event)(
                f"Happened{number}", (Event,), {}, type=f"happened.n{number:03}", version=version
            )

            def handle(self: Any, event: Any) -> None: ...

            handle.__annotations__ = {"event": happened, "return": None}
            members[f"handle{number}"] = handles(handle)
        return type(Consumer)("Many", (Consumer,), members)

    one, same, other = (
        Topology.of(service(*versions), topic="t").queue("many").contract
        for versions in ([1] * 40, [1] * 40, [1] * 39 + [2])
    )
    assert one.startswith("40 events/")
    assert len(one) <= 256
    assert one == same != other


@pytest.mark.parametrize(
    "key",
    [
        "alias/alunos",
        "alias/escola/alunos_2",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "arn:aws:kms:sa-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-us-gov:kms:us-gov-west-1:111111111111:alias/alunos",
    ],
)
def test_a_key_is_named_by_alias_id_or_arn(key: str) -> None:
    assert Topology.of(Mail, topic="students", kms_key=key).kms_key == key
    assert Topology.producer("students", kms_key=key).prefixed("dev-").kms_key == key


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("alias/aws/sqs", "SNS may not use it"),
        ("arn:aws:kms:sa-east-1:111111111111:alias/aws/sns", "SNS may not use it"),
        ("alunos", "alias"),
        ("", "alias"),
        ("arn:aws:sqs:sa-east-1:111111111111:alunos", "alias"),
    ],
)
def test_a_key_with_which_nothing_would_be_delivered_is_refused(key: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said) as raised:
        Topology.of(Mail, topic="students", kms_key=key)
    assert repr(key) in str(raised.value)
