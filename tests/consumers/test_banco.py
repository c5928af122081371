"""The database of a service: each fact once, the later one wins, and an erasure stays."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from consumers.banco import Banco
from messaging.envelope import Envelope

ESQUEMA = "create table if not exists t (aluno_id text primary key, v text)"
PUT = "insert or replace into t values (:aluno_id, :v)"
ADD = "insert into t values (:aluno_id, '1') on conflict do update set v = v + 1"
DELETE = "delete from t where aluno_id = :aluno_id"
ANA, BIA = UUID(int=1), UUID(int=2)


@pytest.fixture
def banco(tmp_path: Path) -> Iterator[Banco]:
    banco = Banco(tmp_path / "novo" / "t.sqlite3", ESQUEMA)
    yield banco
    banco.close()


def fact(id: str, minute: int | None = 0, source: str = "/cadastro") -> Envelope:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    time = None if minute is None else start + timedelta(minutes=minute)
    return Envelope(id=id, source=source, type="t", time=time)


def values(banco: Banco) -> list[str]:
    return [row["v"] for row in banco.ler("select v from t order by aluno_id")]


def test_one_event_has_one_effect(banco: Banco) -> None:
    assert [banco.gravar(fact("a"), ANA, "dados", ADD) for _ in range(3)] == [True, False, False]
    assert values(banco) == ["1"]


def test_an_id_belongs_to_its_source(banco: Banco) -> None:
    banco.gravar(fact("a", source="/one"), ANA, "dados", ADD)
    banco.gravar(fact("a", source="/two"), ANA, "dados", ADD)

    assert values(banco) == ["2"]


def test_what_is_older_than_what_is_known_does_nothing(banco: Banco) -> None:
    assert banco.gravar(fact("new", 5), ANA, "dados", PUT, {"v": "new"})
    assert not banco.gravar(fact("old", 4), ANA, "dados", PUT, {"v": "old"})
    assert values(banco) == ["new"]


def test_each_subject_and_each_student_has_an_order_of_its_own(banco: Banco) -> None:
    banco.gravar(fact("a", 5), ANA, "dados", PUT, {"v": "x"})

    assert banco.gravar(fact("b", 1), ANA, "matricula", PUT, {"v": "y"})
    assert banco.gravar(fact("c", 1), BIA, "dados", PUT, {"v": "z"})


def test_a_fact_without_a_time_is_as_old_as_its_arrival(banco: Banco) -> None:
    banco.gravar(fact("a", 5), ANA, "dados", PUT, {"v": "x"})

    assert banco.gravar(fact("b", None), ANA, "dados", PUT, {"v": "y"})


def test_an_effect_that_fails_was_not_done(banco: Banco) -> None:
    with pytest.raises(sqlite3.OperationalError):
        banco.gravar(fact("a"), ANA, "dados", "insert into nowhere values (1)")

    assert banco.gravar(fact("a"), ANA, "dados", PUT, {"v": "x"})


def test_the_forgotten_stay_forgotten_until_they_come_back(banco: Banco) -> None:
    banco.gravar(fact("a", 1), ANA, "dados", PUT, {"v": "x"})
    assert banco.esquecer(fact("forget", 5), ANA, DELETE)

    assert not banco.gravar(fact("late", 4), ANA, "dados", PUT, {"v": "x"})
    assert values(banco) == []
    assert banco.gravar(fact("again", 6), ANA, "dados", PUT, {"v": "x"})
    assert not banco.esquecer(fact("forget", 5), ANA, DELETE)
    assert values(banco) == ["x"]


def test_an_erasure_counts_even_if_something_later_is_known(banco: Banco) -> None:
    banco.gravar(fact("a", 9), ANA, "dados", PUT, {"v": "x"})
    banco.esquecer(fact("forget", 5), ANA, DELETE)

    assert values(banco) == []


def test_what_is_erased_is_not_in_the_file_either(tmp_path: Path) -> None:
    banco = Banco(tmp_path / "t.sqlite3", ESQUEMA)
    banco.gravar(fact("a", 1), ANA, "dados", PUT, {"v": "Ana da Conceição"})
    before = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    banco.esquecer(fact("forget", 5), ANA, DELETE)
    after = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    banco.close()

    assert "Conceição".encode() in before
    assert "Conceição".encode() not in after


def test_threads_and_processes_may_write_at_once(tmp_path: Path) -> None:
    first, second = (Banco(tmp_path / "t.sqlite3", ESQUEMA) for _ in range(2))

    def write(banco: Banco) -> None:
        for number in range(50):
            banco.gravar(fact(f"{number}"), ANA, "dados", ADD)

    threads = [threading.Thread(target=write, args=(one,)) for one in (first, first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert values(first) == ["50"]
    first.close()
    second.close()


def test_only_the_user_may_read_the_file(tmp_path: Path) -> None:
    banco = Banco(tmp_path / "t.sqlite3", ESQUEMA)
    banco.gravar(fact("a"), ANA, "dados", PUT, {"v": "x"})

    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o600"}
    banco.close()
