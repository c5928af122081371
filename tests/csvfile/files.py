"""Files for the tests of `messaging.csvfile`: what a school might send, in a few lines."""

from __future__ import annotations

import io
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, EmailStr, Field

from messaging.csvfile import BadRow, EventRow, Mapping, Notice, Table, events_from
from messaging.event import Event


class Pupil(Event, type="pupil.seen", version=1):
    nome: Annotated[str, Field(min_length=1, max_length=60)]
    email: EmailStr | None = None
    curso: str | None = None
    nascimento: date | None = None
    matricula: AwareDatetime | None = None
    mensalidade: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = None
    aceita: bool | None = None
    id: UUID | None = None


class Clock:
    """Noon of 29 November 2026 in São Paulo."""

    def now(self) -> float:
        return datetime.fromisoformat("2026-11-29T12:00:00-03:00").timestamp()

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def opened(content: bytes | str, *, language: Any = "en", **mapping: Any) -> Table[Pupil]:
    source = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return events_from(source, Pupil, Mapping(**mapping), language=language, clock=Clock())


def read(
    content: bytes | str, **options: Any
) -> tuple[list[EventRow[Pupil]], list[BadRow], tuple[Notice, ...]]:
    """The good rows, the bad ones, and what is told of the file."""
    with opened(content, **options) as table:
        rows = list(table)
        good = [row for row in rows if isinstance(row, EventRow)]
        return good, [row for row in rows if isinstance(row, BadRow)], table.notices


def names(content: bytes | str, **options: Any) -> list[str]:
    good, bad, _ = read(content, **options)
    assert not bad, bad
    return [row.event.nome for row in good]


def codes(notices: tuple[Notice, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [(notice.code, notice.lines) for notice in notices]
