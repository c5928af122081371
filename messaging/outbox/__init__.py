"""The outbox: a topic that is a table in your own database, and the relay that publishes it.

    with psycopg.connect(url) as connection:        # or sqlite3, or a session of SQLAlchemy
        connection.execute("INSERT INTO alunos ...")
        Publisher(SqlOutbox(connection), source="/cadastro").publish(event)

Both rows are committed, or neither. A relay (`messaging outbox relay`, or `Relay(...).run()`) sends
committed entries: at least once, in order per key. Several relays share the work.

`table` and `rows` define entries; `writing` and `async_writing` are the producer's side; `relay`
and `claims` the relay's.
"""

from messaging.outbox.async_writing import AsyncOutbox
from messaging.outbox.claims import Claims, OutboxStatus, Troubled
from messaging.outbox.relay import Relay, RelayStats
from messaging.outbox.table import TABLE, ddl
from messaging.outbox.writing import SqlOutbox, create
from messaging.sql.database import Database, connector

__all__ = [
    "TABLE",
    "AsyncOutbox",
    "Claims",
    "Database",
    "OutboxStatus",
    "Relay",
    "RelayStats",
    "SqlOutbox",
    "Troubled",
    "connector",
    "create",
    "ddl",
]
