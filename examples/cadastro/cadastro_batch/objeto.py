"""An S3 object as a file that is read in pieces, with one request for each.

One long GET would be idle while rows are sent, and idle connections are cut; botocore requests a
piece again if that happens. `IfMatch` ties all pieces to one version.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

__all__ = ["abrir", "cabeca_de"]

PEDACO = 4 * 1024 * 1024
"""Bytes per request, and held in memory."""


def cabeca_de(s3: Any, balde: str, chave: str) -> Mapping[str, Any] | None:
    """The result of head_object; None if there is no such object."""
    try:
        cabeca: Mapping[str, Any] = s3.head_object(Bucket=balde, Key=chave)
    except ClientError as erro:
        if erro.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey", "NotFound"):
            raise
        return None
    return cabeca


def abrir(s3: Any, balde: str, chave: str, cabeca: Mapping[str, Any]) -> io.BufferedReader:
    """`cabeca` is the result of `cabeca_de`. If the file was overwritten since, S3 raises."""
    return io.BufferedReader(_Objeto(s3, balde, chave, cabeca))


class _Objeto(io.RawIOBase):
    def __init__(self, s3: Any, balde: str, chave: str, cabeca: Mapping[str, Any]) -> None:
        self._s3 = s3
        self._onde = {"Bucket": balde, "Key": chave, "IfMatch": cabeca["ETag"]}
        self._tamanho = int(cabeca["ContentLength"])
        self._pedido = 0
        # The reader asks for a few KiB at a time; each request to S3 gets a whole piece.
        self._pedaco = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pedaco:
            self._pedaco = self._proximo()
        quantos = min(len(buffer), len(self._pedaco))
        buffer[:quantos] = self._pedaco[:quantos]
        self._pedaco = self._pedaco[quantos:]
        return quantos

    def _proximo(self) -> memoryview:
        ate = min(self._pedido + PEDACO, self._tamanho)
        if ate <= self._pedido:
            return memoryview(b"")
        faixa = f"bytes={self._pedido}-{ate - 1}"
        corpo = self._s3.get_object(**self._onde, Range=faixa)["Body"].read()
        self._pedido += len(corpo)
        return memoryview(corpo)
