"""SQL databases: drivers, dialects, opening and pooling, shared by `outbox` and `idempotency`.

`open_sqlite` and `postgres` open connections with the time limits that the library needs.
"""

from messaging.sql.opening import open_sqlite, postgres

__all__ = ["open_sqlite", "postgres"]
