"""The document store: one document for each student, with the events that it still owes.

Student and event are written to one document at once, so there is never a student without its
event. A relay (`api/rele.py`) publishes the events and removes them. Any server with MongoDB's
protocol will do. For Amazon DocumentDB the URI is

    mongodb://USER:PASSWORD@CLUSTER:27017/?tls=true&tlsCAFile=global-bundle.pem
        &replicaSet=rs0&readPreference=primary&retryWrites=false&w=majority&journal=true

retryWrites=false, because DocumentDB has no retryable writes; readPreference=primary, because the
relay must see what was just written.
https://docs.aws.amazon.com/documentdb/latest/developerguide/connect_programmatically.html
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from consumers.events import AlunoAtualizado, AlunoCadastrado
from examples.cadastro.identidade import CAMPOS, Conflito, familia, mudancas, o_mesmo
from examples.cadastro.linhas import Decisao, Linha, Linhas, Situacao
from messaging.event import Event
from messaging.logs import logger

__all__ = ["Alunos", "Devido", "SemDocumentos"]

log = logger("cadastro.documentos")

_TIPOS: dict[str, type[Event]] = {
    tipo.event_type: tipo for tipo in (AlunoCadastrado, AlunoAtualizado)
}
_TENTATIVAS = 8
"""Attempts to look up and write, while others write about the same student."""


class SemDocumentos(Exception):
    """The store does not answer, or refuses. The text only names the kind of error."""


@dataclass(frozen=True, slots=True)
class Devido:
    """An event that a document still owes. `id` is the same however often it is published."""

    aluno_id: str
    id: str
    momento: datetime
    evento: Event = field(repr=False)


class Alunos:
    """The students. Safe to share between threads; every method raises `SemDocumentos`."""

    def __init__(self, uri: str, banco: str = "cadastro", *, espera: float = 3.0) -> None:
        # At DEBUG, pymongo logs whole documents, which include personal data.
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
        self._linhas = Linhas(self._cliente[banco]["linhas"])

    def preparar(self) -> None:
        """Create the indexes; documents of the previous version get the new fields."""
        with _traduzido():
            if "email" in self._alunos.index_information():
                self._alunos.drop_index("email")  # then, an e-mail identified a student
            for um in list(self._alunos.find({"familia": {"$exists": False}})):
                novos = {"familia": familia(um["nome"], um["email"]), "vaga": 0, "revisao": 0}
                self._alunos.update_one(
                    {"_id": um["_id"]}, {"$set": novos, "$unset": {"email_chave": 1}}
                )
            # Sparse, so that students without a CPF do not collide.
            self._alunos.create_index("cpf", name="cpf", unique=True, sparse=True)
            # Two concurrent writes for one name and e-mail use the same key, so that one fails.
            self._alunos.create_index(
                [("familia", ASCENDING), ("vaga", ASCENDING)], name="pessoa", unique=True
            )
            self._alunos.create_index([("deve_desde", ASCENDING)], name="deve", sparse=True)
            self._linhas.preparar()

    def cadastrar(
        self,
        aluno: AlunoCadastrado,
        *,
        ditos: Collection[str] = CAMPOS,
        senha: Callable[[], str] | None = None,
        linha: Linha | None = None,
        corrige: bool = True,
    ) -> Decisao:
        """Enrol a new student, or correct a known one; the document then owes the event.

        ditos   fields that the caller set: the others are not corrections.
        senha   computes the hash; not called for a known student, who keeps the password.
        linha   the row of a file, whose decision is kept. The same row gets the same answer again,
                whatever was written since.
        corrige False: data that differ from the known data raise `Conflito`, and nothing is
        written.

        Raises `Conflito`.
        """
        with _traduzido():
            if linha is not None and (antes := self._linhas.decidida(linha)):
                return antes
            dados = aluno.model_dump(mode="json", exclude_none=True)
            for _ in range(_TENTATIVAS):
                try:
                    decisao = self._uma_vez(aluno, dados, frozenset(ditos), senha, linha, corrige)
                except DuplicateKeyError:
                    continue  # somebody else was faster: look it up again
                if decisao is not None:
                    if linha is not None:
                        self._linhas.decidir(linha, decisao)
                    return decisao
        raise SemDocumentos("too many write about one student at once")

    def _uma_vez(
        self,
        aluno: AlunoCadastrado,
        dados: dict[str, Any],
        ditos: Collection[str],
        senha: Callable[[], str] | None,
        linha: Linha | None,
        corrige: bool,
    ) -> Decisao | None:
        """None if the document changed between look-up and write."""
        achados = list(self._alunos.find({"familia": familia(aluno.nome, aluno.email)}))
        if aluno.cpf and not any(um.get("cpf") == aluno.cpf for um in achados):
            achados += self._alunos.find({"cpf": aluno.cpf})
        dito = {campo: dados[campo] for campo in CAMPOS if campo in ditos and campo in dados}
        conhecido = o_mesmo(dito, achados)
        if conhecido is None:
            documento = _documento(aluno, dados, achados, senha, linha)
            self._alunos.insert_one(documento)
            return Decisao("novo", documento["_id"], evento_id=documento["deve"][0]["id"])
        if mudou := mudancas(dito, conhecido):
            if not corrige:
                raise Conflito(next(iter(mudou)), "difere do que está no cadastro")
            return self._mudar(conhecido, mudou, linha)
        por = conhecido.get("por") or {}
        if linha is not None and por.get("linha") == str(linha):
            # Written by this same row, whose answer was lost.
            return Decisao(por["situacao"], conhecido["_id"])
        return Decisao("igual", conhecido["_id"])

    def _mudar(
        self, conhecido: Mapping[str, Any], mudou: dict[str, Any], linha: Linha | None
    ) -> Decisao | None:
        agora = datetime.now(UTC)
        if "mudado_em" in conhecido:
            # The services order by time, and the store keeps milliseconds.
            agora = max(agora, conhecido["mudado_em"] + timedelta(milliseconds=1))
        campos = ("origem", "data_matricula", *CAMPOS)
        dados = {nome: conhecido[nome] for nome in campos if nome in conhecido} | mudou
        evento = _evento(AlunoAtualizado.model_validate({**dados, "aluno_id": conhecido["_id"]}))
        evento["momento"] = agora
        novo = {**mudou, "mudado_em": agora, "por": _por(linha, "atualizado")}
        # A relay's reservation stays; `publicados` frees events that were added meanwhile.
        novo["deve_desde"] = conhecido.get("deve_desde", agora)
        pessoa = familia(dados["nome"], dados["email"])
        if pessoa != conhecido["familia"]:
            novo |= {"familia": pessoa, "vaga": _vaga(self._alunos.find({"familia": pessoa}))}
        feito = self._alunos.update_one(
            {"_id": conhecido["_id"], "revisao": conhecido["revisao"]},
            {"$set": novo, "$push": {"deve": evento}, "$inc": {"revisao": 1}},
        )
        if not feito.matched_count:
            return None
        return Decisao("atualizado", conhecido["_id"], evento_id=evento["id"])

    def recusar(self, linha: Linha, campo: str, motivo: str) -> None:
        """Record that this row was refused."""
        with _traduzido():
            self._linhas.decidir(linha, Decisao("recusado", campo=campo, motivo=motivo))

    def contas(self, leitura: str) -> dict[str, Any]:
        """The results of one reading's rows: see `Linhas.contas`."""
        with _traduzido():
            return self._linhas.contas(leitura)

    def decididas(self, leitura: str) -> Iterator[Mapping[str, Any]]:
        """Each decided row of one reading: see `Linhas.todas`."""
        with _traduzido():
            yield from self._linhas.todas(leitura)

    def reservar(self, quantos: int, segundos: float) -> list[Devido]:
        """Reserve the events of at most `quantos` documents for `segundos`: no other relay takes
        them.

        If the relay dies, nothing is lost: after that time another one takes them, under the same
        ids.
        """
        vez, agora = uuid4().hex, datetime.now(UTC)
        # $exists is redundant, but without it DocumentDB does not use a sparse index.
        livre = {"deve_desde": {"$exists": True, "$lte": agora}}
        with _traduzido():
            achados = self._alunos.find(livre, {"_id": 1}).sort("deve_desde", 1).limit(quantos)
            quais = {"_id": {"$in": [um["_id"] for um in achados]}}
            if not quais["_id"]["$in"]:
                return []
            # The condition is checked again for each document, so only one of two relays gets it.
            self._alunos.update_many(
                {**quais, **livre},
                {"$set": {"deve_desde": agora + timedelta(seconds=segundos), "vez": vez}},
            )
            meus = list(self._alunos.find({**quais, "vez": vez}, {"deve": 1}))
        vazios = [um["_id"] for um in meus if not um.get("deve")]
        self._quitar(vazios)  # a process died between the two steps of `publicados`
        lidos = (_devido(um["_id"], evento) for um in meus for evento in um.get("deve", ()))
        return [devido for devido in lidos if devido is not None]

    def publicados(self, devidos: Sequence[Devido]) -> None:
        """Mark these events as published: their documents no longer owe them."""
        if not devidos:
            return
        quais = [um.aluno_id for um in devidos]
        with _traduzido():
            self._alunos.update_many(
                {"_id": {"$in": quais}},
                {"$pull": {"deve": {"id": {"$in": [um.id for um in devidos]}}}},
            )
        self._quitar(quais)
        self._liberar(quais)  # events added while these were in flight

    def soltar(self, devidos: Sequence[Devido]) -> None:
        """Release events that could not be published: the next relay may take them."""
        self._liberar([um.aluno_id for um in devidos])

    def pendentes(self) -> int:
        """The number of documents that owe an event."""
        with _traduzido():
            return self._alunos.count_documents({"deve_desde": {"$exists": True}})

    def quantos(self) -> int:
        """The number of enrolled students."""
        with _traduzido():
            return self._alunos.count_documents({})

    def close(self) -> None:
        """Close the connections."""
        self._cliente.close()

    def _liberar(self, quais: Sequence[str]) -> None:
        with _traduzido():
            self._alunos.update_many(
                {"_id": {"$in": quais}, "deve.0": {"$exists": True}},
                {"$set": {"deve_desde": datetime.now(UTC)}, "$unset": {"vez": 1}},
            )

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
        # Perhaps written by a newer version: it stays pending, without holding up the others.
        log.error("aluno %s owes an event that cannot be read: %s", aluno_id, type(erro).__name__)
        return None


