"""Permissions on RabbitMQ: for each role, exactly what the library needs in it.

RabbitMQ has three permissions for a user in a virtual host, each a regular expression over the
names of queues and exchanges. https://www.rabbitmq.com/docs/access-control#authorisation
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from messaging.rabbitmq.names import letters_name, record_name, unrouted_name
from messaging.topology import Topology, queue_name

__all__ = ["Permission", "definitions", "permissions"]

_DEFAULT = "amq.default"
"""The name of the default exchange in permissions."""
_DELAYS = "-delay-[0-9]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Regular expressions over names, as `rabbitmqctl set_permissions` takes them."""

    configure: str
    write: str
    read: str


def permissions(topology: Topology) -> dict[str, Permission]:
    """The permissions of each role, by the role's name. `topology` already has its prefix.

    producer        publishes; so does an outbox relay.
    topic-deploy    `messaging topology apply` for the topic, if the topology owns it.
    SERVICE-worker  `messaging run`.
    SERVICE-deploy  `messaging topology apply` and `remove` for that service, and `doctor`.
    operator        `messaging status`, `dlq`, `where` and `doctor` for all services. AMQP has no
                    permission to inspect: comparing a queue requires permission to declare it.

    No service reads another's queue. A user who may write to the default exchange, as workers do
    for dead letters and delays, may send to any queue by its name: RabbitMQ cannot restrict that.
    """
    topic = topology.topic.name
    record, unrouted = record_name(topic), unrouted_name(topic)
    found = {"producer": Permission(configure=_NOTHING, write=_any(topic), read=_NOTHING)}
    if topology.owns_topic:
        own = _any(topic, unrouted, record)
        every = [record_name(one.name) for one in topology.queues]
        found["topic-deploy"] = Permission(
            configure=own,
            write=_any(topic, unrouted, record, _DEFAULT),
            read=_any(topic, unrouted, record, *every),
        )
    for service in topology.services:
        found |= _of_service(topic, service)
    if topology.services:
        names = [one for service in topology.services for one in _queues(topic, service)]
        found["operator"] = Permission(
            configure=_any(topic, unrouted, *names),
            write=_any(_DEFAULT, unrouted),
            read=_any(topic, unrouted, record, *names),
        )
    return found


def definitions(topology: Topology, *, vhost: str = "/", users: bool = False) -> dict[str, Any]:
    """Definitions for `rabbitmqctl import_definitions`: a user TOPIC-ROLE for each role.

    users  create the users as well, without passwords: nobody can log in as one until `rabbitmqctl
           change_password`. Importing them again removes the passwords.
    """
    topic = topology.topic.name
    roles = permissions(topology)
    found: dict[str, Any] = {
        "permissions": [
            {"user": f"{topic}-{role}", "vhost": vhost, **asdict(one)}
            for role, one in roles.items()
        ]
    }
    if users:
        found["users"] = [{"name": f"{topic}-{role}", **_NO_PASSWORD} for role in roles]
    return found


_NOTHING = "^$"
_NO_PASSWORD: Mapping[str, Any] = {
    "password_hash": "",
    "hashing_algorithm": "rabbit_password_hashing_sha256",
    "tags": [],
}


def _of_service(topic: str, service: str) -> dict[str, Permission]:
    queue = queue_name(topic, service)
    delays = _escaped(queue) + _DELAYS
    queues = _queues(topic, service)
    return {
        f"{service}-worker": Permission(
            configure=_pattern([delays]),
            write=_any(_DEFAULT),
            # Declaring a queue that passes its messages on to another requires permission to read
            # it.
            read=_pattern([*map(_escaped, (queue, record_name(queue))), delays]),
        ),
        f"{service}-deploy": Permission(
            configure=_any(*queues),
            write=_any(*queues, _DEFAULT),
            read=_any(*queues, topic, record_name(topic)),
        ),
    }


def _queues(topic: str, service: str) -> tuple[str, str, str]:
    queue = queue_name(topic, service)
    return queue, letters_name(topic, service), record_name(queue)


def _any(*names: str) -> str:
    return _pattern(map(_escaped, names))


def _escaped(name: str) -> str:
    return re.escape(name).replace("\\-", "-")


def _pattern(parts: Iterable[str]) -> str:
    return f"^({'|'.join(parts)})$"
