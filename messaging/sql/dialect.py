"""Differences between the SQL of the supported databases, and valid names of tables."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from messaging.errors import ConfigurationError

__all__ = ["PARAMETER", "Dialect", "backticks", "pyformat", "table_name"]

Dialect = Literal["postgresql", "sqlite", "mysql"]
"""MariaDB is "mysql"."""

PARAMETER = re.compile(r"(?<![:\w]):(\w+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}(\.[A-Za-z_][A-Za-z0-9_]{0,40})?")


def table_name(table: str) -> str:
    """`table`, if it is a valid name in a statement. Raises `ConfigurationError`."""
    if not _NAME.fullmatch(table):
        raise ConfigurationError(
            f'table={table!r}: letters, digits and "_" (at most 41 of them), with a schema before '
            'it if need be, like "school.outbox"'
        )
    return table


@lru_cache(maxsize=256)
def pyformat(statement: str) -> str:
    """`statement` with its parameters `:name` written as `%(name)s`, for psycopg and PyMySQL."""
    return PARAMETER.sub(r"%(\1)s", statement)


@lru_cache(maxsize=256)
def backticks(statement: str) -> str:
    """`statement` with its quoted names `"name"` in MySQL's syntax. It contains no values: those
    are parameters."""
    return statement.replace('"', "`")
