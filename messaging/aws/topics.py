"""Reads the topic of a topology, and creates and changes it if the topology owns it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messaging.aws.clients import Clients
from messaging.aws.desired import KEY, differences
from messaging.aws.errors import translated
from messaging.aws.ownership import Ownership, TagChanges
from messaging.aws.subscriptions import ANOTHER_ACCOUNT
from messaging.changes import Change
from messaging.errors import AccessDenied, NotFound, TopicNotFound
from messaging.topology import DEFAULT_MAX_BYTES, Topic

__all__ = ["OthersTopic", "OwnTopic"]


class _Looked:
    """The current state of a topic."""

    def __init__(self, clients: Clients, topic: Topic, arn: str) -> None:
        self._clients = clients
        self._topic = topic
        self._arn = arn
        self._name = arn.rpartition(":")[2]

    def _attributes(self) -> Mapping[str, str] | None:
        try:
            with self._translated("read the attributes of"):
                return self._clients.patient_sns.get_topic_attributes(TopicArn=self._arn)[
                    "Attributes"
                ]
        except NotFound:
            return None

    def _create(self) -> None:
        # Without tags: CreateTopic refuses an existing topic with other tags.
        attributes = {"FifoTopic": "true"} if self._topic.fifo else {}
        with self._translated("create"):
            self._clients.patient_sns.create_topic(Name=self._name, Attributes=attributes)

    def _assign(self, name: str, value: str) -> None:
        with self._translated("set the attributes of"):
            self._clients.patient_sns.set_topic_attributes(
                TopicArn=self._arn, AttributeName=name, AttributeValue=value
            )

    def _translated(self, action: str) -> Any:
        return translated(action, f"topic {self._name}", self._clients.where, quote=True)


class OthersTopic(_Looked):
    """A topic that another topology owns, in this account or in another: it is only read."""

    def __init__(self, clients: Clients, topic: Topic, arn: str, *, foreign: bool) -> None:
        super().__init__(clients, topic, arn)
        self._foreign = foreign

    def look(self, *, create: bool) -> Change:
        """Raises `TopicNotFound` if it does not exist yet, unless it is to be created here."""
        whose = "not managed here"
        if self._foreign:
            whose = f"in account {self._arn.split(':')[4]}, which is not ours: it stays as it is"
        try:
            standing = self._attributes()
        except AccessDenied:
            if not self._foreign:
                raise
            return self._told(whose, "its attributes are not ours to read")
        if standing is None:
            if not create or self._foreign:
                raise TopicNotFound(self._missing(), code="NotFound")
            self._create()
            if self._topic.max_bytes != DEFAULT_MAX_BYTES:
                self._assign("MaximumMessageSize", str(self._topic.max_bytes))
            said = "no owner: whose topology owns it takes it"
            return Change(action="create", kind="topic", name=self._name, details=(said,))
        now = int(standing.get("MaximumMessageSize", DEFAULT_MAX_BYTES))
        if now >= self._topic.max_bytes:  # the default is no choice, and smaller messages fit
            return self._told(whose)
        differs = f"MaximumMessageSize: {now}, and {self._topic.max_bytes} in the topology"
        return Change(action="drift", kind="topic", name=self._name, details=(whose, differs))

    def _told(self, *details: str) -> Change:
        return Change(action="other", kind="topic", name=self._name, details=details)

    def _missing(self) -> str:
        if self._foreign:
            return (
                f"topic {self._arn} is not there: its own account creates it first; a topic in "
                f"another account is not created from here. {ANOTHER_ACCOUNT}"
            )
        return (
            f"topic {self._name} does not exist in {self._clients.where} yet, and this topology "
            "does not own it: nothing was changed. Apply its owner's topology first (--wait "
            "SECONDS waits for it); if the topic is yours, give the topology owns_topic=True"
        )


class OwnTopic(_Looked):
    """The topic of the topology that owns it. `key`: the KMS key that encrypts it, if any."""

    def __init__(
        self, clients: Clients, topic: Topic, arn: str, claim: Ownership, key: str | None
    ) -> None:
        super().__init__(clients, topic, arn)
        self._claim = claim
        self._wanted = {"MaximumMessageSize": str(topic.max_bytes), **({KEY: key} if key else {})}
        self._standing: Mapping[str, str] | None = None
        self._tags: Mapping[str, str] = {}

    def look(self, *, take_over: bool) -> None:
        """Raises `OwnershipError` if it has another owner."""
        self._standing = self._attributes()
        if self._standing is not None:
            self._tags = self._listed_tags()
            self._claim.check(f"topic {self._name}", self._tags, take_over=take_over)

    def settle(self, *, write: bool, take_over: bool) -> Change:
        """Its differences, as read by `look`; with `write`, they are corrected."""
        if self._standing is None:
            if write:
                self._create()
                # Another caller may just have created it, and CreateTopic does not say so.
                self.look(take_over=take_over)
                self._set(*self._lacks()[:2])
            said = (f"{name}: {value}" for name, value in self._wanted.items())
            created = (f"owner: {self._claim.owner}", *said)
            return Change(action="create", kind="topic", name=self._name, details=created)
        values, tags, details = self._lacks()
        if write:
            self._set(values, tags)
        action: Any = "change" if details else "leave"
        return Change(action=action, kind="topic", name=self._name, details=details)

    def _lacks(self) -> tuple[dict[str, str], TagChanges, tuple[str, ...]]:
        assumed = {"MaximumMessageSize": str(DEFAULT_MAX_BYTES)}
        changed = differences(self._wanted, {**assumed, **(self._standing or {})})
        tags = self._claim.changes(self._tags)
        details = [f"{name}: {now} -> {self._wanted[name]}" for name, now in changed.items()]
        values = {name: self._wanted[name] for name in changed}
        return values, tags, (*details, *tags.details)

    def _listed_tags(self) -> Mapping[str, str]:
        with self._translated("read the tags of"):
            tags = self._clients.patient_sns.list_tags_for_resource(ResourceArn=self._arn)["Tags"]
        return {one["Key"]: one["Value"] for one in tags}

    def _set(self, values: Mapping[str, str], tags: TagChanges) -> None:
        for name, value in values.items():
            self._assign(name, value)
        with self._translated("set the tags of"):
            if tags.values:
                self._clients.patient_sns.tag_resource(
                    ResourceArn=self._arn,
                    Tags=[{"Key": name, "Value": one} for name, one in tags.values.items()],
                )
            if tags.removed:
                self._clients.patient_sns.untag_resource(
                    ResourceArn=self._arn, TagKeys=list(tags.removed)
                )
