"""The road: boto3's endpoint, certificates, proxies, credentials and hooks, or boto3 itself."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import re
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from messaging.aws import connect
from messaging.aws.calls import BotoQueueCalls, BotoTopicCalls
from messaging.aws.clients import Clients
from messaging.aws.fast import FastQueueCalls, FastTopicCalls
from messaging.errors import AccessDenied, TransportError
from messaging.settings import Settings
from messaging.transport import Outgoing
from tests.aws.fast.conftest import ACCEPTED, answer

TOPIC = "arn:aws:sns:us-east-1:000000000000:alunos"
MESSAGE = Outgoing(id="e", body="{}", attributes={}, size=2)
GOOD = answer(ACCEPTED)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def session(**more: Any) -> boto3.Session:
    keys: dict[str, Any] = {"aws_access_key_id": "LOCAL", "aws_secret_access_key": "s"}
    return boto3.Session(**keys, region_name="us-east-1", **more)


def to(url: str | None) -> Settings:
    return Settings(topic=TOPIC, endpoint_url=url, region="us-east-1")


def publish(url: str, given: boto3.Session | None = None) -> None:
    broker = connect(to(url), session=given or session())
    try:
        assert broker.topic().publish([MESSAGE]) == ()
    finally:
        broker.close()


def lines(request: bytes) -> dict[str, str]:
    head = request.partition(b"\r\n\r\n")[0].decode()
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])


# -- where it goes


@pytest.mark.parametrize(
    ("environment", "sns", "sqs"),
    [
        ({}, "https://sns.us-east-1.amazonaws.com/", "https://sqs.us-east-1.amazonaws.com/"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            "https://sns-fips.us-east-1.amazonaws.com/",
            "https://sqs-fips.us-east-1.amazonaws.com/",
        ),
        (
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://sns.us-east-1.api.aws/",
            "https://sqs.us-east-1.api.aws/",
        ),
        (
            {"AWS_ENDPOINT_URL_SNS": "http://Here:4566/", "AWS_ENDPOINT_URL": "http://[::1]:80"},
            "http://here:4566/",
            "http://[::1]/",
        ),
    ],
)
def test_the_endpoint_is_the_one_that_boto3_would_take(monkeypatch, environment, sns, sqs) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clients = Clients(to(None), session())
    topics, queues = clients.topics, clients.queues
    assert isinstance(topics, FastTopicCalls)
    assert isinstance(queues, FastQueueCalls)
    assert (topics._endpoint.url, queues._endpoint.url) == (sns, sqs)
    assert (topics._endpoint.region, topics._endpoint.service) == ("us-east-1", "sns")
    clients.close()


def test_the_request_is_a_signed_one_of_boto3s_kind(scripted) -> None:
    server = scripted([GOOD])
    publish(server.url + "/under/a/path")
    ((_, request),) = server.requests
    assert request.startswith(b"POST /under/a/path HTTP/1.1\r\nHost: 127.0.0.1:")
    said = lines(request)
    assert re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=LOCAL/\d{8}/us-east-1/sns/aws4_request, "
        r"SignedHeaders=content-type;host;x-amz-date, Signature=[0-9a-f]{64}",
        said["Authorization"],
    )
    assert said["User-Agent"].startswith("Boto3/")
    assert said["User-Agent"].endswith(" messaging-sns-sqs")


def test_in_lambda_the_trace_goes_along(scripted, monkeypatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3;Lineage=a:0")
    server = scripted([GOOD])
    publish(server.url)
    assert lines(server.requests[0][1])["X-Amzn-Trace-Id"] == "Root=1-2-3;Lineage=a:0"


# -- who signs


def refreshing(keys: list[str]) -> boto3.Session:
    """A session whose credentials are expired at once: each request gets the next key."""

    def fetch() -> dict[str, str]:
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        key = keys.pop(0)
        return {
            "access_key": key,
            "secret_key": "s",
            "token": f"token-{key}",
            "expiry_time": expiry.isoformat(),
        }

    below = botocore.session.get_session()
    below._credentials = RefreshableCredentials.create_from_metadata(fetch(), fetch, "test")
    return boto3.Session(botocore_session=below, region_name="us-east-1")


def test_credentials_are_renewed_as_botocore_renews_them(scripted) -> None:
    server = scripted([GOOD, GOOD])
    broker = connect(to(server.url), session=refreshing([f"KEY{n}" for n in range(9)]))
    for _ in range(2):
        assert broker.topic().publish([MESSAGE]) == ()
    broker.close()
    said = [lines(request) for _, request in server.requests]
    keys = [re.search(r"Credential=(\w+)/", one["Authorization"]) for one in said]
    assert [key and key[1] for key in keys] != ["KEY0", "KEY0"]
    for one, key in zip(said, keys, strict=True):
        assert key is not None
        assert one["X-Amz-Security-Token"] == f"token-{key[1]}"
        assert "x-amz-security-token" in one["Authorization"]


def test_without_credentials_the_error_says_so_and_later_ones_are_found(
    scripted, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = scripted([GOOD])
    broker = connect(to(server.url))
    with pytest.raises(AccessDenied, match="no usable AWS credentials"):
        broker.topic().publish([MESSAGE])
    broker.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "K")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    broker = connect(to(server.url))
    assert broker.topic().publish([MESSAGE]) == ()
    broker.close()


# -- hooks


def hooked(handler: Callable[..., Any]) -> boto3.Session:
    given = session()
    given.events.register("before-send.sns", handler)
    return given


def test_a_before_send_handler_may_answer_in_place_of_the_service(scripted) -> None:
    server = scripted()
    seen: list[Any] = []

    class Raw:
        def stream(self) -> list[bytes]:
            return [ACCEPTED]

    def stub(request: Any, **_: Any) -> AWSResponse:
        seen.append((request.method, request.url, request.headers["content-type"], request.body))
        return AWSResponse(request.url, 200, {}, Raw())

    publish(server.url, hooked(stub))
    assert server.accepted == 0
    ((method, url, kind, body),) = seen
    assert (method, url) == ("POST", server.url + "/")
    assert kind.startswith("application/x-www-form-urlencoded")
    assert body.startswith(b"Action=PublishBatch&")


def test_a_before_send_handler_that_looks_changes_nothing(scripted) -> None:
    server = scripted([GOOD, GOOD])
    seen: list[str] = []

    def look(request: Any, **_: Any) -> None:
        seen.append(request.headers["Authorization"])

    given = hooked(look)
    broker = connect(to(server.url), session=given)
    for _ in range(2):
        assert broker.topic().publish([MESSAGE]) == ()
    broker.close()
    assert [lines(one)["Authorization"] for _, one in server.requests] == seen
    assert server.asked() == [0, 0]


def test_what_a_before_send_handler_writes_is_sent(scripted) -> None:
    server = scripted([GOOD])

    def write(request: Any, **_: Any) -> None:
        request.headers["X-Trace"] = "t1"

    publish(server.url, hooked(write))
    assert lines(server.requests[0][1])["X-Trace"] == "t1"


def test_motos_decorator_stands_in_for_aws() -> None:
    # In a process of its own: moto hooks itself into every client made after it was imported.
    code = """
        import boto3
        from moto import mock_aws
        from messaging import Event, Publisher
        from messaging.aws import connect, fast
        from messaging.settings import Settings
        from messaging.transport import Attribute, Outgoing

        with mock_aws():
            session = boto3.Session(region_name="us-east-1")
            sns, sqs = session.client("sns"), session.client("sqs")
            topic = sns.create_topic(Name="alunos")["TopicArn"]
            queue = sqs.create_queue(QueueName="alunos-um")["QueueUrl"]
            sns.subscribe(
                TopicArn=topic,
                Protocol="sqs",
                Endpoint="arn:aws:sqs:us-east-1:123456789012:alunos-um",
                Attributes={"RawMessageDelivery": "true"},
            )
            broker = connect(Settings(topic=topic), session=session)
            assert isinstance(broker._clients.topics, fast.FastTopicCalls)
            message = Outgoing(
                id="e", body="ação", attributes={"type": Attribute.string("t")}, size=9
            )
            assert broker.topic().publish([message, message]) == ()
            got = broker.queue("um").receive(10, 0)
            assert [one.body for one in got] == ["ação"] * 2, got
            assert got[0].attributes["type"].value == "t"
            assert list(broker.queue("um").delete(got)) == []
            assert list(broker.queue("um").receive(10, 0)) == []

            class Aconteceu(Event, type="aconteceu", version=1):
                numero: int

            with Publisher(broker.topic(), source="/s") as publisher:
                assert publisher.publish_many(Aconteceu(numero=n) for n in range(25)).copies == 25
            assert len(broker.queue("um").receive(10, 0)) == 10
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


