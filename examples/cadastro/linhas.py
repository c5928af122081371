"""The result of each row of each file: stored with the students, written once, read by the page.

A row is `READING/LINE`: the reading of one version of one upload, and the line where the row
starts. The row itself is not stored, only the decision and its reason.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the functions, which only know rows, are packed without pymongo
    from pymongo.collection import Collection

__all__ = ["AMOSTRA", "LINHA", "Decisao", "Linha", "Linhas", "Situacao", "leitura_de"]

LINHA = "x-cadastro-linha"
"""Request header with the row, as `Linha` writes it."""
AMOSTRA = 100
"""Maximum number of refused rows in a response; the CSV has all of them."""
Situacao = Literal["novo", "atualizado", "igual", "recusado"]
_NAMESPACE = uuid.UUID("c0a1d7a4-5f0c-5c43-9d6e-2f4f6d1a8b37")
_FORMA = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([1-9][0-9]{0,9})")


def leitura_de(upload: str, etag: str) -> str:
    """The id of one reading: a new file under the same key gets a new one."""
    return str(uuid.uuid5(_NAMESPACE, f"{upload} {etag}"))


@dataclass(frozen=True, slots=True)
class Linha:
    """One row of one reading."""

    leitura: str
    numero: int

    @classmethod
    def lida(cls, texto: str) -> Linha | None:
        """From `READING/LINE`, as it travels in a header; None for anything else."""
        achada = _FORMA.fullmatch(texto)
        return cls(achada[1], int(achada[2])) if achada else None

    def __str__(self) -> str:
        return f"{self.leitura}/{self.numero}"


@dataclass(frozen=True, slots=True)
class Decisao:
    """The API's decision: `campo` and `motivo` if it refused, otherwise `aluno_id`.

    `evento_id` is the id of the resulting event; "" if there was none.
    """

    situacao: Situacao
    aluno_id: str = ""
    campo: str = ""
    motivo: str = ""
    evento_id: str = ""


class Linhas:
    """The collection. Its callers translate pymongo's exceptions."""

    def __init__(self, colecao: Collection[dict[str, Any]]) -> None:
        self._linhas = colecao

    def preparar(self) -> None:
        """Create the indexes."""
        self._linhas.create_index([("leitura", 1), ("situacao", 1), ("numero", 1)], name="leitura")

    def decidida(self, linha: Linha) -> Decisao | None:
        """The earlier decision, if the same message is redelivered."""
        achada = self._linhas.find_one({"_id": str(linha)})
        return None if achada is None else _decisao(achada)

    def decidir(self, linha: Linha, decisao: Decisao) -> None:
        """Store the decision, unless there is one already."""
        dados = {"leitura": linha.leitura, "numero": linha.numero, **asdict(decisao)}
        self._linhas.update_one({"_id": str(linha)}, {"$setOnInsert": dados}, upsert=True)

    def contas(self, leitura: str) -> dict[str, Any]:
        """The number of rows by result, and the first refused rows."""
        contado = {
            nome: self._linhas.count_documents({"leitura": leitura, "situacao": situacao})
            for nome, situacao in (
                ("novos", "novo"), ("atualizados", "atualizado"),
                ("iguais", "igual"), ("recusados", "recusado"),
            )
        }  # fmt: skip
        recusadas = self._linhas.find({"leitura": leitura, "situacao": "recusado"})
        amostra = [_mostra(uma) for uma in recusadas.sort("numero", 1).limit(AMOSTRA)]
        return {**contado, "amostra": amostra}

    def todas(self, leitura: str) -> Iterator[Mapping[str, Any]]:
        """Every decided row, grouped by result and sorted by line."""
        ordem = [("situacao", 1), ("numero", 1)]
        for uma in self._linhas.find({"leitura": leitura}).sort(ordem):
            yield {**_mostra(uma), "situacao": uma["situacao"]}


_NOMES = tuple(um.name for um in fields(Decisao))


def _decisao(achada: Mapping[str, Any]) -> Decisao:
    return Decisao(*(achada[nome] for nome in _NOMES))


def _mostra(uma: Mapping[str, Any]) -> dict[str, Any]:
    return {"linha": uma["numero"], "coluna": uma["campo"], "motivo": uma["motivo"]}
