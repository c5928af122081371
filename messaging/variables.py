"""Sets context variables, and gives them back the values that they had before."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from typing import Any

__all__ = ["reset", "with_variables"]


def reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    """`variable.reset`, also of a coroutine that is closed by somebody else, in another context:
    there is nothing to reset then."""
    try:  # noqa: SIM105 - `suppress` takes as long as all the rest
        variable.reset(token)
    except ValueError:
        pass


async def with_variables(context: Context, run: Callable[[Any], Any], seen: Any) -> Any:
    """Await `run(seen)` with the variables of `context`, which have their old values afterwards."""
    before = [(variable, variable.set(value)) for variable, value in context.items()]
    try:
        return await run(seen)
    finally:
        for variable, token in before:
            reset(variable, token)
