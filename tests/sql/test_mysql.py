"""MySQL's own ways, on a real MariaDB: locks, lost connections, silence, collations and modes."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy.orm import Session

from messaging.errors import ConfigurationError, PublishError, TransportError
from messaging.idempotency import MySqlStore, Transactional
from messaging.outbox import Claims, Database, Relay, SqlOutbox, connector, create
from messaging.publishing.publisher import Publisher
from messaging.sql import mysql
from messaging.sql.driver import execute
from messaging.stores import Claim
from messaging.testing import deliver
from messaging.transport import Failure, Outgoing
from tests.idempotency.services import Billing, Enrolled
from tests.outbox.conftest import Noted
from tests.scripted import ScriptedTopic, busy
from tests.servers import running_mariadb

TABLE = "messaging_outbox"


@pytest.fixture
def url(mariadb: str) -> str:
    """Of a database with an outbox and a table of the application's."""
    with closing(mysql(mariadb)()) as connection:
        create(connection)
        execute(connection, "CREATE TABLE students (name varchar(50) PRIMARY KEY, n int)")
        execute(connection, "INSERT INTO students VALUES ('Ana', 0), ('Bia', 0)")
        connection.commit()
    return mariadb


def publish(connection: Any, *whos: str) -> None:
    publisher = Publisher(SqlOutbox(connection), source="/test")
    for n, who in enumerate(whos):
        publisher.publish(Noted(who=who, n=n))


def count(url: str, table: str = TABLE) -> int:
    with closing(mysql(url)()) as connection:
        found: int = execute(connection, f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def given(url: str, **more: Any) -> Any:
    """A connection of the application's, as PyMySQL opens it by itself."""
    database, path = url.removeprefix("mysql://messaging@localhost/").split("?unix_socket=")
    return pymysql.connect(unix_socket=path, user="messaging", database=database, **more)


# What is written


def test_a_body_of_200_kilobytes_and_an_emoji_arrive_intact(url: str) -> None:
    said = "Zoë 🎓 " * 20_000
    with closing(mysql(url)()) as connection:
        publish(connection, "Ana")
        body = f'{{"subject": "Ana", "data": "{said}"}}'
        big = Outgoing(id="e2", body=body, attributes={}, size=262_000)
        assert SqlOutbox(connection).publish([big] * 10) == ()
        connection.commit()
    topic = ScriptedTopic()
    with Relay(connector(url), topic) as relay:
        relay.drain()
    assert [one.body for one in topic.accepted[1:]] == [body] * 10


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        ({"sql_mode": ""}, "not in strict mode"),
        ({"charset": "latin1"}, "character set is latin1"),
        ({"charset": "utf8mb3"}, "character set is utf8mb3"),
    ],
    ids=str,
)
def test_a_connection_that_would_lose_a_part_of_a_text_is_refused(
    url: str, opened: dict[str, Any], said: str
) -> None:
    """By the outbox, and by `Transactional` before its handler runs."""
    with closing(given(url, **opened)) as connection:
        with pytest.raises(PublishError, match=said) as refused:
            publish(connection, "Ana")
        assert "NotStrict" in str(refused.value)
    database = Transactional(lambda: given(url, **opened)).create()
    ran: list[object] = []
    result = deliver(Billing(ran.append), Enrolled(number=1), middleware=[database])
    database.close()
    assert said in str(result.error)
    assert (ran, count(url)) == ([], 0)


