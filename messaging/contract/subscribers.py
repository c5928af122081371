"""Compares the events that a producer would send with the subscriptions of its topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from messaging.contract.catalogue import Catalogue
from messaging.contract.check import Finding, check_needs
from messaging.contract.needs import Needs
from messaging.projection import EVERYONE

__all__ = ["Subscriber", "check_subscribers"]


_finding = partial(Finding, way="subscribed")


@dataclass(frozen=True, kw_only=True)
class Subscriber:
    """One subscription of the topic: its endpoint and filter policy.

    Args:
        endpoint: the queue's ARN, or another subscriber's address.
        policy: the filter policy; None if it has none, and so receives every message.
        on_body: True if the policy filters on bodies instead of attributes.

    Example:
        ```python
        (subscriber,) = broker.topic().subscribers()
        assert subscriber.types == ("aluno.cadastrado",)
        assert subscriber.audience == ("*", "marketing")
        ```
    """

    endpoint: str
    policy: Mapping[str, Any] | None = None
    on_body: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        """The types that the policy names literally."""
        return self._named("type")

    @property
    def audience(self) -> tuple[str, ...]:
        """The audiences that the policy names literally."""
        return self._named("audience")

    @property
    def is_ours(self) -> bool:
        """True if the policy has the form that this library creates."""
        keys = () if self.policy is None or self.on_body else self.policy.keys()
        exact = all(isinstance(rule, str) for key in keys for rule in (self.policy or {})[key])
        return set(keys) == {"type", "audience"} and exact

    def _named(self, key: str) -> tuple[str, ...]:
        rules = (self.policy or {}).get(key, ())
        return tuple(rule for rule in rules if isinstance(rule, str))


def check_subscribers(
    catalogue: Catalogue, subscribers: Iterable[Subscriber], needs: Iterable[Needs] = ()
) -> list[Finding]:
    """Subscribers that would get nothing, or too much, if `catalogue` were published to them.

    Args:
        catalogue: the views that would be published.
        subscribers: the subscriptions: `broker.topic().subscribers()`.
        needs: the views that services declare to read.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.subscribers import check_subscribers

        catalogue = catalogue_of([AlunoCadastrado], topic="alunos")
        assert check_subscribers(catalogue, broker.topic().subscribers()) == []
        ```
    """
    all_of_them = list(subscribers)
    found = [one for each in all_of_them for one in _subscriber(catalogue, each)]
    found += _unheard(catalogue, all_of_them)
    return found + check_needs(needs, catalogue)


def _subscriber(catalogue: Catalogue, one: Subscriber) -> Iterator[Finding]:
    if one.policy is None:
        yield _finding(
            service=one.endpoint,
            rule="unfiltered",
            said="it has no filter policy, so it receives every copy, those for others too",
            remedy="subscribe it with `messaging topology apply`, or remove the subscription",
        )
        return
    if not one.is_ours:
        yield _finding(
            service=one.endpoint,
            rule="unreadable",
            said="its filter policy is not one of type and audience, and cannot be compared",
            remedy="see yourself what it receives, or subscribe it with `messaging topology apply`",
            breaks=False,
        )
        return
    for service in one.audience:
        if service == EVERYONE:
            continue
        for type in one.types:
            yield from _unserved(catalogue, service, type)


def _unserved(catalogue: Catalogue, service: str, type: str) -> Iterator[Finding]:
    if not catalogue.of_type(type):
        yield _finding(
            service=service,
            type=type,
            rule="type",
            said="it subscribes to a type that these events do not have",
            remedy="update the contract here if this program should send it; another may send it",
            breaks=False,
        )
    elif catalogue.view(service, type) is None:
        known = service in catalogue.services
        yield _finding(
            service=service,
            type=type,
            rule="audience" if known else "service",
            said="it subscribes and no view of the event is for it: it would receive nothing"
            if known
            else "this copy of the contract does not know the service: it would receive nothing",
            remedy=f"update the contract here, or declare a Projection with audience={service!r}",
        )


def _unheard(catalogue: Catalogue, subscribers: list[Subscriber]) -> Iterator[Finding]:
    if any(not one.is_ours for one in subscribers):
        return  # one of those may receive everything
    for type in catalogue.types:
        heard = {name for one in subscribers if type in one.types for name in one.audience}
        wanted = {name for view in catalogue.of_type(type) for name in view.audience}
        if not heard:
            yield _finding(
                service=EVERYONE,
                type=type,
                rule="unheard",
                said="no service subscribes to it: what is published is lost",
                remedy="deploy the services that handle it, with `messaging topology apply`",
            )
            continue
        for service in sorted(wanted - heard - {EVERYONE}):
            yield _finding(
                service=service,
                type=type,
                rule="unheard",
                said="there is a view for it, and it does not subscribe",
                remedy="deploy the service, or remove its view",
                breaks=False,
            )
