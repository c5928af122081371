"""Nobody is told nothing: the producer's check of who subscribes, on a real topic."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from messaging.aws import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.contract.check import Finding
from messaging.contract.needs import needs_of
from messaging.errors import ConfigurationError, NotFound
from messaging.event import Event
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.testing import RecordingTopic
from messaging.topology import Topology
from tests.contract.accounts import SESSION


class Enrolled(Event, type="enrolled", version=1):
    name: str
    fee: int = 0


class EnrolledForMail(Projection, of=Enrolled, audience="mail"):
    name: str


class EnrolledForBooks(Projection, of=Enrolled, audience=("books", "crm")):
    name: str
    fee: int


class Left(Event, type="left", version=1):
    name: str


class Mail(Consumer):
    @handles
    def enrolled(self, event: EnrolledForMail) -> None: ...

    @handles
    def left(self, event: Left) -> None: ...


class Books(Consumer):
    @handles
    def enrolled(self, event: EnrolledForBooks) -> None: ...


def _older() -> tuple[Any, Any, type[Consumer], type[Consumer]]:
    """The same types as another release of the contract has them, with other services."""

    class Enrolled(Event, type="enrolled", version=1):
        name: str

    class ForLibrary(Projection, of=Enrolled, audience="library"):
        name: str

    class ForMail(Projection, of=Enrolled, audience="mail"):
        name: str

    class Library(Consumer):
        @handles
        def enrolled(self, event: ForLibrary) -> None: ...

    class Gone(Event, type="gone", version=1):
        name: str

    class Attic(Consumer):
        @handles
        def gone(self, event: Gone) -> None: ...

    return Enrolled, Gone, Library, Attic


_, _, LIBRARY, ATTIC = _older()


def told(found: list[Finding]) -> set[tuple[str, str, str, bool]]:
    assert all(one.remedy for one in found)
    return {(one.service, one.type, one.rule, one.breaks) for one in found}


def checked(*services: type[Consumer], **keywords: Any) -> list[Finding]:
    topic = MemoryBroker(Topology.of(*services, topic="t")).topic()
    with Publisher(topic, source="/x") as publisher:
        return publisher.check(Enrolled, Left, **keywords)


def test_all_is_well() -> None:
    assert told(checked(Mail, Books)) == {("crm", "enrolled", "unheard", False)}


def test_a_subscribed_service_that_this_contract_does_not_know() -> None:
    found = checked(Mail, Books, LIBRARY)
    assert ("library", "enrolled", "service", True) in told(found)
    assert any("audience='library'" in one.remedy for one in found)


def test_a_known_service_without_a_view_of_the_event() -> None:
    class Bi(Event, type="other", version=1):
        name: str

    class ForLibrary(Projection, of=Bi, audience="library"):
        name: str

    topic = MemoryBroker(Topology.of(Mail, LIBRARY, topic="t")).topic()
    with Publisher(topic, source="/x") as publisher:
        found = publisher.check(Enrolled, Bi)
    assert ("library", "enrolled", "audience", True) in told(found)


def test_a_type_that_nobody_subscribes_to() -> None:
    assert ("*", "left", "unheard", True) in told(checked(Books))


def test_a_type_of_somebody_else() -> None:
    assert ("attic", "gone", "type", False) in told(checked(Mail, Books, ATTIC))


def test_what_a_service_needs_and_is_not_sent() -> None:
    class Need(Event, type="enrolled", version=1):
        name: str
        email: str | None = None

    class NeedForMail(Projection, of=Need, audience="mail"):
        name: str
        email: str | None = None

    class Reader(Consumer):
        service = "mail"

        @handles
        def enrolled(self, event: NeedForMail) -> None: ...

    found = checked(Mail, Books, needs=[needs_of(Reader)])
    assert [one.place for one in found if one.way == "needs"] == ["data.email"]


def test_a_topic_that_cannot_tell_says_so() -> None:
    with (
        Publisher(RecordingTopic(), source="/x") as publisher,
        pytest.raises(ConfigurationError, match="RecordingTopic does not know the subscribers"),
    ):
        publisher.check(Enrolled)


@pytest.fixture(scope="module", params=["ministack", "moto"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(engine=request.param) as running:
        yield running


def test_on_a_server_with_a_hand_made_subscription(server: LocalServer) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    settings = Settings(endpoint_url=server.url, region="sa-east-1", topic=name)
    broker = connect(settings, session=SESSION)
    with Publisher(broker.topic(), source="/x") as publisher:
        with pytest.raises(NotFound):
            publisher.check(Enrolled)
        apply(
            Topology.of(Mail, Books, LIBRARY, topic=name, owns_topic=True),
            settings,
            session=SESSION,
        )
        assert told(publisher.check(Enrolled, Left)) == {
            ("library", "enrolled", "service", True),
            ("crm", "enrolled", "unheard", False),
        }
        sns = SESSION.client("sns", endpoint_url=server.url)
        arn = sns.create_topic(Name=name)["TopicArn"]
        for queue, policy in (("all", None), ("some", {"type": [{"prefix": "en"}]})):
            sns.subscribe(
                TopicArn=arn,
                Protocol="sqs",
                Endpoint=f"arn:aws:sqs:sa-east-1:000000000000:{queue}",
                Attributes={"FilterPolicy": json.dumps(policy)} if policy else {},
            )
        found = told(publisher.check(Enrolled, Left))
    broker.close()
    assert found == {
        ("library", "enrolled", "service", True),
        ("all", "", "unfiltered", True),
        ("some", "", "unreadable", False),
    }
