"""Creates a topology on AWS: `plan` shows what would change, `apply` changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from messaging.aws import desired as wanted
from messaging.aws.clients import Clients
from messaging.aws.keys import look_at_key
from messaging.aws.naming import NamedTopic, topic_of
from messaging.aws.ownership import OWNER, Ownership
from messaging.aws.queues import Queues
from messaging.aws.subscriptions import ANOTHER_ACCOUNT, Subscriptions
from messaging.aws.topics import OthersTopic, OwnTopic
from messaging.changes import Change, Plan, once_there
from messaging.errors import AccessDenied
from messaging.settings import Settings
from messaging.topology import Topology

if TYPE_CHECKING:
    import boto3

__all__ = ["apply", "plan"]

LOOK_AGAIN = 1.0
"""Seconds between two checks while waiting for a topic."""


def plan(
    topology: Topology,
    settings: Settings | None = None,
    *,
    session: boto3.Session | None = None,
    take_over: bool = False,
) -> Plan:
    """Return what `apply` with the same arguments would do, without changing anything.

    `settings` (by default the environment) provides prefix, region and endpoint. If it names a
    topic, by name or ARN, that must be the topology's own.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.
        take_over: also act on resources with another owner's tag.

    Raises:
        TopicNotFound: if a topic that the topology does not own is missing.
        OwnershipError: if a resource's tags name another owner.
        SettingsError: if the settings name a topic that is not the topology's own.
        TransportError: if AWS does not answer, or does not allow a read.

    Example:
        ```python
        from messaging.aws import plan

        found = plan(topology, local.settings(topic="alunos", prefix="aws-plan-"))
        for change in found.changes:
            print(change.action, change.kind, change.name)
        ```
    """
    return _run(topology, settings, session, write=False, take_over=take_over)


def apply(
    topology: Topology,
    settings: Settings | None = None,
    *,
    session: boto3.Session | None = None,
    take_over: bool = False,
    wait: float = 0,
    create_topic: bool = False,
) -> Plan:
    """Make AWS match the topology, and return what was done.

    It is safe to repeat, to run again after a failure, and to run several times at once. It creates
    and changes the resources of the topology's services, and the topic if the topology owns it. It
    deletes nothing (`remove` does) and leaves other services alone. A topic in another account is
    subscribed to, but not changed (docs: another-account). With a `kms_key` in the topology,
    `TopologyError` is raised if that key is unusable or does not allow SNS.

    A topic that the topology does not own must exist: otherwise `TopicNotFound` is raised after
    `wait` seconds. With `create_topic`, meant for a local server, it is created without an owner,
    and `kms_key` is ignored, because there are no keys. A resource whose tags name another owner
    raises `OwnershipError`; `take_over` makes it this topology's. Both are checked before anything
    is changed.

    A queue's new attributes take up to a minute to take effect, a filter policy up to 15 minutes:
    apply before you deploy the producer that needs them.
    https://docs.aws.amazon.com/sns/latest/dg/sns-message-filtering.html

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: region, endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.
        take_over: take over resources with another owner's tag.
        wait: seconds to wait for a topic that the topology does not own.
        create_topic: create such a topic without an owner; for a local server.

    Raises:
        TopicNotFound: if a topic that the topology does not own is missing after `wait` seconds.
        OwnershipError: if a resource's tags name another owner.
        TopologyError: if the key is unusable or does not allow SNS.

    Example:
        ```python
        from messaging.aws import apply, connect

        settings = local.settings(topic="alunos", prefix="aws-apply-")
        apply(topology, settings)
        broker = connect(settings)
        with Publisher(broker.topic(), source="/cadastro") as publisher:
            assert publisher.publish(ana).copies == 1
        broker.close()
        ```
    """
    written = partial(
        _run,
        topology,
        settings,
        session,
        write=True,
        take_over=take_over,
        create_topic=create_topic,
    )
    return once_there(written, wait=wait, look_again=LOOK_AGAIN)


def _run(
    topology: Topology,
    settings: Settings | None,
    session: boto3.Session | None,
    *,
    write: bool,
    take_over: bool,
    create_topic: bool = False,
) -> Plan:
    chosen = settings if settings is not None else Settings.from_environment()
    named = topic_of(topology, chosen)
    clients = Clients(named.settings, session)
    try:
        if create_topic:
            topology = replace(topology, kms_key=None)
        walk = _Walk(clients, topology.prefixed(chosen.prefix), named, write, take_over)
        changes = tuple(walk.changes(create_topic=create_topic))
        return Plan(topic=named.name, where=clients.where, changes=changes)
    except AccessDenied as error:
        if named.arn is None or named.account == clients.place().account:
            raise
        raise AccessDenied(
            f"{error}. The topic is in account {named.account}: its policy must allow account "
            f"{clients.place().account} sns:Subscribe and sns:ListSubscriptionsByTopic. "
            f"{ANOTHER_ACCOUNT}",
            code=error.code,
        ) from None
    finally:
        clients.close()


class _Walk:
    """One pass over everything. `plan` and `apply` are the same pass, so they cannot disagree."""

    def __init__(
        self,
        clients: Clients,
        topology: Topology,
        named: NamedTopic,
        write: bool,
        take_over: bool,
    ) -> None:
        self._clients = clients
        self._topology = topology
        self._write = write
        self._take_over = take_over
        self._place = place = clients.place()
        self._arn = named.arn_at(place)
        self._foreign = self._arn.split(":")[4] != place.account
        self._queues = Queues(clients)
        self._subscriptions = Subscriptions(clients, self._arn, foreign=self._foreign)

    def changes(self, *, create_topic: bool) -> Iterator[Change]:
        """The topic, then the queues with their policies, their subscriptions, and others'
        changes."""
        # Checked before anything is written, so that a refused apply has changed nothing.
        key = self._looked_at_key()
        own_topic, others_topic = self._looked_at_topic(create_topic)
        desired = list(wanted.queues(self._topology, self._place, self._arn))
        standing = [self._queues.look(one, take_over=self._take_over) for one in desired]
        if key is not None:
            yield key
        if own_topic is not None:
            yield own_topic.settle(write=self._write, take_over=self._take_over)
        if others_topic is not None:
            yield others_topic
        for queue, found in zip(desired, standing, strict=True):
            yield from self._queues.settle(
                queue, found, write=self._write, take_over=self._take_over
            )
        yield from self._feeds()

    def _looked_at_key(self) -> Change | None:
        key = self._topology.kms_key
        if key is None:
            return None
        feeds = bool(self._topology.queues)
        return look_at_key(self._clients, key, self._arn, feeds=feeds)

    def _looked_at_topic(self, create: bool) -> tuple[OwnTopic | None, Change | None]:
        topic = self._topology.topic
        if self._foreign or not self._topology.owns_topic:
            others = OthersTopic(self._clients, topic, self._arn, foreign=self._foreign)
            return None, others.look(create=create)
        claim = Ownership(topic=topic.name, owner=self._topology.owner or topic.name)
        own = OwnTopic(self._clients, topic, self._arn, claim, self._topology.kms_key)
        own.look(take_over=self._take_over)
        return own, None

    def _feeds(self) -> Iterator[Change]:
        standing = dict(self._subscriptions.standing())
        for one in self._topology.subscriptions:
            arn = self._place.queue_arn(one.queue)
            yield from self._subscriptions.settle(
                arn,
                wanted.subscription_attributes(one, self._place),
                standing.pop(("sqs", arn), None),
                write=self._write,
            )
        if self._foreign:
            return  # other subscriptions of a topic that is not ours do not concern us
        for protocol, endpoint in sorted(standing):
            yield self._others_subscription(protocol, endpoint)

    def _others_subscription(self, protocol: str, endpoint: str) -> Change:
        name = endpoint.rpartition(":")[2]
        near = protocol == "sqs" and endpoint == self._place.queue_arn(name)
        # An endpoint may be an address or contain a token: only show an ARN.
        shown = endpoint if endpoint.startswith("arn:") else f"of protocol {protocol}"
        said = "not managed here"
        if near and self._topology.owns_topic:
            said = f"{said}; {self._whose(name)}"
        return Change(
            action="other",
            kind="subscription",
            name=name if near else shown,
            details=(said,),
        )

    def _whose(self, queue: str) -> str:
        """For the topic's owner, who may have to ask the subscribers."""
        try:
            found = self._queues.standing(queue)
        except AccessDenied:
            return "the tags of its queue are not ours to read"
        if found.url is None:
            return "its queue does not exist: what is sent there is lost"
        return f"owner: {found.tags.get(OWNER) or 'no tag says'}"
