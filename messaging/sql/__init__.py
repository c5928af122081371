"""SQL databases: drivers, dialects, opening and pooling, shared by `outbox` and `idempotency`.

`open_sqlite`, `postgres` and `mysql` open connections with the time limits that the library needs.
"""

from messaging.sql.opening import open_sqlite, postgres
from messaging.sql.opening_mysql import mysql

__all__ = ["mysql", "open_sqlite", "postgres"]