# -- TLS


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """A CA of our own: its certificate's file, and a server's context with one that it signed."""
    place = tmp_path_factory.mktemp("ca")
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("ca", "server")
    ]

    def certificate(number: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(names[number])
            .issuer_name(names[0])
            .public_key(keys[number].public_key())
            .serial_number(number + 1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(number == 0, None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key()), False
            )
        )

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    root = certificate(0).add_extension(usage, critical=True).sign(keys[0], hashes.SHA256())
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate(1).add_extension(alternative, False).sign(keys[0], hashes.SHA256())
    pem = serialization.Encoding.PEM
    (place / "ca.pem").write_bytes(root.public_bytes(pem))
    key = keys[1].private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "server.pem").write_bytes(leaf.public_bytes(pem) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem")
    return str(place / "ca.pem"), context


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_ca_that_boto3_was_told_of_is_trusted(
    scripted, authority, monkeypatch, variable
) -> None:
    bundle, context = authority
    monkeypatch.setenv(variable, bundle)
    server = scripted([GOOD, answer(ACCEPTED + b" " * 100_000)], tls=context)
    broker = connect(to(server.url), session=session())
    assert isinstance(broker._clients.topics, FastTopicCalls)
    for _ in range(2):
        assert broker.topic().publish([MESSAGE]) == ()
    broker.close()
    assert server.asked() == [0, 0]


def test_a_certificate_that_nobody_vouches_for_is_refused(scripted, authority) -> None:
    server = scripted([GOOD], tls=authority[1])
    with pytest.raises(TransportError, match="SSLError"):
        publish(server.url)
    assert server.requests == []


def test_a_certificate_for_another_host_is_refused(scripted, authority, monkeypatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    server = scripted([GOOD], tls=authority[1])
    with pytest.raises(TransportError, match="SSLError"):
        publish(f"https://localhost:{server.port}")
    assert server.requests == []


# -- what it cannot do


def chosen(settings: Settings, given: boto3.Session) -> tuple[type, type]:
    clients = Clients(settings, given)
    try:
        return type(clients.topics), type(clients.queues)
    finally:
        clients.close()


def test_through_a_proxy_boto3_carries_the_messages_and_one_line_says_so(
    monkeypatch, caplog
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    with caplog.at_level(logging.WARNING, "messaging.aws"):
        assert chosen(to(None), session()) == (BotoTopicCalls, BotoQueueCalls)
    said = [record.getMessage() for record in caplog.records]
    assert [one.partition(":")[0] for one in said] == ["SNS", "SQS"]
    assert all("a proxy is set" in one and "MESSAGING_TRANSPORT=boto3" in one for one in said)
    assert "proxy.example.com" not in caplog.text  # its URL may hold a password


def test_a_proxy_for_others_is_none_for_us(monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert chosen(to(None), session()) == (FastTopicCalls, FastQueueCalls)
    monkeypatch.delenv("NO_PROXY")
    assert chosen(to("http://127.0.0.1:9"), session()) == (FastTopicCalls, FastQueueCalls)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"proxies": {"https": "http://proxy:1"}}, "a proxy is set"),
        ({"client_cert": "/a/file"}, "a client certificate is set"),
        ({"signature_version": "v4a"}, "another signature"),
        ({"auth_scheme_preference": "sigv4a"}, "another signature"),
    ],
)
def test_what_a_session_was_configured_for_is_not_passed_over(caplog, config, why) -> None:
    below = botocore.session.get_session()
    below.set_default_client_config(Config(**config))
    given = session(botocore_session=below)
    assert chosen(to(None), given)[0] is BotoTopicCalls
    assert why in caplog.text


