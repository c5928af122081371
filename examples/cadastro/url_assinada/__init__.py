"""Presigned URLs: permission to upload one file, of one size and type, for sixty seconds; and its
result.

An AWS Lambda handler behind a function URL (payload format 2.0), which also handles CORS. A caller
shows a pass, which the secretary's page gets from its own server (`passes.py`).
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.linhas import leitura_de
from examples.cadastro.mapa import NaoServe
from examples.cadastro.passes import Passes
from examples.cadastro.resultados import Resultados
from examples.cadastro.url_assinada.decisoes import Decisoes, SemDecisoes
from examples.cadastro.url_assinada.previa import NaoHa, Previas, conferir_em
from messaging.logs import logger

__all__ = ["EXPIRA_EM", "TIPOS", "UrlAssinada", "novo_handler"]

log = logger("cadastro.url_assinada")

EXPIRA_EM = 60
"""Seconds, as in the school's current system."""
TIPOS = {
    ".csv": ("text/csv", "application/vnd.ms-excel", "text/plain"),
    ".xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",),
    ".zip": ("application/zip", "application/x-zip-compressed"),
}
"""The types that browsers send for such files; Windows with Excel sends the second for a CSV file.
"""
_CORPO = 4096
_HEX = "[0-9a-f]"
_UPLOAD = re.compile(
    rf"/uploads/({_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}})(/resultado|/previa|/confirmar)?"
)


class _Recusa(Exception):
    def __init__(self, campo: str, motivo: str) -> None:
        super().__init__(campo)
        self.campo, self.motivo = campo, motivo


class UrlAssinada:
    """The handler. `s3` signs with SigV4 (`Config(signature_version="s3v4")`), without a request.

    decisoes  the API's decisions about the rows; None if they are not available.
    passes    reads the callers' passes; None skips the check (behind an API Gateway authorizer).
    """

    def __init__(
        self,
        s3: Any,
        resultados: Resultados,
        *,
        balde: str,
        limite: int,
        decisoes: Decisoes | None = None,
        passes: Passes | None = None,
    ) -> None:
        self._passes = passes
        self._decisoes = decisoes
        self._s3 = s3
        self._resultados = resultados
        self._balde = balde
        self._limite = limite
        self._previas = Previas(s3, balde, resultados)

    def __call__(self, event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
        """`POST /uploads`, `GET /uploads`, and of one file `GET`, `previa`, `confirmar` and
        `resultado`; see README.md for the shapes."""
        metodo = event["requestContext"]["http"]["method"]
        caminho = event.get("rawPath", "/")
        # In payload format 2.0, header names are in lower case.
        mostra = event.get("headers", {}).get("authorization", "")
        if self._passes is not None and self._passes.de(mostra) is None:
            return _resposta(401, {"erros": [{"campo": "", "motivo": "entre de novo"}]})
        try:
            if (metodo, caminho) == ("POST", "/uploads"):
                return _resposta(201, self._assinar(_corpo(event)))
            if (metodo, caminho) == ("GET", "/uploads"):
                return _resposta(200, {"uploads": self._resultados.ultimos()})
            achado = _UPLOAD.fullmatch(caminho)
            if achado and (feito := self._de_um(metodo, achado[1], achado[2] or "", event)):
                return feito
        except (_Recusa, NaoServe) as recusa:
            erros = [{"campo": recusa.campo, "motivo": recusa.motivo}]
            return _resposta(422, {"erros": erros})
        except NaoHa:
            pass
        return _resposta(404, {"erros": [{"campo": "", "motivo": "não há nada aqui"}]})

    def _de_um(
        self, metodo: str, upload: str, o_que: str, event: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Answer a request about one file; None if there is no such route."""
        match metodo, o_que:
            case "GET", "":
                return self._resultado(upload)
            case "GET", "/resultado":
                return self._relatorio(upload)
            case "GET", "/previa":
                return _resposta(200, self._previas.de(upload))
            case "POST", "/previa":
                return _resposta(200, self._previas.tentar(upload, _corpo(event)))
            case "POST", "/confirmar":
                self._previas.confirmar(upload, _corpo(event))
                return _resposta(202, {"id": upload})
        return None

    def _assinar(self, pedido: Mapping[str, Any]) -> dict[str, Any]:
        nome, tamanho, tipo = self._conferido(pedido)
        conferir = pedido.get("conferir") is True
        upload = str(uuid4())
        # Each of these is a signed header: any other size or type would need another signature. We
        # choose the key, so that nobody can overwrite another upload.
        url = self._s3.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._balde,
                "Key": conferir_em(upload) if conferir else f"enviados/{upload}.csv",
                "ContentType": tipo,
                "ContentLength": tamanho,
            },
            ExpiresIn=EXPIRA_EM,
        )
        self._resultados.anunciar(upload, nome)
        log.info("upload %s may come: %d bytes", upload, tamanho)
        return {
            "id": upload,
            "url": url,
            "metodo": "PUT",
            "cabecalhos": {"Content-Type": tipo},
            "expira_em": EXPIRA_EM,
        }

    def _conferido(self, pedido: Mapping[str, Any]) -> tuple[str, int, str]:
        nome, tamanho, tipo = (pedido.get(um) for um in ("nome", "tamanho", "tipo"))
        fim = PurePosixPath(nome).suffix.lower() if isinstance(nome, str) else ""
        if not isinstance(nome, str) or fim not in TIPOS or len(nome) > 255:
            raise _Recusa(
                "nome", "um arquivo .csv, .xlsx ou .zip, de no máximo 255 caracteres no nome"
            )
        if type(tamanho) is not int or tamanho < 1:
            raise _Recusa("tamanho", "o número de bytes do arquivo, que não pode estar vazio")
        if tamanho > self._limite:
            raise _Recusa("tamanho", f"no máximo {self._limite} bytes")
        if tipo not in TIPOS[fim]:
            raise _Recusa("tipo", f"um destes: {', '.join(TIPOS[fim])}")
        return nome, tamanho, str(tipo)

    def _resultado(self, upload: str) -> dict[str, Any]:
        contas = self._decisoes.contas if self._decisoes else lambda _: None
        return _resposta(200, self._resultados.para_a_pagina(upload, contas))

    def _relatorio(self, upload: str) -> dict[str, Any]:
        """A CSV of every row and its result: line, result, column, reason."""
        lido = self._resultados.ler(upload)
        if not lido.etag:
            return _resposta(404, {"erros": [{"campo": "", "motivo": "ainda não foi lido"}]})
        with tempfile.TemporaryFile() as arquivo:
            texto = io.TextIOWrapper(arquivo, "utf-8-sig", newline="")
            escritor = csv.writer(texto, delimiter=";")
            escritor.writerow(("linha", "situacao", "coluna", "motivo"))
            if lido.estado == "pronto" and lido.rejeitadas:
                for linha, coluna, motivo in self._resultados.rejeitadas(upload):
                    escritor.writerow((linha, "recusado", coluna, motivo))
            try:
                if self._decisoes is None:
                    raise SemDecisoes
                for uma in self._decisoes.linhas(leitura_de(upload, lido.etag)):
                    escritor.writerow(uma)
            except SemDecisoes:
                return _resposta(503, {"erros": [{"campo": "", "motivo": "a API não responde"}]})
            texto.flush()
            arquivo.seek(0)
            url = self._resultados.guardar_relatorio(upload, arquivo)
            texto.detach()
        return _resposta(200, {"url": url, "expira_em": EXPIRA_EM})


def _corpo(event: Mapping[str, Any]) -> Mapping[str, Any]:
    texto = event.get("body") or ""
    try:
        cru = base64.b64decode(texto) if event.get("isBase64Encoded") else texto.encode()
        dito = json.loads(cru) if len(cru) <= _CORPO else None
    except ValueError:
        dito = None
    if not isinstance(dito, dict):
        raise _Recusa("", 'um objeto JSON: {"nome": ..., "tamanho": ..., "tipo": ...}')
    return dito


def _resposta(status: int, corpo: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": json.dumps(corpo, ensure_ascii=False),
        "isBase64Encoded": False,
    }


def novo_handler(ajustes: Ajustes | None = None) -> UrlAssinada:
    """The handler, configured by the environment: the function's module calls this once, when it
    starts."""
    from examples.cadastro.aws import cliente

    ditos = ajustes or Ajustes.do_ambiente()
    s3 = cliente("s3")
    return UrlAssinada(
        s3,
        Resultados(s3, ditos.balde_resultados),
        balde=ditos.balde,
        limite=ditos.limite_csv,
        decisoes=Decisoes(ditos.api_url),
        passes=Passes(ditos.exigir("segredo_passes")),
    )
