"""A process that handles events in order until it is killed: `python crashing.py URL PAUSE EVENTS`.

URL is an SQLite file, a conninfo of PostgreSQL or a URL of MariaDB. It writes a line when an
effect is written and not yet committed, waits PAUSE seconds, and writes another when the event is
acknowledged.
"""

from __future__ import annotations

import sys
import time

import psycopg

from messaging.idempotency import Transactional
from messaging.sql import mysql, open_sqlite
from messaging.sql.driver import execute
from messaging.testing import deliver
from tests.idempotency.services import Billing, Enrolled


def main(url: str, pause: str, events: str) -> None:
    def connect() -> object:
        if url.startswith("mysql://"):
            return mysql(url)()
        return psycopg.connect(url) if "dbname=" in url else open_sqlite(url)

    database = Transactional(connect)

    def does(event: Enrolled) -> None:
        execute(database.connection, f"insert into effects values ({event.number})")
        say("effect", event.number)
        time.sleep(float(pause))

    billing = Billing(does)
    for number in range(int(events)):
        event = Enrolled(number=number)
        result = deliver(billing, event, id=f"e{number}", middleware=[database])
        assert result.acknowledged, result.error
        say("acknowledged", number)
    database.close()


def say(what: str, number: int) -> None:
    sys.stdout.write(f"{what} {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
