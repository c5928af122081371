"""The room of the document store: one document for each student, with the events it still owes.

Insert and event are one write of one document, so there is no moment at which a student is known
and the event is not. A relay (`api/rele.py`) publishes what is owed and takes it out. Any server
with MongoDB's protocol does. For Amazon DocumentDB the URI is

    mongodb://USER:PASSWORD@CLUSTER:27017/?tls=true&tlsCAFile=global-bundle.pem
        &replicaSet=rs0&readPreference=primary&retryWrites=false&w=majority&journal=true

retryWrites=false, because DocumentDB has no retryable writes; readPreference=primary, because the
relay must see what was just written.
https://docs.aws.amazon.com/documentdb/latest/developerguide/connect_programmatically.html
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from consumers.events import AlunoCadastrado
from messaging.event import Event
from messaging.logs import logger

__all__ = ["Alunos", "Devido", "JaCadastrado", "SemDocumentos"]

log = logger("cadastro.documentos")

_TIPOS: dict[str, type[Event]] = {AlunoCadastrado.event_type: AlunoCadastrado}
_INDICES = {"email": "email_chave", "cpf": "cpf"}
"""Name of a unique index, which is the field that the caller knows, to the document's field."""


class JaCadastrado(Exception):
    """Somebody with this e-mail or CPF is enrolled. `campo` says which; the text holds no value."""

    def __init__(self, campo: str) -> None:
        super().__init__(campo)
        self.campo = campo


class SemDocumentos(Exception):
    """The store does not answer, or refuses. The text names the kind of error only."""


@dataclass(frozen=True, slots=True)
class Devido:
    """An event that a document still owes. `id` is its id, however often it is published."""

    aluno_id: str
    id: str
    momento: datetime
    evento: Event = field(repr=False)


