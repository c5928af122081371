"""The decorator that marks a consumer's method as a handler, and its options for batches."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, TypeVar, overload

from messaging.consuming.batch import CHUNK_WAIT, SIZE, WAIT, Batch, Gathering
from messaging.errors import ConsumerError
from messaging.outcome import Outcome

__all__ = ["MARK", "handles"]

MARK = "__messaging_handles__"
"""The attribute of a marked function: True, or how its batches are collected."""

_UNSAID: Any = object()

_Function = TypeVar(
    "_Function",
    # A method that takes a message, so that a type checker refuses a handler without arguments, or
    # with a return value that is not an outcome (a generator would never run).
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
    """Mark a method as a handler. The type of its argument says what it handles.

    The first parameter is an `Event`, or the `Projection` of it for this service. Further
    parameters may be an `Envelope` and a `Delivery`, in any order. Returning acknowledges the
    message; raising `Retry`, `Reject` or `Discard` decides otherwise (`messaging.outcome`).

    A handler that takes a `Batch` is called with all messages that have arrived. Its result or
    exception applies to all of them. For individual outcomes it returns a dict by position, such as
    `{3: Reject("no such course")}`; the others are acknowledged.

    With `chunk`, a plain handler is still called for one message at a time, but the middleware
    around it only once per chunk: `Transactional` commits once, `Idempotency` asks its store once.

    Args:
        function: the method, if the decorator is used without arguments.
        batch: maximum messages per call (1 to 1,000).
        chunk: maximum messages per chunk (1 to 1,000); `wait` is then 0.01 seconds.
        wait: seconds (0 to 300) for which the first message waits for others.

    Raises:
        ConsumerError: if both `batch` and `chunk` are given.

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