def test_names_that_differ_by_case_accent_or_a_space_are_others(url: str) -> None:
    """The database's own collation, utf8mb4_general_ci, takes them for one."""

    def refuse(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        return busy(*(n for n, one in enumerate(batch) if '"ana"' in one.body))

    topic = ScriptedTopic(*[refuse] * 4)
    with closing(mysql(url)()) as connection:
        publish(connection, "ana", "ANA", "aná")
        connection.commit()
    with Relay(connector(url), topic) as relay:
        relay.drain()
    with closing(mysql(url)()) as connection:
        keys = execute(connection, f'SELECT count(DISTINCT "key") FROM {TABLE}').fetchone()
    assert keys == (3,)
    with closing(MySqlStore(url).create()) as store:
        for event in ("e", "E", "é", "e ", " e"):
            assert isinstance(store.begin("mail", event, lease_seconds=60), Claim), event


def test_times_are_utc_whatever_zone_the_server_or_the_session_has(url: str) -> None:
    with closing(mysql(url)()) as connection:
        execute(connection, "SET SESSION time_zone = '-03:00'")
        publish(connection, "Ana")
        connection.commit()
        [age] = execute(connection, f"SELECT unix_timestamp() - created FROM {TABLE}").fetchone()
    assert abs(age) < 60
    with closing(Database(connector(url))) as database:
        assert abs(database.now() - datetime.datetime.now(datetime.UTC).timestamp()) < 60


# Locks


def test_a_deadlock_takes_the_event_with_it_and_is_not_tried_again_alone(url: str) -> None:
    """MySQL rolled back all of the transaction: the event by itself must not be written anew."""
    with closing(mysql(url)()) as one, closing(mysql(url)()) as other:
        execute(one, "UPDATE students SET n = 1 WHERE name = 'Ana'")
        publish(one, "Ana")
        for _ in range(3):  # the one that changed less is chosen to end
            publish(other, "x", "y", "z")
        execute(other, "UPDATE students SET n = 1 WHERE name = 'Bia'")
        waits = threading.Thread(
            target=execute, args=(other, "UPDATE students SET n = 2 WHERE name = 'Ana'")
        )
        waits.start()
        with pytest.raises(pymysql.OperationalError) as ended:
            execute(one, "UPDATE students SET n = 2 WHERE name = 'Bia'")
        assert ended.value.args[0] == 1213
        waits.join(20)
        one.autocommit(True)
        with pytest.raises(PublishError, match="autocommit") as refused:
            publish(one, "Ana")
        assert "NoTransaction" in str(refused.value)
        other.commit()
    assert count(url) == 9


def test_an_outbox_that_waits_too_long_for_a_lock_says_so(url: str) -> None:
    with closing(mysql(url)()) as holder, closing(mysql(url)()) as connection:
        execute(holder, f"LOCK TABLES {TABLE} READ")
        execute(connection, "SET SESSION lock_wait_timeout = 1")
        execute(connection, "UPDATE students SET n = 1 WHERE name = 'Ana'")
        with pytest.raises(PublishError, match=r"OperationalError \(1205\)") as refused:
            publish(connection, "Ana")
        cause = refused.value.__cause__
        assert isinstance(cause, TransportError)
        assert not cause.retryable


def test_a_relay_that_waits_too_long_for_a_lock_sends_nothing_twice(url: str) -> None:
    """Its note of what was sent fails with 1205: it is made up for when the lock is gone."""
    with closing(mysql(url)()) as connection, closing(mysql(url)()) as holder:
        publish(connection, "Ana")
        connection.commit()

        def impatient() -> Any:
            opened = connector(url)()
            execute(opened, "SET SESSION innodb_lock_wait_timeout = 1")
            return opened

        def lock(batch: Sequence[Outgoing]) -> Sequence[Failure]:
            execute(holder, f"SELECT * FROM {TABLE} FOR UPDATE")
            return ()

        topic = ScriptedTopic(lock)
        with Relay(impatient, topic) as relay:
            relay.drain()
            assert relay.stats.published == 0
            holder.rollback()
            relay.drain()
            assert relay.stats.published == 1
    assert len(topic.accepted) == 1


def test_pruning_marks_in_a_transaction_keeps_nobody_waiting(url: str) -> None:
    """A DELETE that scans would lock what it passes, and the gaps, until the commit."""
    with closing(MySqlStore(url).create()) as store:
        for n in range(0, 40, 2):
            claim = store.begin("mail", f"e{n:02}", lease_seconds=60)
            assert isinstance(claim, Claim)
            store.complete(claim)
        with closing(mysql(url)()) as connection:
            execute(
                connection, "UPDATE messaging_handled SET handled_at = 1 WHERE event_id < 'e10'"
            )
            connection.commit()
        pruned: list[int] = []

        def opened() -> Any:
            made = mysql(url)()
            made.commit = lambda: pruned.append(1)  # it stays open
            return made

        database = Transactional(opened)
        assert database.prune(3600) == 5

        def patient() -> Any:
            made = mysql(url)()
            execute(made, "SET SESSION innodb_lock_wait_timeout = 1")
            return made

        with closing(MySqlStore(patient)) as other:
            for n in range(11, 40, 2):
                assert isinstance(other.begin("mail", f"e{n}", lease_seconds=60), Claim)
        database.close()
        assert pruned


# Connections


def kill(url: str, *numbers: int) -> None:
    with closing(mysql(url)()) as admin:
        for number in numbers:
            execute(admin, f"KILL {number}")


def test_a_killed_connection_costs_a_relay_a_moment(url: str) -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(connector(url)())
        return made[-1]

    topic = ScriptedTopic()
    with Relay(connect, topic) as relay:
        assert relay.step() == 0
        kill(url, made[0].thread_id())
        with closing(mysql(url)()) as connection:
            publish(connection, "Ana")
            connection.commit()
        relay.drain()
        relay.drain()
    assert len(made) == 2
    assert len(topic.accepted) == 1


def test_a_connection_that_is_killed_in_the_handler_leaves_neither_and_costs_one_retry(
    url: str,
) -> None:
    database = Transactional(mysql(url)).create()

    def dies(event: Enrolled) -> None:
        execute(database.connection, "INSERT INTO students VALUES ('Caio', 1)")
        kill(url, database.connection.thread_id())
        execute(database.connection, "SELECT 1")

    def works(event: Enrolled) -> None:
        execute(database.connection, "INSERT INTO students VALUES ('Caio', 1)")

    failed = deliver(Billing(dies), Enrolled(number=1), id="e1", middleware=[database])
    assert failed.retried
    assert (count(url, "students"), count(url, "messaging_handled")) == (2, 0)
    assert deliver(Billing(works), Enrolled(number=1), id="e1", middleware=[database]).acknowledged
    assert (count(url, "students"), count(url, "messaging_handled")) == (3, 1)
    database.close()


def test_a_connection_that_died_while_idle_is_replaced_before_the_handler_runs(url: str) -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(mysql(url)())
        return made[-1]

    database = Transactional(connect).create()
    billing = Billing()
    kill(url, made[0].thread_id())
    assert deliver(billing, Enrolled(number=1), id="e1", middleware=[database]).acknowledged
    assert (len(made), len(billing.handled)) == (2, 1)
    database.close()


def test_a_duplicate_that_waits_too_long_comes_again_later(url: str) -> None:
    """While the first holds its row: the wait ends with 1205, no error of the handler's."""

    def impatient() -> Any:
        opened = mysql(url)()
        execute(opened, "SET SESSION innodb_lock_wait_timeout = 1")
        return opened

    database = Transactional(impatient).create()
    results: list[Any] = []
    twin = Billing()

    def first(event: Enrolled) -> None:
        results.append(deliver(twin, event, id="e1", middleware=[database]))

    assert deliver(Billing(first), Enrolled(number=1), id="e1", middleware=[database]).acknowledged
    assert (results[0].retried, results[0].why) == (True, "in progress elsewhere")
    assert twin.handled == []
    database.close()


def test_a_store_goes_on_when_its_connection_was_killed(url: str) -> None:
    made: list[Any] = []

    def connect() -> Any:
        made.append(mysql(url)())
        return made[-1]

    with closing(MySqlStore(connect).create()) as store:
        kill(url, made[0].thread_id())
        assert isinstance(store.begin("mail", "e1", lease_seconds=60), Claim)
    assert len(made) == 2


def test_a_statement_that_is_not_answered_ends_the_connection(url: str) -> None:
    with closing(Database(mysql(url, timeout=0.5))) as database:
        with (
            pytest.raises(pymysql.OperationalError, match="timed out"),
            database.transaction() as cursor,
        ):
            cursor.read("SELECT sleep(20)")
        database.close()
        assert database.now() > 0  # on another connection


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that lets everybody in and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_mysql_that_never_answers_does_not_hang(silent: int) -> None:
    url = f"mysql://u:segredo@127.0.0.1:{silent}/x?connect_timeout=1"
    with closing(MySqlStore(url, timeout=0.5)) as store, pytest.raises(TransportError) as told:
        store.begin("mail", "e1", lease_seconds=60)
    assert told.value.retryable
    assert "segredo" not in str(told.value)
    with (
        closing(Database(connector(url, timeout=0.5))) as database,
        pytest.raises(TransportError, match="no answer came in time"),
    ):
        database.now()


def test_a_store_whose_table_is_missing_says_how_to_make_it(url: str) -> None:
    with (
        closing(MySqlStore(url)) as store,
        pytest.raises(ConfigurationError, match=r"messaging_handled.*make it with create\(\)"),
    ):
        store.begin("mail", "e1", lease_seconds=60)


# By SQLAlchemy


def test_an_event_of_a_session_that_is_rolled_back_by_a_deadlock_is_not_sent(url: str) -> None:
    engine = sqlalchemy.create_engine(url.replace("mysql://", "mysql+pymysql://"))
    with closing(mysql(url)()) as other, Session(engine) as session:
        session.execute(sqlalchemy.text("UPDATE students SET n = 1 WHERE name = 'Ana'"))
        publish(session, "Ana")
        for _ in range(3):
            publish(other, "x", "y", "z")
        execute(other, "UPDATE students SET n = 1 WHERE name = 'Bia'")
        waits = threading.Thread(
            target=execute, args=(other, "UPDATE students SET n = 2 WHERE name = 'Ana'")
        )
        waits.start()
        with pytest.raises(sqlalchemy.exc.OperationalError, match="1213"):
            session.execute(sqlalchemy.text("UPDATE students SET n = 2 WHERE name = 'Bia'"))
        waits.join(20)
        other.rollback()
        session.rollback()
    engine.dispose()
    assert count(url) == 0


# URLs


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_a_url_is_taken_as_sqlalchemy_writes_it(url: str, scheme: str) -> None:
    address = url.replace("mysql://", f"{scheme}://") + "&charset=utf8mb4"
    with closing(Database(connector(address))) as database:
        Claims(database).check()
        assert database.dialect == "mysql"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:SEGREDO@h", "mysql://user@host/name"),
        ("mysql://u:SEGREDO@h:x/name", "mysql://user@host/name"),
        ("mysql://u:SEGREDO@h/name?ssl-mode=on", "its parameters are .*ssl_ca"),
        ("mysql://u:SEGREDO@h/name?ssl_verify_cert=maybe", 'ssl_verify_cert.*"true" or "false"'),
        ("mysql://u:SEGREDO@h/name?ssl_verify_identity=true", "ssl_verify_identity.*needs ssl_ca"),
        ("mysql://u:SEGREDO@h/name?connect_timeout=0", "from 1 to 3600"),
    ],
)
def test_a_url_that_cannot_be_is_refused_at_once_with_the_remedy(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        connector(url)
    assert "SEGREDO" not in str(refused.value)


def test_without_pymysql_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['pymysql'] = None\n"
        "from messaging.outbox import connector\n"
        "try: connector('mysql://u@h/x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtra")
    assert 'pip install "messaging-sns-sqs[mysql]"' in done.stdout


