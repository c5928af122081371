"""Opens connections to MySQL and MariaDB with PyMySQL, with time limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from messaging.errors import ConfigurationError, MissingExtra
from messaging.sql.opening import CONNECT_SECONDS, SILENCE_SECONDS

__all__ = ["MYSQL_PARAMETERS", "is_mysql", "mysql", "parameters", "short_transactions"]

_SCHEMES = ("mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql")
_TEXTS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key")
_FLAGS = ("ssl_verify_cert", "ssl_verify_identity", "ssl_disabled")
MYSQL_PARAMETERS = (*_TEXTS, *_FLAGS, "connect_timeout", "charset")
_BOOLEANS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def is_mysql(url: str) -> bool:
    """Whether `url` is for `mysql`.

    Args:
        url: a database's URL.
    """
    return url.partition("://")[0] in _SCHEMES


def mysql(url: str, *, timeout: float = SILENCE_SECONDS) -> Callable[[], Any]:
    """Return a function that opens PyMySQL connections to `url`: "mysql://user@host:3306/name".

    "mariadb://" is the same. Parameters: unix_socket, connect_timeout, charset, and for TLS ssl_ca,
    ssl_cert, ssl_key, ssl_verify_cert (true if there is an ssl_ca), ssl_verify_identity (also
    checks the host name) or ssl_disabled. The server has 10 seconds, or `connect_timeout`, to
    accept a connection, and may then be silent for at most `timeout` seconds.

    Args:
        url: "mysql://user@host:3306/name".
        timeout: seconds that connecting and each statement may take.

    Raises:
        ConfigurationError: if `timeout` is not above 0, the URL is invalid, or (by the returned
            function) a certificate cannot be read; the error does not quote the URL, because it may
            contain a password.
        MissingExtra: if PyMySQL is not installed.

    Example:
        ```python
        # Not run: needs MariaDB, with which tests/idempotency runs it.
        from messaging.sql import mysql

        connection = mysql("mysql://escola@db/escola", timeout=5)()
        connection.close()
        ```
    """
    try:
        import pymysql
        from pymysql.constants import CLIENT
    except ImportError as error:
        raise MissingExtra("MySQL and MariaDB need PyMySQL", "mysql") from error
    if timeout <= 0:
        raise ConfigurationError(f"timeout={timeout!r}: more than 0 seconds")
    given = parameters(url)

    def connect() -> Any:
        try:
            return pymysql.connect(
                **given,
                read_timeout=timeout,
                write_timeout=timeout,
                # Count the rows that a statement found, not only those that it changed.
                client_flag=CLIENT.FOUND_ROWS,
                # Refuse values that do not fit instead of truncating them, whatever the server's
                # default.
                sql_mode="TRADITIONAL",
            )
        except OSError as error:  # the certificates
            raise ConfigurationError(
                f"a certificate of the database's URL cannot be read ({type(error).__name__}): "
                "check ssl_ca, ssl_cert and ssl_key"
            ) from None

    return connect


def short_transactions(connection: Any) -> None:
    """Make each statement a transaction of its own, unless one is started; and avoid the gap locks
    of the default, REPEATABLE READ, which block writers.

    Args:
        connection: the caller's connection.
    """
    connection.autocommit(True)
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def parameters(url: str) -> dict[str, Any]:
    """PyMySQL's arguments for `url`.

    Args:
        url: "mysql://user@host:3306/name".

    Raises:
        ConfigurationError: if the URL is invalid; the error does not quote it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        more = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise _unreadable() from None
    name = unquote(parts.path.removeprefix("/"))
    unknown = set(more) - set(MYSQL_PARAMETERS)
    if parts.fragment or not name or "/" in name or "@" in name or unknown:
        raise _unreadable()
    given: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port or 3306,
        "database": name,
        "charset": more.get("charset", "utf8mb4"),
        "connect_timeout": _seconds(more.get("connect_timeout")),
    }
    account = {"user": parts.username, "password": parts.password}
    given |= {name: unquote(value) for name, value in account.items() if value is not None}
    given |= {name: more[name] for name in _TEXTS if name in more}
    given |= {name: _boolean(name, more[name]) for name in _FLAGS if name in more}
    if "ssl_ca" in given:
        given.setdefault("ssl_verify_cert", True)  # PyMySQL would not check the certificate
    elif given.get("ssl_verify_identity"):
        raise ConfigurationError(
            "ssl_verify_identity of the database's URL needs ssl_ca: without it PyMySQL compares "
            "no name"
        )
    return given


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        "the database's URL cannot be read: write mysql://user@host/name; in a password write "
        '"%40" for "@", "%2F" for "/", "%3A" for ":", "%23" for "#" (it is not shown); its '
        "parameters are " + ", ".join(MYSQL_PARAMETERS)
    )


def _seconds(text: str | None) -> int:
    if text is None:
        return CONNECT_SECONDS
    if not text.isdecimal() or not 0 < int(text) <= 3600:
        raise ConfigurationError("connect_timeout of the database's URL: from 1 to 3600 seconds")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ConfigurationError(f'{name} of the database\'s URL: "true" or "false"')
    return _BOOLEANS[text.lower()]