class Alunos:
    """The students. Safe to share between threads; every method raises `SemDocumentos`."""

    def __init__(self, uri: str, banco: str = "cadastro", *, espera: float = 3.0) -> None:
        # At DEBUG pymongo writes whole documents: whoever turns that on did not ask for names.
        logging.getLogger("pymongo.command").setLevel(logging.INFO)
        self._cliente: MongoClient[dict[str, Any]] = MongoClient(
            uri,
            serverSelectionTimeoutMS=int(espera * 1000),
            connectTimeoutMS=int(espera * 1000),
            socketTimeoutMS=15_000,
            tz_aware=True,
            appname="cadastro-api",
        )
        self._alunos = self._cliente[banco]["alunos"]

    def preparar(self) -> None:
        """Make the indexes; those that are there stay."""
        with _traduzido():
            # Sparse: who has no CPF does not collide with others who have none.
            for nome, campo in _INDICES.items():
                self._alunos.create_index(campo, name=nome, unique=True, sparse=True)
            self._alunos.create_index([("deve_desde", ASCENDING)], name="deve", sparse=True)

    def inserir(self, aluno: AlunoCadastrado, *, senha: str | None) -> str:
        """Insert the student with the event that it owes; returns the event's id.

        `senha` is a hash. Raises `JaCadastrado`.
        """
        dados = aluno.model_dump(mode="json", exclude_none=True)
        agora = datetime.now(UTC)
        evento = {
            "id": str(uuid4()),
            "tipo": aluno.event_type,
            "versao": aluno.event_version,
            "momento": agora,
            "dados": dados,
        }
        documento = {
            **{nome: valor for nome, valor in dados.items() if nome != "aluno_id"},
            "_id": dados["aluno_id"],
            "email_chave": aluno.email.casefold(),
            "deve": [evento],
            "deve_desde": agora,
        }
        if senha is not None:
            documento["senha"] = senha
        with _traduzido():
            self._alunos.insert_one(documento)
        return str(evento["id"])

    def reservar(self, quantos: int, segundos: float) -> list[Devido]:
        """Take what at most `quantos` documents owe, for `segundos`: no other relay takes it.

        Whoever dies with it loses nothing: after that time somebody else takes it, under the same
        ids.
        """
        vez, agora = uuid4().hex, datetime.now(UTC)
        # $exists says nothing new, but without it DocumentDB does not use a sparse index.
        livre = {"deve_desde": {"$exists": True, "$lte": agora}}
        with _traduzido():
            achados = self._alunos.find(livre, {"_id": 1}).sort("deve_desde", 1).limit(quantos)
            quais = {"_id": {"$in": [um["_id"] for um in achados]}}
            if not quais["_id"]["$in"]:
                return []
            # The condition is looked at again, document by document: of two relays one gets it.
            self._alunos.update_many(
                {**quais, **livre},
                {"$set": {"deve_desde": agora + timedelta(seconds=segundos), "vez": vez}},
            )
            meus = list(self._alunos.find({**quais, "vez": vez}, {"deve": 1}))
        vazios = [um["_id"] for um in meus if not um.get("deve")]
        self._quitar(vazios)  # somebody died between the two steps of `publicados`
        lidos = (_devido(um["_id"], evento) for um in meus for evento in um.get("deve", ()))
        return [devido for devido in lidos if devido is not None]

    def publicados(self, devidos: Sequence[Devido]) -> None:
        """These events are published: their documents do not owe them any more."""
        if not devidos:
            return
        quais = [um.aluno_id for um in devidos]
        with _traduzido():
            self._alunos.update_many(
                {"_id": {"$in": quais}},
                {"$pull": {"deve": {"id": {"$in": [um.id for um in devidos]}}}},
            )
        self._quitar(quais)

    def soltar(self, devidos: Sequence[Devido]) -> None:
        """These could not be published: whoever comes next may take them."""
        with _traduzido():
            self._alunos.update_many(
                {"_id": {"$in": [um.aluno_id for um in devidos]}, "deve.0": {"$exists": True}},
                {"$set": {"deve_desde": datetime.now(UTC)}, "$unset": {"vez": 1}},
            )

    def pendentes(self) -> int:
        """Documents that owe an event."""
        with _traduzido():
            return self._alunos.count_documents({"deve_desde": {"$exists": True}})

    def quantos(self) -> int:
        """Students enrolled."""
        with _traduzido():
            return self._alunos.count_documents({})

    def close(self) -> None:
        """Close the connections."""
        self._cliente.close()

    def _quitar(self, quais: Sequence[str]) -> None:
        if quais:
            with _traduzido():
                self._alunos.update_many(
                    {"_id": {"$in": quais}, "deve": []},
                    {"$unset": {"deve": 1, "deve_desde": 1, "vez": 1}},
                )


def _devido(aluno_id: str, evento: dict[str, Any]) -> Devido | None:
    try:
        tipo = _TIPOS[evento["tipo"]]
        dados = tipo.bring_up(evento["dados"], evento["versao"])
        return Devido(aluno_id, evento["id"], evento["momento"], tipo.model_validate(dados))
    except (KeyError, ValueError) as erro:
        # Written by a newer copy, perhaps: it stays owed, and does not keep the others back.
        log.error("aluno %s owes an event that cannot be read: %s", aluno_id, type(erro).__name__)
        return None


@contextmanager
def _traduzido() -> Iterator[None]:
    """Around one request: the texts of pymongo's errors quote documents, so they end here."""
    try:
        yield
    except DuplicateKeyError as erro:
        raise JaCadastrado(_campo(erro)) from None
    except PyMongoError as erro:
        raise SemDocumentos(type(erro).__name__) from None


def _campo(erro: DuplicateKeyError) -> str:
    # MongoDB tells the key's pattern, DocumentDB only the index's name, in the text.
    padrao = (erro.details or {}).get("keyPattern") or {}
    for indice, campo in _INDICES.items():
        if campo in padrao or re.search(rf"index: (\S*\$)?{indice}\b", str(erro)):
            return indice
    return ""
