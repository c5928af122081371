"""The needs of one service: for each event that it handles, the fields of its view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from messaging.consuming.consumer import Consumer
from messaging.contract.catalogue import View, catalogue_of
from messaging.errors import ConfigurationError

__all__ = ["Needs", "needs_of", "read_needs", "write_needs"]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The views that a service reads.

    Args:
        service: the name of a service.
        reads: the views that it reads.

    Example:
        ```python
        from messaging.contract.needs import needs_of

        needs = needs_of(Marketing)
        assert needs.service == "marketing"
        assert list(needs.reads[0].fields) == ["nome", "email"]
        ```
    """

    service: str
    reads: tuple[View, ...]


def needs_of(consumer: type[Consumer]) -> Needs:
    """The views that `consumer`'s handlers take.

    Args:
        consumer: the consumer class.

    Raises:
        ConfigurationError: if it has no handlers.

    Example:
        ```python
        from messaging.contract.needs import needs_of

        needs = needs_of(Marketing)
        assert [view.type for view in needs.reads] == ["aluno.cadastrado"]
        ```
    """
    if not consumer.handlers:
        raise ConfigurationError(
            f"{consumer.__qualname__} handles no event: mark a method of it with @handles"
        )
    catalogue = catalogue_of((one.event for one in consumer.handlers.values()), topic="")
    views = {view.type: view for view in catalogue.views if view.serves(consumer.service)}
    return Needs(
        service=consumer.service, reads=tuple(views[type] for type in sorted(consumer.handlers))
    )


def write_needs(needs: Needs) -> dict[str, Any]:
    """`needs` as plain data in a stable order.

    Args:
        needs: the needs to write.

    Example:
        ```python
        from messaging.contract.needs import needs_of, write_needs

        document = write_needs(needs_of(Marketing))  # json.dump it to marketing.needs.json
        ```
    """
    return {
        "needs": _FORMAT,
        "service": needs.service,
        "reads": [
            {
                "type": view.type,
                "version": view.version,
                **({"brings_up": list(view.reads)} if view.reads else {}),
                "view": view.name,
                "schema": dict(view.schema),
            }
            for view in needs.reads
        ],
    }


def read_needs(document: Any, where: str) -> Needs:
    """Read the needs from a document written by `write_needs`.

    Args:
        document: the file's content, as parsed JSON.
        where: the file's name, for error messages.

    Raises:
        ConfigurationError: if it is not such a document; the message names `where` and the place
            inside.

    Example:
        ```python
        from messaging.contract.needs import needs_of, read_needs, write_needs

        document = write_needs(needs_of(Marketing))
        assert read_needs(document, "marketing.needs.json").service == "marketing"
        ```
    """
    if not isinstance(document, Mapping) or "needs" not in document:
        is_catalogue = isinstance(document, Mapping) and "asyncapi" in document
        said = "a catalogue" if is_catalogue else "no needs of a service"
        raise ConfigurationError(
            f"{where}: {said}; needs were expected, as `messaging contract needs` writes them"
        )
    if document["needs"] != _FORMAT:
        raise ConfigurationError(
            f"{where}: needs of format {document['needs']!r}; this version of messaging reads "
            f"{_FORMAT}: update messaging, or export them with this version"
        )
    try:
        service = str(document["service"])
        reads = tuple(_read(one, service) for one in document["reads"])
    except (KeyError, TypeError, ValueError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else type(error).__name__
        raise ConfigurationError(f"{where}: damaged needs ({missing}): export them again") from None
    return Needs(service=service, reads=reads)


def _read(one: Mapping[str, Any], service: str) -> View:
    if not isinstance(one["schema"], Mapping):
        raise TypeError
    return View(
        name=str(one.get("view", one["type"])),
        event="",
        type=str(one["type"]),
        version=int(one["version"]),
        reads=tuple(int(version) for version in one.get("brings_up", ())),
        audience=(service,),
        schema=one["schema"],
    )
