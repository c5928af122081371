"""What stores in databases do at the edges: races between two statements, errors, connections."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError, TransportError
from messaging.idempotency import MySqlStore, PostgresStore, SqliteStore
from messaging.idempotency.marks import TABLE, Marks
from messaging.sql import mysql
from messaging.sql.driver import DriverConnection, execute, execute_many
from messaging.stores import Claim, Done, InProgress
from messaging.testing import FakeClock

AGES_AGO = -1e9


class Disturbed(Marks):
    """Lets something happen before or after a look, or after a claim."""

    hooks: ClassVar[dict[str, Callable[[], object]]] = {}
    """Of the test that runs."""

    def look(self, *args: Any) -> Any:
        self._happens("before look")
        row = super().look(*args)
        self._happens("after look")
        return row

    def change(self, connection: DriverConnection, name: str, **values: object) -> int:
        changed = super().change(connection, name, **values)
        self._happens(f"after {name}")
        return changed

    def _happens(self, when: str) -> None:
        self.hooks.get(when, lambda: None)()


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    yield
    Disturbed.hooks.clear()


@dataclass(frozen=True)
class Served:
    """The store of a server, and a look into its table from outside."""

    store: PostgresStore | MySqlStore
    connection: Any
    past: str

    def age(self, column: str) -> None:
        """As though 100 seconds had passed."""
        execute(self.connection, f"update {TABLE} set {column} = {column} {self.past}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marks.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def others(path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    """Another process's store in the same file."""
    store = SqliteStore(path, clock=clock)
    yield store
    store.close()


