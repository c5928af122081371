"""Stores data too large for a message in an S3 bucket, until its lifecycle rule deletes it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from messaging.aws.clients import STORE_TIMEOUT, Clients
from messaging.aws.errors import translated
from messaging.errors import NotFound, SettingsError, TransportError
from messaging.settings import Settings

if TYPE_CHECKING:
    import boto3

__all__ = ["S3BlobStore"]


class S3BlobStore:
    """A `BlobStore` in S3, for `ClaimCheck`. Thread-safe, and usable after a fork.

        codec = ClaimCheck(store := S3BlobStore("escola", prefix="claims"), uri=store.uri)

    The producer needs s3:PutObject on the objects; a service needs s3:GetObject on those whose key
    contains ".<service>.", and s3:ListBucket on the bucket: without that, S3 answers AccessDenied
    for a missing object, which is retried, because it may be a policy that somebody will fix.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html

    Encryption is the bucket's own default. No request is made before the first use.

    Args:
        bucket: its name; it must exist, with a lifecycle rule for `prefix` (docs: claim-check).
        prefix: put before each key, followed by "/".
        settings: region and endpoint; by default the environment's.
        session: a session with its own credentials; by default boto3 finds them.
        owner: the account that must own the bucket, or S3 refuses (ExpectedBucketOwner).
        timeout: seconds to wait for S3, in each of three attempts.

    Raises:
        SettingsError: if `bucket` is not a plain bucket name.

    Example:
        ```python
        from messaging.aws.s3 import S3BlobStore
        from messaging.claimcheck import ClaimCheck

        store = S3BlobStore(
            "escola-eventos", prefix="claims", settings=local.settings(topic="alunos")
        )
        codec = ClaimCheck(store, uri=store.uri)
        ```
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        settings: Settings | None = None,
        session: boto3.Session | None = None,
        owner: str | None = None,
        timeout: float = STORE_TIMEOUT,
    ) -> None:
        if not bucket or "/" in bucket:
            raise SettingsError(f"bucket {bucket!r}: the name alone; what follows it is the prefix")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._clients = Clients(
            settings or Settings.from_environment(), session, read_timeout=timeout
        )
        self._owner: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}

    def __repr__(self) -> str:
        return f"S3BlobStore({self.uri!r})"

    @property
    def uri(self) -> str:
        """The address of the objects: "s3://escola/claims"."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        """Store `data`; an existing object is written again, which restarts its lifetime.

        Args:
            key: the object's key.
            data: its content.

        Raises:
            TransportError: after botocore's own retries, or when the publisher's `timeout` has
                ended.
        """
        with self._translated("write", key):
            self._clients.bounded(
                lambda: self._clients.patient_s3.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=data,
                    ContentType="application/json",
                    **self._owner,
                )
            )

    def get(self, key: str) -> bytes:
        """Return the stored data.

        Args:
            key: the object's key.

        Raises:
            NotFound: if the object is gone.
            TransportError: for any other error.
        """
        try:
            with self._translated("read", key):
                answer = self._clients.patient_s3.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, **self._owner
                )
                return answer["Body"].read()
        except TransportError as error:
            if error.code != "NoSuchKey":
                raise
            raise NotFound(
                f"no object {key} in {self.uri} ({self._clients.where})", code=error.code
            ) from None

    def close(self) -> None:
        """Close the sockets. The next use opens new ones."""
        self._clients.close()

    def _translated(self, action: str, key: str) -> AbstractContextManager[None]:
        return translated(action, f"object {key} of {self.uri}", self._clients.where)
