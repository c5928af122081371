"""The result of an upload: its progress, its bad rows, and the API's decisions."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from botocore.exceptions import ClientError

from examples.cadastro.linhas import AMOSTRA, leitura_de

__all__ = ["AMOSTRA", "Resultado", "Resultados"]

_CONTAS = ("novos", "atualizados", "iguais", "recusados")
_NADA: dict[str, Any] = {**dict.fromkeys(_CONTAS, 0), "amostra": []}
_EXPIRA_EM = 60
_ULTIMOS = 20

Estado = Literal["aguardando", "lendo", "pronto", "recusado"]


@dataclass(kw_only=True)
class Resultado:
    """The progress of reading one file; kept in S3 by `cadastro_batch`.

    etag    of the object: a new file under the same key starts over.
    feitas  rows (good and bad) after which an interrupted reading continues.
    avisos  guesses and corrections of the reader, and columns that it ignored; no values.
    """

    estado: Estado = "aguardando"
    linhas: int = 0
    aceitas: int = 0
    rejeitadas: int = 0
    motivo: str = ""
    amostra: list[dict[str, Any]] = field(default_factory=list)
    avisos: list[str] = field(default_factory=list)
    etag: str = ""
    feitas: int = 0


class Resultados:
    """The bucket of results, which no outsider may write to."""

    def __init__(self, s3: Any, balde: str) -> None:
        self._s3 = s3
        self._balde = balde

    def ler(self, upload: str) -> Resultado:
        """The stored result; an empty `Resultado()` if there is none."""
        dito = self._dito(f"resultados/{upload}.json")
        if dito is None:
            return Resultado()
        conhecidos = {um.name for um in fields(Resultado)}
        return Resultado(**{nome: valor for nome, valor in dito.items() if nome in conhecidos})

    def gravar(self, upload: str, resultado: Resultado) -> None:
        """Store it, replacing the previous one."""
        self._s3.put_object(
            Bucket=self._balde,
            Key=f"resultados/{upload}.json",
            Body=json.dumps(asdict(resultado), ensure_ascii=False).encode(),
            ContentType="application/json",
        )

    def anunciar(self, upload: str, nome: str) -> None:
        """Record that a file of this name may arrive, for the list of recent files."""
        agora = time.time()
        # S3 lists keys in order: newest first, so that no one has to read them all.
        chave = f"envios/{10**13 - int(agora * 1000):013d}-{upload}.json"
        dito = {"id": upload, "nome": nome, "em": datetime.fromtimestamp(agora, UTC).isoformat()}
        self._s3.put_object(
            Bucket=self._balde,
            Key=chave,
            Body=json.dumps(dito, ensure_ascii=False).encode(),
            ContentType="application/json",
        )

    def ultimos(self) -> list[dict[str, Any]]:
        """The most recently announced files, newest first: id, name and time of each."""
        achados = self._s3.list_objects_v2(Bucket=self._balde, Prefix="envios/", MaxKeys=_ULTIMOS)
        return [
            json.loads(self._s3.get_object(Bucket=self._balde, Key=um["Key"])["Body"].read())
            for um in achados.get("Contents", [])
        ]

    def mapa(self, upload: str) -> dict[str, Any] | None:
        """The secretary's mapping of one file's columns; None if there was none."""
        return self._dito(f"mapas/{upload}.json")

    def forma(self, forma: str) -> dict[str, Any] | None:
        """The mapping of the last file with this header."""
        return self._dito(f"formas/{forma}.json")

    def guardar_mapa(self, upload: str, forma: str, mapa: dict[str, Any]) -> None:
        """Store it for this file, and for the next one with this header."""
        corpo = json.dumps(mapa, ensure_ascii=False).encode()
        for chave in (f"mapas/{upload}.json", f"formas/{forma}.json"):
            self._s3.put_object(
                Bucket=self._balde, Key=chave, Body=corpo, ContentType="application/json"
            )

    def _dito(self, chave: str) -> dict[str, Any] | None:
        try:
            achado = self._s3.get_object(Bucket=self._balde, Key=chave)
        except ClientError as erro:
            if erro.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                return None
            raise
        dito: dict[str, Any] = json.loads(achado["Body"].read())
        return dito

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

    def rejeitadas(self, upload: str) -> Iterator[tuple[int, str, str]]:
        """Line, column and reason of each row that the reader refused."""
        with tempfile.TemporaryFile() as cru:
            self._s3.download_fileobj(self._balde, f"rejeitados/{upload}.csv", cru)
            cru.seek(0)
            texto = io.TextIOWrapper(cru, "utf-8-sig", newline="")
            separador = texto.readline().removeprefix("linha")[:1]
            for celulas in csv.reader(texto, delimiter=separador or ";"):
                yield int(celulas[0]), celulas[1], celulas[2]
            texto.detach()

    def guardar_relatorio(self, upload: str, arquivo: BinaryIO) -> str:
        """Store the whole result, and return a URL that works for a minute."""
        chave = f"relatorios/{upload}.csv"
        self._s3.put_object(
            Bucket=self._balde,
            Key=chave,
            Body=arquivo,
            ContentType="text/csv; charset=utf-8",
            ContentDisposition='attachment; filename="resultado.csv"',
        )
        return self._url(chave)

    def para_a_pagina(
        self, upload: str, contas: Callable[[str], dict[str, Any] | None] = lambda _: None
    ) -> dict[str, Any]:
        """The response of `GET /uploads/{id}`; the CSV's URL is new each time.

        contas  asks the API for its decisions about the rows of one reading; None: no answer.
        """
        lido = self.ler(upload)
        url = None
        if lido.estado == "pronto" and lido.rejeitadas:
            url = self._url(f"rejeitados/{upload}.csv")
        decidido = contas(leitura_de(upload, lido.etag)) if lido.etag else _NADA
        estado: str = lido.estado
        decididas = esperando = None
        amostra = lido.amostra
        if decidido is not None:
            decididas = {nome: int(decidido[nome]) for nome in _CONTAS}
            # While a piece is in transit, more rows may be decided than are recorded as sent.
            esperando = max(0, lido.aceitas - sum(decididas.values()))
            amostra = sorted([*amostra, *decidido["amostra"]], key=lambda um: um["linha"])
        if estado == "pronto" and esperando != 0:
            estado = "decidindo"  # read, but not every row is decided, or it is unknown
        return {
            "id": upload,
            "estado": estado,
            "linhas": lido.linhas,
            "aceitas": lido.aceitas,
            "rejeitadas": lido.rejeitadas,
            "esperando": esperando,
            "decididas": decididas,
            "motivo": lido.motivo,
            "amostra": amostra[:AMOSTRA],
            "avisos": lido.avisos,
            "rejeitados_url": url,
        }

    def _url(self, chave: str) -> str:
        return str(
            self._s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._balde, "Key": chave},
                ExpiresIn=_EXPIRA_EM,
            )
        )
