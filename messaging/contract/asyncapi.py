"""The catalogue as an AsyncAPI 3.0 document, and back.

The bindings are those that AsyncAPI's own schema accepts: sns 0.1.0 and sqs 0.2.0.
https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messaging.contract.catalogue import Catalogue, View
from messaging.errors import ConfigurationError
from messaging.projection import EVERYONE

__all__ = ["FORMAT", "body_schema", "read_document", "write_document"]

FORMAT = "x-messaging"
"""Where the document holds what AsyncAPI has no field for."""
_FORMAT_VERSION = 1
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def write_document(
    catalogue: Catalogue, *, queues: Mapping[str, str], title: str = "", version: str = "1"
) -> dict[str, Any]:
    """The document, as plain data in a stable order.

    Args:
        catalogue: the catalogue to write.
        queues: the name of each service's queue; a service without one gets no channel.
        title: the document's title.
        version: the document's own version, for display only.

    Example:
        ```python
        from messaging.contract.asyncapi import write_document
        from messaging.contract.catalogue import catalogue_of

        catalogue = catalogue_of([AlunoCadastrado], topic="alunos")
        document = write_document(
            catalogue, queues={"marketing": "alunos-marketing"}, title="Alunos"
        )
        ```
    """
    topic = catalogue.topic
    names = {f"{view.type}.{view.name}": view for view in catalogue.views}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title or f"Events on {topic}", "version": version},
        "defaultContentType": "application/json",
        "channels": {
            "topic": {
                "address": topic,
                "messages": {name: _ref("components/messages", name) for name in names},
                "bindings": {"sns": {"name": topic, "bindingVersion": "0.1.0"}},
            },
            **{name: _queue(name, queue, names) for name, queue in sorted(queues.items())},
        },
        "operations": {
            "publish": {"action": "send", "channel": {"$ref": "#/channels/topic"}},
            **{
                f"receive-{service}": {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{service}"},
                }
                for service in sorted(queues)
            },
        },
        "components": {"messages": {name: _message(view) for name, view in names.items()}},
        FORMAT: {"format": _FORMAT_VERSION},
    }


def body_schema(view: View) -> dict[str, Any]:
    """The JSON Schema of a whole message body: the CloudEvents envelope with the view's data.

    Args:
        view: a view of a catalogue.

    Example:
        ```python
        from messaging.contract.asyncapi import body_schema
        from messaging.contract.catalogue import catalogue_of

        (view,) = catalogue_of([AlunoCadastrado], topic="alunos").views
        assert body_schema(view)["type"] == "object"
        ```
    """
    text = {"type": "string", "minLength": 1}
    data = {key: value for key, value in view.schema.items() if key != "$defs"}
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text,
            "type": {"const": view.type},
            "dataversion": {"const": view.version},
            "datacontenttype": {"const": "application/json"},
            "time": {"type": "string", "format": "date-time"},
            "subject": text,
            "traceparent": text,
            "data": data,
        },
        "required": ["specversion", "id", "source", "type", "dataversion", "data"],
    }
    if view.definitions:
        schema["$defs"] = dict(view.definitions)
    return schema


def read_document(document: Any, where: str) -> Catalogue:
    """Read the catalogue from a document written by `write_document`.

    Args:
        document: the file's content, as parsed JSON.
        where: the file's name, for error messages.

    Raises:
        ConfigurationError: if it is not such a document; the message names `where` and the place
            inside.

    Example:
        ```python
        from messaging.contract.asyncapi import read_document, write_document
        from messaging.contract.catalogue import catalogue_of

        document = write_document(catalogue_of([AlunoCadastrado], topic="alunos"), queues={})
        assert read_document(document, "asyncapi.json").services == ("marketing",)
        ```
    """
    if not isinstance(document, Mapping) or "asyncapi" not in document:
        is_needs = isinstance(document, Mapping) and "needs" in document
        said = "needs of a service" if is_needs else "no AsyncAPI document"
        raise ConfigurationError(
            f"{where}: {said}; a catalogue was expected, as `messaging contract export` writes it"
        )
    if not str(document["asyncapi"]).startswith("3."):
        raise ConfigurationError(
            f"{where}: AsyncAPI {document['asyncapi']}; version 3.0 is read: export it again"
        )
    known = document.get(FORMAT)
    if not isinstance(known, Mapping):
        raise ConfigurationError(
            f"{where}: an AsyncAPI document of another tool (it has no {FORMAT}); a catalogue is "
            "what `messaging contract export` writes"
        )
    if known.get("format") != _FORMAT_VERSION:
        raise ConfigurationError(
            f"{where}: a catalogue of format {known.get('format')!r}; this version of messaging "
            f"reads {_FORMAT_VERSION}: update messaging, or export it with this version"
        )
    try:
        messages = document["components"]["messages"]
        views = tuple(_view(message) for message in messages.values())
        topic = document["channels"]["topic"]["address"]
    except (KeyError, TypeError, AttributeError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else type(error).__name__
        raise ConfigurationError(
            f"{where}: a damaged catalogue ({missing}): export it again"
        ) from None
    return Catalogue(topic=topic, views=views)


def _queue(service: str, queue: str, names: Mapping[str, View]) -> dict[str, Any]:
    fifo = queue.endswith(".fifo")
    return {
        "address": queue,
        "messages": {
            name: _ref("channels/topic/messages", name)
            for name, view in names.items()
            if view.serves(service)
        },
        "bindings": {
            "sqs": {"queue": {"name": queue, "fifoQueue": fifo}, "bindingVersion": "0.2.0"}
        },
    }


def _ref(where: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{where}/{name}"}


def _message(view: View) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": view.type,
        "title": view.name,
        **({"summary": view.about} if view.about else {}),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                "type": {"const": view.type},
                "audience": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "The services that receive the copy; "
                    f'"{EVERYONE}" is every one.',
                },
            },
            "required": ["type", "audience"],
        },
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$id": f"urn:messaging:{view.type}:{view.name}", **body_schema(view)},
        },
        FORMAT: {
            "view": view.name,
            "event": view.event,
            "type": view.type,
            "version": view.version,
            "reads": list(view.reads),
            "audience": list(view.audience),
            "subject": view.subject,
        },
    }
    if view.example is not None:
        message["examples"] = [{"name": view.name, "payload": _example(view)}]
    return message


def _example(view: View) -> dict[str, Any]:
    data = dict(view.example or {})
    subject = data.get(view.subject) if view.subject else None
    return {
        "specversion": "1.0",
        "id": "00000000-0000-4000-8000-000000000000",
        "source": "/example",
        "type": view.type,
        "dataversion": view.version,
        "datacontenttype": "application/json",
        "time": "2026-01-31T12:00:00Z",
        **({"subject": str(subject)} if subject is not None else {}),
        "data": data,
    }


def _view(message: Mapping[str, Any]) -> View:
    said, whole = message[FORMAT], message["payload"]["schema"]
    schema = dict(whole["properties"]["data"])
    if "$defs" in whole:
        schema["$defs"] = whole["$defs"]
    examples = message.get("examples") or [{"payload": {}}]
    return View(
        name=str(said["view"]),
        event=str(said["event"]),
        type=str(said["type"]),
        version=int(said["version"]),
        reads=tuple(said["reads"]),
        audience=tuple(said["audience"]),
        subject=said["subject"],
        about=message.get("summary", ""),
        schema=schema,
        example=examples[0]["payload"].get("data"),
    )
