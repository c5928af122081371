"""What the tests of doctor share: a server, and a topology on it that each test may break."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from messaging.aws import apply
from messaging.consuming.consumer import Consumer, handles
from messaging.doctor import Diagnosis, examine
from messaging.event import Event
from messaging.local import REGION, LocalServer
from messaging.settings import Settings
from messaging.topology import Topology

ACCOUNT = "000000000000"


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Um(Consumer):
    visibility_timeout = 45
    max_receives = 7

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


SOUND = Topology.of(Um, topic="alunos", owns_topic=True)
IN_ORDER = Topology.of(Um, topic="alunos.fifo", owns_topic=True)
ELSEWHERES = Topology.of(Um, topic="alunos", owner="um")


class School:
    """The topology as it was applied under a prefix of its own, and hands to break it with."""

    def __init__(self, server: LocalServer, topology: Topology = SOUND) -> None:
        self.topology = topology
        self.prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.session = boto3.Session(**server.credentials)
        self.url = server.url
        self.settings = server.settings(prefix=self.prefix)
        apply(topology, self.settings, session=self.session)
        named = topology.prefixed(self.prefix)
        self.topic = named.topic.name
        self.topic_arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{self.topic}"
        self.queue = named.queues[0].name
        self.dead_letters = named.queues[0].dead_letters.name
        self.undelivered = named.subscriptions[0].undelivered.name

    def client(self, service: str) -> Any:
        return self.session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]  # a name

    @property
    def sns(self) -> Any:
        return self.client("sns")

    @property
    def sqs(self) -> Any:
        return self.client("sqs")

    def url_of(self, queue: str) -> str:
        return str(self.sqs.get_queue_url(QueueName=queue)["QueueUrl"])

    def arn_of(self, queue: str, region: str = REGION) -> str:
        return f"arn:aws:sqs:{region}:{ACCOUNT}:{queue}"

    def set(self, queue: str, **attributes: str) -> None:
        self.sqs.set_queue_attributes(QueueUrl=self.url_of(queue), Attributes=attributes)

    def get(self, queue: str, attribute: str) -> Any:
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.url_of(queue), AttributeNames=[attribute]
        )
        return json.loads(answer["Attributes"][attribute])

    def send(self, queue: str) -> None:
        self.sqs.send_message(QueueUrl=self.url_of(queue), MessageBody="x")

    @property
    def subscription(self) -> str:
        (found,) = self.sns.list_subscriptions_by_topic(TopicArn=self.topic_arn)["Subscriptions"]
        return str(found["SubscriptionArn"])

    def subscribe_so(self, attribute: str, value: str) -> None:
        self.sns.set_subscription_attributes(
            SubscriptionArn=self.subscription, AttributeName=attribute, AttributeValue=value
        )

    def subscribe_again(self, *without: str, **attributes: str) -> None:
        """The service's subscription, made anew without some of its attributes."""
        arn = self.subscription
        now = self.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        self.sns.unsubscribe(SubscriptionArn=arn)
        names = ("RawMessageDelivery", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy")
        kept = {name: now[name] for name in names if name in now and name not in without}
        self.sns.subscribe(
            TopicArn=self.topic_arn,
            Protocol="sqs",
            Endpoint=self.arn_of(self.queue),
            Attributes={**kept, **attributes},
        )

    def map_to_lambda(self, *, timeout: int, **mapping: Any) -> str:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("f.py", "def handler(event, context): ...\n")
        functions = self.client("lambda")
        functions.create_function(
            FunctionName=self.queue,
            Runtime="python3.12",
            Role=f"arn:aws:iam::{ACCOUNT}:role/f",
            Handler="f.handler",
            Code={"ZipFile": code.getvalue()},
            Timeout=timeout,
        )
        made = functions.create_event_source_mapping(
            EventSourceArn=self.arn_of(self.queue), FunctionName=self.queue, **mapping
        )
        return str(made["UUID"])

    def examined(self, url: str = "", topology: Topology | None = None) -> list[Diagnosis]:
        settings = self.settings
        if url:
            settings = settings.model_copy(update={"endpoint_url": url})
        return list(examine(topology or self.topology, settings, session=self.session))


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer(engine="ministack") as started:
        yield started


@pytest.fixture
def school(server: LocalServer) -> School:
    return School(server)


def bare(url: str) -> Settings:
    return Settings(endpoint_url=url, region=REGION, prefix="bare-")
