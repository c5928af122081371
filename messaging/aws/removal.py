"""Removes a service from AWS by name: its subscription, its queue and its dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from messaging.aws.clients import Clients
from messaging.aws.naming import topic_of
from messaging.aws.ownership import BEFORE, OWNER, Ownership
from messaging.aws.queues import Queues
from messaging.aws.subscriptions import Subscriptions
from messaging.changes import Change, Plan
from messaging.errors import NotFound, OwnershipError, TopologyError
from messaging.projection import SERVICE_NAME
from messaging.settings import Settings
from messaging.topology import Topology, queue_name

if TYPE_CHECKING:
    import boto3

__all__ = ["remove"]


def remove(
    topology: Topology,
    service: str,
    settings: Settings | None = None,
    *,
    session: boto3.Session | None = None,
    dry_run: bool = False,
    lose_messages: bool = False,
    take_over: bool = False,
) -> Plan:
    """Permanently delete the resources of `service`, and return what was deleted and what is lost.

    First the subscription, then the queue, its dead letters, and undelivered messages. The service
    need not be in the topology any more; its resources must belong to the topology by their tags,
    unless `take_over`: otherwise `OwnershipError` is raised. If a queue has messages (visible, in
    flight or delayed), nothing is deleted (`Plan.kept`), unless `lose_messages`. Safe to repeat
    after a partial failure. With `dry_run`, nothing is deleted.

    Stop the service's workers first. SQS counts approximately, and a count may be up to a minute
    old:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/confirm-queue-is-empty.html

    Args:
        topology: the desired topic, queues and subscriptions.
        service: the name of a service.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.
        dry_run: delete nothing; return what would be deleted.
        lose_messages: also delete queues that have messages.
        take_over: also delete resources with another owner's tag.

    Raises:
        OwnershipError: if a resource's tags name another owner.
        TopologyError: if `service` is not a valid service name.

    Example:
        ```python
        from messaging.aws import apply, remove

        settings = local.settings(topic="alunos", prefix="aws-remove-")
        apply(topology, settings)
        remove(topology, "marketing", settings, dry_run=True)  # what would be deleted
        remove(topology, "marketing", settings)
        ```
    """
    if not SERVICE_NAME.fullmatch(service):
        raise TopologyError(
            f"service {service!r}: give the name of a service as its consumer has it, like "
            '"biblioteca", not that of a queue'
        )
    chosen = settings if settings is not None else Settings.from_environment()
    named = topic_of(topology, chosen)
    with closing(Clients(named.settings, session)) as clients:
        removal = _Removal(clients, topology.prefixed(chosen.prefix), service, take_over)
        arn = named.arn_at(clients.place())
        foreign = arn.split(":")[4] != clients.place().account
        subscriptions = Subscriptions(clients, arn, foreign=foreign)
        changes = removal.changes(subscriptions, dry_run=dry_run, lose_messages=lose_messages)
        return Plan(topic=named.name, where=clients.where, changes=tuple(changes))


class _Queue(NamedTuple):
    name: str
    url: str


class _Removal:
    def __init__(self, clients: Clients, topology: Topology, service: str, take_over: bool) -> None:
        self._place = clients.place()
        self._topology = topology
        self._service = service
        self._take_over = take_over
        self._queues = Queues(clients)

    def changes(
        self, subscriptions: Subscriptions, *, dry_run: bool, lose_messages: bool
    ) -> Iterator[Change]:
        """Checks everything before it deletes anything."""
        queues = [found for name in self._names() if (found := self._ours(name)) is not None]
        feed = self._place.queue_arn(self._names()[0])
        subscription = subscriptions.standing().get(("sqs", feed))
        if not lose_messages and any(any(self._holding(one)) for one in queues):
            for one in queues:
                yield self._kept(one)
            return
        if subscription is not None:
            if not dry_run:
                subscriptions.delete(subscription)
            said = f"{self._service} is sent nothing that is published from now on"
            yield Change(
                action="delete", kind="subscription", name=self._names()[0], details=(said,)
            )
        for one in queues:
            # Again: the subscription may have delivered messages since.
            if not lose_messages and any(self._holding(one)):
                yield self._kept(one)
                return
            yield self._deleted(one, dry_run=dry_run)

    def _names(self) -> list[str]:
        topic = self._topology.topic.name
        return [queue_name(topic, self._service, one) for one in ("", "-dlq", "-undelivered")]

    def _ours(self, name: str) -> _Queue | None:
        found = self._queues.standing(name)
        if found.url is None:
            return None
        what, owners = f"queue {name}", self._topology.owners
        said = found.tags.get(OWNER)
        claim = Ownership(
            topic=self._topology.topic.name,
            owner=said if said in owners else min(owners),
            service=self._service,
        )
        claim.check(what, found.tags, take_over=self._take_over)
        # Without an owner's tag, it belongs to the topology whose service has the name; resources
        # of this topic from a version before owners belong to the topic's owner.
        mine = self._service in self._topology.services or (
            self._topology.owns_topic and BEFORE in found.tags
        )
        if said is None and not mine and not self._take_over:
            raise OwnershipError(
                f"{what} has no owner's tag, and {self._service!r} is no service of this topology: "
                "nothing was removed. Remove it with the topology that has the service, or, if "
                "you are sure that it is yours, with --take-over (take_over=True)"
            )
        return _Queue(name, found.url)

    def _holding(self, queue: _Queue) -> tuple[int, int, int]:
        try:
            return self._queues.holding(queue.url, queue.name)
        except NotFound:
            return 0, 0, 0

    def _kept(self, queue: _Queue) -> Change:
        counts = self._holding(queue)
        said = f"holds {_told(counts)}" if any(counts) else "stays with the others"
        return Change(action="keep", kind="queue", name=queue.name, details=(said,))

    def _deleted(self, queue: _Queue, *, dry_run: bool) -> Change:
        counts = self._holding(queue)
        if not dry_run:
            self._queues.delete(queue.url, queue.name)
        details = (f"{_told(counts)} lost for good",) if any(counts) else ()
        return Change(action="delete", kind="queue", name=queue.name, details=details)


def _told(counts: tuple[int, int, int]) -> str:
    visible, in_flight, delayed = counts
    messages = "message" if sum(counts) == 1 else "messages"
    return f"{sum(counts)} {messages} ({visible} visible, {in_flight} in flight, {delayed} delayed)"
