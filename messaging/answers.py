"""Makes batch requests to a queue, and returns what was refused as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.logs import logger
from messaging.tracebacks import summary
from messaging.transport import Failure

__all__ = ["Refusals", "ask"]

log = logger("messaging.transport")

_T = TypeVar("_T")


class Refusals(NamedTuple):
    """The entries of a batch that were refused.

    whole  the request itself was refused, and so every entry.
    error  set if nobody answered or access was denied: then no single entry is to blame.
    """

    failures: Sequence[Failure] = ()
    whole: bool = False
    error: TransportError | None = None


_ALL_WELL = Refusals()


def ask(
    request: Callable[[Sequence[_T]], Sequence[Failure]],
    entries: Sequence[_T],
    what: str,
    *,
    apart: bool = False,
) -> Refusals:
    """Make one request for `entries`. Never raises an `Exception`: a defect of the transport is
    returned as a retryable failure, too, and logged by its type and place.

    what   the request and its target, for the log: "dead_letter of alunos-bi".
    apart  if the request is refused for good, send each entry alone, so that one bad entry does not
           hold up the others.
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
            return Refusals(failures)
        log.error("%s was answered with entries that nobody asked for", what)
        whole = Failure(0, "UnreadableAnswer", "it tells of other entries", True)
    if apart and nobody is None and len(entries) > 1:
        found: list[Failure] = []
        for index, entry in enumerate(entries):
            found += [one._replace(index=index) for one in ask(request, [entry], what).failures]
        return Refusals(found)
    every = [whole._replace(index=index) for index in range(len(entries))]
    return Refusals(every, whole=True, error=nobody)
