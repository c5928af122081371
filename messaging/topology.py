"""The topology: topic, queues, dead-letter queues and subscriptions, derived from consumers.

A topology is a plain value. `messaging.aws.provision` creates it; `MemoryBroker` implements it in
this process. A service's repository has only its own part; the topic is in the producer's
(docs/decisions/0016-ownership.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from messaging.consuming.consumer import Consumer
from messaging.errors import TopologyError
from messaging.projection import EVERYONE

__all__ = [
    "DeadLetterQueue",
    "Queue",
    "Subscription",
    "Topic",
    "Topology",
    "queue_name",
]

DAY = 86_400
MAX_RETENTION = 14 * DAY
MAX_FILTER_COMBINATIONS = 150
MAX_FILTER_POLICIES = 200
"""Per topic. https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html"""
MAX_QUEUE_NAME = 80
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""
DEFAULT_MAX_BYTES, LARGEST_MAX_BYTES = 262_144, 1_048_576
"""Maximum bytes of a request: the default, and the limit for the topic attribute
MaximumMessageSize.

https://docs.aws.amazon.com/sns/latest/api/API_SetTopicAttributes.html
"""

MAX_TAG_VALUE = 256
"""Characters. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(
    r"(arn:[a-z0-9-]+:kms:[a-z0-9-]+:\d{12}:)?(alias/[A-Za-z0-9/_-]+|key/(mrk-)?[0-9a-f-]{32,36})"
    r"|(mrk-)?[0-9a-f-]{32,36}"
)
_OWNER = re.compile(rf"(?!aws:)[\w .:/=+@-]{{1,{MAX_TAG_VALUE}}}", re.IGNORECASE)


