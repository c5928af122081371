"""Documents in S3, for commands that read them: one object, or all below a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from messaging.aws.clients import STORE_TIMEOUT, Clients
from messaging.aws.errors import translated
from messaging.errors import ConfigurationError
from messaging.settings import Settings

__all__ = ["read_documents"]


def read_documents(url: str, settings: Settings) -> Mapping[str, bytes]:
    """The object at `url` ("s3://escola/needs/bi.json"), or the *.json below it ("s3://escola/needs").

    Needs s3:GetObject, and s3:ListBucket for a URL that does not end in .json.
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigurationError(f"{url}: which bucket? Write s3://bucket/key")
    with (
        closing(Clients(settings, None, read_timeout=STORE_TIMEOUT)) as clients,
        translated("read", url, clients.where),
    ):
        client = clients.patient_s3
        keys = [key] if key.endswith(".json") else []
        if not keys:
            prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            listed = [one.get("Key", "") for page in pages for one in page.get("Contents", ())]
            keys = [one for one in listed if one.endswith(".json")]
        return {
            f"s3://{bucket}/{one}": client.get_object(Bucket=bucket, Key=one)["Body"].read()
            for one in keys
        }
