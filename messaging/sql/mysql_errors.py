"""The errors of MySQL and MariaDB, which have numbers, and how they may be described."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEADLOCK", "DUPLICATE", "LOCK_WAIT", "NO_SAVEPOINT", "NO_TABLE", "error_number", "told"]

# https://mariadb.com/docs/server/reference/error-codes
DUPLICATE = 1062
NO_TABLE = 1146
LOCK_WAIT = 1205
DEADLOCK = 1213
NO_SAVEPOINT = 1305

# The server's own texts quote names of users, hosts and databases, which in a malformed URL may be
# parts of the password.
_TOLD: Mapping[int, str] = {
    1040: "too many connections",
    1044: "access to the database is denied",
    1045: "access is denied: user or password",
    1049: "there is no database of that name",
    LOCK_WAIT: "a lock was waited for too long",
    DEADLOCK: "a deadlock, and this transaction was chosen to end",
    2003: "the server cannot be reached",
    2006: "the connection is gone",
    2013: "the connection was lost, or no answer came in time",
    2026: "TLS was asked for, and the server does not have it",
}


def error_number(error: BaseException) -> int | None:
    """MySQL's number for an error, such as 1213 for a deadlock; None for other errors."""
    first = error.args[0] if error.args else None
    is_driver = type(error).__module__.partition(".")[0] in {"pymysql", "MySQLdb"}
    return first if is_driver and isinstance(first, int) else None


def told(error: BaseException) -> str:
    """A safe description of `error`: its number and the meaning."""
    number = error_number(error)
    if not number:
        return "the connection is gone"
    meaning = _TOLD.get(number, "")
    return f"{number}{meaning and ': '}{meaning}"
