"""Runs an async handler with context variables that a middleware has set for it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["with_variables"]


async def with_variables(context: Context, run: Callable[[Any], Any], seen: Any) -> Any:
    """Await `run(seen)` with the variables of `context`, which have their old values afterwards."""
    before = [(variable, variable.set(value)) for variable, value in context.items()]
    try:
        return await run(seen)
    finally:
        for variable, token in before:
            try:  # noqa: SIM105 - `suppress` takes as long as all the rest
                variable.reset(token)
            except ValueError:  # it is closed by somebody else, in another context
                pass
