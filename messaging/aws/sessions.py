"""Creates a boto3 session with given credentials, without reading the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3

__all__ = ["new_session"]


def new_session(
    *, aws_access_key_id: str, aws_secret_access_key: str, region_name: str
) -> boto3.Session:
    """For `connect(session=...)`: `new_session(**server.credentials)` of a `LocalServer`."""
    import boto3

    return boto3.Session(
        aws_access_key_id=aws_access_key_id,
        aws_secret_access_key=aws_secret_access_key,
        region_name=region_name,
    )
