"""What a batch request to a queue was answered, as values: whatever it raised, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.logs import logger
from messaging.tracebacks import summary
from messaging.transport import Failure

__all__ = ["Answer", "ask"]

log = logger("messaging.transport")

_T = TypeVar("_T")


class Answer(NamedTuple):
    """The entries that were refused. `whole`: it was the request that was, and so each of them.

    `error` says that nobody answered, or that the caller may not ask: no entry is the reason.
    """

    failures: Sequence[Failure] = ()
    whole: bool = False
    error: TransportError | None = None


_ALL_WELL = Answer()


def ask(
    request: Callable[[Sequence[_T]], Sequence[Failure]],
    entries: Sequence[_T],
    what: str,
    *,
    apart: bool = False,
) -> Answer:
    """Make one request for `entries`. Never raises an `Exception`: of a transport's defect, too,
    the caller is told by a failure, which is retryable, and the log by its type and place.

    what   the request and its target, for the log: "dead_letter of alunos-bi".
    apart  if the request is refused for good, ask for each entry alone: one that the service
           does not take must not keep the others back.
    """
    nobody: TransportError | None = None
    try:
        failures = request(entries)
        if len(failures) == 0:  # None says nothing, and raises
            return _ALL_WELL
        readable = all(0 <= one.index < len(entries) for one in failures)
    except TransportError as error:
        whole = Failure(0, error.code or type(error).__name__, str(error), error.retryable)
        if error.retryable or isinstance(error, AccessDenied | NotFound):
            nobody = error
    except Exception as error:  # noqa: BLE001 - a thread of the library must outlive it
        log.error("%s raised %s: a defect", what, summary(error))
        whole = Failure(0, type(error).__qualname__, "a defect of the transport", True)
    else:
        if readable:
            return Answer(failures)
        log.error("%s was answered with entries that nobody asked for", what)
        whole = Failure(0, "UnreadableAnswer", "it tells of other entries", True)
    if apart and nobody is None and len(entries) > 1:
        found: list[Failure] = []
        for index, entry in enumerate(entries):
            found += [one._replace(index=index) for one in ask(request, [entry], what).failures]
        return Answer(found)
    every = [whole._replace(index=index) for index in range(len(entries))]
    return Answer(every, whole=True, error=nobody)
