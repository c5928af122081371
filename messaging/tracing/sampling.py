"""What is known of a tracer provider's sampler, so that it need not be asked about each event."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from random import randrange
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer, TracerProvider

from messaging.envelope import SoundTraceparent

__all__ = ["SEMANTIC_CONVENTIONS", "Provided", "Roots"]

SEMANTIC_CONVENTIONS = "1.44.0"
"""The version of OpenTelemetry's conventions for messaging, of status "Development", that names
spans and attributes here. There was no other one before, so OTEL_SEMCONV_STABILITY_OPT_IN has
nothing to choose from."""

_HEEDS = ("remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler")
_BY_CHANCE = re.compile(r"ParentBased\{root:TraceIdRatioBased\{([0-9.e-]+)\}")
_RANDOM = 2
"""The flag of a trace id that is random, of W3C Trace Context level 2."""
_64_BITS = 1 << 64
_LOW_HALF = _64_BITS - 1


@dataclass(frozen=True, slots=True)
class Roots:
    """Decides about traces that begin here as the sampler would: by their id alone.

    ids     the provider's generator of ids.
    bound   a trace is recorded if the low half of its id is below this.
    flags   of a traceparent whose trace is not recorded.
    tracer  begins only traces that are recorded.
    """

    ids: Any
    bound: int
    flags: str
    tracer: Tracer

    @classmethod
    def of(cls, provider: Any, tracer: Any, said: str) -> Roots | None:
        """None where the sampler decides in another way than its description lets one think, or
        where ids are made in an unknown way."""
        found = _BY_CHANCE.match(said)
        ids = getattr(tracer, "id_generator", None)
        if found is None or not hasattr(ids, "generate_trace_id"):
            return None
        bound = round(float(found[1]) * _64_BITS)
        decide = provider.sampler.should_sample
        for id, wanted in ((bound - 1, True), (bound, False)):
            if 0 <= id < _64_BITS:
                result = decide(Context(), id, "publish", SpanKind.PRODUCER, {}, ())
                if result.decision.is_sampled() is not wanted:
                    return None
        random = getattr(ids, "is_trace_id_random", bool)()
        recorded = copy.copy(tracer)
        recorded.id_generator = _RecordedIds(ids, bound)
        return cls(ids, bound, f"{_RANDOM if random else 0:02x}", recorded)

    def drawn(self) -> SoundTraceparent | None:
        """The traceparent of a new trace that is not recorded; None if one is: `tracer` begins
        it."""
        id = self.ids.generate_trace_id()
        if id & _LOW_HALF < self.bound:
            return None
        text = f"{id:032x}"
        # No span has this id, since none is recorded: it need not be drawn as well.
        return SoundTraceparent(f"00-{text}-{text[16:]}-{self.flags}")


class _RecordedIds:
    """A generator of ids, of which those of traces are such that they are recorded."""

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
    """A provider's tracer, and what is known of its sampler.

    heeds   what is in a trace that is not recorded is never recorded: so nothing is asked of it.
    roots   how traces that begin here are decided about; None: the SDK has to be asked.
    """

    provider: TracerProvider
    tracer: Tracer
    heeds: bool
    roots: Roots | None

    @classmethod
    def of(cls, provider: TracerProvider) -> Provided:
        """What there is to know of a provider."""
        schema = f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS}"
        tracer = provider.get_tracer("messaging", schema_url=schema)
        describe = getattr(getattr(provider, "sampler", None), "get_description", str)
        said = str(describe())
        heeds = all(one in said for one in _HEEDS)
        return cls(provider, tracer, heeds, Roots.of(provider, tracer, said) if heeds else None)
