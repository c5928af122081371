"""The API reference is whole: each public name's parameters, exceptions and example.

An example is run, after the block that docs/reference/index.md shows as what they take for
granted. It may use `redis_url`, `postgres_url` and `local` (a `LocalServer`), which lead to
servers of these tests. One whose first line is "# Not run: why." is compiled, and its imports are
looked up.
"""

from __future__ import annotations

import ast
import contextlib
import enum
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import messaging
from messaging import outcome
from messaging.errors import CodecError, ConfigurationError, SettingsError, TopologyError
from tests import reference
from tests.reference import Name, names

PRELUDE = re.compile(r"```python\n(.*?)```", re.S)
NOT_RUN = re.compile(r"# Not run: (.+)\.\n")
SERVERS = {"redis_url": "redis_url", "postgres_url": "postgres", "local": "messaging_server"}

GIVEN = {  # there is none while every promise is kept; whose example shows how it is found
    "Breach": "messaging.testing.chaos.check",
    "Scenario": "messaging.testing.chaos.check",
}
LEFT_OUT = {  # in `__all__` for the library's other modules; a reader needs none of them
    "messaging.connecting": {"names_rabbitmq", "require_rabbitmq"},
    "messaging.consuming.batch": {
        "Gathering",
        "LARGEST",
        "LONGEST",
        "check_single",
        "gathering_of",
        "inside",
        "refuse_beside",
    },
    "messaging.consuming.dispatch": {"check_returned"},
    "messaging.django.setup": {"DjangoSetup", "FILE", "current", "read"},
    "messaging.emf": {"check_namespace"},
    "messaging.envelope": {"new_ids", "time_of"},
    "messaging.event": {"as_text"},
    "messaging.idempotency.marks": {"GUARD", "Marks", "Row"},
    "messaging.idempotency.middleware": {"later"},
    "messaging.metrics": {"Sample"},
    "messaging.outbox.table": {"channel"},
    "messaging.outbox.writing": {"refused"},
    "messaging.projection": {"all_copies", "wanted_by_all"},
    "messaging.publishing.results": {"Entry", "Owner", "Tally"},
    "messaging.settings": {"in_lambda"},
    "messaging.sql.opening": {"database_errors", "is_database_error", "unanswered"},
    "messaging.sql.opening_mysql": {"is_mysql", "parameters", "short_transactions"},
    "messaging.testing.chaos": {"play"},
    "messaging.transport": {
        "epoch_seconds",
        "name_of",
        "receives",
        "system_of",
        "text_or_none",
    },
}


def why_no_example(name: Name) -> str | None:
    """Why a name needs no example of its own, or None if it does."""
    value = name.value
    if inspect.isclass(value):
        if issubclass(value, BaseException) and not issubclass(value, outcome.Outcome):
            return "an exception, which the library raises"
        if getattr(value, "_is_protocol", False):
            return "a protocol: what implements it has the example"
        if issubclass(value, enum.Enum):
            return "an enumeration"
    return GIVEN.get(name.name)


def examples_of(name: Name) -> list[str]:
    return [code for _, value, _ in name.callables() for code in reference.examples(value)]


WITH_EXAMPLE = [name for name in names() if examples_of(name)]


def test_each_parameter_of_a_public_name_is_described() -> None:
    missing = [
        f"{name.module}.{dotted}: describe in `Args:` {sorted(left)}"
        for name in names()
        for dotted, value, owner in name.callables()
        if (left := set(reference.parameters(value)) - reference.described(value, owner))
    ]
    assert not missing, "\n".join(missing)


def test_args_describes_only_parameters() -> None:
    unknown = [
        f"{name.module}.{dotted}: has no parameter {sorted(left)}"
        for name in names()
        for dotted, value, _ in name.callables()
        if (left := {*reference.section(value, "Args")} - {*reference.parameters(value)})
    ]
    assert not unknown, "\n".join(unknown)


def test_each_exception_that_is_documented_exists() -> None:
    unknown = [
        f"{name.module}.{dotted}: there is no exception {raised}"
        for name in names()
        for dotted, value, _ in name.callables()
        for raised in reference.section(value, "Raises")
        if reference.exception(raised, value) is None
    ]
    assert not unknown, "\n".join(unknown)


def undocumented(name: Name) -> Iterator[str]:
    """What the functions of a name raise, and neither its docstring nor its class's says."""
    of_class = set(reference.section(name.value, "Raises"))
    owner = name.value if name.is_class else None
    for dotted, documented, functions in reference.raising(name):
        said = of_class | set(reference.section(documented, "Raises"))
        for function in functions:
            if left := reference.raised(function, owner) - said:
                yield f"{name.module}.{dotted}: name in `Raises:` {sorted(left)}"


def test_a_raise_statement_is_documented() -> None:
    missing = [line for name in names() for line in undocumented(name)]
    assert not missing, "\n".join(missing)


def test_the_attributes_of_a_class_to_subclass_are_described() -> None:
    wrong = [
        f"{name}: {sorted(differ)} differ between `Attributes:` and the class"
        for name in names()
        if name.is_class and (said := {*reference.section(name.value, "Attributes")})
        if (differ := said ^ reference.plain_attributes(name.value))
    ]
    assert not wrong, "\n".join(wrong)


