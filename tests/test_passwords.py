"""A password is planted wherever a URL is given, and looked for in whatever comes out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import boto3
import pydantic
import pytest

from messaging.aws import connect, plan
from messaging.aws.dynamodb import DynamoDBStore
from messaging.aws.s3 import S3BlobStore
from messaging.errors import ConfigurationError, MessagingError, SettingsError
from messaging.event import Event
from messaging.idempotency import MySqlStore, PostgresStore, RedisStore
from messaging.outbox import Database, Relay, connector
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings, without_password
from messaging.topology import Topology

# With each sign that has a meaning in a URL and that people forget to encode.
PASSWORDS = ["SEGREDO" + sign + "OUTRO" for sign in ("", "@", "/", ":", "#", "?", "%", "[", " ")]
READABLE = ["SEGREDO" + sign + "OUTRO" for sign in ("", "@", ":", "%", " ")]
"""Those after which the host of an http URL can still be found."""
NOBODY = "127.0.0.1:1"


class Pedido(Event, type="pedido", version=1):
    numero: int


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def assert_silent(*texts: str) -> None:
    for text in texts:
        assert "segredo" not in text.lower(), text
        assert "outro" not in text.lower(), text


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="sa-east-1"
    )


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", ["MESSAGING_ENDPOINT_URL", "AWS_ENDPOINT_URL"])
def test_settings_show_no_password(name: str, password: str) -> None:
    try:
        settings = Settings.from_environment({name: f"http://u:{password}@{NOBODY}"})
    except SettingsError as unreadable:
        assert password not in READABLE
        assert_silent(told(unreadable))
    else:
        assert NOBODY in repr(settings)
        assert_silent(repr(settings), str(settings))
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({name: f"ftp://u:{password}@{NOBODY}", "MESSAGING_WAIT": "x"})
    assert NOBODY in str(refused.value)
    assert_silent(told(refused.value))
    with pytest.raises(pydantic.ValidationError) as wrong:
        Settings(endpoint_url=f"ftp://u:{password}@{NOBODY}")
    assert_silent(told(wrong.value))


def test_a_database_url_is_never_shown() -> None:
    given = {"MESSAGING_DATABASE": "postgresql://u:SEGREDO@h/x", "MESSAGING_WAIT": "x"}
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(given)
    assert_silent(told(refused.value))
    assert_silent(repr(Settings(database="postgresql://u:SEGREDO@h/x")))


@pytest.mark.parametrize("password", READABLE)
@pytest.mark.parametrize("transport", ["fast", "boto3"])
def test_a_server_that_is_away_is_told_without_the_password_of_its_address(
    session: boto3.Session, caplog: pytest.LogCaptureFixture, password: str, transport: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="messaging")
    settings = Settings(
        topic="arn:aws:sns:sa-east-1:000000000000:pedidos",
        region="sa-east-1",
        endpoint_url=f"http://u:{password}@{NOBODY}",
        transport=transport,
    )
    broker = connect(settings, session=session)

    def publish() -> None:
        Publisher(broker.topic(), source="/x", max_attempts=1).publish(Pedido(numero=1))

    def receive() -> None:
        broker.queue("mail").depth()

    def look() -> None:
        plan(Topology.of(topic="pedidos"), settings, session=session)

    for ask in (publish, receive, look):
        with pytest.raises(MessagingError) as away:
            ask()
        assert_silent(told(away.value))
    assert_silent(repr(broker), repr(broker.topic()), repr(broker.queue("mail")))
    assert_silent(*(record.getMessage() for record in caplog.records if "messaging" in record.name))


def assert_no_error_tells(url: str, kind: type[PostgresStore] | type[MySqlStore]) -> None:
    """Neither a store of marks nor a relay's database, on a server that is not there."""

    def mark() -> None:
        with closing(kind(url)) as store:
            assert_silent(repr(store))
            store.begin("mail", "e1", lease_seconds=60)

    def relay() -> None:
        with closing(Database(connector(url))) as database:
            database.now()

    for use in (mark, relay):
        with pytest.raises(MessagingError) as away:
            use()
        assert_silent(told(away.value))


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "form", ["postgresql://u:{}@127.0.0.1:1/x", "host=127.0.0.1 port=1 password={}"]
)
def test_a_postgresql_url_is_told_by_no_error(form: str, password: str) -> None:
    assert_no_error_tells(form.format(password), PostgresStore)


