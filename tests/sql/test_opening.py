"""How databases are opened: privately, with patience for writers, and none for silence."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from messaging.aws.dynamodb import DynamoDBStore
from messaging.aws.s3 import S3BlobStore
from messaging.errors import ConfigurationError, TransportError
from messaging.idempotency import PostgresStore, RedisStore, SqliteStore
from messaging.outbox import Claims, Database, connector, create
from messaging.settings import Settings
from messaging.sql import open_sqlite
from messaging.sql import opening as databases
from messaging.stores import Claim


@pytest.fixture
def umask() -> Iterator[None]:
    """Of a machine on which everybody may read and write everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {one.name: oct(stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir()}


def test_a_file_of_marks_is_for_its_owner_only_and_so_are_its_companions(
    tmp_path: Path, umask: None
) -> None:
    with closing(SqliteStore(tmp_path / "marks.db")) as store:
        store.begin("mail", "e1", lease_seconds=60)
        names = {"marks.db", "marks.db-wal", "marks.db-shm"}
        assert modes(tmp_path) == dict.fromkeys(names, "0o600")


def test_a_link_to_nothing_yet_leads_to_a_private_file(tmp_path: Path, umask: None) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    with closing(open_sqlite(tmp_path / "link.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        assert modes(tmp_path)["real.db"] == "0o600"


def test_a_file_that_stands_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    (tmp_path / "x.db").chmod(0o640)
    open_sqlite(tmp_path / "x.db").close()
    assert modes(tmp_path)["x.db"] == "0o640"


def test_a_path_that_cannot_be_is_told_by_sqlite(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="unable to open database file"):
        SqliteStore(tmp_path / "nowhere" / "x.db")


def test_outbox_and_marks_open_sqlite_alike(tmp_path: Path) -> None:
    path = tmp_path / "school.db"

    def told(connection: Any) -> list[Any]:
        names = ("journal_mode", "synchronous", "busy_timeout")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    with closing(open_sqlite(path)) as ours, closing(connector(f"sqlite:///{path}")()) as relays:
        assert told(ours) == told(relays) == ["wal", 1, 30_000]


def test_an_outbox_that_is_not_there_is_an_error_and_no_new_file(tmp_path: Path) -> None:
    with (
        closing(Database(connector(f"sqlite:///{tmp_path}/typo%20?.db"))) as database,
        pytest.raises(TransportError, match="unable to open database file"),
    ):
        database.dialect  # noqa: B018 - looked at: it connects
    assert list(tmp_path.iterdir()) == []


def test_many_that_open_a_new_file_at_once_all_write(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> bool:
        together.wait()
        with closing(SqliteStore(tmp_path / "marks.db")) as store:
            return isinstance(store.begin("mail", f"e{number}", lease_seconds=60), Claim)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(8)))


def test_a_relay_waits_for_whoever_writes(tmp_path: Path) -> None:
    """Also the first time, when the journal of a file that others made is still another."""
    import sqlite3

    path = tmp_path / "school.db"
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as writer:
        create(writer)
        writer.execute("BEGIN IMMEDIATE")
        commit = threading.Timer(0.5, lambda: writer.execute("COMMIT"))
        commit.start()
        with closing(Database(connector(f"sqlite:///{path}"))) as database:
            assert Claims(database).status().pending == 0
        commit.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that lets everybody in and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_store_on_a_postgresql_that_never_answers_does_not_hang(silent: int) -> None:
    url = f"postgresql://u:segredo@127.0.0.1:{silent}/x?connect_timeout=2"
    with closing(PostgresStore(url)) as store, pytest.raises(TransportError) as told:
        store.begin("mail", "e1", lease_seconds=60)
    assert "no answer in time" in str(told.value)
    assert told.value.retryable
    assert "segredo" not in str(told.value)


def test_a_relay_on_a_postgresql_that_never_answers_does_not_hang(silent: int) -> None:
    url = f"postgresql://u:segredo@127.0.0.1:{silent}/x?connect_timeout=2"
    with closing(Database(connector(url))) as database, pytest.raises(TransportError) as told:
        database.now()
    assert "no answer in time" in str(told.value)


def test_a_conninfo_without_a_limit_has_one(postgres: str) -> None:
    with closing(connector(postgres)()) as connection:
        assert connection.info.get_parameters()["connect_timeout"] == "10"
    with closing(connector(f"{postgres} connect_timeout=3")()) as connection:
        assert connection.info.get_parameters()["connect_timeout"] == "3"


def backend(connection: Any) -> int:
    number: int = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    return number


def test_a_postgresql_that_falls_silent_between_two_statements_is_left(postgres: str) -> None:
    with closing(connector(postgres, timeout=0.5)()) as connection:
        stopped = backend(connection)
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.5 seconds"):
                connection.execute("SELECT 1")
            # The late answer must not be taken for that of the next statement.
            assert connection.closed
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_a_statement_that_is_answered_piece_by_piece_may_take_long(postgres: str) -> None:
    with closing(connector(postgres, timeout=20)()) as connection:
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
        assert len(rows.fetchall()) == 20_000


def test_a_store_goes_on_when_one_of_its_connections_fell_silent(postgres: str) -> None:
    made: list[Any] = []
    connect = connector(postgres, timeout=0.5)
    with closing(PostgresStore(lambda: made.append(connect()) or made[-1]).create()) as store:
        stopped = backend(made[0])
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert isinstance(store.begin("mail", "e1", lease_seconds=60), Claim)
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert len(made) == 2


def test_a_store_whose_table_is_missing_says_how_to_make_it(postgres: str) -> None:
    with (
        closing(PostgresStore(postgres)) as store,
        pytest.raises(ConfigurationError, match=r"messaging_handled.*make it with create\(\)"),
    ):
        store.begin("mail", "e1", lease_seconds=60)


def local(port: int) -> tuple[Settings, boto3.Session]:
    session = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="sa-east-1"
    )
    return Settings(endpoint_url=f"http://127.0.0.1:{port}", region="sa-east-1"), session


def redis_store(port: int) -> Callable[[], object]:
    store = RedisStore(f"redis://:segredo@127.0.0.1:{port}/0", timeout=0.1)
    return lambda: store.begin("mail", "e1", lease_seconds=60)


def dynamodb_store(port: int) -> Callable[[], object]:
    settings, session = local(port)
    store = DynamoDBStore("handled", settings=settings, session=session, timeout=0.1)
    return lambda: store.begin("mail", "e1", lease_seconds=60)


def s3_store(port: int) -> Callable[[], object]:
    settings, session = local(port)
    store = S3BlobStore("escola", settings=settings, session=session, timeout=0.1)
    return lambda: store.get("k")


@pytest.mark.parametrize("make", [redis_store, dynamodb_store, s3_store])
def test_a_store_on_a_server_that_never_answers_does_not_hang(
    silent: int, make: Callable[[int], Callable[[], object]]
) -> None:
    with pytest.raises(TransportError) as told:
        make(silent)()
    assert told.value.retryable
    assert "segredo" not in str(told.value)


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_time_limit_that_cannot_be_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        databases.postgres("postgresql://h/x", timeout=timeout)
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        RedisStore("redis://h/0", timeout=timeout)
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        DynamoDBStore("handled", settings=Settings(), timeout=timeout)
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        S3BlobStore("escola", settings=Settings(), timeout=timeout)
