"""Compares a queue with what it should be, and makes it so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from messaging.aws.changes import Change
from messaging.aws.clients import Clients
from messaging.aws.desired import TAG, DesiredQueue
from messaging.aws.errors import translated
from messaging.aws.messages import counts
from messaging.aws.policies import merge, same_json
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import NotFound

__all__ = ["Queues"]

JSON_ATTRIBUTES = ("RedrivePolicy", "RedriveAllowPolicy")


class Queues:
    """The queues of one topic, `owner`, whose name is the value of their tag."""

    def __init__(self, clients: Clients, owner: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clients = clients
        self._owner = owner
        self._clock = clock

    def settle(self, wanted: DesiredQueue, *, write: bool) -> Iterator[Change]:
        """What the queue lacks; with `write`, it has it afterwards."""
        url = self.url(wanted.name)
        if url is None:
            if write:
                self._create(wanted)
            yield Change(
                action="create",
                kind="queue",
                name=wanted.name,
                details=tuple(f"{name}: {one}" for name, one in wanted.attributes.items()),
            )
            return
        standing, tagged = self._attributes(url, wanted.name), self.is_ours(url, wanted.name)
        values, details, drift = _compare(wanted, standing)
        if not tagged:
            details.append(f"tag {TAG}: {self._owner}")
        if write and values:
            self._set(url, wanted.name, values)
        if write and not tagged:
            self._tag(url, wanted.name)
        action: Any = "change" if details else "leave"
        yield Change(action=action, kind="queue", name=wanted.name, details=tuple(details))
        if drift:
            yield Change(action="drift", kind="queue", name=wanted.name, details=tuple(drift))

    def url(self, name: str) -> str | None:
        """The queue's URL, or None if there is no such queue."""
        try:
            with self._translated("find", name):
                return self._clients.patient_sqs.get_queue_url(QueueName=name)["QueueUrl"]
        except NotFound:
            return None

    def ours(self, prefix: str) -> Mapping[str, str]:
        """Name -> URL of the queues that carry our tag. Asks for every queue under `prefix`."""
        pages = self._clients.patient_sqs.get_paginator("list_queues")
        with self._translated("list", f"{prefix}*"):
            urls = [
                url
                for page in pages.paginate(
                    QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1000}
                )
                for url in page.get("QueueUrls", ())
            ]
        named = {url.rpartition("/")[2]: url for url in urls}
        return {name: url for name, url in sorted(named.items()) if self.is_ours(url, name)}

    def is_ours(self, url: str, name: str) -> bool:
        """Whether the queue carries this topology's tag. One that is just gone does not."""
        try:
            with self._translated("read the tags of", name):
                tags = self._clients.patient_sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
        except NotFound:
            return False
        return tags.get(TAG) == self._owner

    def holding(self, url: str, name: str) -> int:
        """How many messages the queue holds: visible, in flight and delayed (approximately)."""
        return sum(counts(self._attributes(url, name)))

    def delete(self, url: str, name: str) -> None:
        """Delete the queue with all that it holds. One that is gone already is fine."""
        try:
            with self._translated("delete", name):
                self._clients.patient_sqs.delete_queue(QueueUrl=url)
        except NotFound:
            pass

    def _create(self, wanted: DesiredQueue) -> None:
        # Bare first: CreateQueue refuses a queue that stands with other attributes, so whoever
        # applies at the same time would be refused. Set afterwards, both come to the same end.
        attributes: Any = {"FifoQueue": "true"} if wanted.fifo else {}
        with self._translated("create", wanted.name):
            url = self._clients.patient_sqs.create_queue(
                QueueName=wanted.name, Attributes=attributes
            )["QueueUrl"]
        # Another who applies may have got further: what stands in the policy is kept here, too.
        self._once_there(lambda: self._tag(url, wanted.name))
        values, _, _ = _compare(wanted, self._attributes(url, wanted.name))
        if values:
            self._once_there(lambda: self._set(url, wanted.name, values))

    def _once_there(self, step: Any) -> None:
        # "You must wait at least one second after the queue is created to be able to use it."
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

        Retrying(
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

    def _tag(self, url: str, name: str) -> None:
        with self._translated("tag", name):
            self._clients.patient_sqs.tag_queue(QueueUrl=url, Tags={TAG: self._owner})

    def _attributes(self, url: str, name: str) -> Mapping[str, str]:
        with self._translated("read the attributes of", name):
            answer: Any = self._clients.patient_sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["All"]
            )
        standing: Mapping[str, str] = answer.get("Attributes", {})
        return standing

    def _translated(self, action: str, name: str) -> Any:
        return translated(action, f"queue {name}", self._clients.where, quote=True)


def _compare(
    wanted: DesiredQueue, standing: Mapping[str, str]
) -> tuple[dict[str, str], list[str], list[str]]:
    """What to set, what that changes in words, and what others put there."""
    values: dict[str, str] = {}
    details: list[str] = []
    drift: list[str] = []
    for name, value in wanted.attributes.items():
        now = standing.get(name)
        if name == "SqsManagedSseEnabled" and standing.get("KmsMasterKeyId"):
            drift.append(
                "KmsMasterKeyId: encrypted with a key of yours, which stays; its policy must admit "
                "sns.amazonaws.com"
            )
        elif not (same_json(now, value) if name in JSON_ATTRIBUTES else now == value):
            values[name] = value
            details.append(f"{name}: {now or 'not set'} -> {value}")
    merged = merge(standing.get("Policy"), wanted.statements)
    if merged.changed:
        values["Policy"] = merged.policy
        details.append(f"Policy: statement {', '.join(merged.changed)}")
    drift += [f"Policy: statement {sid} is not ours and stays" for sid in merged.foreign]
    return values, details, drift
