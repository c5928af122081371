"""The room of the deployment: what the environment says, read once, all mistakes together.

The only module of the library that looks at `os.environ`. Credentials, profiles and the like
are not read here: boto3 finds those itself, as it does in any other program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from messaging.errors import SettingsError

__all__ = ["Settings", "in_lambda"]

PREFIX = "MESSAGING_"


class Settings(BaseModel):
    """What belongs to the deployment. Each field is read from `MESSAGING_<FIELD>`.

    topic        the SNS topic: its name or its ARN.
    prefix       put before the names of topic and queues: "dev-" for several environments in
                 one account.
    source       who publishes, the CloudEvents source: "/cadastro".
    region       the AWS region; else AWS_REGION, AWS_DEFAULT_REGION, or boto3's own choice.
    endpoint_url where SNS and SQS answer, for a local server; else AWS_ENDPOINT_URL.
    max_bytes    what the topic takes for one request; raise it with the topic's MaximumMessageSize.
    transport    what carries messages: "fast", or "boto3" alone (docs/how-to/fast-transport.md).
    publish_timeout
                 seconds that one publish may take, with all attempts and look-ups (`Publisher`).
    wait         seconds (0 to 20) of one long poll.
    concurrency  handlers that run at once in one process.
    drain        seconds that a stopping worker gives to handlers that run.
    log_level    of the command line's log.
    topology     where the command line finds the Topology: "consumers:TOPOLOGY".
    database     where the outbox is: "postgresql://user@host/name", "sqlite:///file.db".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    drain: float = Field(default=25, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    topology: str | None = Field(default=None, pattern=r"^[\w.]+:[\w.]+$")
    database: str | None = Field(default=None, min_length=1, repr=False)  # may hold a password

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read `environment` (default: this process's).

        Raises `SettingsError`, which lists every mistake at once: a value that cannot be, and a
        `MESSAGING_` name that nobody reads.
        """
        given = os.environ if environment is None else environment
        values: dict[str, str] = {}
        said_by: dict[str, str] = {}
        mistakes: list[str] = []
        for name, value in given.items():
            field = name.removeprefix(PREFIX).lower()
            if not name.startswith(PREFIX) or value == "":
                continue
            if field in cls.model_fields:
                values[field], said_by[field] = value, name
            else:
                known = ", ".join(PREFIX + known.upper() for known in cls.model_fields)
                mistakes.append(f"{name}: nobody reads this; known are {known}")
        standard = dict(_STANDARD)
        if any(given.get(name) for name in _PER_SERVICE):
            # boto3 knows to which service each belongs; one address for all would hide them.
            standard.pop("endpoint_url")
        for field, names in standard.items():
            for name in names:
                if given.get(name) and field not in values:
                    values[field], said_by[field] = given[name], name
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            for wrong in error.errors(include_url=False):
                name = said_by[str(wrong["loc"][0])]
                mistakes.append(f"{name}={wrong['input']!r}: {wrong['msg']}")
        else:
            if not mistakes:
                return settings
        raise SettingsError("the environment is wrong:\n  " + "\n  ".join(mistakes))


_STANDARD: Mapping[str, tuple[str, ...]] = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint_url": ("AWS_ENDPOINT_URL",),
}
_PER_SERVICE = ("AWS_ENDPOINT_URL_SNS", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_S3")


def in_lambda() -> bool:
    """True in an AWS Lambda function, for as long as the process lives.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ
