"""Makes batch requests to a queue, and returns refused entries as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.logs import logger
from messaging.tracebacks import summary
from messaging.transport import Failure

__all__ = ["Refusals", "ask", "refusals"]

log = logger("messaging.transport")

_T = TypeVar("_T")


class Refusals(NamedTuple):
    """The entries of a batch that were refused.

    whole  the request itself was refused, and so every entry.
    error  set if there was no answer or access was denied: then no single entry is to blame.
    """

    failures: Sequence[Failure] = ()
    whole: bool = False
    error: TransportError | None = None


def ask(
    request: Callable[[Sequence[_T]], Sequence[Failure]],
    entries: Sequence[_T],
    what: str,
    *,
    apart: bool = False,
) -> Refusals:
    """Make one request for `entries`, and judge its answer as `refusals` does.

    apart  if the request is refused for good, send each entry alone, so that one bad entry does not
           hold up the others.
    """
    answer: Sequence[Failure] | Exception
    try:
        answer = request(entries)
    except Exception as error:  # noqa: BLE001 - a thread of the library must outlive it
        answer = error
    found = refusals(answer, len(entries), what)
    if not (apart and found.whole and found.error is None and len(entries) > 1):
        return found
    alone = [ask(request, [entry], what).failures for entry in entries]
    return Refusals([one._replace(index=n) for n, some in enumerate(alone) for one in some])


def refusals(answer: Sequence[Failure] | Exception, count: int, what: str) -> Refusals:
    """What was refused of a request for `count` entries, by its answer or by what it raised. Never
    raises: a defect of the transport is a retryable failure, too, and logged by its type and place.

    what  the request and its target, for the log: "dead_letter of alunos-bi".
    """
    nobody: TransportError | None = None
    try:
        if isinstance(answer, Exception):
            raise answer
        if all(0 <= one.index < count for one in answer):
            return Refusals(answer)
        log.error("%s returned entries that were not in the request", what)
        whole = Failure(0, "UnreadableAnswer", "it tells of other entries", True)
    except TransportError as error:
        whole = Failure(0, error.code or type(error).__name__, str(error), error.retryable)
        if error.retryable or isinstance(error, AccessDenied | NotFound):
            nobody = error
    except Exception as error:  # noqa: BLE001 - None, or what is no failure, is a defect, too
        log.error("%s raised %s: a defect", what, summary(error))
        whole = Failure(0, type(error).__qualname__, "a defect of the transport", True)
    every = [whole._replace(index=index) for index in range(count)]
    return Refusals(every, whole=True, error=nobody)
