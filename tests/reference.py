"""What the API reference shows: its names, and what their docstrings say in sections.

The pages in docs/reference/api name modules; a module's `__all__` names what it gives to users.
A docstring says in `Args:`, `Raises:` and `Example:` what the page shows as tables and code.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "reference" / "api").glob("*.md"))
ENTRY = re.compile(
    r"^::: (?P<module>\S+)(?:\n    options:\n      members: \[(?P<members>.*)\])?", re.M
)
SECTION = re.compile(r"^(Args|Raises|Attributes|Example):\n((?:(?:    .*)?(?:\n|\Z))+)", re.M)
ITEM = re.compile(r"^\*{0,2}(\w+): (\S.*(?:\n    .*)*)", re.M)
AS = re.compile(r"^(?:As|See|The parameters are those of) `([\w.]+)`[.,:;]", re.M)
"""A docstring that begins so has the parameters of what it names."""
FENCE = re.compile(r"```python\n(.*?)```", re.S)


@dataclass(frozen=True)
class Name:
    """A public name: where it is found, its object, and its methods with it."""

    module: str
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_class(self) -> bool:
        return inspect.isclass(self.value)

    def callables(self) -> Iterator[tuple[str, Callable[..., Any], type | None]]:
        """What a user may call of it: dotted name, function or class, and the class it is of."""
        yield self.name, self.value, None
        if self.is_class:
            for name, member in vars(self.value).items():
                plain = getattr(member, "__func__", member)
                if not name.startswith("_") and inspect.isfunction(plain):
                    yield f"{self.name}.{name}", plain, self.value


@cache
def names() -> tuple[Name, ...]:
    """Each function and class of the reference once, by the first page that shows it."""
    found: dict[int, Name] = {}
    for page in PAGES:
        for entry in ENTRY.finditer(page.read_text()):
            module = importlib.import_module(entry["module"])
            listed = entry["members"].split(", ") if entry["members"] else module.__all__
            for name in listed:
                value = function_of(getattr(module, name))
                if inspect.isclass(value) or inspect.isfunction(value):
                    found.setdefault(id(value), Name(entry["module"], name, value))
    return tuple(found.values())


def function_of(value: Any) -> Any:
    """A pytest fixture's function; anything else as it is."""
    wrapped = getattr(value, "_get_wrapped_function", None)
    return wrapped() if wrapped is not None else value


def sections(value: Any) -> Mapping[str, str]:
    """The sections of its own docstring."""
    text = inspect.cleandoc(value.__doc__ or "")
    return {found[1]: textwrap.dedent(found[2]) for found in SECTION.finditer(text + "\n")}


def section(value: Any, title: str) -> Mapping[str, str]:
    """Name and meaning of each item of one section of its own docstring."""
    return {found[1]: found[2] for found in ITEM.finditer(sections(value).get(title, ""))}


def parameters(value: Any) -> list[str]:
    """The names of what a caller may give."""
    if not inspect.isclass(value):
        return [name for name in inspect.signature(value).parameters if name not in {"self", "cls"}]
    fields = getattr(value, "model_fields", None)
    if fields is not None:
        return [*fields, *class_keywords(value)]
    if issubclass(value, tuple):
        return list(getattr(value, "_fields", ()))
    made = list(inspect.signature(value).parameters) if _is_made_by_callers(value) else []
    return [*made, *class_keywords(value)]


def class_keywords(value: type) -> list[str]:
    """What may stand beside the base of a subclass: `class Name(Event, type=..., version=...)`."""
    hook = vars(value).get("__init_subclass__")
    given = () if hook is None else inspect.signature(hook.__func__).parameters.values()
    return [one.name for one in given if one.kind is inspect.Parameter.KEYWORD_ONLY]


def _is_made_by_callers(value: type) -> bool:
    """Whether its `__init__` is its own, or one that its fields make."""
    own = inspect.isfunction(vars(value).get("__init__"))
    return own and not getattr(value, "_is_protocol", False)


