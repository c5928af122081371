"""Finds services that break when a catalogue changes, or that read fields which are not sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from messaging.contract.catalogue import Catalogue, View
from messaging.contract.compatibility import Mismatch, mismatches
from messaging.contract.needs import Needs
from messaging.errors import ConfigurationError
from messaging.projection import EVERYONE

__all__ = ["MODES", "Finding", "Mode", "check", "check_needs"]

Mode = Literal["backward", "forward", "full"]
MODES: tuple[Mode, ...] = ("backward", "forward", "full")
"""The compatibility modes, named as in schema registries.

backward  readers of NEW can read data written by OLD, which is still in queues.
forward   readers of OLD can read data written by NEW: the producer is deployed first.
full      both.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/schema-evolution.html
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One effect of a change on one service.

    Args:
        service: the service; "*" means every service that handles the event.
        type: the event's type.
        view: the view that changes.
        way: "forward", "backward" or "needs": which comparison found it.
        rule: the violated rule, in one word.
        place: the field, or "" if it is about the whole view.
        said: what happens to the services.
        remedy: what to do.
        breaks: True if messages would be refused, or would not arrive; False if it is only worth
            knowing.

    Example:
        ```python
        from messaging.contract.catalogue import Catalogue, catalogue_of
        from messaging.contract.check import check

        before = catalogue_of([AlunoCadastrado], topic="alunos")
        (found,) = check(before, Catalogue(topic="alunos", views=()))
        assert (found.service, found.type) == ("marketing", "aluno.cadastrado")
        assert found.breaks
        ```
    """

    service: str
    type: str = ""
    view: str = ""
    way: str
    rule: str
    place: str = ""
    said: str
    remedy: str
    breaks: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_FORWARD: Mapping[str, str] = {
    "removed": "keep sending it until no service reads it, or raise the version and add @upcast",
    "required": "send it always, or make it optional for its readers first",
    "type": "add a field of the new type beside it, and end the old one later",
    "values": "widen the readers first, then the producer",
    "constraint": "relax the readers first, then the producer",
}
_BACKWARD: Mapping[str, str] = {
    "removed": "give it a default, or raise the version and say in @upcast what it was",
    "required": "give it a default, or raise the version and say in @upcast what it was",
    "type": "raise the version and convert the old values in @upcast",
    "values": "go on reading the old values until the queues hold none",
    "constraint": "go on reading the old values until the queues hold none",
}


def check(old: Catalogue, new: Catalogue, mode: Mode = "full") -> list[Finding]:
    """All effects of the change from `old` to `new` on the services of `old`.

    Args:
        old: the deployed catalogue.
        new: the catalogue to be deployed.
        mode: the direction in which the change must be safe.

    Raises:
        ConfigurationError: if the mode is unknown.

    Example:
        ```python
        from messaging.contract.catalogue import Catalogue, catalogue_of
        from messaging.contract.check import check

        before = catalogue_of([AlunoCadastrado], topic="alunos")
        after = Catalogue(topic="alunos", views=())
        for found in check(before, after):
            print(found.service, found.type, found.said, found.remedy)
        assert any(found.breaks for found in check(before, after))
        ```
    """
    if mode not in MODES:
        raise ConfigurationError(f"mode {mode!r}: known are {', '.join(MODES)}")
    found: list[Finding] = []
    for was in old.views:
        for service in was.audience:
            found += _service(service, was, new, mode)
    return found


def check_needs(needs: Iterable[Needs], catalogue: Catalogue) -> list[Finding]:
    """Everything that services read but `catalogue` does not provide.

    Args:
        needs: the views that each service reads.
        catalogue: the views that the producer provides.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.check import check_needs
        from messaging.contract.needs import needs_of

        catalogue = catalogue_of([AlunoCadastrado], topic="alunos")
        assert check_needs([needs_of(Marketing)], catalogue) == []
        ```
    """
    found: list[Finding] = []
    for need in needs:
        for read in need.reads:
            given = catalogue.view(need.service, read.type)
            if given is None:
                found.append(_not_served(need.service, read, catalogue, "needs"))
            elif given.version > read.version:
                found.append(_newer(need.service, read, given, "needs"))
            elif given.version not in read.reads:  # the service's upcasts convert those
                found += [
                    _finding(need.service, read, "needs", one, _FORWARD[one.rule])
                    for one in mismatches(given.schema, read.schema)
                ]
    return found


def _service(service: str, was: View, new: Catalogue, mode: Mode) -> Iterator[Finding]:
    now = new.view(service, was.type)
    if now is None:
        yield _not_served(service, was, new, "forward")
        return
    if mode in ("forward", "full"):
        if now.version > was.version:
            yield _newer(service, was, now, "forward")
        else:
            for one in mismatches(now.schema, was.schema):
                yield _finding(service, was, "forward", one, _FORWARD[one.rule])
    if mode in ("backward", "full"):
        yield from _backward(service, was, now)


def _backward(service: str, was: View, now: View) -> Iterator[Finding]:
    if now.version < was.version:
        said = (
            f"its version went from {was.version} back to {now.version}: messages of "
            f"{was.version} that wait in queues are dead-lettered"
        )
        remedy = f"never lower a version: make it {was.version + 1}"
        yield _finding(service, was, "backward", Mismatch("", "version", said), remedy)
    elif now.version > was.version and was.version not in now.reads:
        said = f"version {now.version} cannot read version {was.version}, which waits in queues"
        remedy = f"add @upcast({was.version}) to {now.event}"
        yield _finding(service, was, "backward", Mismatch("", "version", said), remedy)
    elif now.version == was.version:
        for one in mismatches(was.schema, now.schema):
            if not one.lost:  # a new optional field: old messages lack it
                yield _finding(service, was, "backward", one, _BACKWARD[one.rule])


def _finding(service: str, view: View, way: str, one: Mismatch, remedy: str) -> Finding:
    return Finding(
        service=service,
        type=view.type,
        view=view.name,
        way=way,
        rule=one.rule,
        place=one.place,
        said=one.said,
        remedy=remedy,
        breaks=not one.lost or way == "needs",  # what a service says it reads, it must get
    )


def _newer(service: str, was: View, now: View, way: str) -> Finding:
    said = (
        f"version {now.version} is sent, and a reader of version {was.version} dead-letters what "
        "is newer"
    )
    remedy = "deploy the readers of the new version first, then the producer"
    return _finding(service, was, way, Mismatch("", "version", said), remedy)


def _not_served(service: str, was: View, new: Catalogue, way: str) -> Finding:
    if not new.of_type(was.type):
        said = "no event of this type is sent any more"
        remedy = "end the service's handler first, or go on sending it"
    elif service == EVERYONE:
        served = sorted({name for view in new.of_type(was.type) for name in view.audience})
        said = f"it was sent whole to everyone, and is now sent to {', '.join(served)} only"
        remedy = "declare a Projection for each service that handles it"
    else:
        said = "no view of it is for this service any more"
        remedy = f"declare a Projection with audience={service!r}"
    return _finding(service, was, way, Mismatch("", "audience", said), remedy)