def test_a_ca_bundle_that_cannot_be_read_is_left_to_boto3(monkeypatch, caplog) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    assert chosen(to(None), session()) == (BotoTopicCalls, BotoQueueCalls)
    assert "the CA bundle cannot be read" in caplog.text


@pytest.mark.parametrize("path", ["/a b", "/a/../b", "/%41"])
def test_an_endpoint_whose_path_needs_escaping_is_left_to_boto3(caplog, path) -> None:
    assert chosen(to(f"http://127.0.0.1:9{path}"), session()) == (BotoTopicCalls, BotoQueueCalls)
    assert "not a plain one" in caplog.text


def test_a_botocore_that_does_not_tell_how_it_connects_is_used_itself(monkeypatch, caplog) -> None:
    clients = Clients(to(None), session())
    monkeypatch.delattr(clients.sns._endpoint, "http_session")  # type: ignore[attr-defined]  # botocore's own
    assert isinstance(clients.topics, BotoTopicCalls)
    assert "does not show how it connects" in caplog.text


def test_boto3_is_one_setting_away_and_says_nothing(caplog) -> None:
    settings = to(None).model_copy(update={"transport": "boto3"})
    assert chosen(settings, session()) == (BotoTopicCalls, BotoQueueCalls)
    assert caplog.text == ""


# -- forks


def test_a_forked_child_has_connections_of_its_own(wire, say) -> None:
    wire.say("PublishBatch", say.batch([0]))
    code = f"""
        import os
        from messaging.aws import connect
        from messaging.aws.sessions import new_session
        from messaging.settings import Settings
        from messaging.transport import Outgoing

        session = new_session(
            aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
        )
        broker = connect(Settings(topic={TOPIC!r}, endpoint_url={wire.url!r}), session=session)
        message = Outgoing(id="e", body="b", attributes={{}}, size=1)
        assert broker.topic().publish([message]) == ()
        before = broker._clients.topics
        child = os.fork()
        if child == 0:
            mine = [broker.topic().publish([message]) for _ in range(20)]
            os._exit(0 if mine == [()] * 20 and broker._clients.topics is not before else 1)
        assert [broker.topic().publish([message]) for _ in range(20)] == [()] * 20
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert broker._clients.topics is before
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
    assert len(wire.asked("PublishBatch")) == 41
