"""Services of the example project that tests run in its place: each is "biblioteca", too."""

from __future__ import annotations

import sys
from contextlib import suppress

from django.db import connection, transaction
from escola.eventos import AlunoParaBiblioteca
from escola.models import Carteirinha
from tenacity import wait_fixed

from messaging import Consumer, Reject, RetryPolicy, handles


def say(text: str) -> None:
    """One write: handlers run in several threads."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Prova(Consumer):
    """How often, and how soon, a test tries again."""

    retry = RetryPolicy(max_attempts=5, wait=wait_fixed(0))
    visibility_timeout = 30


class PelaORM(Prova):
    """Says which backend of PostgreSQL it has been on."""

    service = "biblioteca"

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                [pid] = cursor.fetchone()
        except Exception as error:
            say(f"raised {type(error).__name__}")
            raise
        Carteirinha.objects.create(aluno_id=aluno.aluno_id, nome=aluno.nome)
        say(f"handled {aluno.aluno_id} on {pid}")


class Assincrona(Prova):
    """The async ORM."""

    service = "biblioteca"

    @handles
    async def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        try:
            carteirinha, _ = await Carteirinha.objects.aget_or_create(
                aluno_id=aluno.aluno_id, defaults={"nome": aluno.nome}
            )
        except Exception as error:
            say(f"raised {type(error).__name__}")
            raise
        say(f"handled {carteirinha.aluno_id}")


class Tranca(Prova):
    """Everything that Django's transactions have, inside a handler."""

    service = "biblioteca"

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        with suppress(ValueError), transaction.atomic():
            Carteirinha.objects.create(aluno_id=aluno.aluno_id, nome="is rolled back")
            raise ValueError
        with transaction.atomic():
            one = Carteirinha.objects.select_for_update().get(aluno_id="total")
            one.livros += 1
            one.save()
        transaction.on_commit(lambda: say(f"committed {aluno.aluno_id}"))


class Recusa(Prova):
    """Takes nobody."""

    service = "biblioteca"

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        raise Reject("no such course")
