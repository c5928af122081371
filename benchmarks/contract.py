"""The benchmark's events and services, as a user of the library writes them."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from uuid import UUID

from pydantic import AwareDatetime

from benchmarks.payload import WAIT
from messaging import Consumer, Event, Projection, handles

__all__ = ["SPLIT", "STUDENTS", "Async", "AsyncWaiting", "Split", "Student", "Sync", "Waiting"]


class Student(Event, type="bench.student", version=1):
    """Without projections: one copy, for every service."""

    aluno_id: UUID
    nome: str
    email: str
    curso: str | None = None
    matricula: AwareDatetime
    mensalidade: Decimal | None = None
    marketing: bool = False


class Split(Event, type="bench.split", version=1):
    """The same, with a view for each of four services: four copies."""

    aluno_id: UUID
    nome: str
    email: str
    curso: str | None = None
    matricula: AwareDatetime
    mensalidade: Decimal | None = None
    marketing: bool = False


class ViewOfA(Projection, of=Split, audience="a"):
    """Whom to let in."""

    aluno_id: UUID
    nome: str
    curso: str | None


class ViewOfB(Projection, of=Split, audience="b"):
    """Whom to bill."""

    aluno_id: UUID
    nome: str
    mensalidade: Decimal | None


class ViewOfC(Projection, of=Split, audience="c"):
    """Whom to write to."""

    nome: str
    email: str


class ViewOfD(Projection, of=Split, audience="d"):
    """What to count."""

    matricula: AwareDatetime
    curso: str | None


class Sync(Consumer):
    """A handler that does nothing."""

    service = "a"

    @handles
    def student(self, student: Student) -> None:
        pass


class Async(Consumer):
    """The same on the event loop."""

    service = "a"

    @handles
    async def student(self, student: Student) -> None:
        pass


class Waiting(Consumer):
    """A handler that waits in its thread."""

    service = "a"

    @handles
    def student(self, student: Student) -> None:
        time.sleep(WAIT)


class AsyncWaiting(Consumer):
    """A handler that waits on the event loop."""

    service = "a"

    @handles
    async def student(self, student: Student) -> None:
        await asyncio.sleep(WAIT)


class StudentsB(Sync):
    """A second service for whole events."""

    service = "b"


class StudentsC(Sync):
    """A third."""

    service = "c"


class StudentsD(Sync):
    """A fourth."""

    service = "d"


class SplitA(Consumer):
    """Takes the first view."""

    service = "a"

    @handles
    def view(self, view: ViewOfA) -> None:
        pass


class SplitB(Consumer):
    """Takes the second view."""

    service = "b"

    @handles
    def view(self, view: ViewOfB) -> None:
        pass


class SplitC(Consumer):
    """Takes the third view."""

    service = "c"

    @handles
    def view(self, view: ViewOfC) -> None:
        pass


class SplitD(Consumer):
    """Takes the fourth view."""

    service = "d"

    @handles
    def view(self, view: ViewOfD) -> None:
        pass


STUDENTS: tuple[type[Consumer], ...] = (Sync, StudentsB, StudentsC, StudentsD)
SPLIT: tuple[type[Consumer], ...] = (SplitA, SplitB, SplitC, SplitD)
