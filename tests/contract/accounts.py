"""The account that the local servers of these tests take."""

from __future__ import annotations

import boto3

__all__ = ["SESSION"]

SESSION = boto3.Session(
    aws_access_key_id="local", aws_secret_access_key="local", region_name="sa-east-1"
)