@pytest.fixture
def ours(path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    store._marks = Disturbed("sqlite", TABLE, clock)
    yield store
    store.close()


def claim(store: Any, event: str = "e1") -> Claim:
    found = store.begin("mail", event, lease_seconds=60)
    assert isinstance(found, Claim)
    return found


def test_what_is_given_back_between_two_statements_is_claimed(
    ours: SqliteStore, others: SqliteStore
) -> None:
    held = claim(others)
    Disturbed.hooks["before look"] = lambda: others.release(held)
    assert claim(ours).token != held.token


def test_what_others_claim_and_give_back_again_and_again_comes_later(
    ours: SqliteStore, others: SqliteStore
) -> None:
    held = [claim(others)]
    Disturbed.hooks["before look"] = lambda: others.release(held[-1])
    Disturbed.hooks["after look"] = lambda: held.append(claim(others))
    found = ours.begin("mail", "e1", lease_seconds=60)
    assert found == InProgress(0.0)
    assert len(held) == 1 + 5, "it gives up after five tries"


def test_a_claim_that_expires_between_two_statements_is_no_negative_time(
    ours: SqliteStore, others: SqliteStore, clock: FakeClock
) -> None:
    claim(others)
    Disturbed.hooks["before look"] = lambda: clock.advance(61)
    assert ours.begin("mail", "e1", lease_seconds=60) == InProgress(0.0)


def test_a_claim_whose_answer_was_lost_with_its_connection_is_ours(ours: SqliteStore) -> None:
    claim(ours, "e0")  # a connection lies idle
    lost = iter([sqlite3.OperationalError("the connection was lost")])

    def lose() -> None:
        if error := next(lost, None):
            raise error

    Disturbed.hooks["after claim"] = lose
    mine = claim(ours)
    assert ours.complete(mine)
    assert isinstance(ours.begin("mail", "e1", lease_seconds=60), Done)


def test_more_than_are_deleted_at_once_are_pruned_all_the_same(
    ours: SqliteStore, path: Path, clock: FakeClock
) -> None:
    claim(ours, "held")
    statement = f"insert into {TABLE} (service, event_id, handled_at) values ('mail', ?, ?)"
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(statement, ((str(n), AGES_AGO) for n in range(20_003)))
        connection.commit()
    assert ours.prune(60) == 20_003
    assert ours.prune(60) == 0
    assert isinstance(ours.begin("mail", "held", lease_seconds=60), InProgress)


def test_a_table_that_is_not_there_names_the_remedy(
    ours: SqliteStore, path: Path, postgres: str, mariadb: str
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"drop table {TABLE}")
    stores: list[Any] = [ours, PostgresStore(postgres), MySqlStore(mariadb)]
    for store in stores:
        with pytest.raises(ConfigurationError, match=rf"{TABLE} of marks.*make it with create\(\)"):
            claim(store)
        assert store.create() is store
        claim(store)
        store.close()


def test_a_file_that_is_no_database_is_an_error_of_the_database(path: Path) -> None:
    path.write_text("nome,cpf\n" * 200)
    with pytest.raises(TransportError, match=r"of marks.*not a database") as caught:
        SqliteStore(path)
    assert caught.value.code == "DatabaseError"


def test_a_mistake_that_is_not_the_databases_stays_what_it_is(ours: SqliteStore) -> None:
    def wrong() -> None:
        raise ValueError("no error of a driver")

    Disturbed.hooks["after claim"] = wrong
    with pytest.raises(ValueError, match="no error of a driver"):
        claim(ours)


def test_what_cannot_be_a_store_is_told_before_anything_is_connected(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MemoryStore"):
        SqliteStore(":memory:")
    for make in (PostgresStore, MySqlStore):
        with pytest.raises(ConfigurationError, match="table"):
            make(lambda: pytest.fail("it connected"), table="marks; drop table students")


def test_a_store_shows_its_table_and_no_address() -> None:
    store = PostgresStore("host=db user=school password=segredo", table="done_here")
    assert repr(store) == "PostgresStore(table='done_here')"


def test_connections_of_ones_own_are_set_to_autocommit_and_closed(
    postgres: str, mariadb: str
) -> None:
    made: list[Any] = []

    def kept(connect: Callable[[], Any]) -> Callable[[], Any]:
        def connected() -> Any:
            made.append(connect())
            return made[-1]

        return connected

    with_psycopg = PostgresStore(kept(lambda: psycopg.connect(postgres))).create()
    with_pymysql = MySqlStore(kept(mysql(mariadb))).create()
    claim(with_psycopg)
    claim(with_pymysql)
    of_postgres, of_mysql = made
    assert of_postgres.autocommit is True
    assert of_postgres.info.transaction_status.name == "IDLE"
    assert of_mysql.get_autocommit()
    with_psycopg.close()
    with_pymysql.close()
    assert of_postgres.closed
    assert not of_mysql.open


def test_on_postgresql_one_process_at_a_time_makes_the_table(postgres: str) -> None:
    store = PostgresStore(postgres)
    making = threading.Thread(target=store.create)
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(postgres) as first, psycopg.connect(postgres, autocommit=True) as outside:
        Marks("postgresql", TABLE, SYSTEM_CLOCK).create(first)
        making.start()
        while making.is_alive():
            if execute(outside, waiting).fetchone() == (1,):
                break
        else:
            pytest.fail("the second did not wait for the first")
        first.commit()
        making.join(10)
        assert not making.is_alive()
    claim(store)
    store.close()


@pytest.fixture(params=["postgres", "mysql"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    if request.param == "postgres":
        conninfo = request.getfixturevalue("postgres")
        connection: Any = psycopg.connect(conninfo, autocommit=True)
        made = Served(PostgresStore(conninfo).create(), connection, "- interval '100 s'")
    else:
        url = request.getfixturevalue("mariadb")
        connection = mysql(url)()
        connection.autocommit(True)
        made = Served(MySqlStore(url).create(), connection, "- 100")
    with closing(connection):
        yield made
    made.store.close()


def test_a_servers_store_takes_over_what_has_expired_and_nothing_else(served: Served) -> None:
    first = claim(served.store)
    found = served.store.begin("mail", "e1", lease_seconds=60)
    assert isinstance(found, InProgress)
    assert 50 < found.seconds <= 60
    served.age("until")
    second = claim(served.store)
    for change in (served.store.complete, served.store.release):
        assert not change(first)
    assert not served.store.renew(first, lease_seconds=60)
    assert served.store.renew(second, lease_seconds=600)
    found = served.store.begin("mail", "e1", lease_seconds=60)
    assert isinstance(found, InProgress)
    assert found.seconds > 500
    assert served.store.complete(second)
    for _ in range(2):
        assert isinstance(served.store.begin("mail", "e1", lease_seconds=60), Done)
    again = claim(served.store, "e2")
    assert served.store.release(again)
    assert not served.store.release(again)
    claim(served.store, "e2")


def test_a_servers_store_prunes_what_is_old_and_nothing_else(served: Served) -> None:
    insert = f"insert into {TABLE} (service, event_id, handled_at) values (:s, :e, now())"
    if served.past == "- 100":
        insert = insert.replace("now()", "unix_timestamp()")
    execute_many(served.connection, insert, [{"s": "mail", "e": f"o{n}"} for n in range(1001)])
    claim(served.store, "abandoned")
    served.age("handled_at")
    served.age("until")
    held = claim(served.store, "held")
    served.store.complete(claim(served.store, "new"))
    assert served.store.prune(200) == 0
    assert served.store.prune(30) == 1002
    assert served.store.prune(30) == 0
    assert isinstance(served.store.begin("mail", "new", lease_seconds=60), Done)
    assert served.store.complete(held)
    claim(served.store, "o0")


def test_mysql_claims_what_is_given_back_between_two_statements(mariadb: str) -> None:
    with closing(MySqlStore(mariadb).create()) as others, closing(MySqlStore(mariadb)) as ours:
        ours._marks = Disturbed("mysql", TABLE, SYSTEM_CLOCK)
        held = claim(others)
        Disturbed.hooks["before look"] = lambda: others.release(held)
        assert claim(ours).token != held.token


def test_a_statement_can_be_run_by_whoever_has_a_driver_of_its_own(
    others: SqliteStore, path: Path
) -> None:
    others.complete(claim(others))
    look = Marks("sqlite", TABLE, SYSTEM_CLOCK).sql["look"]
    with closing(sqlite3.connect(path)) as connection:
        values = {"service": "mail", "event_id": "e1", "now": 0}
        assert connection.execute(look, values).fetchone() == (1, None, None)


def test_what_expired_a_moment_ago_is_taken_over(served: Served) -> None:
    assert isinstance(served.store.begin("mail", "e1", lease_seconds=99.9), Claim)
    served.age("until")
    claim(served.store)


def test_what_mysql_refuses_is_an_error_and_not_taken_for_a_claim_of_others(mariadb: str) -> None:
    with (
        closing(MySqlStore(mariadb).create()) as store,
        pytest.raises(TransportError, match="of marks"),
    ):
        store.begin("service" * 50, "e1", lease_seconds=60)


def test_a_connection_on_which_mysql_would_shorten_a_key_is_refused(mariadb: str) -> None:
    def lenient() -> Any:
        connection = mysql(mariadb)()
        connection.cursor().execute("set session sql_mode = ''")
        return connection

    with closing(MySqlStore(lenient)) as store, pytest.raises(TransportError, match="strict mode"):
        store.create()
