"""The catalogue: which service receives which fields of which event, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from messaging.contract.examples import example_of
from messaging.contract.schema import Schema, personal_marks, schema_of
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.personal import PERSONAL
from messaging.projection import EVERYONE, Projection

__all__ = ["Catalogue", "View", "catalogue_of", "events_of", "unsent_fields"]


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of one event that some services receive.

    Args:
        name: the name of the class that declares it.
        event: the event's class.
        type: the event's type on the wire.
        version: the version in the view's copies.
        reads: the older versions that the event's upcasts convert to `version`.
        audience: the services; ("*",) means every service that handles the event.
        subject: the field used as the CloudEvents subject, if the view has it.
        about: the first paragraph of the class's docstring.
        schema: the JSON Schema of the data, self-contained.
        example: made-up data, or None.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of

        (view,) = catalogue_of([AlunoCadastrado], topic="alunos").views
        assert (view.name, view.version) == ("AlunoParaMarketing", 1)
        assert view.serves("marketing")
        ```
    """

    name: str
    event: str
    type: str
    version: int
    reads: tuple[int, ...] = ()
    audience: tuple[str, ...]
    subject: str | None = None
    about: str = ""
    schema: Schema
    example: Mapping[str, Any] | None = None

    @property
    def fields(self) -> Mapping[str, Schema]:
        """The top-level fields of the data, each with its schema."""
        schema = self.schema
        while "$ref" in schema:
            schema = self.definitions[str(schema["$ref"]).rpartition("/")[2]]
        fields: Mapping[str, Schema] = schema.get("properties", {})
        return fields

    @property
    def definitions(self) -> Mapping[str, Schema]:
        """The nested models, by name."""
        found: Mapping[str, Schema] = self.schema.get("$defs", {})
        return found

    def personal(self, field: str) -> list[Mapping[str, str]]:
        """The marks of personal data in a field: `about` and `category` of each.

        Args:
            field: the field's name.
        """
        return personal_marks(self.fields[field], self.definitions)

    def serves(self, service: str) -> bool:
        """Whether `service` receives this view.

        Args:
            service: the name of a service.
        """
        return service in self.audience or EVERYONE in self.audience


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Every view of a producer's events on one topic, ordered by type and name.

    Args:
        topic: the topic's name.
        views: the views, by type and name.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of

        catalogue = catalogue_of([AlunoCadastrado], topic="alunos")
        assert (catalogue.services, catalogue.types) == (("marketing",), ("aluno.cadastrado",))
        ```
    """

    topic: str
    views: tuple[View, ...]

    @property
    def services(self) -> tuple[str, ...]:
        """The services that have their own views, by name."""
        named = {name for view in self.views for name in view.audience}
        return tuple(sorted(named - {EVERYONE}))

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(sorted({view.type for view in self.views}))

    def of_type(self, type: str) -> tuple[View, ...]:
        """The views of one event.

        Args:
            type: the event's type.
        """
        return tuple(view for view in self.views if view.type == type)

    def view(self, service: str, type: str) -> View | None:
        """The view of events of `type` that `service` receives; None if it receives none.

        Args:
            service: the name of a service.
            type: the event's type.
        """
        return next((view for view in self.of_type(type) if view.serves(service)), None)


def catalogue_of(events: Iterable[type[Event]], *, topic: str) -> Catalogue:
    """The catalogue of `events` on `topic`.

    Args:
        events: the event classes.
        topic: the topic's name.

    Raises:
        ConfigurationError: if there are no events, or two classes have the same type.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of

        catalogue = catalogue_of([AlunoCadastrado], topic="alunos")
        view = catalogue.view("marketing", "aluno.cadastrado")
        assert view is not None
        assert list(view.fields) == ["nome", "email"]
        ```
    """
    seen: dict[str, type[Event]] = {}
    for event in events:
        twin = seen.setdefault(event.event_type, event)
        if twin is not event:
            raise ConfigurationError(
                f"{twin.__qualname__} and {event.__qualname__} are both {event.event_type}: "
                "a type on the wire is one class; export them apart, or rename one"
            )
    if not seen:
        raise ConfigurationError("a catalogue needs at least one event (a class with type=)")
    views = [view for event in seen.values() for view in _views(event)]
    views.sort(key=lambda view: (view.type, view.name))
    return Catalogue(topic=topic, views=tuple(views))


def events_of(module: ModuleType) -> list[type[Event]]:
    """The events that have a name in `module`, wherever they are declared.

    Args:
        module: an imported module.

    Example:
        ```python
        import sys

        from messaging.contract.catalogue import events_of

        assert AlunoCadastrado in events_of(sys.modules[__name__])
        ```
    """
    return list(dict.fromkeys(filter(_is_event, vars(module).values())))


def unsent_fields(event: type[Event]) -> tuple[str, ...]:
    """The fields of an event that are in none of its views, so they never leave the producer.

    Args:
        event: the event's class.

    Example:
        ```python
        from messaging.contract.catalogue import unsent_fields

        assert unsent_fields(AlunoCadastrado) == ("aluno_id",)
        ```
    """
    views = cast("list[type[Projection]]", event.__projections__)
    seen = {name for view in views for name in view.model_fields}
    return tuple(name for name in event.model_fields if views and name not in seen)


def _is_event(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Event) and bool(found.event_type)


def _views(event: type[Event]) -> list[View]:
    views = cast("list[type[Event | Projection]]", event.__projections__ or [event])
    marks = _marks(event)
    return [_view(event, view, marks) for view in views]


def _view(
    event: type[Event],
    view: type[Event | Projection],
    marks: Mapping[str, Mapping[str, str]],
) -> View:
    schema = schema_of(view)
    audience: tuple[str, ...] = (EVERYONE,)
    version = event.event_version
    if issubclass(view, Projection):
        # With since= or pinned= a view keeps a version of its own on the wire.
        audience, version = view.audience, view.version
    found = View(
        name=view.__name__,
        event=event.__name__,
        type=event.event_type,
        version=version,
        reads=tuple(sorted(old for old in event.__upcasts__ if old < version)),
        audience=tuple(sorted(audience)),
        subject=event.event_subject if event.event_subject in view.model_fields else None,
        about=(view.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " "),
        schema=schema,
        example=example_of(view, schema),
    )
    for name, field in found.fields.items():
        if name in marks and not found.personal(name):
            cast("dict[str, Any]", field)[PERSONAL] = dict(marks[name])
    return found


def _marks(event: type[Event]) -> dict[str, Mapping[str, str]]:
    """The mark of each of the event's fields, which its views need not repeat."""
    schema = schema_of(event)
    whole = View(name="", event="", type="", version=0, audience=(), schema=schema)
    return {name: marks[0] for name in whole.fields if (marks := whole.personal(name))}