def queue_name(topic: str, service: str, suffix: str = "") -> str:
    """The name of a service's queue: "alunos-marketing"; with a suffix, of its dead-letter queue.

    The queues of a FIFO topic ("alunos.fifo") are FIFO too ("alunos-marketing.fifo").

    Args:
        topic: the topic's name.
        service: the name of a service.
        suffix: "-dlq" for the dead letters, "-undelivered" for messages that could not be
            delivered.

    Example:
        ```python
        from messaging.topology import queue_name

        assert queue_name("alunos", "marketing", "-dlq") == "alunos-marketing-dlq"
        assert queue_name("alunos.fifo", "marketing") == "alunos-marketing.fifo"
        ```
    """
    plain = topic.removesuffix(".fifo")
    return f"{plain}-{service}{suffix}" + (".fifo" if plain != topic else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """The SNS topic. `max_bytes` is its MaximumMessageSize (262,144 to 1,048,576).

    Args:
        name: its name; for a FIFO topic it ends in ".fifo".
        max_bytes: maximum bytes of a request: its MaximumMessageSize.

    Raises:
        TopologyError: if SNS does not accept the name, or `max_bytes` is out of range (262,144 to
            1,048,576).

    Example:
        ```python
        from messaging.topology import Topic

        topic = Topic(name="alunos.fifo", max_bytes=1_048_576)
        assert topic.fifo
        assert (
            Topology.of(Marketing, topic=topic).queue("marketing").name == "alunos-marketing.fifo"
        )
        ```
    """

    name: str
    max_bytes: int = DEFAULT_MAX_BYTES

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    def __post_init__(self) -> None:
        plain = self.name.removesuffix(".fifo")
        if not _NAME.fullmatch(plain) or len(self.name) > 256:
            raise TopologyError(
                f'topic {self.name!r}: 1 to 256 of A to Z, a to z, 0 to 9, "-" and "_", with '
                '".fifo" at the end for a FIFO topic (SNS CreateTopic)'
            )
        if not DEFAULT_MAX_BYTES <= self.max_bytes <= LARGEST_MAX_BYTES:
            raise TopologyError(
                f"topic {self.name!r}: max_bytes={self.max_bytes}: SNS's MaximumMessageSize goes "
                f"from {DEFAULT_MAX_BYTES} to {LARGEST_MAX_BYTES}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQueue:
    """A queue for messages that cannot be handled or delivered. `retention` is in seconds.

    Args:
        name: the queue's name in SQS.
        retention: seconds for which it keeps a message.

    Example:
        ```python
        letters = topology.queue("marketing").dead_letters
        assert letters.retention == 14 * 86_400
        ```
    """

    name: str
    retention: int = MAX_RETENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The queue of one service. Times are in seconds.

    `contract` names the events that the service reads, with the versions that it knows:
    "aluno.cadastrado/3 matricula.cancelada/1".

    Args:
        name: the queue's name in SQS.
        service: the queue's service.
        visibility_timeout: seconds for which a received message is hidden.
        max_receives: receives after which SQS moves a message to `dead_letters`.
        dead_letters: the queue for those messages.
        retention: seconds for which it keeps a message.
        contract: the events that the service reads, with the versions that it knows:
            "aluno.cadastrado/3 matricula.cancelada/1".

    Raises:
        TopologyError: if SQS does not accept the name, or `retention` is not between 60 seconds and
            that of the dead letters, which is at most 14 days.

    Example:
        ```python
        queue = topology.queue("marketing")
        assert (queue.visibility_timeout, queue.dead_letters.name) == (60, "alunos-marketing-dlq")
        ```
    """

    name: str
    service: str
    visibility_timeout: int
    max_receives: int
    dead_letters: DeadLetterQueue
    retention: int = 4 * DAY
    contract: str = ""

    def __post_init__(self) -> None:
        _check_queue_name(self.name)
        _check_queue_name(self.dead_letters.name)
        if not 60 <= self.retention < self.dead_letters.retention <= MAX_RETENTION:
            raise TopologyError(
                f"queue {self.name!r}: retention={self.retention} s must be at least 60 s and "
                f"below that of its dead letters ({self.dead_letters.retention} s), which SQS "
                f"keeps for at most {MAX_RETENTION} s: a dead letter keeps its first date"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The subscription of one queue. `undelivered` is for messages that SNS could not deliver.

    Args:
        service: the subscription's service.
        queue: the name of the subscribed queue.
        types: the event types that the filter accepts.
        audience: the audiences that the filter accepts: the service, and "*".
        undelivered: the dead-letter queue of the subscription.

    Raises:
        TopologyError: if `types` is empty, types times audiences exceed the 150 combinations of a
            filter policy, or SQS does not accept the name of `undelivered`.

    Example:
        ```python
        subscription = topology.subscription("marketing")
        assert subscription.types == ("aluno.cadastrado",)
        ```
    """

    service: str
    queue: str
    types: tuple[str, ...]
    audience: tuple[str, ...]
    undelivered: DeadLetterQueue

    @property
    def filter_policy(self) -> Mapping[str, list[str]]:
        """The SNS filter policy, on message attributes."""
        return {"type": list(self.types), "audience": list(self.audience)}

    def __post_init__(self) -> None:
        _check_queue_name(self.undelivered.name)
        if not self.types:
            raise TopologyError(
                f"{self.service} handles no event: mark a method of its consumer with @handles"
            )
        combinations = len(self.types) * len(self.audience)
        if combinations > MAX_FILTER_COMBINATIONS:
            raise TopologyError(
                f"{self.service} handles {len(self.types)} events: with {len(self.audience)} "
                f"audiences that is {combinations} combinations, and an SNS filter policy takes "
                f"{MAX_FILTER_COMBINATIONS}; split the service in two"
            )


@dataclass(frozen=True, kw_only=True)
class Topology:
    """One topic, and for each service a queue, its dead-letter queue and its subscription.

    Args:
        topic: the topic of the queues.
        queues: one for each service.
        subscriptions: one for each queue, in the same order.
        owner: the owning team, as a tag of each. None: the topic's name, if the topic is part of
            it, otherwise each service's own name.
        owns_topic: whether the topic is part of it. Otherwise another topology creates and changes
            it.
        kms_key: the KMS key of its queues, and of the topic if it owns it: an alias
            ("alias/alunos"), an id or an ARN. None: SQS encrypts with its own keys (SSE-SQS).

    Raises:
        TopologyError: if AWS would not accept `owner` or `kms_key`, or two services would share a
            queue.

    Example:
        ```python
        topology = Topology.of(Marketing, topic="alunos")

        assert topology.queue("marketing").name == "alunos-marketing"
        assert "marketing" in topology.subscription("marketing").filter_policy["audience"]
        ```
    """

    topic: Topic
    queues: tuple[Queue, ...]
    subscriptions: tuple[Subscription, ...]
    owner: str | None = None
    owns_topic: bool = False
    kms_key: str | None = None

    def __post_init__(self) -> None:
        if self.kms_key is not None:
            _check_key(self.kms_key)
        if self.owner is not None and (
            not _OWNER.fullmatch(self.owner) or self.owner != self.owner.strip()
        ):
            raise TopologyError(
                f"owner {self.owner!r}: 1 to {MAX_TAG_VALUE} letters, digits, spaces inside and "
                '"_.:/=+-@", and not "aws:" at its beginning, as the value of a tag on AWS'
            )
        owners: dict[str, str] = {}
        for queue, subscription in zip(self.queues, self.subscriptions, strict=True):
            for name in (queue.name, queue.dead_letters.name, subscription.undelivered.name):
                twin = owners.setdefault(name, queue.service)
                if twin != queue.service:
                    raise TopologyError(
                        f"queue {name!r} would be of two services, {twin} and {queue.service}: "
                        "rename one of them"
                    )

    @classmethod
    def of(
        cls,
        *consumers: type[Consumer],
        topic: str | Topic,
        owner: str | None = None,
        owns_topic: bool = False,
        retention: int = 4 * DAY,
        kms_key: str | None = None,
    ) -> Topology:
        """Derive a topology from the consumers' handlers. `retention` (seconds) is that of the
        queues.

        `owner` is the team's name; without it, a service's resources are owned by the service's own
        name. With `owns_topic`, the topic is created and changed too (only one topology may do
        this, such as a `Topology.producer`), and everything is owned by `owner` or the topic's
        name.

        `kms_key` is a customer managed key, by its alias, id or ARN, for the queues, and with
        `owns_topic` for the topic. Its policy must allow SNS (`messaging export kms`).

        Args:
            *consumers: the consumer classes, one for each service.
            topic: the topic's name, or a `Topic`.
            owner: the team's name; by default the topic's name with `owns_topic`, otherwise each
                service's own name.
            owns_topic: whether the topic is created and changed too.
            retention: seconds for which the queues keep a message.
            kms_key: a customer managed key, by its alias, id or ARN; None: SQS's own (SSE-SQS).

        Raises:
            TopologyError: if a name, a time or the key is invalid.

        Example:
            ```python
            # A service's own part, and a complete topology in one place:
            own = Topology.of(Marketing, topic="alunos")
            whole = Topology.of(Marketing, topic="alunos", owns_topic=True)
            assert own.owner_of("marketing") == "marketing"
            assert whole.owner_of("marketing") == "alunos"
            ```
        """
        chosen = topic if isinstance(topic, Topic) else Topic(name=topic)
        _check_services(consumers)
        return cls(
            topic=chosen,
            queues=tuple(_queue(chosen, consumer, retention) for consumer in consumers),
            subscriptions=tuple(_subscription(chosen, consumer) for consumer in consumers),
            owner=owner,
            owns_topic=owns_topic,
            kms_key=kms_key,
        )

    @classmethod
    def producer(
        cls, topic: str | Topic, *, owner: str | None = None, kms_key: str | None = None
    ) -> Topology:
        """Only the topic, which it owns: for a publishing repository without services.

        Args:
            topic: the topic's name, or a `Topic`.
            owner: the team's name; by default the topic's.
            kms_key: a customer managed key, by its alias, id or ARN.

        Example:
            ```python
            assert Topology.producer("alunos").services == ()
            ```
        """
        chosen = topic if isinstance(topic, Topic) else Topic(name=topic)
        return cls(
            topic=chosen,
            queues=(),
            subscriptions=(),
            owner=owner,
            owns_topic=True,
            kms_key=kms_key,
        )

    def owner_of(self, service: str) -> str:
        """The owner of the resources of `service`: a name for comparison, and a tag on AWS.

        Args:
            service: the name of a service.
        """
        return self.owner or (self.topic.name if self.owns_topic else service)

    @property
    def owners(self) -> frozenset[str]:
        """The owners whose resources this topology may change and remove."""
        return frozenset(map(self.owner_of, self.services or (self.topic.name,)))

    def queue(self, service: str) -> Queue:
        """The queue of `service`.

        Args:
            service: the name of a service.

        Raises:
            TopologyError: if the topology has no such service.
        """
        return self._of(service)[0]

    def subscription(self, service: str) -> Subscription:
        """The subscription of `service`.

        Args:
            service: the name of a service.

        Raises:
            TopologyError: if the topology has no such service.
        """
        return self._of(service)[1]

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(queue.service for queue in self.queues)

    def prefixed(self, prefix: str) -> Topology:
        """The same topology with `prefix` before the topic's and every queue's name.

        For several environments in one account: `TOPOLOGY.prefixed("dev-")`.

        Args:
            prefix: put before the names: "prod-".
        """
        if not prefix:
            return self

        def named(one: Any, **more: Any) -> Any:
            return replace(one, name=prefix + one.name, **more)

        return replace(
            self,
            topic=named(self.topic),
            queues=tuple(named(one, dead_letters=named(one.dead_letters)) for one in self.queues),
            subscriptions=tuple(
                replace(one, queue=prefix + one.queue, undelivered=named(one.undelivered))
                for one in self.subscriptions
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and for documents."""
        return {
            "owner": self.owner,
            "owns_topic": self.owns_topic,
            "kms_key": self.kms_key,
            "topic": {
                "name": self.topic.name,
                "fifo": self.topic.fifo,
                "max_bytes": self.topic.max_bytes,
            },
            "services": {
                service: {
                    "owner": self.owner_of(service),
                    "queue": queue.name,
                    "dead_letters": queue.dead_letters.name,
                    "undelivered": subscription.undelivered.name,
                    "visibility_timeout": queue.visibility_timeout,
                    "max_receives": queue.max_receives,
                    "retention": queue.retention,
                    "contract": queue.contract,
                    "filter_policy": dict(subscription.filter_policy),
                }
                for service, (queue, subscription) in self._by_service.items()
            },
        }

    @cached_property
    def _by_service(self) -> Mapping[str, tuple[Queue, Subscription]]:
        both = zip(self.queues, self.subscriptions, strict=True)
        return {queue.service: (queue, subscription) for queue, subscription in both}

    def _of(self, service: str) -> tuple[Queue, Subscription]:
        if service not in self._by_service:
            has = ", ".join(self.services) or "no service, only the topic"
            raise TopologyError(f"no service {service!r} in this topology; it has {has}")
        return self._by_service[service]


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise TopologyError(
            f'kms_key {key!r}: give a KMS key\'s alias ("alias/alunos"), its id, or the ARN of '
            "either"
        )
    if "alias/aws/" in key:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
        raise TopologyError(
            f"kms_key {key!r} is a key of AWS's own, whose policy cannot be changed: SNS may not "
            "use it, and would deliver nothing. Give a customer managed key "
            "(`messaging export kms`), or no kms_key, for SSE-SQS"
        )


def _check_queue_name(name: str) -> None:
    if len(name) > MAX_QUEUE_NAME or not _NAME.fullmatch(name.removesuffix(".fifo")):
        raise TopologyError(
            f"queue {name!r}: SQS takes at most {MAX_QUEUE_NAME} of A to Z, a to z, 0 to "
            f'9, "-" and "_"; it has {len(name)} (shorten the topic or the service)'
        )


def _check_services(consumers: Iterable[type[Consumer]]) -> None:
    seen: dict[str, type[Consumer]] = {}
    for number, consumer in enumerate(consumers, start=1):
        twin = seen.setdefault(consumer.service, consumer)
        if len(seen) < number:
            raise TopologyError(
                f"{twin.__qualname__} and {consumer.__qualname__} are both service "
                f"{consumer.service!r}: they would take each other's messages from one queue"
            )
    if not seen:
        raise TopologyError(
            "a topology needs at least one consumer; one of a topic alone is "
            'Topology.producer("alunos")'
        )
    if len(seen) > MAX_FILTER_POLICIES:
        raise TopologyError(
            f"{len(seen)} services: SNS takes {MAX_FILTER_POLICIES} filter policies per topic"
        )


def _queue(topic: Topic, consumer: type[Consumer], retention: int) -> Queue:
    return Queue(
        name=queue_name(topic.name, consumer.service),
        service=consumer.service,
        visibility_timeout=consumer.visibility_timeout,
        max_receives=consumer.max_receives,
        dead_letters=DeadLetterQueue(name=queue_name(topic.name, consumer.service, "-dlq")),
        retention=retention,
        contract=_contract(consumer),
    )


def _contract(consumer: type[Consumer]) -> str:
    said = " ".join(
        f"{name}/{handler.event.event_version}"
        for name, handler in sorted(consumer.handlers.items())
    )
    if len(said) <= MAX_TAG_VALUE:
        return said
    # They do not all fit into a tag: use a text that changes whenever one of them does.
    return f"{len(consumer.handlers)} events/{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _subscription(topic: Topic, consumer: type[Consumer]) -> Subscription:
    return Subscription(
        service=consumer.service,
        queue=queue_name(topic.name, consumer.service),
        types=tuple(sorted(consumer.handlers)),
        audience=(EVERYONE, consumer.service),
        undelivered=DeadLetterQueue(name=queue_name(topic.name, consumer.service, "-undelivered")),
    )
