"""Reads trace contexts from messages: from the envelope, message attributes, and X-Ray's header."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging.consuming.dispatch import Call
from messaging.envelope import TraceContext
from messaging.log_context import adding
from messaging.variables import reset

__all__ = [
    "EVEN",
    "Carried",
    "LazyContext",
    "MessageContext",
    "Unsampled",
    "carried",
    "current",
    "extracted",
    "from_xray",
    "linked",
    "logged_in",
    "packed",
    "put",
    "put_back",
    "remote",
    "text_of",
    "unsampled",
    "within",
]

_PROPAGATOR = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()
EVEN = frozenset("02468ace")
"""The endings of a traceparent whose trace is not recorded: the lowest flag is not set."""
_STATE_CHARACTERS = 512
_SPAN = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""The key under which a context has its span."""
_W3C = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;|$)", re.IGNORECASE)
_XRAY_PARENT = re.compile(r"Parent=([0-9a-f]{16})(?:;|$)", re.IGNORECASE)


class _RemoteSpan(NonRecordingSpan):
    """Another process's span, in a trace that is not recorded. Its traceparent is parsed on first
    use, because it is not used in nearly any message."""

    _read: SpanContext | None = None
    _state = ""

    def __init__(self, traceparent: str, tracestate: str = "") -> None:
        self._text = traceparent
        if tracestate:
            self._state = tracestate

    def get_span_context(self) -> SpanContext:
        if self._read is None:
            self._read = remote(self._text, self._state)
        return self._read


def remote(traceparent: str, state: object) -> SpanContext:
    """The context in a remote span's header; an invalid one if the header is malformed, as anyone
    may have written it, or of a version newer than this code."""
    found = _W3C.fullmatch(traceparent)
    if found is None:
        return INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = found.groups()
    said = TraceState.from_header([state]) if state and isinstance(state, str) else None
    made = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), said)
    return made if made.is_valid else INVALID_SPAN_CONTEXT  # ids of zeros


def unsampled(traceparent: str | None) -> bool:
    """True if its flags say that its trace is not recorded."""
    return traceparent is not None and len(traceparent) == 55 and traceparent[54] in EVEN


_Token = contextvars.Token[Context]


def _quickest() -> tuple[
    Callable[[], Context], Callable[[Context], _Token], Callable[[_Token], None]
]:
    """`get_current`, `attach` and `detach`, without the two calls that each of them makes, if the
    context is kept in a `contextvars` variable, which is the default."""
    kept = getattr(getattr(context_api, "_RUNTIME_CONTEXT", None), "_current_context", None)
    if isinstance(kept, contextvars.ContextVar):
        probe = Context()
        token = kept.set(probe)
        found = get_current()
        kept.reset(token)
        if found is probe:
            return kept.get, kept.set, partial(reset, kept)
    return get_current, attach, detach


current, put, put_back = _quickest()


class LazyContext(Context):
    """The context of a handler, which only has a span. It is filled on first use, which is rare."""

    __slots__ = ()

    def span(self) -> Span:
        """The span."""
        raise NotImplementedError


class MessageContext(LazyContext):
    """The context of a handler whose trace is not recorded. Until its first use, it only has the
    traceparent."""

    __slots__ = ("traceparent",)

    traceparent: str

    def span(self) -> Span:
        return _RemoteSpan(self.traceparent)


def _made_first(name: str) -> Callable[..., Any]:
    """Wrap a dict's method so that it fills the context first."""
    method = getattr(dict, name)

    def look(self: LazyContext, *given: Any) -> Any:
        if not dict.__len__(self):
            dict.__setitem__(self, _SPAN, self.span())
        return method(self, *given)

    return look


for _name in (
    *("__contains__", "__eq__", "__getitem__", "__iter__", "__len__", "__ne__", "__or__"),
    *("__repr__", "__reversed__", "__ror__", "copy", "get", "items", "keys", "values"),
):
    setattr(LazyContext, _name, _made_first(_name))


