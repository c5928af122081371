"""What became of each row of each file: kept beside the students, written once, read by the page.

A row is `READING/LINE`: the reading of one version of one upload, and where the row begins in it.
Nothing of the row itself is kept, only what was decided and why.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the functions, which know rows only, are packed without pymongo
    from pymongo.collection import Collection

__all__ = ["AMOSTRA", "LINHA", "Decisao", "Linha", "Linhas", "Situacao", "leitura_de"]

LINHA = "x-cadastro-linha"
"""Header of a request to the API: the row, as `Linha` writes it."""
AMOSTRA = 100
"""Refused rows in one answer; the CSV has all of them."""
Situacao = Literal["novo", "atualizado", "igual", "recusado"]
_NAMESPACE = uuid.UUID("c0a1d7a4-5f0c-5c43-9d6e-2f4f6d1a8b37")
_FORMA = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([1-9][0-9]{0,9})")


def leitura_de(upload: str, etag: str) -> str:
    """The id of one reading: another file under the same key is another."""
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
    """What the API decided: `campo` and `motivo` where it refused, `aluno_id` where it did not.

    `evento_id` is that of the event which tells of it; "" where there was nothing to tell.
    """

    situacao: Situacao
    aluno_id: str = ""
    campo: str = ""
    motivo: str = ""
    evento_id: str = ""


class Linhas:
    """The collection. Its callers translate what pymongo raises."""

    def __init__(self, colecao: Collection[dict[str, Any]]) -> None:
        self._linhas = colecao

    def preparar(self) -> None:
        """Make the indexes."""
        self._linhas.create_index([("leitura", 1), ("situacao", 1), ("numero", 1)], name="leitura")

    def decidida(self, linha: Linha) -> Decisao | None:
        """What was decided before, if the same message comes again."""
        achada = self._linhas.find_one({"_id": str(linha)})
        return None if achada is None else _decisao(achada)

    def decidir(self, linha: Linha, decisao: Decisao) -> None:
        """Keep it, unless something was decided already."""
        dados = {"leitura": linha.leitura, "numero": linha.numero, **asdict(decisao)}
        self._linhas.update_one({"_id": str(linha)}, {"$setOnInsert": dados}, upsert=True)

    def contas(self, leitura: str) -> dict[str, Any]:
        """How many rows came to which end, and the first refused ones."""
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
        """Every row that is decided, in groups by what became of it, each by line."""
        ordem = [("situacao", 1), ("numero", 1)]
        for uma in self._linhas.find({"leitura": leitura}).sort(ordem):
            yield {**_mostra(uma), "situacao": uma["situacao"]}


_NOMES = tuple(um.name for um in fields(Decisao))


def _decisao(achada: Mapping[str, Any]) -> Decisao:
    return Decisao(*(achada[nome] for nome in _NOMES))


def _mostra(uma: Mapping[str, Any]) -> dict[str, Any]:
    return {"linha": uma["numero"], "coluna": uma["campo"], "motivo": uma["motivo"]}
