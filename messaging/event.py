"""Events: their type name, their version, and upcasts from older versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from messaging.addresses import remember_domains
from messaging.declaration import check_fields
from messaging.errors import CodecError, EventError

__all__ = ["Discreet", "Event", "EventData", "Upcast", "as_text", "downcast", "refusal", "upcast"]


class EventData(dict[str, Any]):
    """The JSON data of one copy of an event, while it is converted to another version.

    A copy only has the fields of its view. `rename` and `replace` do nothing if the field is
    missing, so a change written with them is right for every view.

    Example:
        ```python
        from messaging import EventData

        data = EventData(turma="violão", valor="10,00")
        data.rename("turma", "curso").replace("valor", lambda text: {"centavos": 1000})
        assert data == {"curso": "violão", "centavos": 1000}
        ```
    """

    def rename(self, old: str, new: str) -> Self:
        """Rename the field `old`, if it exists, to `new`.

        Args:
            old: the current name of the field.
            new: its new name.
        """
        if old in self:
            self[new] = self.pop(old)
        return self

    def replace(self, name: str, by: Callable[[Any], Mapping[str, Any]]) -> Self:
        """Remove the field `name`, if it exists, and add the fields that `by(value)` returns.

        Args:
            name: the field to remove.
            by: returns the fields that replace it, given its value.
        """
        if name in self:
            self.update(by(self.pop(name)))
        return self


Upcast = Callable[[EventData], dict[str, Any]]
"""Takes the JSON data of one version, and returns that of the next version."""

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_UP, _DOWN = "__messaging_upcast__", "__messaging_downcast__"


def upcast(version: int) -> Callable[[Callable[..., dict[str, Any]]], Any]:
    """Mark the function that converts data of `version` to data of `version + 1`.

    The function takes and returns a dict of JSON data. Functions are chained: data of version 1 is
    converted to version 3 by `@upcast(1)`, then `@upcast(2)`. A copy of an event only has the
    fields of its view, so a field may be missing from `data`: see `EventData`.

    Args:
        version: the version that it converts from, at least 1.

    Raises:
        EventError: if `version` is not such a number.

    Example:
        ```python
        from messaging import EventData, upcast


        class MatriculaConfirmada(Event, type="matricula.confirmada", version=2):
            curso: str

            @upcast(1)
            def _course_was_called_class(data: EventData) -> EventData:
                return data.rename("turma", "curso")


        assert MatriculaConfirmada.bring_up({"turma": "violão"}, 1) == {"curso": "violão"}
        ```
    """
    if type(version) is not int or version < 1:
        raise EventError(f"@upcast({version!r}): the version it starts from, a number from 1")
    return _marking(_UP, version, f"@upcast({version})")


def downcast(version: int) -> Callable[[Callable[..., dict[str, Any]]], Any]:
    """Mark the function that converts data of `version` to data of `version - 1`.

    It is needed while a view is pinned to an older version: `Projection(..., pinned=1)`.

    Args:
        version: the version that it converts from, at least 2.

    Raises:
        EventError: if `version` is not such a number.

    Example:
        ```python
        from messaging import EventData, downcast


        class MatriculaConfirmada(Event, type="matricula.confirmada", version=2):
            curso: str

            @downcast(2)
            def _class_was_called_course(data: EventData) -> EventData:
                return data.rename("curso", "turma")


        assert MatriculaConfirmada.bring_down({"curso": "violão"}, 1) == {"turma": "violão"}
        ```
    """
    if type(version) is not int or version < 2:
        raise EventError(f"@downcast({version!r}): the version it starts from, a number from 2")
    return _marking(_DOWN, version, f"@downcast({version})")


def _marking(mark: str, version: int, name: str) -> Callable[[Callable[..., Any]], Any]:
    def marking(function: Callable[..., Any]) -> Any:
        # under @staticmethod or @classmethod
        plain: Any = getattr(function, "__func__", function)
        if not callable(plain):
            raise EventError(f"{name} marks a function, not {plain!r}")
        bound = function if isinstance(function, classmethod) else staticmethod(plain)
        setattr(bound, mark, version)
        return bound

    return marking


class Discreet:
    """The base of events and views: `repr` and `str` name the fields without showing values.

    So log lines, tracebacks and failed assertions contain no personal data: "Contato(nome=...,
    ...)". Validation errors do not quote the input either. For a model nested in an event, write
    `class Contato(Discreet, BaseModel)`. To see values in a test, compare `event.model_dump()`.

    Example:
        ```python
        from messaging.event import Discreet
        from pydantic import BaseModel


        class Contato(Discreet, BaseModel):
            nome: str


        assert repr(Contato(nome="Ana")) == "Contato(nome=...)"
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """The basis of pydantic's `__repr__`, `__str__`, `__rich_repr__` and `__pretty__`."""
        cls: Any = type(self)
        return ((name, _VALUE) for name in cls.model_fields)


class _Value:
    def __repr__(self) -> str:
        return "..."


_VALUE = _Value()


class Event(Discreet, BaseModel):
    """A fact that happened, declared once for everyone who receives it.

    A class without `type` is abstract: it holds fields that several events share. Fields are
    frozen. Unknown fields are refused when the event is created (a mistyped name is an error), but
    ignored when it is read (a newer producer may add some).

    The arguments are class keywords: `class Name(Event, type=..., version=...)`.

    Args:
        type: the name on the wire (CloudEvents `type`), by convention dotted words in lower case.
        version: a whole number from 1; raise it when the meaning of a field changes, and use
            `@upcast` to convert older data. Adding an optional field needs no new version.
        subject: the field that says what the event is about (CloudEvents `subject`). Only copies
            whose view declares that field have it.
        group: the field whose value orders events on a FIFO topic (SNS MessageGroupId): events of
            one group arrive in order.

    Raises:
        EventError: when the class is defined, if its keywords or its fields are invalid.

    Example:
        ```python
        class MatriculaConfirmada(
            Event, type="matricula.confirmada", version=1, subject="aluno_id", group="aluno_id"
        ):
            aluno_id: str
            curso: str


        confirmada = MatriculaConfirmada(aluno_id="2026-0042", curso="violão")
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event_type: ClassVar[str] = ""
    event_version: ClassVar[int] = 0
    event_subject: ClassVar[str | None] = None
    event_group: ClassVar[str | None] = None
    __upcasts__: ClassVar[Mapping[int, Upcast]] = {}
    __downcasts__: ClassVar[Mapping[int, Upcast]] = {}
    __projections__: ClassVar[list[type[BaseModel]]] = []

    def __init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int | None = None,
        subject: str | None = None,
        group: str | None = None,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int | None = None,
        subject: str | None = None,
        group: str | None = None,
        **config: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**config)
        remember_domains(cls)
        check_fields(cls)
        if cls.__pydantic_generic_metadata__["origin"] is not None:
            # Evento[Aluno] is the same declaration with its parameter filled in: it has the same
            # type and the same views; otherwise it would be sent whole although Evento is sent as
            # projections.
            return
        cls.__projections__ = []
        if type is None:
            if any(keyword is not None for keyword in (version, subject, group)):
                raise EventError(f"{cls.__qualname__}: version=, subject= and group= need type=")
            cls.event_type, cls.event_version = "", 0
            cls.event_subject = cls.event_group = None
            return
        cls.event_type = _checked_type(cls, type)
        cls.event_version = _checked_version(cls, version)
        cls.event_subject = _checked_field(cls, "subject", subject)
        cls.event_group = _checked_field(cls, "group", group)
        cls.__upcasts__ = _upcasts(cls)
        cls.__downcasts__ = _downcasts(cls)

    @classmethod
    def group_of(cls, event: Event) -> str | None:
        """The message group of `event` on a FIFO topic: the value of its `group` field as text, or
        None.

        Events whose field is None form a group of their own ("None").

        Args:
            event: an event of this class.
        """
        if cls.event_group is None:
            return None
        return as_text(getattr(event, cls.event_group)) or "None"

    @classmethod
    def bring_up(cls, data: Any, version: int, *, since: int | None = None) -> Any:
        """Convert `data` of `version` to this class's version with its upcasts.

        Args:
            data: a message's JSON data.
            version: its version.
            since: the version in which the data got its current shape: a view that did not change
                needs no conversion. By default the class's own version.

        Raises:
            CodecError: if the version is newer than the code, or older than its upcasts.
        """
        if version > cls.event_version:
            raise CodecError(
                f"dataversion: {cls.event_type} version {version} is newer than version "
                f"{cls.event_version} that this service knows; deploy the newer events first"
            )
        if version >= (since or cls.event_version):
            return data
        if not isinstance(data, dict):
            raise CodecError(f"data: an object was expected, not {_json_name(data)}")
        for step in range(version, cls.event_version):
            function = cls.__upcasts__.get(step)
            if function is None:
                raise CodecError(
                    f"dataversion: nothing brings {cls.event_type} from version {step} to "
                    f"{step + 1}; add @upcast({step})"
                )
            data = _step(f"@upcast({step}) of {cls.event_type}", function, data)
        return data

    @classmethod
    def bring_down(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert `data` of this class's version down to `version` with its downcasts.

        Args:
            data: a message's JSON data.
            version: the desired version.

        Raises:
            CodecError: if a downcast fails.
        """
        for step in range(cls.event_version, version, -1):
            function = cls.__downcasts__[step]
            data = _step(f"@downcast({step}) of {cls.event_type}", function, data)
        return data


def as_text(value: object) -> str | None:
    """A field's value as header text: an Enum's value, nothing for None.

    Args:
        value: a field's value.
    """
    return None if value is None else str(value.value if isinstance(value, Enum) else value)


def _step(name: str, function: Upcast, data: dict[str, Any]) -> dict[str, Any]:
    try:
        changed = function(EventData(data))
    except Exception as error:  # noqa: BLE001 - the user's function
        # The text of the error may quote the data, here and in a traceback, so only its type and a
        # missing key are shown.
        missing = hint = ""
        if _is_missing_field(error, function):
            missing = f" (no field {error.args[0]!r})"
            hint = (
                "; a copy holds only the fields of its view, which data.rename() and "
                "data.replace() mind"
            )
        raise CodecError(f"data: {type(error).__name__}{missing} in {name}{hint}") from None
    if not isinstance(changed, dict):
        raise CodecError(f"data: {name} returned {_json_name(changed)}, not a dict")
    return changed


def _is_missing_field(error: Exception, function: Upcast) -> bool:
    # A key written in the upcast itself; any other may be a value from the data.
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    plain = getattr(function, "__func__", function)
    code = getattr(plain, "__code__", None)
    return isinstance(key, str) and code is not None and key in code.co_consts


def _json_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "something else")


def _checked_type(cls: type[Event], name: object) -> str:
    if not isinstance(name, str) or not _TYPE.fullmatch(name) or len(name) > 150:
        raise EventError(
            f"{cls.__qualname__}: type={name!r} is not an event type; use dotted words of ASCII "
            'letters, digits, "-" and "_", at most 150 characters, like "aluno.cadastrado"'
        )
    return name


def _checked_version(cls: type[Event], version: object) -> int:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise EventError(f"{cls.__qualname__}: version={version!r} must be a whole number from 1")
    return version


def _checked_field(cls: type[Event], keyword: str, field: str | None) -> str | None:
    if field is not None and field not in cls.model_fields:
        raise EventError(
            f"{cls.__qualname__}: {keyword}={field!r} is not one of its fields "
            f"({', '.join(cls.model_fields)})"
        )
    return field


def _upcasts(cls: type[Event]) -> Mapping[int, Upcast]:
    found = _marked(cls, _UP, "@upcast")
    for step in found:
        if step >= cls.event_version:
            raise EventError(
                f"{cls.__qualname__}: @upcast({step}) leads to version {step + 1}, but the event "
                f"is at version {cls.event_version}"
            )
    expected = range(min(found, default=cls.event_version), cls.event_version)
    if missing := [step for step in expected if step not in found]:
        raise EventError(
            f"{cls.__qualname__}: the upcasts from version {min(found)} to {cls.event_version} "
            f"have a gap: add @upcast({missing[0]})"
        )
    return found


def _downcasts(cls: type[Event]) -> Mapping[int, Upcast]:
    found = _marked(cls, _DOWN, "@downcast")
    for step in found:
        if step > cls.event_version:
            raise EventError(
                f"{cls.__qualname__}: @downcast({step}) starts from version {step}, but the event "
                f"is at version {cls.event_version}"
            )
    return found


def _marked(cls: type[Event], mark: str, name: str) -> dict[int, Upcast]:
    """The functions of `cls` with this mark, by the version that they convert from."""
    found: dict[int, Upcast] = {}
    owners: dict[int, type] = {}
    for owner in reversed(cls.__mro__):
        if vars(owner).get("event_type") and owner is not cls:
            found.clear()  # another event's conversion, not ours
            continue
        # A list: where pydantic has a placeholder, accessing it builds the real object.
        for attribute, member in list(vars(owner).items()):
            step = getattr(member, mark, None)
            if step is None:
                _check_order(cls, attribute, member, mark, name)
                continue
            if owners.get(step) is owner:
                raise EventError(f"{cls.__qualname__}: two functions are marked {name}({step})")
            found[step], owners[step] = cast(Upcast, getattr(cls, attribute)), owner
    return found


def _check_order(cls: type[Event], attribute: str, member: object, mark: str, name: str) -> None:
    if getattr(getattr(member, "__func__", None), mark, None) is not None:
        kind = type(member).__name__
        raise EventError(
            f"{cls.__qualname__}.{attribute}: @{kind} hides its mark; write {name} above @{kind}"
        )


def refusal(kind: str, message: str, **translations: str) -> PydanticCustomError:
    """An error for validators to raise, whose message contains nothing of the value.

    Other messages of validators are not shown, because they may quote the value. This one is shown
    in the reasons of dead letters and bad rows; `translations` are for readers of other languages:
    `refusal("cpf", "not a CPF", pt="não é um CPF")`. `kind` names the error.

    Args:
        kind: a code for the kind of error, for programs.
        message: what is wrong, in English, without the value.
        **translations: the same in other languages, by language code: `pt="..."`.

    Example:
        ```python
        from messaging.event import refusal


        def cpf(text: str) -> str:
            if len(text) != 11:
                raise refusal("cpf", "a CPF has 11 digits", pt="um CPF tem 11 algarismos")
            return text
        ```
    """
    told = {"free_of_values": True, **translations}
    texts: tuple[Any, Any] = (kind, message)  # pydantic requires a literal
    return PydanticCustomError(*texts, told)
