"""What the environment says: read once, all mistakes together."""

from __future__ import annotations

import re

import pytest

from messaging.errors import SettingsError
from messaging.settings import Settings


def test_an_empty_environment_is_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_every_field_is_read_from_its_name() -> None:
    settings = Settings.from_environment(
        {
            "MESSAGING_TOPIC": "alunos",
            "MESSAGING_PREFIX": "dev-",
            "MESSAGING_SOURCE": "/cadastro",
            "MESSAGING_REGION": "sa-east-1",
            "MESSAGING_ENDPOINT_URL": "http://127.0.0.1:4566",
            "MESSAGING_MAX_BYTES": "1048576",
            "MESSAGING_TRANSPORT": "boto3",
            "MESSAGING_PUBLISH_TIMEOUT": "12.5",
            "MESSAGING_WAIT": "0.5",
            "MESSAGING_CONCURRENCY": "4",
            "MESSAGING_DRAIN": "5",
            "MESSAGING_LOG_LEVEL": "DEBUG",
            "MESSAGING_LANGUAGE": "pt",
            "MESSAGING_TOPOLOGY": "consumers:TOPOLOGY",
            "MESSAGING_DATABASE": "sqlite:///alunos.db",
            "MESSAGING_RATES": "redis://cache.example/0",
            "MESSAGING_BROKER_URL": "amqp://rabbit.example/school",
        }
    )
    assert settings.model_dump() == {
        "topic": "alunos",
        "prefix": "dev-",
        "source": "/cadastro",
        "region": "sa-east-1",
        "endpoint_url": "http://127.0.0.1:4566",
        "max_bytes": 1_048_576,
        "transport": "boto3",
        "language": "pt",
        "publish_timeout": 12.5,
        "wait": 0.5,
        "concurrency": 4,
        "drain": 5,
        "log_level": "DEBUG",
        "topology": "consumers:TOPOLOGY",
        "database": "sqlite:///alunos.db",
        "rates": "redis://cache.example/0",
        "broker_url": "amqp://rabbit.example/school",
    }
    assert "alunos.db" not in repr(settings)  # a database's URL may hold a password


def test_the_environment_of_this_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESSAGING_PREFIX", "mine-")
    assert Settings.from_environment().prefix == "mine-"


def test_an_empty_value_is_not_said() -> None:
    assert Settings.from_environment({"MESSAGING_TOPIC": "", "AWS_REGION": ""}) == Settings()


def test_the_names_of_aws_serve_where_ours_are_silent() -> None:
    aws = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://localhost:1"}
    assert Settings.from_environment(aws).region == "us-east-1"
    assert Settings.from_environment(aws).endpoint_url == "http://localhost:1"
    assert Settings.from_environment({**aws, "AWS_REGION": "sa-east-1"}).region == "sa-east-1"
    # boto3 gives each service the address of its own, if nobody gives it one for all.
    apart = {**aws, "AWS_ENDPOINT_URL_SQS": "http://localhost:2"}
    assert Settings.from_environment(apart).endpoint_url is None
    assert Settings.from_environment({**aws, "MESSAGING_REGION": "eu-west-1"}).region == "eu-west-1"


def test_all_mistakes_are_told_at_once_with_the_name_and_the_value() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(
            {"MESSAGING_WAIT": "21", "MESSAGING_CONCURRENCY": "many", "MESSAGING_TOPIK": "x"}
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any(re.search(r"MESSAGING_WAIT='21': .*less than or equal to 20", x) for x in lines)
    assert any(re.search(r"MESSAGING_CONCURRENCY='many': .*valid integer", x) for x in lines)
    assert any("MESSAGING_TOPIK: unknown setting; known are MESSAGING_TOPIC," in x for x in lines)


def test_a_mistake_in_a_name_of_aws_is_told_under_that_name() -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL='localhost:1'"):
        Settings.from_environment({"AWS_ENDPOINT_URL": "localhost:1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREFIX", "dev."),
        ("ENDPOINT_URL", "ftp://x"),
        ("MAX_BYTES", "1023"),
        ("MAX_BYTES", "1048577"),
        ("WAIT", "-1"),
        ("WAIT", "nan"),
        ("CONCURRENCY", "0"),
        ("DRAIN", "-1"),
        ("DRAIN", "inf"),
        ("LOG_LEVEL", "LOUD"),
        ("TOPOLOGY", "consumers"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"MESSAGING_{name}={value!r}"):
        Settings.from_environment({f"MESSAGING_{name}": value})


def test_what_others_set_is_none_of_our_business() -> None:
    assert Settings.from_environment({"PATH": "/bin", "MY_MESSAGING_TOPIC": "x"}) == Settings()


LINKS = {
    "MESSAGING_SERVICE_HOST": "10.96.0.17",
    "MESSAGING_SERVICE_PORT": "80",
    "MESSAGING_SERVICE_PORT_HTTP": "80",
    "MESSAGING_SERVICE_PORT_HTTP_METRICS": "9090",
    "MESSAGING_PORT": "tcp://10.96.0.17:80",
    "MESSAGING_PORT_80_TCP": "tcp://10.96.0.17:80",
    "MESSAGING_PORT_80_TCP_PROTO": "tcp",
    "MESSAGING_PORT_80_TCP_PORT": "80",
    "MESSAGING_PORT_80_TCP_ADDR": "10.96.0.17",
    "MESSAGING_PORT_53_UDP": "udp://[fd00::1]:53",
    "MESSAGING_PORT_53_UDP_ADDR": "fd00::1",
    "MESSAGING_PORT_5_SCTP_PROTO": "sctp",
    # A Service that is called messaging-topic.
    "MESSAGING_TOPIC_SERVICE_HOST": "10.96.0.18",
    "MESSAGING_TOPIC_SERVICE_PORT": "443",
    "MESSAGING_TOPIC_PORT": "tcp://10.96.0.18:443",
    "MESSAGING_TOPIC_PORT_443_TCP_ADDR": "10.96.0.18",
}


def test_a_kubernetes_service_called_messaging_keeps_no_pod_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    assert Settings.from_environment({**LINKS, "MESSAGING_TOPIC": "alunos"}).topic == "alunos"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESSAGING_TOPIK", "alunos"),
        ("MESSAGING_TRANS_PORT", "fast"),
        ("MESSAGING_PORT", "8080"),
        ("MESSAGING_PORT_TCP", "tcp://10.0.0.1:80"),
        ("MESSAGING_SERVICE", "10.0.0.1"),
        ("MESSAGING_SERVICE_PORT", "http"),
        ("MESSAGING_HOST", "10.0.0.1"),
    ],
)
def test_a_mistyped_setting_is_refused_beside_service_links(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: unknown setting"):
        Settings.from_environment({**LINKS, name: value})


@pytest.mark.parametrize(
    ("given", "language"),
    [
        ({"LANG": "pt_BR.UTF-8"}, "pt"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "C.UTF-8", "LC_MESSAGES": "pt_PT"}, "pt"),
        ({"LANG": "pt_BR.UTF-8", "MESSAGING_LANGUAGE": "en"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_the_locales_where_it_is_not_said(
    given: dict[str, str], language: str
) -> None:
    assert Settings.from_environment(given).language == language
