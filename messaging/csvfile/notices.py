"""Notices about a file that was read: one for each kind, with the lines where it occurred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from messaging.csvfile.wording import Language, said

__all__ = ["Notice", "Notices"]

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the user should know about a file, although its rows were read.

    Args:
        text: the notice in the reader's language, with the lines; never a value.
        code: the kind of notice, for programs: "repeated", "unproved", "codepage", ...
        column: the column's name; empty if it is about rows or the file.
        lines: the first lines where it occurred, out of `count`.
        count: the total number of lines.

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import events_from

        Path("alunos.csv").write_text("aluno_id\\n2026-0042\\n2026-0042\\n")
        with events_from("alunos.csv", MatriculaCancelada) as table:
            assert len(list(table)) == 2
        (notice,) = table.notices
        assert (notice.code, notice.lines) == ("repeated", (3,))
        ```
    """

    text: str
    code: str
    column: str
    lines: tuple[int, ...]
    count: int


class Notices:
    """Collects notices, in the order of first occurrence."""

    def __init__(self, language: Language) -> None:
        self._language: Language = language
        self._seen: dict[tuple[Any, ...], _Noticed] = {}

    def add(self, code: str, *, line: int | None = None, column: str = "", **values: Any) -> None:
        """Record an occurrence of `code` (a message of `wording`, without "note.") at `line`."""
        key = (code, column, *values.items())
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Noticed(code, column, values)
        seen.count += 1
        if line is not None and len(seen.lines) < _SHOWN:
            seen.lines.append(line)

    def __iter__(self) -> Iterator[Notice]:
        for seen in self._seen.values():
            yield Notice(
                text=self._text(seen),
                code=seen.code,
                column=seen.column,
                lines=tuple(seen.lines),
                count=seen.count,
            )

    def _text(self, seen: _Noticed) -> str:
        text = said(f"note.{seen.code}", self._language, **seen.values)
        if seen.column:
            text = f"{seen.column}: {text}"
        if not seen.lines:
            return text
        lines, more = ", ".join(map(str, seen.lines)), seen.count - len(seen.lines)
        code = "more" if more else "one" if seen.count == 1 else "many"
        return f"{text} ({said(f'lines.{code}', self._language, lines=lines, more=more)})"


@dataclass(slots=True)
class _Noticed:
    code: str
    column: str
    values: dict[str, Any]
    count: int = 0
    lines: list[int] = field(default_factory=list)
