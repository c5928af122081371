"""Generates a Python module of a service's views, for repositories without the contract package."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from textwrap import fill
from typing import Any

from messaging.contract.catalogue import Catalogue, View
from messaging.errors import ConfigurationError
from messaging.personal import PERSONAL

__all__ = ["module_of"]

_FORMATS: Mapping[str, str] = {
    "uuid": "UUID",
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "decimal": "Decimal",
}
_IMPORTS: Sequence[Sequence[tuple[str, Sequence[str]]]] = (
    (
        ("datetime", ("date", "datetime", "time", "timedelta")),
        ("decimal", ("Decimal",)),
        ("typing", ("Annotated", "Any", "Literal")),
        ("uuid", ("UUID",)),
    ),
    (("pydantic", ("BaseModel", "Field")),),
    (("messaging.event", ("Discreet", "Event")), ("messaging.personal", ("Personal",))),
)
"""What a module may import, in groups as isort has them."""
_SIMPLE: Mapping[str, str] = {
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "null": "None",
    "string": "str",
}
_LIMITS: Mapping[str, str] = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "minItems": "min_length",
    "maxItems": "max_length",
    "multipleOf": "multiple_of",
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}


def module_of(catalogue: Catalogue, service: str) -> str:
    """The source of a module with an `Event` for each view of `service`, named like the view.

    A handler uses it just like the view. A catalogue does not contain validators written in code,
    so the module does not either.

    Args:
        catalogue: the producer's contract.
        service: the name of a service.

    Raises:
        ConfigurationError: if the service receives nothing, or a name is not allowed in Python.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.generate import module_of

        source = module_of(catalogue_of([AlunoCadastrado], topic="alunos"), "marketing")
        assert "class AlunoParaMarketing(Event" in source
        ```
    """
    views = [view for view in catalogue.views if view.serves(service)]
    if service not in catalogue.services and not views:
        known = ", ".join(catalogue.services) or "nobody by name"
        raise ConfigurationError(
            f"service {service!r}: nothing in this catalogue is for it; it serves {known}"
        )
    written = _Module()
    classes = [part for view in views for part in written.view(view)]
    return "\n".join([*_head(catalogue, service, written, views), *classes, ""])


def _head(catalogue: Catalogue, service: str, written: _Module, views: list[View]) -> Iterator[str]:
    yield f'"""What {_text(service)} receives on the topic {_text(catalogue.topic)}.'
    yield ""
    yield f"Written by `messaging contract generate --service {_text(service)}`; do not edit."
    yield '"""'
    yield ""
    yield "# ruff: noqa: E501 (lines are as long as the types)"
    yield "from __future__ import annotations"
    yield ""
    for modules in _IMPORTS:
        found = {module: [one for one in names if one in written.used] for module, names in modules}
        for module, names in found.items():
            if names:
                yield f"from {module} import {', '.join(names)}"
        if any(found.values()):
            yield ""
    names = [f'"{name}"' for name in sorted({view.name for view in views})]
    yield f"__all__ = [{', '.join(names)}]"


class _Module:
    """Generates classes, and keeps track of imports and of models already generated."""

    def __init__(self) -> None:
        self.used = {"Event"}
        self._models: dict[str, Mapping[str, Any]] = {}
        self._names: dict[str, str] = {}

    def view(self, view: View) -> Iterator[str]:
        """The source of one view, preceded by its nested models."""
        self._names = {name: self._model_name(view, name) for name in view.definitions}
        root = str(view.schema.get("$ref", "")).rpartition("/")[2]
        for model in _in_order(view.definitions):
            if model != root:
                yield from self._model(view, model, view.definitions[model])
        name = _identifier(view.name, view)
        head = f"class {name}(Event, type={_quoted(view.type)}, version={view.version}"
        subject = f", subject={_quoted(view.subject)}" if view.subject else ""
        schema = view.definitions[root] if root else view.schema
        yield from self._class(f"{head}{subject}):", schema, view)

    def _model_name(self, view: View, name: str) -> str:
        # Two views may have different models of the same name; the second gets its view's name as
        # prefix.
        plain = _identifier(name, view)
        known = self._models.get(plain)
        return plain if known in (None, view.definitions[name]) else f"{view.name}{plain}"

    def _model(self, view: View, name: str, schema: Mapping[str, Any]) -> Iterator[str]:
        mine = self._names[name]
        if mine in self._models:
            return
        self._models[mine] = schema
        if "properties" in schema:
            self.used |= {"BaseModel", "Discreet"}
            yield from self._class(f"class {mine}(Discreet, BaseModel):", schema, view)
        else:  # an Enum, or a type alias
            yield ""
            yield ""
            yield f"{mine} = {self._type(schema)}"

    def _class(self, head: str, schema: Mapping[str, Any], view: View) -> Iterator[str]:
        yield ""
        yield ""
        yield head
        about = str(schema.get("description", "")).strip().partition("\n\n")[0]
        fields = schema.get("properties", {})
        if about:
            yield _docstring(about)
            if fields:
                yield ""
        elif not fields:
            yield "    pass"
        required = schema.get("required", ())
        # In a model, fields without a default may follow fields with one; mypy accepts that, too.
        for name, field in fields.items():
            yield self._field(_identifier(name, view), field, name in required)

    def _field(self, name: str, schema: Mapping[str, Any], required: bool) -> str:
        kind = self._type(schema)
        marked = [schema, *schema.get("anyOf", ())]
        mark = next((one[PERSONAL] for one in marked if PERSONAL in one), None)
        if mark:
            self.used |= {"Annotated", "Personal"}
            category = mark.get("category", "common")
            more = "" if category == "common" else f', category="{category}"'
            kind = f"Annotated[{kind}, Personal({_quoted(mark.get('about', ''))}{more})]"
        if required:
            return f"    {name}: {kind}"
        default = schema.get("default")
        if isinstance(default, str | int | float | bool) and kind in _SIMPLE.values():
            return f"    {name}: {kind} = {_literal(default)}"
        if "default" in schema and default is not None:
            self.used.add("Field")
            return f"    {name}: {kind} = Field(default={default!r}, validate_default=True)"
        optional = kind if kind.endswith("| None") or "| None" in kind else f"{kind} | None"
        return f"    {name}: {optional} = None"

    def _type(self, schema: Any) -> str:
        if not isinstance(schema, Mapping):
            return self._any()
        if "$ref" in schema:
            return self._names[str(schema["$ref"]).rpartition("/")[2]]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return " | ".join(dict.fromkeys(self._type(one) for one in schema[word]))
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            self.used.add("Literal")
            return f"Literal[{', '.join(map(_literal, values))}]"
        return self._limited(self._plain(schema), schema)

    def _plain(self, schema: Mapping[str, Any]) -> str:
        kind, form = schema.get("type"), _FORMATS.get(str(schema.get("format", "")))
        if kind == "string" and form:
            self.used.add(form)
            return form
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self._type(values)}]"
        return _SIMPLE.get(str(kind), "") or self._any()

    def _array(self, schema: Mapping[str, Any]) -> str:
        first = [self._type(one) for one in schema.get("prefixItems", ())]
        if first and schema.get("maxItems") == len(first):
            return f"tuple[{', '.join(first)}]"
        inner = self._type(schema.get("items")) if not first else self._any()
        return f"list[{inner}]"

    def _limited(self, kind: str, schema: Mapping[str, Any]) -> str:
        if kind.startswith("tuple["):
            return kind
        limits = {
            _LIMITS[key]: value
            for key, value in schema.items()
            if key in _LIMITS and kind not in _FORMATS.values()
        }
        if kind == "Decimal":
            limits |= {
                key: int(value)
                for key, value in schema.get("x-limits", {}).items()
                if key in ("max_digits", "decimal_places")
            }
        if not limits:
            return kind
        self.used |= {"Annotated", "Field"}
        said = ", ".join(f"{key}={_literal(value)}" for key, value in sorted(limits.items()))
        return f"Annotated[{kind}, Field({said})]"

    def _any(self) -> str:
        self.used.add("Any")
        return "Any"


def _in_order(definitions: Mapping[str, Any]) -> list[str]:
    """The names of the models, each after the models it contains, as far as possible."""
    ordered: dict[str, None] = {}
    seen: set[str] = set()

    def take(name: str) -> None:
        if name in seen or name not in definitions:
            return
        seen.add(name)
        for inner in _references(definitions[name]):
            take(inner)
        ordered[name] = None

    for name in definitions:
        take(name)
    return list(ordered)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _references(one)
    elif isinstance(part, Mapping):
        if "$ref" in part:
            yield str(part["$ref"]).rpartition("/")[2]
        for one in part.values():
            yield from _references(one)


def _identifier(name: str, view: View) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ConfigurationError(
            f"{view.name} of {view.type}: {name!r} is no name that a class or a field may have in "
            "Python; write this view by hand"
        )
    return name


def _literal(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    # JSON's escapes are also Python's, except for surrogate pairs, which ensure_ascii=False avoids.
    return dumps(text, ensure_ascii=False)


def _docstring(text: str) -> str:
    quoted = f'"""{_text(" ".join(text.split()))}"""'
    return fill(quoted, 96, initial_indent="    ", subsequent_indent="    ", break_long_words=False)


def _text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
