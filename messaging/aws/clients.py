"""The boto3 clients of one connection, created when needed and never shared across a fork."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import urlencode

from messaging.aws.answers import UnreadableAnswer
from messaging.aws.bounded import Bounded
from messaging.aws.calls import QueueCalls, TopicCalls, queues_of, topics_of
from messaging.aws.errors import translated
from messaging.errors import ConfigurationError, SettingsError
from messaging.settings import Settings, without_password

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

__all__ = ["STORE_TIMEOUT", "Clients", "Place"]

_Client = TypeVar("_Client")

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 30
"""Seconds. Above the longest long poll (20 s), or every idle poll would end in an error."""
STORE_TIMEOUT = 10.0
"""Seconds. DynamoDB and S3 answer within milliseconds, and a handler waits for them."""
POOL = 160
"""Sockets that one client may keep: the concurrent requests of one process's services, or of
`publish_many`. A socket is opened when it is needed, so a high number costs nothing."""


class Place(NamedTuple):
    """Completes names to ARNs: partition ("aws", "aws-us-gov"...), region and account."""

    partition: str
    region: str
    account: str

    def topic_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"


class _Process:
    """One process's clients. After a fork, the child starts with none."""

    def __init__(self, session: boto3.Session | None) -> None:
        self.pid = os.getpid()
        self.lock = RLock()
        self.bounded = Bounded()
        self.session = session
        self.clients: dict[tuple[str, bool], Any] = {}
        self.topics: TopicCalls | None = None
        self.queues: QueueCalls | None = None
        self.place: Place | None = None


class _MadeClient(Generic[_Client]):
    """One of the clients, made when it is first asked for."""

    def __init__(self, service: str, *, patient: bool = True) -> None:
        self._asked = service, patient

    def __get__(self, clients: Clients, owner: type) -> _Client:
        return cast("_Client", clients.client(*self._asked))


