"""Differences between the SQL of the supported databases, and valid names of tables."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from messaging.errors import ConfigurationError

__all__ = ["Dialect", "pyformat", "table_name"]

Dialect = Literal["postgresql", "sqlite"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}(\.[A-Za-z_][A-Za-z0-9_]{0,40})?")


def table_name(table: str) -> str:
    """`table`, if it can stand in a statement as it is. Raises `ConfigurationError`."""
    if not _NAME.fullmatch(table):
        raise ConfigurationError(
            f'table={table!r}: letters, digits and "_" (at most 41 of them), with a schema before '
            'it if need be, like "school.outbox"'
        )
    return table


@lru_cache(maxsize=256)
def pyformat(statement: str) -> str:
    """`statement`, whose parameters are written `:name`, with psycopg's `%(name)s`."""
    return re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", statement)
