"""The service alone: no queue, no AWS, and no contract package."""

from pathlib import Path

from biblioteca.eventos import ParaBiblioteca
from biblioteca.servico import Biblioteca

from messaging.testing import deliver


def test_a_student_may_borrow(tmp_path: Path) -> None:
    biblioteca = Biblioteca(tmp_path / "leitores.sqlite3")
    for _ in range(2):
        assert deliver(biblioteca, ParaBiblioteca(id="2026-0001", nome="Ana")).acknowledged
    assert biblioteca.leitores() == ["2026-0001"]
