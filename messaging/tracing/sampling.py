"""Finds out how a tracer provider samples, so that it need not be asked for each event."""

from __future__ import annotations

import copy
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import randrange
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer, TracerProvider

from messaging.envelope import SoundTraceparent

__all__ = ["SEMANTIC_CONVENTIONS", "Provided", "Roots"]

SEMANTIC_CONVENTIONS = "1.44.0"
"""The version of OpenTelemetry's messaging conventions (status "Development") that spans and
attributes follow. This library never followed another, so OTEL_SEMCONV_STABILITY_OPT_IN has no
effect."""

_HEEDS = ("remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler")
_BY_CHANCE = re.compile(r"ParentBased\{root:TraceIdRatioBased\{([0-9.e-]+)\}")
_RANDOM, _NOT_RANDOM = "02", "00"
"""The flags of a trace that is not recorded: 02 means that its id is random (W3C Trace Context,
level 2)."""
_RANDOM_IDS = "opentelemetry.sdk.trace.id_generator", "RandomIdGenerator.generate_trace_id"
"""Module and name of the SDK's default id generator."""
_AT_ONCE = 64
"""Number of ids that are drawn at once."""
_64_BITS = 1 << 64
_LOW_HALF = _64_BITS - 1


@dataclass(frozen=True, slots=True)
class Roots:
    """Decides about new traces as the sampler would: by their id alone.

    drawn   returns the traceparent of a new trace that is not recorded; None if it must be
            recorded: then `tracer` starts it.
    tracer  starts only traces that are recorded.
    """

    drawn: Callable[[], SoundTraceparent | None]
    tracer: Tracer

    @classmethod
    def of(cls, provider: Any, tracer: Any, said: str) -> Roots | None:
        """None if the sampler decides differently from its description, or if ids are generated in
        an unknown way."""
        found = _BY_CHANCE.match(said)
        ids: Any = getattr(tracer, "id_generator", None)
        if found is None or not hasattr(ids, "generate_trace_id"):
            return None
        bound = round(float(found[1]) * _64_BITS)
        decide = provider.sampler.should_sample
        for id, wanted in ((bound - 1, True), (bound, False)):
            if 0 <= id < _64_BITS:
                result = decide(Context(), id, "publish", SpanKind.PRODUCER, {}, ())
                if result.decision.is_sampled() is not wanted:
                    return None
        recorded = copy.copy(tracer)
        recorded.id_generator = _RecordedIds(ids, bound)
        made = getattr(ids.generate_trace_id, "__func__", None)
        if (getattr(made, "__module__", ""), getattr(made, "__qualname__", "")) == _RANDOM_IDS:
            return cls(_drawing_many(bound), recorded)
        random = getattr(ids, "is_trace_id_random", bool)()
        return cls(_drawing(ids, bound, _RANDOM if random else _NOT_RANDOM), recorded)


# In both, the span id is the low half of the trace id: it is unique, because no span is recorded.
def _drawing(ids: Any, bound: int, flags: str) -> Callable[[], SoundTraceparent | None]:
    """`Roots.drawn` with the ids of any generator. A trace is recorded if the low half of its id is
    below `bound`."""

    def drawn() -> SoundTraceparent | None:
        id = ids.generate_trace_id()
        if id & _LOW_HALF < bound:
            return None
        text = f"{id:032x}"
        return SoundTraceparent(f"00-{text}-{text[16:]}-{flags}")

    return drawn


def _drawing_many(bound: int) -> Callable[[], SoundTraceparent | None]:
    """The same with random ids, many of which are drawn and formatted at once, in a third of the
    time."""
    waiting: deque[SoundTraceparent | None] = deque()
    if hasattr(os, "register_at_fork"):  # otherwise parent and child would start the same traces
        os.register_at_fork(after_in_child=waiting.clear)
    least = f"{bound:016x}" if bound < _64_BITS else "g"  # which sorts after every digit

    def drawn() -> SoundTraceparent | None:
        try:
            return waiting.popleft()
        except IndexError:
            halves = iter(os.urandom(16 * _AT_ONCE).hex("-", 8).split("-"))
            one, *others = [
                None if low < least else SoundTraceparent(f"00-{high}{low}-{low}-02")
                for high, low in zip(halves, halves, strict=True)
            ]
            waiting.extend(others)
            return one

    return drawn


class _RecordedIds:
    """An id generator whose trace ids are always recorded."""

    def __init__(self, ids: Any, bound: int) -> None:
        self._ids = ids
        self._bound = bound

    def generate_trace_id(self) -> int:
        id: int = self._ids.generate_trace_id()
        return id - id % _64_BITS + randrange(self._bound)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ids, name)


@dataclass(frozen=True, slots=True)
class Provided:
    """A provider's tracer, and what is known about its sampler.

    heeds   True if spans in a trace that is not recorded are never recorded: then the SDK is not
            asked.
    roots   decides about new traces; None if the SDK must be asked.
    """

    provider: TracerProvider
    tracer: Tracer
    heeds: bool
    roots: Roots | None

    @classmethod
    def of(cls, provider: TracerProvider) -> Provided:
        """Inspect a provider."""
        schema = f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS}"
        tracer = provider.get_tracer("messaging", schema_url=schema)
        describe = getattr(getattr(provider, "sampler", None), "get_description", str)
        said = str(describe())
        heeds = all(one in said for one in _HEEDS)
        return cls(provider, tracer, heeds, Roots.of(provider, tracer, said) if heeds else None)
