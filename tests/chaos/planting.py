"""Plants a bug: a fragment of one module's text is replaced, and the functions it changes with it.

    with planted(Plant("messaging.runtime.heartbeat", "due[start :", "due[0 :")): ...

Only the code of the functions is exchanged, in place, so that whoever holds one holds the bug.
As a plugin of pytest (`-p tests.chaos.planting`, with PLANTED_BUG in the environment) it plants one
of `tests.chaos.plants` for a whole run, to show which test finds it.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

__all__ = ["Plant", "planted"]

_kept = ExitStack()


class Plant(NamedTuple):
    """`old` stands once in the module's text, and is replaced by `new`."""

    module: str
    old: str
    new: str


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """The library with this bug in it."""
    module = importlib.import_module(plant.module)
    path = Path(str(module.__file__))
    text = path.read_text()
    if text.count(plant.old) != 1:
        raise LookupError(
            f"{plant.module} has {text.count(plant.old)} places with {plant.old!r}: plant the bug "
            "where that code is now"
        )
    before = _codes(compile(text, str(path), "exec", dont_inherit=True))
    after = _codes(
        compile(text.replace(plant.old, plant.new), str(path), "exec", dont_inherit=True)
    )
    changed: list[tuple[FunctionType, CodeType]] = []
    for function in _functions(module):
        name = function.__qualname__
        # A closure's code is a constant of the function around it.
        if name in after and before[name] != after[name]:
            changed.append((function, function.__code__))
            function.__code__ = after[name]
    if not changed:
        raise LookupError(f"{plant.old!r} of {plant.module} is in no function")
    try:
        yield
    finally:
        for function, code in changed:
            function.__code__ = code


def _codes(code: CodeType) -> dict[str, CodeType]:
    found: dict[str, CodeType] = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found[constant.co_qualname] = constant
            found |= _codes(constant)
    return found


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            for member in vars(value).values():
                yield from _bare(member)
        else:
            yield from _bare(value)


def _bare(member: Any) -> Iterator[FunctionType]:
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    member = inspect.unwrap(member)  # of a @contextmanager
    if isinstance(member, FunctionType):
        yield member


def pytest_configure() -> None:
    """Plants for as long as the process lives."""
    from tests.chaos.plants import BUGS

    _kept.enter_context(planted(BUGS[os.environ["PLANTED_BUG"]].plant))
