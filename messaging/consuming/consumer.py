"""Consumers: one class per service, whose handlers decide what its queue receives."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
import typing
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, cast

from messaging.consuming.attempts import receives_within
from messaging.consuming.batch import Gathering, check_single, gathering_of, inside, refuse_beside
from messaging.consuming.marking import MARK, handles
from messaging.envelope import Envelope
from messaging.errors import ConsumerError
from messaging.event import Event
from messaging.outcome import Circuit, RateLimit, RetryPolicy
from messaging.projection import SERVICE_NAME, Projection
from messaging.subtyping import spell
from messaging.transport import Delivery

__all__ = ["Consumer", "Handler", "handles"]

_CONTEXT_MANAGERS = (
    contextlib.contextmanager(iter).__code__,
    cast(Any, contextlib.asynccontextmanager)(iter).__code__,
)
"""The code object of a function decorated with `@contextmanager`; calling it runs nothing."""
_DECORATED = contextlib.ContextDecorator()(iter).__code__
"""The code object of a function decorated with a context manager, as in `@atomic`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One handler of a consumer: its method's name and its parameters.

    Args:
        name: the method's name.
        event: the event class that it handles.
        view: the type of its argument: that event, or a view of it.
        is_async: whether it is `async def`.
        envelope: the parameter for the envelope, if there is one.
        delivery: the parameter for the delivery, if there is one.
        batch: how its batches are collected, if it takes a `Batch` of views; or its chunks.
        plain: whether it takes one view and nothing else.

    Example:
        ```python
        (handler,) = Marketing.handlers.values()
        assert (handler.name, handler.event) == ("welcome", AlunoCadastrado)
        ```
    """

    name: str
    event: type[Event]
    view: type[Event | Projection]
    is_async: bool
    envelope: str | None
    delivery: str | None
    batch: Gathering | None = None
    plain: bool = False


class Consumer:
    """One service. Subclass it, and add a method for each event that it handles.

    Settings of the service are class attributes, which a subclass sets in its body. `open` and
    `close` are for its resources: a pool, a client, a model.

    Attributes:
        service: its name, used in the filter policy, the queue's name and the audience of its
            views. The default is the class name in lower case with "-" between words; a subclass
            inherits an explicit name, but not a derived one.
        retry: decides what happens after an unexpected exception.
        visibility_timeout: seconds (1 to 43,200) for which SQS hides a received message; the worker
            renews it while the handler runs.
        max_receives: receives after which SQS itself moves a message to the dead-letter queue: the
            safety net for a message that kills the process.
        max_lease: seconds (1 to 43,200) for which the worker keeps renewing, counted from the
            receive; then the message is visible to any worker again.
        handler_timeout: seconds that a handler may take, or None. An async one is cancelled; for a
            sync one, `Delivery.cancelled` becomes true, and its message is given up.
        circuit: when to slow down because everything fails, or None for never.
        rate: how many messages per second one process, or all together, may receive (`RateLimit`),
            or None.
        log_tracebacks: True logs the text and source lines of unexpected exceptions. They may quote
            personal data, so by default only types and locations are logged.

    Raises:
        ConsumerError: when the class is defined, if an attribute, a hook or a handler is invalid.

    Example:
        ```python
        from messaging import RetryPolicy


        class Mailing(Consumer):
            service = "marketing"
            retry = RetryPolicy(max_attempts=8)
            visibility_timeout = 120

            def open(self) -> None:
                self.addresses: list[str] = []

            @handles
            def welcome(self, aluno: AlunoParaMarketing) -> None:
                self.addresses.append(aluno.email)
        ```
    """

    service: ClassVar[str] = ""
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    visibility_timeout: ClassVar[int] = 60
    max_receives: ClassVar[int] = 0
    max_lease: ClassVar[float] = 3600
    handler_timeout: ClassVar[float | None] = None
    circuit: ClassVar[Circuit | None] = Circuit()
    rate: ClassVar[RateLimit | None] = None
    log_tracebacks: ClassVar[bool] = False
    handlers: ClassVar[Mapping[str, Handler]] = MappingProxyType({})
    """By event type; read from the methods marked with `@handles`."""
    __derived__: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **keywords: Any) -> None:
        for name in keywords.keys() & Consumer.__annotations__.keys():
            # Declared as for an event: a class keyword or an attribute.
            raise ConsumerError(
                f"{cls.__qualname__}: write {name} = ... in the body of the class, not as {name}= "
                "beside its base"
            )
        super().__init_subclass__(**keywords)
        cls.__derived__ = frozenset(
            name for name in ("service", "max_receives") if not _is_said(cls, name)
        )
        if "service" in cls.__derived__:
            cls.service = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).strip("_").lower()
        _check_settings(cls)
        _check_hooks(cls)
        cls.handlers = MappingProxyType(_read_handlers(cls))

    def open(self) -> Awaitable[None] | None:
        """Open the service's resources. Called once, before the first message is received.

        May be `async def`: it then runs on the event loop of the async handlers. If it raises, the
        worker does not start.
        """
        return None

    def close(self) -> Awaitable[None] | None:
        """Close the service's resources. Called once, when the last handler has ended.

        May be `async def`, like `open`. A worker waits for it for only a few seconds.
        """
        return None


def _is_said(cls: type[Consumer], name: str) -> bool:
    """Whether `cls` or one of its bases sets `name` explicitly."""
    for owner in cls.__mro__:
        if owner is Consumer:
            break
        if name in vars(owner) and name not in vars(owner).get("__derived__", ()):
            return True
    return False


def _check_settings(cls: type[Consumer]) -> None:
    service: object = cls.service
    if not isinstance(service, str) or not SERVICE_NAME.fullmatch(service):
        raise ConsumerError(
            f"{cls.__qualname__}: service={cls.service!r} is not a service name; use 1 to 50 of "
            'a to z, 0 to 9, "-" and "_"'
        )
    for name, kind in (("retry", RetryPolicy), ("circuit", Circuit), ("rate", RateLimit)):
        said = getattr(cls, name)
        or_none = "" if name == "retry" else " or None"
        if not (isinstance(said, kind) or (or_none and said is None)):
            raise ConsumerError(
                f"{cls.__qualname__}.{name} must be a {kind.__name__}{or_none}, not {said!r}"
            )
    if not 1 <= cls.visibility_timeout <= 43_200:
        raise ConsumerError(
            f"{cls.__qualname__}.visibility_timeout={cls.visibility_timeout!r}: 1 to 43,200 seconds"
        )
    if "max_receives" in cls.__derived__:
        # Above max_attempts, so that the library dead-letters with a reason before SQS does without
        # one; releases by a stopping worker count as receives too.
        attempts = cls.retry.max_attempts
        cls.max_receives = max(10, 2 * attempts)
        if attempts > 1 and cls.retry.outage:  # plus attempts that an outage excuses
            excused = attempts + receives_within(cls.retry.outage) + 5
            cls.max_receives = min(1000, max(cls.max_receives, excused))
    if not cls.retry.max_attempts < cls.max_receives <= 1000:
        raise ConsumerError(
            f"{cls.__qualname__}.max_receives={cls.max_receives}: more than retry.max_attempts "
            f"({cls.retry.max_attempts}) and at most 1,000, or SQS moves messages to the "
            "dead-letter queue before the library can say why"
        )

    _check_limits(cls)


def _check_limits(cls: type[Consumer]) -> None:
    if not 1 <= cls.max_lease <= 43_200:
        raise ConsumerError(
            f"{cls.__qualname__}.max_lease={cls.max_lease!r}: 1 to 43,200 seconds; SQS hides a "
            "message for no longer"
        )
    if cls.handler_timeout is not None and not 0 < cls.handler_timeout <= cls.max_lease:
        raise ConsumerError(
            f"{cls.__qualname__}.handler_timeout={cls.handler_timeout!r}: None, or seconds above 0 "
            f"and at most max_lease ({cls.max_lease})"
        )


def _read_handlers(cls: type[Consumer]) -> dict[str, Handler]:
    found: dict[str, Handler] = {}
    for name in _marked(cls):
        handler = _read_handler(cls, name, inspect.getattr_static(cls, name))
        twin = found.get(handler.event.event_type)
        if twin is not None:
            raise ConsumerError(
                f"{cls.__qualname__}.{twin.name} and {cls.__qualname__}.{name} both handle "
                f"{handler.event.event_type}: one event, one handler; call the other from it"
            )
        found[handler.event.event_type] = handler
    return found


def _marked(cls: type[Consumer]) -> list[str]:
    names: dict[str, None] = {}
    for owner in reversed(cls.__mro__):
        for name, member in list(vars(owner).items()):
            # A staticmethod or classmethod hides the mark; it must be refused later, not
            # overlooked.
            if getattr(getattr(member, "__func__", member), MARK, getattr(member, MARK, False)):
                names[name] = None
            elif name in names:
                # Overridden without the mark: a handler that is never called loses events.
                raise ConsumerError(
                    f"{cls.__qualname__}.{name} overrides a handler: mark it with @handles too"
                )
    return list(names)


def _read_handler(cls: type[Consumer], name: str, function: Any) -> Handler:
    where = f"{cls.__qualname__}.{name}"
    if isinstance(function, staticmethod | classmethod) or not callable(function):
        raise ConsumerError(f"{where}: a handler is a plain method, with self")
    _check_runs(where, function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if not parameters:
        raise ConsumerError(
            f"{where} has no parameter: annotate the first one with the Event or Projection that "
            "it handles"
        )
    hints = _hints(where, function)
    taken = hints.get(parameters[0].name)
    view_in_batch = inside(where, parameters[0], taken)
    view = _view(cls, where, parameters[0], taken if view_in_batch is None else view_in_batch)
    said = getattr(function, MARK, None)
    if view_in_batch is None:
        check_single(where, said, parameters[0], view)
    several, is_async = view_in_batch is not None, inspect.iscoroutinefunction(function)
    batch = gathering_of(where, said, cls.max_lease, takes_batch=several, is_async=is_async)
    extra: dict[type, str] = {}
    if parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ConsumerError(
            f"{where}: its first parameter {parameters[0].name!r} is keyword-only; take it by place"
        )
    for parameter in parameters[1:]:
        wanted = hints.get(parameter.name)
        if wanted in (Envelope, Delivery) and several:
            refuse_beside(where, parameters[0], parameter, wanted is Envelope)
        if wanted in (Envelope, Delivery):
            _check_extra(where, parameter, typing.cast(type, wanted), extra)
            extra[typing.cast(type, wanted)] = parameter.name
        elif parameter.default is parameter.empty:
            raise ConsumerError(
                f"{where}: parameter {parameter.name!r} is {spell(wanted)}; besides its view, a "
                "handler may take an Envelope and a Delivery. Pass anything else to __init__"
            )
    return Handler(
        name=name,
        event=view.event if issubclass(view, Projection) else view,
        view=view,
        is_async=is_async,
        envelope=extra.get(Envelope),
        delivery=extra.get(Delivery),
        batch=batch,
        plain=not (extra or batch),
    )


def _check_runs(where: str, function: Any) -> None:
    """Refuses functions that would return without having run, which would lose the message."""
    # A partial only binds from Python 3.14 on: behaviour must not depend on the version.
    if isinstance(function, functools.partial) or not hasattr(type(function), "__get__"):
        kind = type(function).__qualname__
        raise ConsumerError(
            f"{where} is a {kind}, which is not bound to the consumer; write a method that calls it"
        )
    decorated = False
    while getattr(function, "__code__", None) is _DECORATED:
        # A context manager as a decorator: it returns the decorated function's result.
        decorated, function = True, function.__wrapped__
    if decorated and inspect.iscoroutinefunction(function):
        raise ConsumerError(
            f"{where} is async below a context manager that is not: it would end before the "
            "handler begins; use it in a with statement in the handler"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConsumerError(
            f"{where} is a generator, so calling it runs nothing; take the yield out of it"
        )
    if getattr(function, "__code__", None) in _CONTEXT_MANAGERS:
        raise ConsumerError(
            f"{where} is a context manager, so calling it runs nothing; write a method that "
            "enters it, or for a handler give it to the worker as middleware"
        )


def _check_hooks(cls: type[Consumer]) -> None:
    """`open` and `close` must take no argument, and return nothing or an awaitable."""
    for name in ("open", "close"):
        where, hook = f"{cls.__qualname__}.{name}", inspect.getattr_static(cls, name)
        if getattr(hook, MARK, False):
            raise ConsumerError(
                f"{where} is a handler, but {name}() is what the worker calls to {name} the "
                "consumer itself: give the handler another name"
            )
        bare = isinstance(hook, staticmethod | classmethod)
        if not (bare or callable(hook)):
            raise ConsumerError(
                f"{where} is a {type(hook).__qualname__}, but {name}() is what the worker calls to "
                f"{name} the consumer: make it a method, or give it another name"
            )
        _check_runs(where, hook.__func__ if bare else hook)
        try:
            inspect.signature(getattr(cls, name)).bind(*([] if bare else [None]))
        except TypeError:
            raise ConsumerError(
                f"{where} wants arguments, but the worker has none for it: what it needs, give to "
                "__init__"
            ) from None


def _check_extra(
    where: str, parameter: inspect.Parameter, wanted: type, extra: Mapping[type, str]
) -> None:
    if wanted in extra:
        raise ConsumerError(
            f"{where}: {extra[wanted]!r} and {parameter.name!r} are both {wanted.__name__}; "
            "take it once"
        )
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ConsumerError(
            f"{where}: parameter {parameter.name!r} is given by its name; take it before any "
            '"/", and without "*"'
        )


def _hints(where: str, function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as first:
        # Classes defined inside a function (a test) are visible only from there.
        frame: Any = sys._getframe(1)
        while frame is not None:
            try:
                return typing.get_type_hints(function, localns=dict(frame.f_locals))
            except NameError:
                frame = frame.f_back
        raise ConsumerError(
            f"{where}: {first}; import what the annotation names outside `if TYPE_CHECKING:`, "
            "for it is read when the class is made"
        ) from None


def _view(
    cls: type[Consumer],
    where: str,
    parameter: inspect.Parameter,
    view: Any,
) -> type[Event | Projection]:
    if not isinstance(view, type) or not issubclass(view, Event | Projection):
        said = "has no annotation" if view is None else f"is {spell(view)}"
        raise ConsumerError(
            f"{where}: its first parameter {parameter.name!r} {said}; annotate it with an Event "
            "or with the Projection for this service"
        )
    if issubclass(view, Projection):
        if not view.audience:
            raise ConsumerError(f"{where}: {view.__qualname__} is abstract: it has no of=")
        if cls.service not in view.audience:
            raise ConsumerError(
                f"{where} takes {view.__qualname__}, which is for {', '.join(view.audience)}, not "
                f"for {cls.service}; ask for a view with audience={cls.service!r}"
            )
        return view
    if not view.event_type:
        raise ConsumerError(f"{where}: {view.__qualname__} is abstract: it has no type=")
    if view.__projections__:
        mine = [v for v in view.__projections__ if cls.service in getattr(v, "audience", ())]
        remedy = (
            f"take {mine[0].__qualname__}"
            if mine
            else (f"declare a Projection of it with audience={cls.service!r}")
        )
        raise ConsumerError(
            f"{where} takes the whole {view.__qualname__}, which is sent only as its projections; "
            f"{remedy}"
        )
    return view