# TLS


def certificate(folder: Path) -> dict[str, str]:
    """A certificate that signs itself, for MariaDB's options."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("db.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    return {name: str(folder / f"{name}.pem") for name in ("cert", "key")}


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that the server's user may read."""
    with tempfile.TemporaryDirectory(prefix="messaging-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_tls_is_used_and_the_server_is_looked_at(public: Path) -> None:
    files = certificate(public)
    for one in files.values():
        Path(one).chmod(0o644)
    other = public / "other"
    other.mkdir()
    stranger = certificate(other)
    with running_mariadb(**{"ssl-cert": files["cert"], "ssl-key": files["key"]}) as server:
        url = server.format("mysql")
        with closing(mysql(f"{url}&ssl_ca={files['cert']}")()) as connection:
            [_, cipher] = execute(connection, "SHOW STATUS LIKE 'Ssl_cipher'").fetchone()
            assert cipher
        another_name = f"ssl_ca={files['cert']}&ssl_verify_identity=true"
        for parameters in (f"ssl_ca={stranger['cert']}", another_name):
            with (
                closing(Database(connector(f"{url}&{parameters}"))) as database,
                pytest.raises(TransportError, match="2003: the server cannot be reached"),
            ):
                database.now()  # a stranger's certificate; and one that is not for "localhost"


def test_tls_that_was_asked_for_is_not_done_without(mariadb: str, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with (
        closing(Database(connector(f"{mariadb}&ssl_ca={files['cert']}"))) as database,
        pytest.raises(TransportError, match="2026: TLS was asked for"),
    ):
        database.now()


def test_a_certificate_that_cannot_be_read_is_told_by_its_parameter(mariadb: str) -> None:
    with (
        closing(Database(connector(f"{mariadb}&ssl_ca=/nowhere.pem"))) as database,
        pytest.raises(ConfigurationError, match="ssl_ca"),
    ):
        database.now()
