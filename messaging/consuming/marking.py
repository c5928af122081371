"""The decorator that makes a method of a consumer a handler, and what it says of batches."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, TypeVar, overload

from messaging.consuming.batch import CHUNK_WAIT, SIZE, WAIT, Batch, Gathering
from messaging.errors import ConsumerError
from messaging.outcome import Outcome

__all__ = ["MARK", "handles"]

MARK = "__messaging_handles__"
"""The attribute of a function that is marked: True, or how its batches are gathered."""

_UNSAID: Any = object()

_Function = TypeVar(
    "_Function",
    # A method that takes a message, so that a type checker refuses a handler that takes nothing,
    # and one that returns what is no outcome (a generator never runs).
    bound=Callable[Concatenate[Any, Any, ...], Outcome | Awaitable[Outcome | None] | None],
)
_Batched = TypeVar(
    "_Batched",
    bound=Callable[
        Concatenate[Any, Batch[Any], ...],
        Outcome
        | Mapping[int, Outcome]
        | Awaitable[Outcome | None]
        | Awaitable[Mapping[int, Outcome] | None]
        | None,
    ],
)


@overload
def handles(function: _Function, /) -> _Function: ...
@overload
def handles(function: _Batched, /) -> _Batched: ...
@overload
def handles(*, batch: int = SIZE, wait: float = WAIT) -> Callable[[_Batched], _Batched]: ...
@overload
def handles(*, chunk: int, wait: float = CHUNK_WAIT) -> Callable[[_Function], _Function]: ...
def handles(
    function: Any = None,
    /,
    *,
    batch: Any = _UNSAID,
    chunk: Any = _UNSAID,
    wait: Any = _UNSAID,
) -> Any:
    """Mark a method as a handler. What it takes says what it handles.

    The first parameter is an `Event`, or the `Projection` of it that is for this service. Further
    parameters may be an `Envelope` and a `Delivery`, in any order. Returning acknowledges;
    raising `Retry`, `Reject` or `Discard` says otherwise (`messaging.outcome`).

    A handler that takes a `Batch` is called with as many messages as have come.
    What it returns or raises is for all of them. For each of them it returns a dict that has an
    outcome by position: `{3: Reject("no such course")}`; those not named are acknowledged.

    With `chunk` a plain handler is called for one message after the other, as ever, and what is
    around it once for all of them: `Transactional` commits once, `Idempotency` asks once.

    Args:
        function: the method, where the decorator stands without arguments.
        batch: at most so many (1 to 1,000).
        chunk: at most so many (1 to 1,000); `wait` is 0.01 seconds then.
        wait: seconds (0 to 300) for which the first of them waits for others.

    Raises:
        ConsumerError: if both `batch` and `chunk` are said.

    Example:
        ```python
        from messaging import Batch, Envelope


        class Mailing(Consumer):
            service = "marketing"

            @handles
            async def cancel(self, matricula: MatriculaCancelada, envelope: Envelope) -> None: ...

            @handles(batch=100, wait=1.0)
            def welcome(self, alunos: Batch[AlunoParaMarketing]) -> None: ...
        ```
    """
    if batch is not _UNSAID and chunk is not _UNSAID:
        raise ConsumerError(
            "@handles(batch=, chunk=): batch is for a handler that takes a Batch, and chunk for "
            "one that takes single messages; say one of them"
        )
    if chunk is not _UNSAID:
        said = Gathering(chunk, CHUNK_WAIT if wait is _UNSAID else wait, each=True)
        return functools.partial(_mark, said=said)
    if function is None:
        size = SIZE if batch is _UNSAID else batch
        said = Gathering(size, WAIT if wait is _UNSAID else wait)
        return functools.partial(_mark, said=said)
    return _mark(function, said=True)


def _mark(function: Any, said: Gathering | bool) -> Any:
    setattr(function, MARK, said)
    return function
