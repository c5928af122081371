"""AWS Signature Version 4 for requests of one shape.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

__all__ = ["Credentials", "Signer"]

_DATE, _TOKEN = "x-amz-date", "x-amz-security-token"
_BLOCK = 64
"""SHA-256's block size in bytes, to which an HMAC key is padded."""
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Credentials(Protocol):
    """The result of botocore's `get_frozen_credentials()`."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class _Ready(NamedTuple):
    """Everything that stays the same within one second, for one set of credentials."""

    credentials: Credentials
    second: int
    key: bytes
    canonical: Any  # SHA-256 of the canonical request except its last line, the body's digest
    inner: Any  # SHA-256 of the key and the string to sign, except its last line
    outer: Any  # and of the key, for the outer digest: the two parts of an HMAC (RFC 2104)
    headers: str  # the header lines, without the signature itself


class Signer:
    """Signs requests that differ only in body, time and credentials.

    method, path  of the request line. The path is used as it is, without a query string, so it must
                  not need escaping.
    headers       the other headers to sign, including `host`; their values have no consecutive
                  spaces and none at the ends. The caller must send them with the request.

    Thread-safe.
    """

    def __init__(
        self,
        *,
        region: str,
        service: str,
        path: str,
        headers: Mapping[str, str],
        method: str = "POST",
    ) -> None:
        self._region = region
        self._service = service
        self._request = f"{method}\n{path}\n\n"
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._ready: _Ready | None = None
        self._last: tuple[_Ready | None, str, str] = (None, "", "")

    def __call__(self, credentials: Credentials, now: float, digest: str) -> str:
        """The header lines that sign a body whose SHA-256 is `digest` (hex), `now` in seconds.

        Each ends in CR LF: X-Amz-Date, X-Amz-Security-Token if there is one, and Authorization. The
        same body has the same signature within a second.
        """
        ready = self._ready
        # Nothing is derived again while it stays the same: the key lasts a day, the rest a second.
        # Two threads here at the same time derive the same.
        if ready is None or ready.second != int(now) or ready.credentials != credentials:
            ready = self._ready = self._prepare(credentials, int(now), ready)
        by, of, signed = self._last
        if by is ready and of == digest:
            return signed
        # Copying a hash that has read the beginning is cheaper than starting another one. And two
        # of them make an HMAC in half the time of `hmac.HMAC`.
        canonical, inner, outer = ready.canonical.copy(), ready.inner.copy(), ready.outer.copy()
        canonical.update(digest.encode())
        inner.update(canonical.hexdigest().encode())
        outer.update(inner.digest())
        signed = f"{ready.headers}{outer.hexdigest()}\r\n"
        self._last = ready, digest, signed
        return signed

    def _prepare(self, credentials: Credentials, second: int, last: _Ready | None) -> _Ready:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = stamp[:8]
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        signed = {**self._headers, _DATE: stamp}
        if credentials.token:
            signed[_TOKEN] = credentials.token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        if (
            last is not None
            and last.credentials == credentials
            and last.second // 86400 == (second // 86400)
        ):
            key = last.key
        else:
            key = self._key(credentials.secret_key, day)
        token = f"X-Amz-Security-Token: {credentials.token}\r\n" if credentials.token else ""
        return _Ready(
            credentials=credentials,
            second=second,
            key=key,
            canonical=sha256(f"{self._request}{lines}\n{names}\n".encode()),
            inner=sha256(
                key.ljust(_BLOCK, b"\0").translate(_INNER)
                + f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n".encode()
            ),
            outer=sha256(key.ljust(_BLOCK, b"\0").translate(_OUTER)),
            headers=f"X-Amz-Date: {stamp}\r\n{token}Authorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature=",
        )

    def _key(self, secret: str, day: str) -> bytes:
        key = f"AWS4{secret}".encode()
        for step in (day, self._region, self._service, "aws4_request"):
            key = hmac.digest(key, step.encode(), "sha256")
        return key
