"""The settings of a deployment, read once from the environment. All errors are reported together.

This is the only module of the library that reads `os.environ`. It does not read credentials,
profiles and the like: boto3 finds those itself, as in any other program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from messaging.errors import SettingsError
from messaging.logs import logger

__all__ = ["Settings", "in_lambda", "without_password"]

PREFIX = "MESSAGING_"

log = logger("messaging.settings")


class Settings(BaseModel):
    """The settings of a deployment. Each field is read from `MESSAGING_<FIELD>`.

    Neither `repr` nor an error shows the password of a URL.

    Args:
        topic: the SNS topic: its name or its ARN; on RabbitMQ the exchange's name.
        prefix: put before the names of topic and queues: "dev-" for several environments in one
            account.
        source: the publisher's CloudEvents source, such as "/cadastro".
        region: the AWS region; by default AWS_REGION, AWS_DEFAULT_REGION, or boto3's own choice.
        endpoint_url: the endpoint of SNS and SQS, for a local server; by default AWS_ENDPOINT_URL.
        max_bytes: maximum size of a request to the topic; raise it with the topic's
            MaximumMessageSize.
        transport: carries messages: "fast", or only "boto3" (docs/how-to/fast-transport.md).
        publish_timeout: seconds that one publish may take, with all attempts and look-ups
            (`Publisher`).
        wait: seconds (0 to 20) of one long poll.
        concurrency: handlers that run at the same time in one process.
        drain: seconds that a stopping worker gives running handlers to end.
        log_level: the command line's log level.
        language: language of messages about a file's rows: "en" or "pt"; by default from LC_ALL,
            LC_MESSAGES or LANG.
        topology: where the command line finds the Topology: "consumers:TOPOLOGY".
        database: the outbox's database: "postgresql://user@host/name", "mysql://...",
            "sqlite:///file.db". Alternatively, MESSAGING_DATABASE_FILE names a file that contains
            it.
        rates: the store of rate limits that all processes share: "redis://host:6379/0" or
            "postgresql://user@host/name".
        broker_url: the broker: "sqs:" or unset is AWS; "amqp://user:password@host:5672/vhost" or
            "amqps://" is RabbitMQ, with the nodes of a cluster separated by commas.

    Example:
        ```python
        from messaging import Settings

        settings = Settings.from_environment(
            {"MESSAGING_TOPIC": "alunos", "MESSAGING_PREFIX": "dev-"}
        )
        assert (settings.topic, settings.prefix) == ("alunos", "dev-")
        ```
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    topic: str | None = Field(default=None, min_length=1)
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$")
    source: str | None = Field(default=None, min_length=1)
    region: str | None = Field(default=None, min_length=1)
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://")
    max_bytes: int = Field(default=262_144, ge=1024, le=1_048_576)
    transport: Literal["fast", "boto3"] = "fast"
    publish_timeout: float = Field(default=60, gt=0, le=86_400)
    wait: float = Field(default=20, ge=0, le=20)
    concurrency: int = Field(default=10, ge=1, le=1000)
    drain: float = Field(default=20, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    language: Literal["en", "pt"] = "en"
    topology: str | None = Field(default=None, pattern=r"^[\w.]+:[\w.]+$")
    database: str | None = Field(default=None, min_length=1, repr=False)  # may contain a password
    rates: str | None = Field(
        default=None, pattern=r"^(rediss?|unix|postgres(ql)?)://", repr=False
    )  # may contain a password
    broker_url: str | None = Field(default=None, pattern=r"^(sqs:$|amqps?://)")

    @field_validator("endpoint_url")
    @classmethod
    def _has_a_place(cls, url: str | None) -> str | None:
        # Otherwise botocore would quote what it takes for a port, perhaps part of a password.
        try:
            found = None if url is None else urlsplit(url)
            whole = found is None or (bool(found.hostname) and found.port != 0)
        except ValueError:
            whole = False
        if not whole:
            raise ValueError(
                'no host, or no port; in a password write "%2F" for "/", "%3F" for "?", "%23" '
                'for "#", "%5B" for "["'
            )
        return url

    @property
    def virtual_host(self) -> str:
        """The virtual host in `broker_url`; "/" if it has none."""
        path = urlsplit((self.broker_url or "").partition(",")[0]).path
        return unquote(path[1:]) or "/"

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            shown = name in ("endpoint_url", "broker_url") and value
            yield name, _without_passwords(value) if shown else value

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read `environment` (default: this process's).

        Args:
            environment: the variables, by name.
            defaults: by field, used if no `MESSAGING_` variable is set; they take precedence over
                `AWS_` ones.

        Raises:
            SettingsError: if a value is invalid, or a `MESSAGING_` name does not exist; it lists
                all errors at once.
        """
        given = os.environ if environment is None else environment
        said: dict[str, tuple[Any, str]] = {}  # by field: its value, and who says it
        mistakes: list[str] = []
        for name, value in given.items():
            field = name.removeprefix(PREFIX).lower()
            if not name.startswith(PREFIX) or value == "":
                continue
            if field in cls.model_fields:
                said[field] = value, name
            elif name == _DATABASE_FILE:
                try:
                    said["database"] = _database_in(value, given), name
                except ValueError as error:
                    mistakes.append(f"{name}: {error}")
            elif _is_service_link(name, value):
                log.debug("%s is not a setting: Kubernetes tells of a Service by it", name)
            else:
                fields = [PREFIX + known.upper() for known in cls.model_fields]
                known = ", ".join([*fields, _DATABASE_FILE])
                mistakes.append(f"{name}: unknown setting; known are {known}")
        others = [(field, value, field) for field, value in (defaults or {}).items()]
        for field, value, name in [*others, *_standard(given)]:
            said.setdefault(field, (value, name))
        try:
            settings = cls.model_validate({field: value for field, (value, _) in said.items()})
        except ValidationError as error:
            for wrong in error.errors(include_url=False):
                field = str(wrong["loc"][0])
                secret = not cls.model_fields[field].repr
                shown = "***" if secret else repr(_without_passwords(wrong["input"]))
                mistakes.append(f"{said[field][1]}={shown}: {wrong['msg']}")
        else:
            if not mistakes:
                return settings
        raise SettingsError("the environment is wrong:\n  " + "\n  ".join(mistakes))


_STANDARD: Mapping[str, tuple[str, ...]] = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint_url": ("AWS_ENDPOINT_URL",),
}
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
_PER_SERVICE = ("AWS_ENDPOINT_URL_SNS", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_S3")
_DATABASE_FILE = PREFIX + "DATABASE_FILE"


def _standard(given: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Values of variables that other programs also read: field, value and variable."""
    for field, names in _STANDARD.items():
        if field == "endpoint_url" and any(given.get(name) for name in _PER_SERVICE):
            # boto3 knows which service each belongs to; one address for all would hide them.
            continue
        yield from ((field, given[name], name) for name in names if given.get(name))
    # The first that is set decides, as in POSIX.
    locale = next((name for name in _LOCALE if given.get(name)), "")
    portuguese = bool(locale) and given[locale].lower().startswith("pt")
    yield "language", "pt" if portuguese else "en", locale


def _database_in(path: str, given: Mapping[str, str]) -> str:
    """The URL in the file at `path`, a secret mounted by the platform. Raises `ValueError`."""
    if given.get(PREFIX + "DATABASE"):
        raise ValueError(f"{PREFIX}DATABASE is set as well: keep one of them")
    try:
        url = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} is not text in UTF-8") from None
    if not url or "\n" in url:
        raise ValueError(f"{path!r} must hold one line, the database's URL")
    return url


_CREDENTIALS = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE | re.DOTALL)
_SECRET_QUERY = re.compile(r"([?&](?:[\w-]*(?:pass|secret|token)[\w-]*|pwd)=)[^&#]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """`url` in a readable form: "http://u:secret@host/x" becomes "http://***@host/x".

    Args:
        url: a URL, perhaps with a password.

    Example:
        ```python
        from messaging.settings import without_password

        assert without_password("redis://u:secret@cache:6379/0") == "redis://***@cache:6379/0"
        ```
    """
    # Up to the last "@": a password that should have been percent-encoded may contain one.
    return _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", url))


def _without_passwords(urls: str) -> str:
    """The same for several URLs separated by commas."""
    return ",".join(map(without_password, re.split(r",(?=\s*[a-z]+://)", urls)))


_SERVICE_LINK = re.compile(
    r"""\w+?_SERVICE_HOST=\S+
    | \w+?_SERVICE_PORT(_\w+)?=\d+
    | \w+?_PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://\S+
    | \w+?_PORT_\d+_(TCP|UDP|SCTP)_(PROTO=(tcp|udp|sctp)|PORT=\d+|ADDR=\S+)""",
    re.VERBOSE,
)


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes (or Docker) set this variable because a Service is called messaging...

    It also checks the value: MESSAGING_PORT=8080 is a mistake, and reported.
    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return _SERVICE_LINK.fullmatch(f"{name}={value}") is not None


def in_lambda() -> bool:
    """True in an AWS Lambda function, for as long as the process lives.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ
