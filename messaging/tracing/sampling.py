"""Decides about new traces as the sampler would, so that it need not be asked for each event."""

from __future__ import annotations

import copy
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer

__all__ = ["Drawing", "Roots"]

_BY_CHANCE = re.compile(r"ParentBased\{root:TraceIdRatioBased\{([0-9.e-]+)\}")
_RANDOM, _NOT_RANDOM = "02", "00"
"""The flags of a trace that is not recorded: 02 means that its id is random (W3C Trace Context,
level 2)."""
_RANDOM_IDS = "opentelemetry.sdk.trace.id_generator", "RandomIdGenerator.generate_trace_id"
"""Module and name of the SDK's default id generator."""
_AT_ONCE = 128
"""Number of ids that are drawn at once."""
_64_BITS = 1 << 64
_LOW_HALF = _64_BITS - 1


Drawing = Callable[[], str | None]
"""Returns the traceparent of a trace that is not recorded, or None."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Decides about new traces as the sampler would: by their id alone.

    ready   returns the traceparent of a new trace that is not recorded, or None if it must be
            recorded: then `tracer` starts it. Raises `IndexError` if none is ready: then `drawn`
            returns the same.
    drawn   draws as many as `ready` then has, and returns one more.
    tracer  starts only traces that are recorded.
    """

    ready: Drawing
    drawn: Drawing
    tracer: Tracer

    def next(self) -> str | None:
        """`ready` or, if none is, `drawn`."""
        try:
            return self.ready()
        except IndexError:
            return self.drawn()

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
            return cls(*_drawing_many(bound), recorded)
        random = getattr(ids, "is_trace_id_random", bool)()
        drawn = _drawing(ids, bound, _RANDOM if random else _NOT_RANDOM)
        return cls(drawn, drawn, recorded)


# In both, the span id is the low half of the trace id: it is unique, because no span is recorded.
def _drawing(ids: Any, bound: int, flags: str) -> Drawing:
    """`Roots.drawn` with the ids of any generator. A trace is recorded if the low half of its id is
    below `bound`."""

    def drawn() -> str | None:
        id = ids.generate_trace_id()
        if id & _LOW_HALF < bound:
            return None
        text = f"{id:032x}"
        return f"00-{text}-{text[16:]}-{flags}"

    return drawn


def _drawing_many(bound: int) -> tuple[Drawing, Drawing]:
    """`Roots.ready` and `Roots.drawn` with random ids, many of which are drawn and formatted at
    once, in a third of the time."""
    waiting: deque[str | None] = deque()
    if hasattr(os, "register_at_fork"):  # otherwise parent and child would start the same traces
        os.register_at_fork(after_in_child=waiting.clear)
    least = f"{bound:016x}" if bound < _64_BITS else "g"  # which sorts after every digit

    def drawn() -> str | None:
        # Half of an id is as random as W3C wants the whole, so these share the other half.
        high, *lows = os.urandom(8 + 8 * _AT_ONCE).hex("-", 8).split("-")
        one, *others = [None if low < least else f"00-{high}{low}-{low}-02" for low in lows]
        waiting.extend(others)
        return one

    return waiting.popleft, drawn


class _RecordedIds:
    """An id generator whose trace ids are always recorded."""

    def __init__(self, ids: Any, bound: int) -> None:
        self._draw = ids.generate_trace_id
        self._bound = bound
        self.generate_span_id = ids.generate_span_id
        self.is_trace_id_random = getattr(ids, "is_trace_id_random", bool)

    def generate_trace_id(self) -> int:
        id: int = self._draw()
        low = id % _64_BITS
        return id - low + low % self._bound
