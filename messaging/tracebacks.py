"""Reports where a service's code failed, without the data it was processing.

An exception's text, and the values in its frames, may contain a student's data. Its type, the types
of its causes, and the file, line and function of each frame of the service's own code do not.

    def to_sentry(error: ErrorReport) -> None:
        sentry_sdk.capture_message(str(error), level="error")

    Worker(Financeiro(), broker=connect(), middleware=[ReportErrors(to_sentry)])
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType
from typing import Any, NamedTuple

from messaging.handling import HandlingState
from messaging.logs import logger
from messaging.outcome import Ack, Discard, Reject, Retry

__all__ = [
    "ErrorReport",
    "Frame",
    "ReportErrors",
    "causes_of",
    "frames_of",
    "package_of",
    "stack_of",
    "summary",
]

log = logger("messaging.tracebacks")

MOST_FRAMES = 20
"""Maximum number of innermost frames kept per exception: an endless recursion has a thousand."""
MOST_CAUSES = 10

_LIBRARY = tuple(str(Path(module).parent) + os.sep for module in (os.__file__, __file__))
"""Folders whose code does not belong to a service: Python's own, installed packages, and this
one."""


class Frame(NamedTuple):
    """One frame: the file, starting with its package ("financeiro/servico.py"), the line and the
    function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def frames_of(error: BaseException, package: str = "") -> tuple[Frame, ...]:
    """The frames of the service's own code, outermost first; all frames if there are none.

    package  the top-level package of the service, whose code counts as its own wherever it is
             installed.
    """
    passed = list(walk_tb(error.__traceback__))
    own = [one for one in passed if _is_own(one[0], package)]
    own = own or [one for one in passed[-1:] if not _is_ours(one[0])]
    return tuple(_frame(*one) for one in own[-MOST_FRAMES:])


def stack_of(frame: FrameType | None, package: str = "") -> tuple[Frame, ...]:
    """The frames of the service's own code on a thread's stack, outermost first."""
    stack = () if frame is None else walk_stack(frame)
    own = (one for one in stack if _is_own(one[0], package) and not _is_ours(one[0]))
    return tuple(_frame(*one) for one in islice(own, MOST_FRAMES))[::-1]


def causes_of(error: BaseException) -> tuple[str, ...]:
    """The type names of `error` and of its causes, the last one first."""
    names: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen and len(names) < MOST_CAUSES:
        seen.add(id(one))
        names.append(_name(one))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return tuple(names)


def summary(error: BaseException, package: str = "") -> str:
    """The types of `error` and its causes, and its location: "ValueError from KeyError at x.py:3 in
    f"."""
    frames = frames_of(error, package)
    return " from ".join(causes_of(error)) + (f" at {frames[-1]}" if frames else "")


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """One unexpected exception of a handler, without personal data.

    causes     type names of the exception and of its causes.
    frames     the frames of the service's own code, outermost first.
    exception  the exception itself, only with `whole`. Its text and its frames contain the
               handler's data.
    """

    service: str
    handler: str
    event_id: str
    event_type: str
    receive_count: int
    causes: tuple[str, ...]
    frames: tuple[Frame, ...]
    exception: BaseException | None = field(default=None, repr=False)

    def __str__(self) -> str:
        place = f" at {self.frames[-1]}" if self.frames else ""
        return f"{self.service}.{self.handler} raised {' from '.join(self.causes)}{place}"


class ReportErrors:
    """A middleware that passes each unexpected exception of a handler to `report`.

    Outcomes (`Retry`, `Reject`, `Discard`) are not errors. An exception of `report` itself fails no
    message: it is logged, once until a report succeeds again.

    report  called with an `ErrorReport`, in the thread (or on the event loop) of the handler.
    whole   True: the report includes the exception itself, with its text, its frames and their
            values. That is personal data, and you are responsible for where it goes.
    """

    def __init__(self, report: Callable[[ErrorReport], object], *, whole: bool = False) -> None:
        self._report = report
        self._whole = whole
        self._failing = False

    @contextmanager
    def __call__(self, call: HandlingState) -> Iterator[None]:
        try:
            yield
        except (Ack, Retry, Reject, Discard):
            raise
        except (Exception, SystemExit) as error:
            self._tell(call, error)
            raise

    def _tell(self, call: HandlingState, error: BaseException) -> None:
        package = package_of(type(call.consumer))
        try:
            self._report(
                ErrorReport(
                    service=call.service,
                    handler=call.handler.name,
                    event_id=call.envelope.id,
                    event_type=call.envelope.type,
                    receive_count=call.delivery.receive_count,
                    causes=causes_of(error),
                    frames=frames_of(error, package),
                    exception=error if self._whole else None,
                )
            )
        except Exception as broken:  # noqa: BLE001 - the handler's own exception is what counts
            if not self._failing:
                self._failing = True
                log.error("errors cannot be reported: %s", summary(broken, package))
        else:
            self._failing = False


def _name(error: BaseException) -> str:
    name = type(error).__qualname__
    if isinstance(error, BaseExceptionGroup):
        members: Any = error.exceptions
        return f"{name}[{', '.join(_name(one) for one in members[:MOST_CAUSES])}]"
    return name


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "messaging"


def _is_own(frame: FrameType, package: str) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    top = name.partition(".")[0]
    if package and package != "messaging" and top == package:
        return True
    path = frame.f_code.co_filename
    if path.startswith((*_LIBRARY, "<")) or {"site-packages", "dist-packages"} & {*_parts(path)}:
        return False
    # Lambda's layers and packages: installed packages are in the same folder as the service.
    root = Path(path).parents[_depth(path, name)]
    return top not in _installed_in(str(root))


@functools.cache
def _installed_in(folder: str) -> frozenset[str]:
    """Names of the packages that pip has installed into `folder`, according to its metadata."""
    found: set[str] = set()
    for one in metadata.distributions(path=[folder]):
        for file in one.files or ():
            found.add(file.parts[0].removesuffix(".py"))
    return frozenset(found)


def _frame(frame: FrameType, line: int) -> Frame:
    """The file relative to its package: a full path might reveal whose home it is in."""
    path = frame.f_code.co_filename
    depth = _depth(path, str(frame.f_globals.get("__name__", "")))
    return Frame("/".join(_parts(path)[-(depth + 1) :]), line, frame.f_code.co_qualname)


def _depth(path: str, name: str) -> int:
    """How many folders of `path` belong to the module `name`; 0 if the two do not match.

    Generated code may have the name of a module that is elsewhere.
    """
    *folders, file = _parts(path)
    spelled = name.split(".") if file == "__init__.py" else name.split(".")[:-1]
    return len(spelled) if spelled and folders[-len(spelled) :] == spelled else 0


def _parts(path: str) -> tuple[str, ...]:
    return Path(path).parts or (path,)


def package_of(kind: type) -> str:
    """The top-level package that a class is defined in; "" for a script."""
    module = sys.modules.get(kind.__module__)
    name = getattr(module, "__name__", kind.__module__).partition(".")[0]
    return "" if name == "__main__" else str(name)
