"""Creates a topology on RabbitMQ: compares what exists with what should, and makes the changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from messaging.aws.naming import topic_of
from messaging.changes import Change, Plan, once_there
from messaging.errors import OwnershipError, TopicNotFound, TopologyError
from messaging.projection import SERVICE_NAME
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import (
    dead_letter_arguments,
    letters_name,
    queue_arguments,
    record_name,
    unrouted_arguments,
    unrouted_name,
)
from messaging.rabbitmq.records import (
    QueueRecord,
    list_service,
    listed_services,
    read_beside,
    write_record,
)
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.wire import routing_keys
from messaging.settings import Settings
from messaging.topology import MAX_RETENTION, Queue, Topology, queue_name

__all__ = ["apply", "plan", "remove"]

LOOK_AGAIN = 2.0
FIXED = ("max_receives", "retention")
"""What an existing queue keeps: RabbitMQ refuses to declare it differently."""


def plan(topology: Topology, settings: Settings | None = None, *, take_over: bool = False) -> Plan:
    """Return what `apply` with the same arguments would do, without changing anything.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: URLs and names; by default `Settings.from_environment()`.
        take_over: also change what belongs to another owner.

    Raises:
        TopicNotFound: if an exchange that the topology does not own is missing.
        OwnershipError: if a record names another owner.

    Example:
        ```python
        # Not run: needs RabbitMQ, with which tests/rabbitmq runs it.
        from messaging.rabbitmq import plan

        for change in plan(topology).changes:
            print(change.action, change.name)
        ```
    """
    return _run(topology, settings, write=False, take_over=take_over)


def apply(
    topology: Topology,
    settings: Settings | None = None,
    *,
    take_over: bool = False,
    wait: float = 0,
    create_topic: bool = False,
) -> Plan:
    """Create what is missing and update what differs, as `messaging.aws.apply` does.

    That is the exchange with its alternate, and for each service a quorum queue, its dead letters
    and its bindings. Deletes no queue. Removes bindings that the consumers no longer need. The
    owner of each is written in a record next to it.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: URLs and names; by default `Settings.from_environment()`.
        take_over: give what belongs to another owner to this topology.
        wait: seconds to wait for an exchange that the topology does not own.
        create_topic: create such an exchange without an owner; for a local server.

    Raises:
        TopicNotFound: if an exchange that the topology does not own is missing after `wait`
            seconds.
        OwnershipError: if a record names another owner, unless `take_over`.

    Example:
        ```python
        # Not run: needs RabbitMQ, with which tests/rabbitmq runs it.
        from messaging.rabbitmq import apply

        apply(topology)  # at MESSAGING_BROKER_URL
        ```
    """
    written = partial(
        _run, topology, settings, write=True, take_over=take_over, create_topic=create_topic
    )
    return once_there(written, wait=wait, look_again=LOOK_AGAIN)


def remove(
    topology: Topology,
    service: str,
    settings: Settings | None = None,
    *,
    dry_run: bool = False,
    lose_messages: bool = False,
    take_over: bool = False,
) -> Plan:
    """Delete a service's queue, its dead letters and its record. Stop its workers first.

    If a queue holds messages, nothing is deleted (`Plan.kept`), unless `lose_messages`. Messages
    that workers have in flight, and those that wait for a delay, are not counted: AMQP does not
    report them.

    Args:
        topology: the desired topic, queues and subscriptions.
        service: the name of a service.
        settings: URLs and names; by default `Settings.from_environment()`.
        dry_run: delete nothing; return what would be deleted.
        lose_messages: also delete queues that hold messages.
        take_over: also delete what belongs to another owner.

    Raises:
        TopologyError: if `service` is not a valid service name.
        OwnershipError: if the queue's record names another owner, unless `take_over`.

    Example:
        ```python
        # Not run: needs RabbitMQ, with which tests/rabbitmq runs it.
        from messaging.rabbitmq import remove

        remove(topology, "marketing", dry_run=True)  # what would be deleted
        ```
    """
    if not SERVICE_NAME.fullmatch(service):
        raise TopologyError(
            f"service {service!r}: give the name of a service as its consumer has it, like "
            '"biblioteca", not that of a queue'
        )
    chosen = settings if settings is not None else Settings.from_environment()
    named = topology.prefixed(chosen.prefix)
    with closing(Link(chosen)) as link:
        requests = Requests(link, f"service {service}")
        topic = named.topic.name
        queue, letters = queue_name(topic, service), letters_name(topic, service)
        counts = {name: requests.messages(name) for name in (queue, letters)}
        standing = {name: count for name, count in counts.items() if count is not None}
        if standing:
            _check_owner(requests, queue, named.owner_of(service), take_over)
        if not lose_messages and any(standing.values()):
            changes = [_kept(name, count) for name, count in standing.items()]
        else:
            changes = [_deleted(name, count) for name, count in standing.items()]
            for name in (*standing, record_name(queue)) if not dry_run else ():
                requests.delete_queue(name)
            if standing and not dry_run:
                list_service(requests, topic, service, bound=False)
        return Plan(topic=topic, where=link.where, changes=tuple(changes))


def _kept(name: str, count: int) -> Change:
    said = f"holds {count} messages" if count else "is empty"
    return Change(action="keep", kind="queue", name=name, details=(said,))


def _deleted(name: str, count: int) -> Change:
    said = (f"{count} messages are lost",) if count else ()
    return Change(action="delete", kind="queue", name=name, details=said)


def _run(
    topology: Topology,
    settings: Settings | None,
    *,
    write: bool,
    take_over: bool,
    create_topic: bool = False,
) -> Plan:
    chosen = settings if settings is not None else Settings.from_environment()
    topic_of(topology, chosen)  # raises if the environment names another topic
    named = topology.prefixed(chosen.prefix)
    with closing(Link(chosen)) as link:
        requests = Requests(link, f"topology of topic {named.topic.name}")
        walk = _Writing(requests, named, write, take_over)
        changes = tuple(walk.changes(create_topic))
        return Plan(topic=named.topic.name, where=link.where, changes=changes)


def _check_owner(requests: Requests, owned: str, owner: str, take_over: bool) -> QueueRecord | None:
    """The record of `owned`. Raises `OwnershipError` if it names another owner."""
    found = read_beside(requests, owned)
    if found is not None and found.owner not in ("", owner) and not take_over:
        raise OwnershipError(
            f"{owned} belongs to {found.owner!r} and not to {owner!r}: nothing was changed; "
            "--take-over makes it this topology's"
        )
    return found


@dataclass
class _Writing:
    """One pass over everything. `plan` and `apply` share it, so they cannot disagree."""

    requests: Requests
    topology: Topology
    write: bool
    take_over: bool

    def changes(self, create_topic: bool) -> Iterator[Change]:
        """Process the topic, then the queues and their bindings."""
        # Checked before anything is written: a run that is refused has changed nothing.
        topic = self._look_at_topic(create_topic)
        self._listed = listed_services(self.requests, self.topology.topic.name)
        looked = [self._look_at_queue(one) for one in self.topology.queues]
        if self.topology.kms_key is not None:
            said = ("an AWS key: encrypting RabbitMQ's disks is up to its operator",)
            yield Change(action="other", kind="key", name=self.topology.kms_key, details=said)
        yield self._settle_topic(topic)
        for queue, (standing, record) in zip(self.topology.queues, looked, strict=True):
            yield from self._settle_queue(queue, standing, record)

    def _look_at_topic(self, create: bool) -> Change:
        name = self.topology.topic.name
        standing = self.requests.exchange_stands(name)
        if self.topology.owns_topic:
            owner = self.topology.owner or name
            record = _check_owner(self.requests, name, owner, self.take_over)
            if standing and record is not None and record.owner == owner:
                return Change(action="leave", kind="topic", name=name)
            said = (f"owner: {record.owner or 'nobody'} -> {owner}",) if record else ()
            return Change(
                action="change" if standing else "create", kind="topic", name=name, details=said
            )
        if standing:
            said = ("another topology's, not managed here",)
            return Change(action="other", kind="topic", name=name, details=said)
        if not create:
            raise TopicNotFound(
                f"topic {name} does not exist yet at {self.requests.link.where}: its "
                "owner applies first (a topology with owns_topic=True)",
                code="404",
            )
        return Change(action="create", kind="topic", name=name)

    def _settle_topic(self, change: Change) -> Change:
        if self.write and change.action in ("create", "change"):
            topic = self.topology.topic.name
            owner = (self.topology.owner or topic) if self.topology.owns_topic else ""
            unrouted = unrouted_name(topic)
            self.requests.declare_exchange(unrouted, "fanout", {})
            self.requests.declare_queue(unrouted, unrouted_arguments(MAX_RETENTION))
            self.requests.bind(unrouted, unrouted, "")
            self.requests.declare_exchange(topic, "direct", {"alternate-exchange": unrouted})
            listed = tuple(self._listed)
            write_record(self.requests, topic, QueueRecord(owner=owner, services=listed))
        return change

    def _look_at_queue(self, queue: Queue) -> tuple[bool, QueueRecord | None]:
        owner = self.topology.owner_of(queue.service)
        record = _check_owner(self.requests, queue.name, owner, self.take_over)
        return self.requests.messages(queue.name) is not None, record

    def _settle_queue(
        self, queue: Queue, standing: bool, record: QueueRecord | None
    ) -> Iterator[Change]:
        subscription = self.topology.subscription(queue.service)
        keys = routing_keys(subscription.types, subscription.audience)
        wanted = QueueRecord(
            owner=self.topology.owner_of(queue.service),
            visibility_timeout=queue.visibility_timeout,
            max_receives=queue.max_receives,
            retention=queue.retention,
            keys=tuple(keys),
            types=tuple(subscription.types),
            audience=tuple(subscription.audience),
            contract=queue.contract,
        )
        yield self._dead_letters(queue)
        drift = _differences(record, wanted, FIXED) if standing and record else ()
        if record is not None and drift:
            wanted = wanted.model_copy(update={name: getattr(record, name) for name in FIXED})
            said = "RabbitMQ cannot change a standing queue: remove the service and apply again"
            details = tuple(f"{one}: {said}" for one in drift)
            yield Change(action="drift", kind="queue", name=queue.name, details=details)
        own = ("owner", "visibility_timeout", "contract")
        differs = _differences(record, wanted, own) if record else ()
        same = standing and record and not differs
        if not drift or not same:
            yield Change(
                action="leave" if same else "change" if standing else "create",
                kind="queue",
                name=queue.name,
                details=differs,
            )
        bound = set(record.keys) if standing and record else set()
        more, fewer = [one for one in keys if one not in bound], sorted(bound - set(keys))
        listed = queue.service in self._listed
        unlisted = ["+ the topic's list of services"] if bound and not listed else []
        told = [*(f"+ {one}" for one in more), *(f"- {one}" for one in fewer), *unlisted]
        yield Change(
            action="leave" if not told else "change" if bound else "create",
            kind="subscription",
            name=queue.name,
            details=tuple(told),
        )
        if self.write:
            self._write_queue(queue, wanted, standing, more, fewer)
            if not listed:
                topic = self.topology.topic.name
                list_service(self.requests, topic, queue.service, bound=True)

    def _dead_letters(self, queue: Queue) -> Change:
        name = queue.dead_letters.name
        standing = self.requests.messages(name) is not None
        if self.write and not standing:
            arguments = dead_letter_arguments(queue.dead_letters.retention)
            self.requests.declare_queue(name, arguments)
        return Change(action="leave" if standing else "create", kind="queue", name=name)

    def _write_queue(
        self, queue: Queue, record: QueueRecord, standing: bool, more: list[str], fewer: list[str]
    ) -> None:
        if not standing:
            self.requests.declare_queue(queue.name, queue_arguments(queue))
        for key in more:
            self.requests.bind(queue.name, self.topology.topic.name, key)
        for key in fewer:
            self.requests.unbind(queue.name, self.topology.topic.name, key)
        write_record(self.requests, queue.name, record)


def _differences(
    found: QueueRecord, wanted: QueueRecord, names: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(
        f"{name}: {getattr(found, name)} -> {getattr(wanted, name)}"
        for name in names
        if getattr(found, name) != getattr(wanted, name)
    )
