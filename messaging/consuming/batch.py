"""Batch: the argument of a handler that handles several messages of one type in one call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, overload

from messaging.envelope import Envelope
from messaging.errors import ConsumerError
from messaging.event import Event
from messaging.projection import Projection
from messaging.transport import Delivery

__all__ = [
    "LARGEST",
    "LONGEST",
    "Batch",
    "Gathering",
    "check_single",
    "gathering_of",
    "inside",
    "refuse_beside",
]

LARGEST, LONGEST = 1_000, 300.0
"""Maximum messages per batch, and maximum seconds for which the first waits for others: all of them
are held in memory, and their leases are renewed ten per request."""
SIZE, WAIT = 100, 1.0
"""Defaults for a batch."""
CHUNK_WAIT = 0.01
"""Default seconds that the first message of a chunk waits for others."""

_View = TypeVar("_View", bound=Event | Projection, covariant=True)


class Batch(Sequence[_View], Generic[_View]):
    """Several messages of one type, in the order in which the queue delivered them; never empty.

    Its items are the views. `deliveries` and `envelopes` have the same length and order. Its `repr`
    shows no field values. To test only the method, make one from views: `Batch([aluno])`.

    Args:
        views: the handler's views, in the order of the queue.
        deliveries: their messages, in the same order.
        envelopes: their envelopes, in the same order.

    Example:
        ```python
        from messaging import Batch


        class Mailing(Consumer):
            service = "marketing"

            @handles(batch=100, wait=1.0)
            def welcome(self, alunos: Batch[AlunoParaMarketing]) -> None:
                self.addresses = [aluno.email for aluno in alunos]


        mailing = Mailing()
        mailing.welcome(Batch([AlunoParaMarketing(nome="Ana", email="ana@example.com")]))
        assert mailing.addresses == ["ana@example.com"]
        ```
    """

    __slots__ = ("_envelopes", "_views", "deliveries")

    def __init__(
        self,
        views: Sequence[_View],
        deliveries: Sequence[Delivery] = (),
        envelopes: Callable[[], Sequence[Envelope]] = tuple,
    ) -> None:
        self._views = tuple(views)
        self.deliveries = tuple(deliveries)
        """The message of each view: its id, how often it was received, when it was sent."""
        self._envelopes = envelopes

    @property
    def envelopes(self) -> Sequence[Envelope]:
        """The envelope of each view: the event's id, its source, its time."""
        return self._envelopes()

    @property
    def cancelled(self) -> bool:
        """True if the result of this call is no longer wanted.

        A long handler should check it from time to time; an async one is cancelled automatically.
        If only one message's lease is lost, its own `Delivery.cancelled` says so.
        """
        # A list, so that each one is checked: a stopping worker waits briefly for handlers that
        # check.
        told = [one.cancelled and one.cancel_token.reason for one in self.deliveries]
        return any(reason and reason != "lease lost" for reason in told) or (
            bool(told) and all(told)
        )

    @overload
    def __getitem__(self, index: int) -> _View: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_View]: ...
    def __getitem__(self, index: int | slice) -> _View | Sequence[_View]:
        return self._views[index]

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[_View]:
        return iter(self._views)

    def __repr__(self) -> str:
        kind = type(self._views[0]).__qualname__ if self._views else "nothing"
        return f"Batch({len(self)} of {kind})"


@dataclass(frozen=True, slots=True)
class Gathering:
    """How a handler's batches are collected: up to `size` messages, or for `wait` seconds from the
    first one. `each`: the handler takes single messages, and is called for each of a chunk."""

    batch: int = SIZE
    wait: float = WAIT
    each: bool = False


def inside(where: str, parameter: inspect.Parameter, annotation: Any) -> Any:
    """The view inside `Batch[View]`; None if `annotation` is not a batch."""
    if annotation is Batch:
        raise ConsumerError(
            f"{where}: its first parameter {parameter.name!r} is a Batch of nothing; say of what, "
            "as in Batch[AlunoParaBI]"
        )
    origin = typing.get_origin(annotation)
    if origin is Batch:
        return typing.get_args(annotation)[0]
    several = isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset)
    for view in typing.get_args(annotation) if several else ():
        if isinstance(view, type) and issubclass(view, Event | Projection):
            raise ConsumerError(
                f"{where}: its first parameter {parameter.name!r} is a {origin.__qualname__} of "
                f"{view.__qualname__}; for several messages in one call annotate it with "
                f"Batch[{view.__qualname__}]"
            )
    return None


def gathering_of(
    where: str, said: object, max_lease: float, *, takes_batch: bool, is_async: bool
) -> Gathering | None:
    """The checked options of `@handles(batch=..., wait=...)` for a handler that takes a batch, or
    of `@handles(chunk=...)` for one that takes single messages; None if nothing is collected."""
    gathering = said if isinstance(said, Gathering) else Gathering()
    if not (takes_batch or gathering.each):
        return None
    if gathering.each and takes_batch:
        raise ConsumerError(
            f"{where}: @handles(chunk=) is for a handler that takes single messages, and this one "
            "takes a Batch: write @handles(batch=)"
        )
    if gathering.each and is_async:
        raise ConsumerError(
            f"{where}: @handles(chunk=) calls a handler for one message after the other, and async "
            "ones run side by side: make it a plain method, or take a Batch"
        )
    size, wait = cast("tuple[object, object]", (gathering.batch, gathering.wait))
    word = "chunk" if gathering.each else "batch"
    if type(size) is not int or not 1 <= size <= LARGEST:
        raise ConsumerError(f"{where}: @handles({word}={size!r}): 1 to {LARGEST:,} messages")
    if type(wait) not in (int, float) or not 0 <= gathering.wait <= LONGEST:
        raise ConsumerError(
            f"{where}: @handles(wait={wait!r}): 0 to {LONGEST:.0f} seconds, counted from the first "
            "message of a batch"
        )
    if gathering.wait >= max_lease:
        raise ConsumerError(
            f"{where}: @handles(wait={wait!r}): less than max_lease ({max_lease!r}), which counts "
            "from the receive, or a batch's first message is redelivered before its handler starts"
        )
    return gathering


def check_single(
    where: str, said: object, parameter: inspect.Parameter, view: type[Event | Projection]
) -> None:
    """Refuse `@handles(batch=..., wait=...)` on a handler that takes single messages."""
    if isinstance(said, Gathering) and not said.each:
        raise ConsumerError(
            f"{where}: @handles(batch=, wait=) is for a handler that takes a batch, and "
            f"{parameter.name!r} is one {view.__qualname__}; annotate it with "
            f"Batch[{view.__qualname__}], or write @handles"
        )


def refuse_beside(
    where: str, batch: inspect.Parameter, parameter: inspect.Parameter, is_envelope: bool
) -> None:
    """Refuse an `Envelope` or a `Delivery` in addition to a batch."""
    kind, which = ("Envelope", "envelopes") if is_envelope else ("Delivery", "deliveries")
    raise ConsumerError(
        f"{where}: each message of a batch has its own {kind}; leave {parameter.name!r} out and "
        f"read {batch.name}.{which}"
    )
