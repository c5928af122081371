"""The preview of a file before it is converted: its columns, five rows, and their mapping to
fields.

A file to be reviewed waits in `conferir/`. The secretary's mapping is stored for the file, and for
the next one with the same header; then the file moves on to `enviados/`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping as Dicionario
from itertools import islice
from typing import Any

from examples.cadastro.cadastro_batch.objeto import abrir, cabeca_de
from examples.cadastro.cadastro_batch.palavras import na_tela
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.mapa import CAMPOS, NaoServe, mapa_de
from examples.cadastro.resultados import Resultados
from messaging.csvfile import BadRow, Mapping, Rows, Table, events_from
from messaging.csvfile.cells import same
from messaging.csvfile.columns import known_names
from messaging.errors import ConfigurationError

__all__ = ["NaoHa", "Previas", "conferir_em"]

_CONHECIDAS = known_names(MatriculaRecebida, Mapping())
COMECO = 1024 * 1024
"""Bytes that are read from a long CSV file. A workbook is read as a whole."""
LINHAS = 5


class NaoHa(Exception):
    """There is no waiting file with this id."""


def conferir_em(upload: str) -> str:
    """The key of a waiting file."""
    return f"conferir/{upload}.csv"


class Previas:
    """Previews waiting files, and releases them. Thread-safe."""

    def __init__(self, s3: Any, balde: str, resultados: Resultados) -> None:
        self._s3 = s3
        self._balde = balde
        self._resultados = resultados

    def de(self, upload: str) -> dict[str, Any]:
        """The response of `GET /uploads/{id}/previa`. Raises `NaoHa` and `NaoServe`."""
        with self._comeco(upload) as arquivo:
            try:
                with Rows(arquivo, known=_CONHECIDAS, language="pt") as linhas:
                    colunas = linhas.header
                    celulas = [uma.cells for uma in islice(linhas, LINHAS)]
            except ConfigurationError as erro:
                raise NaoServe("", na_tela(str(erro))) from None
            lembrado = self._resultados.forma(_forma(colunas))
            dito = lembrado or {"mapa": _provavel(colunas), "datas": "auto"}
            resposta: dict[str, Any] = {
                "colunas": colunas,
                "linhas": celulas,
                "campos": [
                    {"campo": nome, "obrigatorio": campo.is_required()}
                    for nome, campo in MatriculaRecebida.model_fields.items()
                    if nome in CAMPOS
                ],
                **dito,
                "lembrado": lembrado is not None,
            }
            arquivo.seek(0)
            return resposta | self._tentar(arquivo, dito)

    def tentar(self, upload: str, dito: Dicionario[str, Any]) -> dict[str, Any]:
        """The result of the first rows. Raises `NaoHa`, and `NaoServe` for an invalid mapping; one
        that does not fill an event is reported in `erro`."""
        mapa_de(dito)
        with self._comeco(upload) as arquivo:
            return self._tentar(arquivo, dito)

    def confirmar(self, upload: str, dito: Dicionario[str, Any]) -> None:
        """Store the mapping, and release the file for conversion. Raises `NaoHa` and `NaoServe`."""
        mapa = mapa_de(dito)
        guardado = {"mapa": dict(dito["mapa"]), "datas": dito.get("datas", "auto")}
        with self._comeco(upload) as arquivo:
            try:
                with events_from(arquivo, MatriculaRecebida, mapa, language="pt") as tabela:
                    forma = _forma(tabela.header)
            except ConfigurationError as erro:
                raise NaoServe("mapa", na_tela(str(erro))) from None
        # The mapping first: the file's event may arrive before the next line runs.
        self._resultados.guardar_mapa(upload, forma, guardado)
        self._s3.copy_object(
            Bucket=self._balde,
            Key=f"enviados/{upload}.csv",
            CopySource={"Bucket": self._balde, "Key": conferir_em(upload)},
        )

    def _tentar(self, arquivo: io.BytesIO, dito: Dicionario[str, Any]) -> dict[str, Any]:
        try:
            with events_from(arquivo, MatriculaRecebida, mapa_de(dito), language="pt") as tabela:
                return {"erro": "", "primeiras": _primeiras(tabela)}
        except ConfigurationError as erro:
            return {"erro": na_tela(str(erro)), "primeiras": []}

    def _comeco(self, upload: str) -> io.BytesIO:
        chave = conferir_em(upload)
        cabeca = cabeca_de(self._s3, self._balde, chave)
        if cabeca is None:
            raise NaoHa
        with abrir(self._s3, self._balde, chave, cabeca) as objeto:
            comeco = objeto.read(COMECO)
            if comeco.startswith(b"PK") or len(comeco) < COMECO:
                return io.BytesIO(comeco + objeto.read())
        # Up to the end of a line, which has two bytes in UTF-16.
        fim = comeco.rfind(b"\n") + 1
        if comeco.startswith((b"\xff\xfe", b"\xfe\xff")):
            fim += fim % 2
        return io.BytesIO(comeco[:fim] or comeco)


def _provavel(colunas: tuple[str, ...]) -> dict[str, str]:
    """Map each field to the column of the same name."""
    nomes = {same(um): um for um in reversed(colunas)}
    return {campo: nomes[same(campo)] for campo in CAMPOS if same(campo) in nomes}


def _forma(colunas: tuple[str, ...]) -> str:
    """A key for files whose header has these columns in this order."""
    return hashlib.sha256(json.dumps(colunas).encode()).hexdigest()[:32]


def _primeiras(tabela: Table[MatriculaRecebida]) -> list[dict[str, Any]]:
    return [
        {"linha": uma.line, "coluna": uma.column, "motivo": na_tela(uma.reason)}
        if isinstance(uma, BadRow)
        else {"linha": uma.line, "coluna": "", "motivo": ""}
        for uma in islice(tabela, LINHAS)
    ]