def test_each_public_callable_has_an_example() -> None:
    missing = [
        f"{name}: give its docstring an `Example:`, or say in {Path(__file__).name} why it has none"
        for name in names()
        if not examples_of(name) and why_no_example(name) is None
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", WITH_EXAMPLE, ids=str)
def test_example(
    name: Name,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    prelude = "".join(PRELUDE.findall((reference.ROOT / "docs/reference/index.md").read_text()))
    for code in examples_of(name):
        compiled = compile(code, f"the example of {name}", "exec")
        if NOT_RUN.match(code):
            _check_imports(code)
            continue
        with _module() as module, contextlib.ExitStack() as closing:
            for word, fixture in SERVERS.items():
                if re.search(rf"\b{word}\b", code):
                    setattr(module, word, request.getfixturevalue(fixture))
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
            exec(prelude, module.__dict__)
            closing.callback(module.publisher.close)
            exec(compiled, module.__dict__)


@contextlib.contextmanager
def _module() -> Iterator[Any]:
    """A module of its own: classes look up their annotations there."""
    made = types.ModuleType("example")
    sys.modules["example"] = made
    try:
        yield made
    finally:
        del sys.modules["example"]


def _check_imports(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("messaging"):
            found = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(found, alias.name), f"{node.module} has no {alias.name}"


def test_what_an_exception_to_the_rule_names_is_there() -> None:
    known = {name.name for name in names()}
    assert {*GIVEN} <= known
    shown = {str(name) for name in WITH_EXAMPLE}
    assert set(GIVEN.values()) <= shown
    # An excuse that is no longer needed goes.
    excused = [name for name in WITH_EXAMPLE if name.name in GIVEN]
    assert not excused


def test_every_name_of_the_package_is_in_the_reference() -> None:
    found = {id(name.value) for name in names()}
    missing = [name for name in messaging.__all__ if id(getattr(messaging, name)) not in found]
    assert not missing, "not on a page of docs/reference/api"


def test_a_page_leaves_out_only_what_no_reader_needs() -> None:
    left_out = {
        entry["module"]: {*importlib.import_module(entry["module"]).__all__}
        - {*entry["members"].split(", ")}
        for page in reference.PAGES
        for entry in reference.ENTRY.finditer(page.read_text())
        if entry["members"]
    }
    assert left_out == LEFT_OUT
    pages = [*reference.ROOT.glob("README*.md"), *(reference.ROOT / "docs").rglob("*.md")]
    written = "\n".join(page.read_text() for page in pages)
    written += "\n".join(code for name in WITH_EXAMPLE for code in examples_of(name))
    imported = {
        f"{module}.{name}"
        for module, left in LEFT_OUT.items()
        for found in re.findall(rf"^from {re.escape(module)} import (.+)$", written, re.M)
        for name in left & {*re.findall(r"\w+", found)}
    }
    assert not imported, "an example uses it: show it on its page"


def _bad(first: int, second: int) -> None:
    """It has no section for its parameters.

    Raises:
        NoSuchError: never.
    """


def _good(first: int, *rest: int) -> None:
    """It has all.

    Args:
        first: a number,
            on two lines: this is no parameter.
        *rest: more of them.

    Raises:
        ConfigurationError: for what cannot be.

    Example:
        ```python
        assert first
        ```
    """


def _stands_for_good(first: int, *rest: int) -> None:
    """As `_good`."""


class _Raising:
    """Raises one error where its docstring tells of it, and others where none does.

    Raises:
        TopologyError: if there is no `name`.
    """

    def __init__(self, name: str) -> None:
        if not name:
            raise TopologyError(name)
        raise SettingsError(name)

    @property
    def late(self) -> str:
        """Raises `ConfigurationError`."""
        raise ConfigurationError("in prose only")

    def by_another(self) -> None:
        """What it raises is made by a method."""
        raise self._made() from None

    def told(self) -> None:
        """It has all.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("told")

    def again(self) -> None:
        """Its own class's, one that is caught and raised again, and one of Python's."""
        try:
            raise TopologyError("told by the class")
        except TopologyError as error:
            raise ValueError("not the library's") from error

    def _made(self) -> CodecError:
        return CodecError("made")


def test_an_exception_that_no_docstring_names_is_found() -> None:
    found = [line.split(".", 2)[2] for line in undocumented(Name("a.b", "Raising", _Raising))]
    assert found == [
        "Raising.by_another: name in `Raises:` ['CodecError']",
        "Raising: name in `Raises:` ['SettingsError']",
        "Raising.late: name in `Raises:` ['ConfigurationError']",
    ]


class _Declared:
    """It is subclassed with keywords.

    Args:
        kind: what it is.
        other: this may not stand there.
    """

    def __init_subclass__(cls, *, kind: str = "", size: int = 0, **more: object) -> None:
        super().__init_subclass__(**more)


def test_what_stands_beside_a_base_is_a_parameter() -> None:
    assert reference.parameters(_Declared) == ["kind", "size"]
    assert reference.described(_Declared, None) == {"kind", "other"}
    assert reference.parameters(messaging.Event) == ["type", "version", "subject", "group"]


def test_sections_are_read() -> None:
    assert reference.described(_bad, None) == set()
    assert list(reference.section(_bad, "Raises")) == ["NoSuchError"]
    assert reference.exception("NoSuchError", _bad) is None
    assert reference.described(_good, None) == {"first", "rest"}
    assert reference.exception("ConfigurationError", _good)
    assert reference.examples(_good) == ["assert first\n"]
    assert reference.described(_stands_for_good, None) == {"first", "rest"}
