"""Writes a topology out to AWS: `plan` looks, `apply` makes it so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from messaging.aws import desired as wanted
from messaging.aws.changes import Change, Plan
from messaging.aws.clients import Clients
from messaging.aws.errors import translated
from messaging.aws.naming import NamedTopic, topic_of
from messaging.aws.queues import Queues
from messaging.aws.subscriptions import ANOTHER_ACCOUNT, Subscriptions
from messaging.errors import AccessDenied, NotFound, SettingsError
from messaging.settings import Settings
from messaging.topology import DEFAULT_MAX_BYTES, Topology

if TYPE_CHECKING:
    import boto3

__all__ = ["apply", "plan"]


def plan(
    topology: Topology,
    settings: Settings | None = None,
    *,
    session: boto3.Session | None = None,
    delete: bool = False,
    force: bool = False,
) -> Plan:
    """What `apply` with the same arguments would do. Changes nothing.

    `settings` (by default the environment) gives prefix, region and endpoint, and the topic, if
    it says one: the topology's own, by its name or its ARN. Raises `SettingsError` where it is
    another one, and `TransportError` when AWS does not answer or does not allow the look.
    """
    return _run(topology, settings, session, write=False, delete=delete, force=force)


def apply(
    topology: Topology,
    settings: Settings | None = None,
    *,
    session: boto3.Session | None = None,
    delete: bool = False,
    force: bool = False,
) -> Plan:
    """Make what stands on AWS what the topology says, and tell what was done.

    Safe to repeat, after a failure half-way too, and for several at once with the same topology.
    A topic in another account is subscribed to and not touched (docs: another-account).
    Creates and changes; deletes only with `delete`, and then only subscriptions and queues of
    services that are not in the topology any more and whose queues carry this topology's tag. A
    queue that holds messages is kept all the same, unless `force`. Whoever deletes must give the
    whole topology: a service that is left out counts as gone.

    AWS takes up to a minute to heed a queue's attributes and up to 15 minutes for a filter policy:
    apply before the producer that needs it is deployed.
    https://docs.aws.amazon.com/sns/latest/dg/sns-message-filtering.html
    """
    return _run(topology, settings, session, write=True, delete=delete, force=force)


def _run(
    topology: Topology,
    settings: Settings | None,
    session: boto3.Session | None,
    *,
    write: bool,
    delete: bool,
    force: bool,
) -> Plan:
    chosen = settings if settings is not None else Settings.from_environment()
    named = topic_of(topology, chosen)
    clients = Clients(named.settings, session)
    try:
        walk = _Walk(clients, topology.prefixed(chosen.prefix), named, write=write)
        changes = (*walk.build(), *walk.clear(delete=delete, force=force))
        return Plan(topic=walk.name, where=clients.where, changes=changes)
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
    """One walk over everything. `plan` and `apply` are the same walk, so they cannot disagree."""

    def __init__(
        self, clients: Clients, topology: Topology, named: NamedTopic, *, write: bool
    ) -> None:
        self.name = named.name
        self._clients = clients
        self._topology = topology
        self._write = write
        self._place = clients.place()
        if named.arn is not None and named.partition != self._place.partition:
            raise SettingsError(
                f"topic {named.arn!r} is in partition {named.partition!r}, the credentials in "
                f"{self._place.partition!r}: no account of one reaches the other"
            )
        self._arn = named.arn or self._place.topic_arn(self.name)
        self._foreign = named.arn is not None and named.account != self._place.account
        self._queues = Queues(clients, self.name)
        self._subscriptions = Subscriptions(clients, self._arn, foreign=self._foreign)

    def build(self) -> Iterator[Change]:
        """The topic, then the queues with their policies, then what feeds them."""
        yield self._foreign_topic() if self._foreign else self._topic()
        for queue in wanted.queues(self._topology, self._place, self._arn):
            yield from self._queues.settle(queue, write=self._write)
        standing = self._subscriptions.standing()
        for one in self._topology.subscriptions:
            arn = self._place.queue_arn(one.queue)
            yield from self._subscriptions.settle(
                arn,
                wanted.subscription_attributes(one, self._place),
                standing.get(("sqs", arn)),
                write=self._write,
            )

    def clear(self, *, delete: bool, force: bool) -> Iterator[Change]:
        """What is there beyond the topology: ours without a service, and what others subscribed."""
        needed = {queue.name for queue in wanted.queues(self._topology, self._place, self._arn)}
        try:
            ours = self._queues.ours(_plain(self.name) + "-")
        except AccessDenied:
            if delete:
                raise
            ours = {}
            said = "queues of services that are gone: not looked for, sqs:ListQueues is not allowed"
            yield Change(action="drift", kind="topic", name=self.name, details=(said,))
        left = {name: url for name, url in ours.items() if name not in needed}
        yield from self._clear_subscriptions(needed, left, delete)
        yield from self._clear_queues(left, delete, force)

    def _clear_subscriptions(
        self, needed: set[str], left: Mapping[str, str], delete: bool
    ) -> Iterator[Change]:
        known = {self._place.queue_arn(name): name for name in (*needed, *left)}
        for (protocol, endpoint), arn in sorted(self._subscriptions.standing().items()):
            name = known.get(endpoint) if protocol == "sqs" else None
            if name in needed:
                continue
            if name is None and self._foreign:
                continue  # of a topic that is not ours, other subscriptions are others' business
            if name is None:
                # An endpoint may be an address or hold a token: only an ARN is told.
                shown = endpoint if endpoint.startswith("arn:") else f"of protocol {protocol}"
                yield Change(
                    action="drift",
                    kind="subscription",
                    name=shown,
                    details=("not ours: it stays",),
                )
            elif not delete:
                yield _gone("subscription", name)
            else:
                if self._write:
                    self._subscriptions.delete(arn)
                yield Change(action="delete", kind="subscription", name=name)

    def _clear_queues(self, left: Mapping[str, str], delete: bool, force: bool) -> Iterator[Change]:
        kept: set[str] = set()
        # A queue before its "-dlq".
        for name, url in sorted(left.items(), key=lambda one: _plain(one[0])):
            if not delete:
                yield _gone("queue", name)
                continue
            holding = self._queues.holding(url, name)
            if holding and not force:
                kept.add(_plain(name))
                said = f"holds {holding} messages and stays; empty it, or force"
            elif _plain(name).removesuffix("-dlq") in kept:
                said = "the dead-letter queue of a queue that stays"
            else:
                if self._write:
                    self._queues.delete(url, name)
                said = f"with {holding} messages" if holding else ""
                details = (said,) if said else ()
                yield Change(action="delete", kind="queue", name=name, details=details)
                continue
            yield Change(action="drift", kind="queue", name=name, details=(said,))

    def _topic(self) -> Change:
        size = str(self._topology.topic.max_bytes)
        standing = self._topic_attributes()
        if standing is None:
            if self._write:
                self._create_topic()
                self._set_topic(size if size != str(DEFAULT_MAX_BYTES) else None, tag=True)
            details = (f"MaximumMessageSize: {size}",)
            return Change(action="create", kind="topic", name=self.name, details=details)
        changed: list[str] = []
        now = standing.get("MaximumMessageSize", str(DEFAULT_MAX_BYTES))
        if now != size:
            changed.append(f"MaximumMessageSize: {now} -> {size}")
        tagged = self._topic_tagged()
        if not tagged:
            changed.append(f"tag {wanted.TAG}: {self.name}")
        if self._write:
            self._set_topic(size if now != size else None, tag=not tagged)
        action: Any = "change" if changed else "leave"
        return Change(action=action, kind="topic", name=self.name, details=tuple(changed))

    def _foreign_topic(self) -> Change:
        """A topic of another account, which is that account's to make and to change."""
        whose = f"in account {self._arn.split(':')[4]}, which is not ours: it stays as it is"
        try:
            standing = self._topic_attributes()
        except AccessDenied:
            details = (whose, "its attributes are not ours to read")
            return Change(action="leave", kind="topic", name=self.name, details=details)
        if standing is None:
            raise NotFound(
                f"topic {self._arn} is not there: its own account creates it first; a topic in "
                f"another account is not created from here. {ANOTHER_ACCOUNT}",
                code="NotFound",
            )
        size = str(self._topology.topic.max_bytes)
        now = standing.get("MaximumMessageSize", str(DEFAULT_MAX_BYTES))
        if now == size:
            return Change(action="leave", kind="topic", name=self.name, details=(whose,))
        differs = f"MaximumMessageSize: {now}, and {size} in the topology"
        return Change(action="drift", kind="topic", name=self.name, details=(whose, differs))

    def _topic_attributes(self) -> Mapping[str, str] | None:
        try:
            with self._translated("read the attributes of"):
                return self._clients.patient_sns.get_topic_attributes(TopicArn=self._arn)[
                    "Attributes"
                ]
        except NotFound:
            return None

    def _topic_tagged(self) -> bool:
        with self._translated("read the tags of"):
            tags = self._clients.patient_sns.list_tags_for_resource(ResourceArn=self._arn)["Tags"]
        return {"Key": wanted.TAG, "Value": self.name} in tags

    def _create_topic(self) -> None:
        # Without tags: CreateTopic refuses a topic that stands with other ones.
        attributes = {"FifoTopic": "true"} if self._topology.topic.fifo else {}
        with self._translated("create"):
            self._clients.patient_sns.create_topic(Name=self.name, Attributes=attributes)

    def _set_topic(self, size: str | None, *, tag: bool) -> None:
        with self._translated("set the attributes of"):
            if size is not None:
                self._clients.patient_sns.set_topic_attributes(
                    TopicArn=self._arn, AttributeName="MaximumMessageSize", AttributeValue=size
                )
            if tag:
                self._clients.patient_sns.tag_resource(
                    ResourceArn=self._arn, Tags=[{"Key": wanted.TAG, "Value": self.name}]
                )

    def _translated(self, action: str) -> Any:
        return translated(action, f"topic {self.name}", self._clients.where, quote=True)


def _plain(name: str) -> str:
    return name.removesuffix(".fifo")


def _gone(kind: Any, name: str) -> Change:
    said = "ours, but no service of the topology needs it; --delete removes it"
    return Change(action="drift", kind=kind, name=name, details=(said,))
