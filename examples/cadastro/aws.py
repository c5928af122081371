"""AWS clients for the parts, configured by the environment, with SigV4 for S3."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

__all__ = ["cliente"]


def cliente(servico: str) -> Any:
    """A boto3 client; safe to share between threads. Credentials and region are boto3's own."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        signature_version="s3v4" if servico == "s3" else None,
        # A presigned URL for the regional host: the global one answers with a redirect, which a
        # browser's PUT does not follow.
        s3={"us_east_1_regional_endpoint": "regional"},
    )
    return boto3.client(servico, config=config)  # type: ignore[call-overload]  # any service