@pytest.mark.parametrize("password", [*PASSWORDS, "12/34SEGREDO@OUTRO"])
@pytest.mark.parametrize("scheme", ["mysql", "mariadb+pymysql"])
def test_a_mysql_url_is_told_by_no_error(scheme: str, password: str) -> None:
    assert_no_error_tells(f"{scheme}://u:{password}@127.0.0.1:1/x", MySqlStore)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_connection_of_the_services_own_is_told_without_its_url(password: str) -> None:
    import psycopg

    url = f"postgresql://u:{password}@127.0.0.1:1/x"
    with (
        closing(Database(lambda: psycopg.connect(url))) as database,
        pytest.raises(MessagingError) as away,
    ):
        database.now()
    assert_silent(told(away.value))


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_redis_url_is_told_by_no_error(password: str) -> None:
    def mark() -> None:
        store = RedisStore(f"redis://u:{password}@{NOBODY}/0", timeout=0.2)
        assert_silent(repr(store))
        store.begin("mail", "e1", lease_seconds=60)

    with pytest.raises(MessagingError) as away:
        mark()
    assert_silent(told(away.value))


@pytest.mark.parametrize("password", READABLE)
def test_dynamodb_and_s3_tell_no_password(session: boto3.Session, password: str) -> None:
    settings = Settings(endpoint_url=f"http://u:{password}@{NOBODY}", region="sa-east-1")
    marks = DynamoDBStore("handled", settings=settings, session=session, timeout=0.2)
    blobs = S3BlobStore("escola", settings=settings, session=session, timeout=0.2)
    uses: list[Callable[[], object]] = [
        lambda: marks.begin("mail", "e1", lease_seconds=60),
        lambda: blobs.get("k"),
    ]
    for use in uses:
        with pytest.raises(MessagingError) as away:
            use()
        assert_silent(told(away.value), repr(marks), repr(blobs))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("http://u:SEGREDO@host/x", "http://***@host/x"),
        ("http://u:SEGREDO@OUTRO@host", "http://***@host"),
        ("u:SEGREDO@host", "***@host"),
        ("redis://h/0?password=SEGREDO&db=1", "redis://h/0?password=***&db=1"),
        ("https://h?X-Amz-Security-Token=SEGREDO", "https://h?X-Amz-Security-Token=***"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_database_url_is_read_from_a_mounted_secret(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:SEGREDO@h/x\n")
    given = {"MESSAGING_DATABASE_FILE": str(secret)}
    assert Settings.from_environment(given).database == "postgresql://u:SEGREDO@h/x"


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (None, {}, "cannot be read"),
        (b"\xff\xfe", {}, "not text in UTF-8"),
        (b"\n", {}, "must hold one line"),
        (b"postgresql://u:SEGREDO@h/x\nOUTRO", {}, "must hold one line"),
        (b"sqlite:///x", {"MESSAGING_DATABASE": "sqlite:///y"}, "keep one of them"),
    ],
)
def test_a_secret_that_cannot_be_read_is_told_by_its_name(
    tmp_path: Path, content: bytes | None, more: dict[str, str], said: str
) -> None:
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(SettingsError, match=f"MESSAGING_DATABASE_FILE: .*{said}") as refused:
        Settings.from_environment({"MESSAGING_DATABASE_FILE": str(secret), **more})
    assert_silent(told(refused.value))


def test_a_relay_refuses_a_wrong_url_at_once() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Relay(connector("postgresql://h/x?nonsense=SEGREDO"), None)  # type: ignore[arg-type]  # never reached
