"""Django's connections: the driver's own, and how to open another to the same database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias, get_args
from urllib.parse import quote, urlencode

from django.db import connections

from messaging.errors import ConfigurationError
from messaging.idempotency.marks import TABLE as MARKS
from messaging.outbox import TABLE as OUTBOX
from messaging.sql.dialect import Dialect
from messaging.sql.opening_mysql import MYSQL_PARAMETERS

__all__ = ["Wrapper", "dialect", "missing_tables", "raw", "url", "wrapper_of"]

Wrapper: TypeAlias = Any
"""One of `django.db.connections`."""

_OF_DJANGO = frozenset(
    ("cursor_factory", "context", "prepare_threshold", "row_factory", "autocommit")
)
"""Django's arguments to psycopg that are not libpq parameters."""


def wrapper_of(using: str | Wrapper) -> Wrapper:
    """Django's connection of this thread: of an alias, or the connection itself."""
    return connections[using] if isinstance(using, str) else using


def dialect(wrapper: Wrapper) -> Dialect | None:
    """The database; None if it supports neither outbox nor marks."""
    return wrapper.vendor if wrapper.vendor in get_args(Dialect) else None


def raw(wrapper: Wrapper) -> Any:
    """The driver's connection, in the transaction that Django has open on it.

    Statements with personal data use it directly, so that they do not appear in
    `connection.queries` or the log of `django.db.backends`. Raises `ConfigurationError` for an
    unknown database or driver.
    """
    if dialect(wrapper) is None:
        raise ConfigurationError(
            f"the database {wrapper.alias!r} is {wrapper.display_name}: the outbox and the marks "
            'need PostgreSQL, MySQL, MariaDB or SQLite; name another one in MESSAGING["DATABASE"]'
        )
    wrapper.ensure_connection()
    connection = wrapper.connection
    if type(connection).__module__.startswith("psycopg2"):
        raise ConfigurationError(
            f"Django speaks to {wrapper.alias!r} by psycopg2: install psycopg 3 "
            '("psycopg[binary]"), which Django then prefers'
        )
    if type(connection).__module__.startswith("MySQLdb"):
        raise ConfigurationError(
            f"Django speaks to {wrapper.alias!r} by mysqlclient: install PyMySQL, and write "
            "pymysql.install_as_MySQLdb() above DATABASES in your settings"
        )
    return connection


def missing_tables(wrapper: Wrapper, tables: Collection[str] = (OUTBOX, MARKS)) -> list[str]:
    """The library's tables that are missing in this database."""
    with wrapper.cursor() as cursor:
        there = set(wrapper.introspection.table_names(cursor))
    return [table for table in tables if table not in there]


def url(wrapper: Wrapper) -> str:
    """Its URL, for `messaging.outbox.connector`: a relay has its own connection."""
    kind = dialect(wrapper)
    parameters: Mapping[str, Any] = wrapper.get_connection_params()
    if kind == "postgresql":
        given = {name: value for name, value in parameters.items() if name not in _OF_DJANGO}
        return " ".join(f"{name}={_quoted(value)}" for name, value in given.items())
    if kind == "mysql":
        return _url_of_mysql(parameters)
    name = str(parameters.get("database", ""))
    if kind is None or name.startswith("file:") or name in ("", ":memory:"):
        raise ConfigurationError(
            f"a relay cannot open the database {wrapper.alias!r}: it needs a server, or SQLite "
            "in a file"
        )
    return f"sqlite:///{name}"


def _url_of_mysql(parameters: Mapping[str, Any]) -> str:
    tls = parameters.get("ssl") or {}
    if not isinstance(tls, Mapping):
        raise ConfigurationError(
            'the relay reads OPTIONS["ssl"] as a dict: {"ca": "...", "cert": "...", "key": "..."}'
        )
    given = {f"ssl_{name}": tls[name] for name in ("ca", "cert", "key") if tls.get(name)}
    if "ssl_ca" in given and tls.get("check_hostname", True):
        given["ssl_verify_identity"] = "true"
    given |= {name: value for name, value in parameters.items() if name in MYSQL_PARAMETERS}
    account = ":".join(
        quote(str(parameters[name]), safe="") for name in ("user", "password") if name in parameters
    )
    host, port = parameters.get("host", "localhost"), parameters.get("port", 3306)
    more = urlencode({name: _word(value) for name, value in given.items()})
    return f"mysql://{account}@{host}:{port}/{quote(str(parameters['database']), safe='')}?{more}"


def _word(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _quoted(value: object) -> str:
    # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
