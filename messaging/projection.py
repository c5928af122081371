"""Projections: the part of an event that one service may see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from messaging.addresses import remember_domains
from messaging.errors import EventError
from messaging.event import Discreet, Event
from messaging.subtyping import declared, satisfies, spell

__all__ = [
    "EVERYONE",
    "READING",
    "SERVICE_NAME",
    "Copy",
    "Projection",
    "all_copies",
    "views",
    "wanted_by_all",
]

EVERYONE = "*"
"""The audience of an event without projections: every service that handles it."""

READING: Any = MappingProxyType({"extra": "ignore", "by_name": True, "by_alias": False})
"""How a view reads its data: by field name, ignoring anything else."""

SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
"""A valid service name, for an audience and for a consumer."""


class Projection(Discreet, BaseModel):
    """The part of an event that one service (or several) may see.

    Each field must be a field of the event, with a type that the event's field satisfies; both are
    checked when the class is defined (for a pinned view, before a copy is sent). Override `wanted`
    to decline a copy.

    The arguments are class keywords: `class Name(Projection, of=..., audience=...)`.

    Args:
        of: the event. Define the projection in the event's module, so that any program that can
            publish the event knows all its views.
        audience: the name of a service, or a tuple of names.
        since: the event's version in which this view got its current shape and meaning, which is
            the version of its copies. A service whose view did not change can then read events of
            newer versions as before. By default the event's version.
        pinned: an older version of the event that this audience still receives for a while. The
            fields are those of that version, produced by the event's `@downcast`s.

    Raises:
        EventError: when the class is defined, if its keywords or its fields do not match the event,
            or another view of it is for the same service.

    Example:
        ```python
        class MatriculaConfirmada(Event, type="matricula.confirmada", version=1):
            aluno_id: str
            curso: str
            bolsa: bool


        class ConfirmadaParaFinanceiro(Projection, of=MatriculaConfirmada, audience="financeiro"):
            aluno_id: str
            curso: str

            @classmethod
            def wanted(cls, event: MatriculaConfirmada) -> bool:
                return not event.bolsa  # nothing to charge
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event: ClassVar[type[Event]]
    audience: ClassVar[tuple[str, ...]] = ()
    field_names: ClassVar[frozenset[str]] = frozenset()
    version: ClassVar[int] = 0
    """The version of its copies (`dataversion`)."""
    pinned: ClassVar[bool] = False
    """Whether the event is downcast to `version` for it."""

    def __init_subclass__(
        cls,
        *,
        of: type[Event] | None = None,
        audience: str | tuple[str, ...] | None = None,
        since: int | None = None,
        pinned: int | None = None,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        of: type[Event] | None = None,
        audience: str | tuple[str, ...] | None = None,
        since: int | None = None,
        pinned: int | None = None,
        **config: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**config)
        remember_domains(cls)
        if of is None and audience is None:
            cls.audience = ()  # abstract: holds fields that several projections share
            return
        cls.field_names = frozenset(cls.model_fields)
        cls.event = _checked_event(cls, of)
        cls.audience = _checked_audience(cls, audience)
        cls.pinned = pinned is not None
        cls.version = _checked_version(cls, since, pinned)
        if not cls.pinned:
            _check_fields(cls)
        of_same = cls.event.__projections__
        # A reloaded module (a notebook cell, a reloader) declares its views again. Two classes
        # created by one function also have the same name, but are different.
        if "<locals>" not in cls.__qualname__:
            of_same[:] = [view for view in of_same if view.__qualname__ != cls.__qualname__]
        _check_audiences_apart(cls, of_same)
        of_same.append(cls)

    @classmethod
    def wanted(cls, event: Any) -> bool:
        """Return False to decline the copy: this event is not for this audience. Called per event.

        Args:
            event: the event being published.
        """
        return True

    @classmethod
    def from_event(cls, event: Event) -> Self:
        """This view of `event`, as its audience would receive it.

        Args:
            event: the event.

        Raises:
            EventError: if it is not an instance of this view's event.
        """
        if not isinstance(event, cls.event):
            raise EventError(
                f"{cls.__qualname__} is a view of {cls.event.__qualname__}, "
                f"not of {type(event).__qualname__}"
            )
        if cls.pinned:
            whole = from_json(
                event.__pydantic_serializer__.to_json(event, by_alias=False, warnings="error")
            )
            # As it will be read: the view ignores other fields.
            old = to_json(cls.event.bring_down(whole, cls.version))
            return cls.model_validate_json(old, **READING)
        data = event.__pydantic_serializer__.to_json(
            event, include=set(cls.model_fields), by_alias=False
        )
        return cls.model_validate_json(data, by_name=True, by_alias=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of an event: who gets it, and which fields it has (None: all of them).

    Args:
        audience: the services that get it.
        fields: the names of its fields; None: all of them.
        version: its `dataversion`.
        pinned: the view that the event is downcast for; nearly always None.

    Example:
        ```python
        from messaging.projection import Copy, views

        fields = frozenset({"nome", "email"})
        assert views(ana) == [Copy(audience=("marketing",), fields=fields)]
        ```
    """

    audience: tuple[str, ...]
    fields: frozenset[str] | None
    version: int = 1
    pinned: type[Projection] | None = None


def views(event: Event) -> Sequence[Copy]:
    """The copies of `event` to send: one for each distinct set of fields.

    Services that see the same fields share a copy. An event without projections has one copy for
    everyone; an event that every projection declines has none.

    Args:
        event: the event being published.

    Example:
        ```python
        from messaging.projection import views

        (copy,) = views(ana)
        assert (copy.audience, copy.fields) == (("marketing",), {"nome", "email"})
        ```
    """
    return _copies(type(event), lambda view: view.wanted(event))


def wanted_by_all(kind: type[Event]) -> Sequence[Copy] | None:
    """The copies of every event of `kind`; None if a view may decline one.

    Args:
        kind: the event class.
    """
    plain: Any = Projection.wanted
    for view in kind.__projections__:
        if getattr(cast("Any", view).wanted, "__func__", None) is not plain.__func__:
            return None
    return all_copies(kind)


def all_copies(kind: type[Event]) -> Sequence[Copy]:
    """The copies of an event of `kind` that no view declines.

    Args:
        kind: the event class.
    """
    return _copies(kind, lambda view: True)


_Shape = tuple[frozenset[str], int, type[Projection] | None]


def _copies(kind: type[Event], wanted: Callable[[type[Projection]], bool]) -> Sequence[Copy]:
    projections = cast("list[type[Projection]]", kind.__projections__)
    if not projections:
        return (Copy((EVERYONE,), None, kind.event_version),)
    by_shape: dict[_Shape, tuple[str, ...]] = {}
    for view in projections:
        if wanted(view):
            shape = (view.field_names, view.version, view if view.pinned else None)
            by_shape[shape] = by_shape.get(shape, ()) + view.audience
    return [Copy(audience, *shape) for shape, audience in by_shape.items()]


def _checked_event(cls: type[Projection], of: object) -> type[Event]:
    if not isinstance(of, type) or not issubclass(of, Event) or not of.event_type:
        raise EventError(
            f"{cls.__qualname__}: of={spell(of)} is not an event; declare it with "
            "`class Name(Event, type=..., version=...)`"
        )
    if cls.__module__ != of.__module__:
        raise EventError(
            f"{cls.__qualname__} stands in {cls.__module__}, but its event {of.__qualname__} in "
            f"{of.__module__}: move it there, or a producer that imports only the event would "
            "publish without knowing this view"
        )
    return of


def _checked_audience(cls: type[Projection], audience: object) -> tuple[str, ...]:
    names = (audience,) if isinstance(audience, str) else audience
    if not isinstance(names, tuple) or not names:
        raise EventError(
            f"{cls.__qualname__}: audience={audience!r} must be the name of a service or a "
            'tuple of names, like "marketing" or ("marketing", "bi")'
        )
    for name in names:
        if not isinstance(name, str) or not SERVICE_NAME.fullmatch(name):
            raise EventError(
                f"{cls.__qualname__}: audience {name!r} is not a service name; use 1 to 50 of "
                'a to z, 0 to 9, "-" and "_"'
            )
    if len(set(names)) != len(names):
        raise EventError(f"{cls.__qualname__}: audience={audience!r} names a service twice")
    return names


def _checked_version(cls: type[Projection], since: int | None, pinned: int | None) -> int:
    event = cls.event
    if since is not None and pinned is not None:
        raise EventError(
            f"{cls.__qualname__}: since= says that the view did not change, pinned= that the event "
            "is brought down for it; give one of them"
        )
    for keyword, version in (("since", since), ("pinned", pinned)):
        newest = event.event_version - (keyword == "pinned")
        if version is not None and (type(version) is not int or not 1 <= version <= newest):
            raise EventError(
                f"{cls.__qualname__}: {keyword}={version!r} must be a version of "
                f"{event.__qualname__}, from 1 to {newest}"
            )
    for step in range(event.event_version, pinned or event.event_version, -1):
        if step not in event.__downcasts__:
            raise EventError(
                f"{cls.__qualname__}: pinned={pinned} needs @downcast({step}) in "
                f"{event.__qualname__}, which turns data of version {step} into data of version "
                f"{step - 1}"
            )
    return since or pinned or event.event_version


def _check_fields(cls: type[Projection]) -> None:
    event = cls.event
    for name, mine in cls.model_fields.items():
        theirs = event.model_fields.get(name)
        if theirs is None:
            raise EventError(
                f"{cls.__qualname__}.{name}: {event.__qualname__} has no field {name!r}; it has "
                f"{', '.join(event.model_fields)}"
            )
        given, wanted = declared(theirs), declared(mine)
        if not satisfies(given, wanted):
            raise EventError(
                f"{cls.__qualname__}.{name} is {spell(wanted)}, but {event.__qualname__}.{name} "
                f"is {spell(given)}, which may hold what {spell(wanted)} refuses; declare "
                f"`{name}: {spell(given)}`"
            )


def _check_audiences_apart(cls: type[Projection], others: Iterable[type[BaseModel]]) -> None:
    for other in others:
        both = set(cls.audience) & set(getattr(other, "audience", ()))
        if both:
            raise EventError(
                f"{cls.__qualname__} and {other.__qualname__} are both for "
                f"{', '.join(sorted(both))}: a service sees an event in one way; merge them"
            )
