"""Compares a queue with its desired state, and corrects it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from messaging.aws.clients import Clients
from messaging.aws.desired import KEY, DesiredQueue, differences
from messaging.aws.errors import translated
from messaging.aws.lookups import attributes_of, url_of
from messaging.aws.messages import counts
from messaging.aws.ownership import TagChanges
from messaging.aws.policies import merge
from messaging.changes import Change
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import NotFound

__all__ = ["Queues", "Standing", "compare"]

_T = TypeVar("_T")


class Standing(NamedTuple):
    """The current state of a queue; `url` is None if it does not exist."""

    url: str | None
    tags: Mapping[str, str]


class Queues:
    """The queues of one account and region, accessed one at a time by name."""

    def __init__(self, clients: Clients, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clients = clients
        self._clock = clock

    def look(self, wanted: DesiredQueue, *, take_over: bool) -> Standing:
        """Raises `OwnershipError` if the queue has another owner."""
        found = self.standing(wanted.name)
        wanted.claim.check(f"queue {wanted.name}", found.tags, take_over=take_over)
        return found

    def standing(self, name: str) -> Standing:
        """The queue's URL and tags."""
        url = self.url(name)
        if url is None:
            return Standing(None, {})
        try:
            return Standing(url, self._tags(url, name))
        except NotFound:  # gone a moment ago
            return Standing(None, {})

    def settle(
        self, wanted: DesiredQueue, found: Standing, *, write: bool, take_over: bool = False
    ) -> Iterator[Change]:
        """The queue's differences from `found`; with `write`, they are corrected."""
        url = found.url
        if url is None:
            if write:
                self._create(wanted, take_over=take_over)
            attributes = (f"{name}: {one}" for name, one in wanted.attributes.items())
            yield Change(
                action="create",
                kind="queue",
                name=wanted.name,
                details=(f"owner: {wanted.claim.owner}", *attributes),
            )
            return
        tags = wanted.claim.changes(found.tags)
        values, details, drift = compare(wanted, self._attributes(url, wanted.name))
        details += tags.details
        if write and values:
            self._set(url, wanted.name, values)
        if write:
            self._tag(url, wanted.name, tags)
        action: Any = "change" if details else "leave"
        yield Change(action=action, kind="queue", name=wanted.name, details=tuple(details))
        if drift:
            yield Change(action="drift", kind="queue", name=wanted.name, details=tuple(drift))

    def url(self, name: str) -> str | None:
        """The queue's URL, or None if there is no such queue."""
        try:
            return url_of(self._clients, name)
        except NotFound:
            return None

    def holding(self, url: str, name: str) -> tuple[int, int, int]:
        """Approximate number of messages that are visible, in flight or delayed."""
        return counts(self._attributes(url, name))

    def delete(self, url: str, name: str) -> None:
        """Delete the queue with all its messages. It is fine if it does not exist."""
        try:
            with self._translated("delete", name):
                self._clients.patient_sqs.delete_queue(QueueUrl=url)
        except NotFound:
            pass

    def _create(self, wanted: DesiredQueue, *, take_over: bool) -> None:
        # Without attributes first: CreateQueue refuses an existing queue with other attributes, so
        # a concurrent apply would be refused. With attributes set afterwards, both arrive at the
        # same result.
        attributes: Any = {"FifoQueue": "true"} if wanted.fifo else {}
        with self._translated("create", wanted.name):
            url = self._clients.patient_sqs.create_queue(
                QueueName=wanted.name, Attributes=attributes
            )["QueueUrl"]
        # A concurrent apply may have got further, or another owner may have been quicker.
        tags = self._once_there(lambda: self._tags(url, wanted.name))
        wanted.claim.check(f"queue {wanted.name}", tags, take_over=take_over)
        self._once_there(lambda: self._tag(url, wanted.name, wanted.claim.changes(tags)))
        # Existing policy statements are kept here too.
        values, _, _ = compare(wanted, self._attributes(url, wanted.name))
        if values:
            self._once_there(lambda: self._set(url, wanted.name, values))

    def _once_there(self, step: Callable[[], _T]) -> _T:
        # "You must wait at least one second after the queue is created to be able to use it."
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

        return Retrying(
            retry=retry_if_exception_type(NotFound),
            stop=stop_after_attempt(5),
            wait=wait_fixed(1),
            sleep=self._clock.sleep,
            reraise=True,
        )(step)

    def _set(self, url: str, name: str, values: Mapping[str, str]) -> None:
        attributes: Any = dict(values)
        with self._translated("set the attributes of", name):
            self._clients.patient_sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)

    def _tags(self, url: str, name: str) -> Mapping[str, str]:
        with self._translated("read the tags of", name):
            return self._clients.patient_sqs.list_queue_tags(QueueUrl=url).get("Tags", {})

    def _tag(self, url: str, name: str, tags: TagChanges) -> None:
        with self._translated("tag", name):
            if tags.values:
                self._clients.patient_sqs.tag_queue(QueueUrl=url, Tags=dict(tags.values))
            if tags.removed:
                self._clients.patient_sqs.untag_queue(QueueUrl=url, TagKeys=list(tags.removed))

    def _attributes(self, url: str, name: str) -> Mapping[str, str]:
        return attributes_of(self._clients, name, url, "All")

    def _translated(self, action: str, name: str) -> Any:
        return translated(action, f"queue {name}", self._clients.where, quote=True)


def compare(
    wanted: DesiredQueue, standing: Mapping[str, str]
) -> tuple[dict[str, str], list[str], list[str]]:
    """The attributes to set, a description of the changes, and the statements of others."""
    attributes, drift = dict(wanted.attributes), list[str]()
    if standing.get(KEY) and attributes.pop("SqsManagedSseEnabled", None):
        drift.append(
            f"{KEY}: encrypted with a key of yours, which stays; its policy must admit "
            "sns.amazonaws.com. Topology.of(..., kms_key=...) makes it part of the topology"
        )
    changed = differences(attributes, standing)
    values = {name: attributes[name] for name in changed}
    details = [f"{name}: {now} -> {values[name]}" for name, now in changed.items()]
    merged = merge(standing.get("Policy"), wanted.statements)
    if merged.changed:
        values["Policy"] = merged.policy
        details.append(f"Policy: statement {', '.join(merged.changed)}")
    drift += [f"Policy: statement {sid} is not ours and stays" for sid in merged.foreign]
    return values, details, drift
