"""The room of what became of an upload: one JSON object for each, and the CSV of its bad rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

__all__ = ["AMOSTRA", "Resultado", "Resultados"]

AMOSTRA = 100
"""Bad rows that the page shows; the CSV has all of them."""
_EXPIRA_EM = 60

Estado = Literal["aguardando", "lendo", "pronto", "recusado"]


@dataclass(kw_only=True)
class Resultado:
    """How far the reading of one file has come; kept in S3 by `cadastro_batch`.

    etag    of the object: another file under the same key begins anew.
    feitas  rows (good and bad) behind which a reading goes on after it was interrupted.
    """

    estado: Estado = "aguardando"
    linhas: int = 0
    aceitas: int = 0
    rejeitadas: int = 0
    motivo: str = ""
    amostra: list[dict[str, Any]] = field(default_factory=list)
    etag: str = ""
    feitas: int = 0


class Resultados:
    """The bucket of results, which nobody outside may write to."""

    def __init__(self, s3: Any, balde: str) -> None:
        self._s3 = s3
        self._balde = balde

    def ler(self, upload: str) -> Resultado:
        """What is known; a `Resultado()` when nothing is."""
        try:
            achado = self._s3.get_object(Bucket=self._balde, Key=f"resultados/{upload}.json")
        except ClientError as erro:
            if erro.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                return Resultado()
            raise
        conhecidos = {um.name for um in fields(Resultado)}
        dito = json.loads(achado["Body"].read())
        return Resultado(**{nome: valor for nome, valor in dito.items() if nome in conhecidos})

    def gravar(self, upload: str, resultado: Resultado) -> None:
        """Keep it, in the place of what was there."""
        self._s3.put_object(
            Bucket=self._balde,
            Key=f"resultados/{upload}.json",
            Body=json.dumps(asdict(resultado), ensure_ascii=False).encode(),
            ContentType="application/json",
        )

    def guardar_rejeitadas(self, upload: str, arquivo: Path) -> None:
        """The CSV of bad rows: personal data, in a bucket that is not public."""
        with arquivo.open("rb") as corpo:
            self._s3.put_object(
                Bucket=self._balde,
                Key=f"rejeitados/{upload}.csv",
                Body=corpo,
                ContentType="text/csv; charset=utf-8",
                ContentDisposition='attachment; filename="rejeitados.csv"',
            )

    def para_a_pagina(self, upload: str) -> dict[str, Any]:
        """As `GET /uploads/{id}` answers; the CSV's URL is made anew each time."""
        lido = self.ler(upload)
        url = None
        if lido.estado == "pronto" and lido.rejeitadas:
            url = self._s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._balde, "Key": f"rejeitados/{upload}.csv"},
                ExpiresIn=_EXPIRA_EM,
            )
        return {
            "id": upload,
            "estado": lido.estado,
            "linhas": lido.linhas,
            "aceitas": lido.aceitas,
            "rejeitadas": lido.rejeitadas,
            "motivo": lido.motivo,
            "amostra": lido.amostra,
            "rejeitados_url": url,
        }