def _documento(
    aluno: AlunoCadastrado,
    dados: Mapping[str, Any],
    achados: Sequence[Mapping[str, Any]],
    senha: Callable[[], str] | None,
    linha: Linha | None,
) -> dict[str, Any]:
    evento = _evento(aluno)
    pessoa = familia(aluno.nome, aluno.email)
    documento = {
        **{nome: valor for nome, valor in dados.items() if nome != "aluno_id"},
        "_id": dados["aluno_id"],
        "familia": pessoa,
        "vaga": _vaga(um for um in achados if um["familia"] == pessoa),
        "revisao": 0,
        "por": _por(linha, "novo"),
        "mudado_em": evento["momento"],
        "deve": [evento],
        "deve_desde": evento["momento"],
    }
    return documento if senha is None else {**documento, "senha": senha()}


def _evento(evento: AlunoCadastrado | AlunoAtualizado) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "tipo": evento.event_type,
        "versao": evento.event_version,
        "momento": datetime.now(UTC),
        # `contato` is derived from the other fields whenever the event is created.
        "dados": evento.model_dump(mode="json", exclude_none=True, exclude={"contato"}),
    }


def _vaga(achados: Iterable[Mapping[str, Any]]) -> int:
    """The next free number among students with this name and e-mail."""
    return max((int(um["vaga"]) for um in achados), default=-1) + 1


def _por(linha: Linha | None, situacao: Situacao) -> dict[str, str] | None:
    return None if linha is None else {"linha": str(linha), "situacao": situacao}


@contextmanager
def _traduzido() -> Iterator[None]:
    """Wraps one request: the texts of pymongo's errors quote documents and must not get out."""
    try:
        yield
    except PyMongoError as erro:
        raise SemDocumentos(type(erro).__name__) from None