class Clients:
    """The clients of one connection; usable from any thread and after a fork.

    `sns` and `sqs`, and `topics` and `queues` built on them, are for the hot path: one attempt per
    call, because the publisher, the receiver and the settler decide about retries. The `patient_`
    ones are for look-ups and provisioning, with botocore's standard retries
    (docs/decisions/0002-retries.md).
    """

    sns: _MadeClient[SNSClient] = _MadeClient("sns", patient=False)
    sqs: _MadeClient[SQSClient] = _MadeClient("sqs", patient=False)
    patient_sns: _MadeClient[SNSClient] = _MadeClient("sns")
    patient_sqs: _MadeClient[SQSClient] = _MadeClient("sqs")
    patient_dynamodb: _MadeClient[DynamoDBClient] = _MadeClient("dynamodb")
    patient_s3: _MadeClient[S3Client] = _MadeClient("s3")
    patient_cloudwatch: _MadeClient[CloudWatchClient] = _MadeClient("cloudwatch")

    def __init__(
        self,
        settings: Settings,
        session: boto3.Session | None = None,
        *,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        if read_timeout <= 0:
            raise ConfigurationError(f"timeout={read_timeout!r}: more than 0 seconds")
        if (settings.broker_url or "sqs:") != "sqs:":
            raise SettingsError(
                "this connects to AWS, but MESSAGING_BROKER_URL names another broker: unset it, "
                "or call messaging.connect, which follows it"
            )
        self._settings = settings
        self._read_timeout = read_timeout
        self._given = session
        self._endpoint = without_password(settings.endpoint_url or "")
        self._process = _Process(session)

    @property
    def topics(self) -> TopicCalls:
        """PublishBatch, over the transport in the settings."""
        process = self._mine()
        with process.lock:
            if process.topics is None:
                process.topics = topics_of(
                    self.sns, self._session(process), fast=self._fast, bounded=process.bounded
                )
            return process.topics

    @property
    def topics_at_hand(self) -> TopicCalls | None:
        """`topics`, if they have been created: creating them may look up credentials."""
        return self._mine().topics

    @property
    def bounded(self) -> Bounded:
        """Applies the caller's time limit to calls of these clients."""
        return self._mine().bounded

    @property
    def publish_timeout(self) -> float:
        """Seconds, from the settings."""
        return self._settings.publish_timeout

    @property
    def queues(self) -> QueueCalls:
        """Receive, delete and change visibility, over the transport in the settings."""
        process = self._mine()
        if process.queues is not None:  # asked for each request
            return process.queues
        with process.lock:
            if process.queues is None:
                process.queues = queues_of(self.sqs, self._session(process), fast=self._fast)
            return process.queues

    @property
    def _fast(self) -> bool:
        return self._settings.transport == "fast"

    @property
    def where(self) -> str:
        """The region, and the endpoint if it is not AWS's own, for error messages."""
        region = self._settings.region or self._region(self._mine()) or "no region"
        return f"{region} at {self._endpoint}" if self._endpoint else region

    def place(self) -> Place:
        """Partition, region and account. The first call asks STS; raises `TransportError`.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
        """
        process = self._mine()
        if process.place is None:
            with translated("ask", "STS for the account", self.where):
                process.place = process.bounded(self._asked_place)
        return process.place

    def _asked_place(self) -> Place:
        sts = self.client("sts")  # which may look up credentials
        account = sts.get_caller_identity()["Account"]
        if not re.fullmatch(r"[0-9]{12}", account):
            raise UnreadableAnswer("Account is no account")
        return Place(sts.meta.partition, sts.meta.region_name, account)

    def close(self) -> None:
        """Close every client's sockets. The next use opens new ones."""
        process = self._mine()
        with process.lock:
            open_now = [*process.clients.values(), process.topics, process.queues]
            process.clients, process.topics, process.queues = {}, None, None
        for one in open_now:
            if one is not None:
                one.close()

    def _mine(self) -> _Process:
        process = self._process
        if process.pid != os.getpid():
            # Forked: the parent's sockets are not ours, and its lock may have been held at the fork
            # and never be released. Two threads here at the same time create one each; the last one
            # is kept.
            process = self._process = _Process(self._given)
        return process

    def client(self, service: str, patient: bool = True) -> Any:
        """The client of any service, by its boto3 name."""
        process = self._mine()
        client = process.clients.get((service, patient))
        if client is None:
            with process.lock:  # a session creates clients one at a time (boto3's own advice)
                client = process.clients.get((service, patient))
                if client is None:
                    client = self._make(process, service, patient)
                    process.clients[service, patient] = client
        return client

    def _make(self, process: _Process, service: str, patient: bool) -> Any:
        region = self._settings.region or self._region(process)
        if not region:
            raise SettingsError(
                f"no AWS region to find {service.upper()} in: set MESSAGING_REGION, AWS_REGION or "
                "the region of your AWS profile"
            )
        make = cast("Callable[..., Any]", self._session(process).client)
        try:
            client = make(
                service,
                region_name=region,
                endpoint_url=self._settings.endpoint_url,
                config=_config(patient, self._read_timeout),
            )
        except ValueError:  # its text quotes the URL, including the password
            raise SettingsError(
                f"{self.where} is no place for {service.upper()}: the endpoint must be a URL like "
                "http://127.0.0.1:4566, the region a name like sa-east-1"
            ) from None
        if service == "sns" and not patient:
            client.meta.events.register("before-call.sns.PublishBatch", _encode_once)
        return client

    def _session(self, process: _Process) -> boto3.Session:
        import boto3

        if process.session is None:
            process.session = boto3.Session()
        return process.session

    def _region(self, process: _Process) -> str | None:
        return self._session(process).region_name


def _config(patient: bool, read_timeout: float) -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        max_pool_connections=POOL,
        tcp_keepalive=True,
        user_agent_extra="messaging-sns-sqs",
        retries={"mode": "standard", "total_max_attempts": 3 if patient else 1},
    )


def _encode_once(params: dict[str, Any], **_: object) -> None:
    # SNS uses the query protocol, and botocore would url-encode the same form again for hash,
    # signature and request; this is the text that it would produce.
    if isinstance(params.get("body"), dict):
        params["body"] = urlencode(params["body"], doseq=True).encode()