def described(value: Any, owner: type | None) -> set[str]:
    """The parameters that its docstring describes, or the one that it stands for."""
    text = inspect.cleandoc(value.__doc__ or "")
    found = set(section(value, "Args"))
    if inspect.isclass(value):
        found |= _described_fields(value)
    for name in AS.findall(text):
        found |= described(*_look_up(name, value))
    if owner is not None:
        for base in owner.__mro__[1:]:
            of_base = vars(base).get(value.__name__)
            if of_base is not None and base.__module__.startswith("messaging"):
                found |= described(getattr(of_base, "__func__", of_base), base)
    return found


def _described_fields(value: type) -> set[str]:
    """Fields with a text below them, here and in bases."""
    found: set[str] = set()
    for base in value.__mro__:
        if base.__module__.partition(".")[0] != "messaging":
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant):
                found.add(ast.unparse(field.target))
        if base is not value:
            found |= set(section(base, "Args"))
    return found


def _look_up(dotted: str, near: Any) -> tuple[Any, type | None]:
    """What a docstring names: in its own module, or anywhere in the reference."""
    first, _, rest = dotted.partition(".")
    module = importlib.import_module(near.__module__)
    found = getattr(module, first, None)
    if found is None:
        found = next((name.value for name in names() if name.name == first), None)
    assert found is not None, f"{near.__qualname__}: there is no {dotted}"
    if not rest:
        return found, None
    inside = inspect.getattr_static(found, rest)
    return getattr(inside, "__func__", inside), found


def exception(name: str, near: Any) -> object:
    """The exception that a docstring means by `name`, or None."""
    builtins: types.ModuleType = importlib.import_module("builtins")
    errors = importlib.import_module("messaging.errors")
    outcomes = importlib.import_module("messaging.outcome")
    for place in (importlib.import_module(near.__module__), errors, outcomes, builtins):
        found = getattr(place, name, None)
        if inspect.isclass(found) and issubclass(found, BaseException):
            return found
    return None


def plain_attributes(value: type) -> set[str]:
    """Its public attributes that are annotated, without those whose text stands below them."""
    mine = {name for name in vars(value).get("__annotations__", {}) if not name.startswith("_")}
    return mine - _described_fields(value)


HOOKS = ("__new__", "__init__", "__post_init__", "__init_subclass__", "__pydantic_init_subclass__")
"""What runs when an object or a subclass is made; the class's docstring says what it raises."""


def raising(name: Name) -> Iterator[tuple[str, Any, list[Callable[..., Any]]]]:
    """Whose docstrings name exceptions: dotted name, whose docstring it is, and its functions."""
    for dotted, value, owner in name.callables():
        if owner is not None or not name.is_class:
            yield dotted, value, [value]
    if name.is_class:
        mine = vars(name.value)
        hooks = [getattr(mine[hook], "__func__", mine[hook]) for hook in HOOKS if hook in mine]
        yield name.name, name.value, hooks
        for member, value in mine.items():
            if isinstance(value, property) and not member.startswith("_"):
                yield f"{name.name}.{member}", value, [value.fget] if value.fget else []


def raised(function: Callable[..., Any], owner: type | None) -> set[str]:
    """The library's exceptions in its own `raise` statements, not in those of what it calls."""
    try:
        lines = inspect.getsource(function)
    except (OSError, TypeError):  # made by dataclasses or written in C: it has none
        return set()
    if getattr(function, "__module__", "").partition(".")[0] not in {"messaging", "tests"}:
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(lines))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found |= _made_by(made, function, owner)
    return found


def _made_by(called: ast.expr, function: Callable[..., Any], owner: type | None) -> set[str]:
    """The exception that `raise called(...)` raises: it is a class, or a function returns it."""
    there: Any = inspect.unwrap(function).__globals__
    if isinstance(called, ast.Name):
        there = there.get(called.id)
    elif isinstance(called, ast.Attribute) and ast.unparse(called.value) in {"self", "cls"}:
        there = getattr(owner, called.attr, None)
    else:
        return set()
    if inspect.isfunction(there):
        there = exception(str(there.__annotations__.get("return")), there)
    is_ours = inspect.isclass(there) and there.__module__.partition(".")[0] == "messaging"
    return {there.__name__} if is_ours and issubclass(there, BaseException) else set()


def examples(value: Any) -> list[str]:
    """The code of its example."""
    return FENCE.findall(sections(value).get("Example", ""))