def within(span: Span, context: Context | None = None) -> Context:
    """`context`, or the current one, with `span` as its span."""
    return Context({**(current() if context is None else context), _SPAN: span})


class Unsampled:
    """Surrounds a handler whose trace is not recorded: spans that it starts are not recorded
    either."""

    __slots__ = ("_context", "_token")

    def __init__(self, traceparent: str, tracestate: str = "") -> None:
        self._context = within(_RemoteSpan(traceparent, tracestate))

    def __enter__(self) -> None:
        self._token = put(self._context)

    def __exit__(self, *error: object) -> None:
        detach(self._token)


def text_of(context: SpanContext, baggage: str = "") -> str:
    """A span's context in the form for the envelope: a `TraceContext` if there is more to say than
    the traceparent, which is written faster alone."""
    text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    entries = context.trace_state
    if not (entries or baggage):
        return text
    state = entries.to_header()
    while len(state) > _STATE_CHARACTERS:  # entries may be dropped from the end
        state = state.rpartition(",")[0]
    return TraceContext(text, state, baggage)


def extracted(
    traceparent: str,
    tracestate: object = "",
    said: object = "",
    names: Collection[str] = (),
) -> Context:
    """The current context with a message's trace, and with those entries of its baggage (`said`)
    that are in `names`."""
    state = tracestate if isinstance(tracestate, str) else ""
    sent = remote(traceparent, state)
    if sent.is_valid:
        context = within(NonRecordingSpan(sent))
    else:
        carrier = {"traceparent": str(traceparent), "tracestate": state}
        context = _PROPAGATOR.extract(carrier, current())
    if names and isinstance(said, str) and said:
        found = baggage.get_all(_BAGGAGE.extract({"baggage": said}, Context()))
        for name in names:
            if name in found:
                context = baggage.set_baggage(name, found[name], context)
    return context


def packed(names: Collection[str]) -> str:
    """Those entries of the current baggage that are in `names`, as W3C Baggage; "" if there are
    none."""
    here = baggage.get_all() if names else {}
    context = Context()
    for name in names:
        if name in here:
            context = baggage.set_baggage(name, here[name], context)
    carrier: dict[str, str] = {}
    _BAGGAGE.inject(carrier, context)
    return carrier.get("baggage", "")


Carried = tuple[str | None, object, object]


def carried(call: Call) -> Carried:
    """Return the traceparent, tracestate and baggage that came with a message.

    A sender that uses boto3 and its instrumentation puts them into message attributes, and AWS adds
    X-Ray's header to the message.
    """
    envelope, delivery = call.envelope, call.delivery
    if envelope.traceparent is not None:
        extensions = envelope.extensions
        return envelope.traceparent, extensions.get("tracestate"), extensions.get("baggage")
    traceparent = _text(delivery.attributes, "traceparent")
    if traceparent is not None:
        there = delivery.attributes
        return traceparent, _text(there, "tracestate"), _text(there, "baggage")
    return from_xray(delivery.trace_header), None, None


def from_xray(header: str | None) -> str | None:
    """The traceparent equivalent to an X-Ray header; None if that names no trace and parent.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    root = _XRAY.search(header or "")
    parent = _XRAY_PARENT.search(header or "")
    if root is None or parent is None:
        return None
    flags = "01" if "Sampled=1" in (header or "") else "00"
    return f"00-{root[1]}{root[2]}-{parent[1]}-{flags}".lower()


def linked(context: Context | None) -> SpanContext | None:
    """The span of a context, if it has one."""
    found = trace.get_current_span(context).get_span_context()
    return found if found.is_valid else None


def logged_in(span: Span) -> AbstractContextManager[None]:
    """Inside `with`, log records have the ids of a span."""
    own = span.get_span_context()
    return adding(trace_id=f"{own.trace_id:032x}", span_id=f"{own.span_id:016x}")


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes[name].value if name in attributes else None
    return value if isinstance(value, str) else None
