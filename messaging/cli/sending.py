"""Publishes the rows of a CSV file, and reports each by its line."""

from __future__ import annotations

import signal
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from messaging.cli import screen
from messaging.cli.signals import asked_by_signals
from messaging.codec import Codec
from messaging.csvfile import BadRow, BadRows, Language, Mapping, Notice, Table, events_from
from messaging.errors import ConfigurationError, PublishError
from messaging.event import Event
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import PublishProgress, PublishResult
from messaging.transport import Failure, Outgoing, TopicTransport

__all__ = ["Refused", "SentRows", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A good row that the topic did not accept."""

    line: int
    id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRows:
    """The result of publishing a file, in rows.

    published    accepted by the topic (in a dry run: acceptable to it).
    declined     wanted by no service.
    copies       messages accepted.
    rejected     bad rows, in the side file `rejects`.
    refused      good rows that were not accepted.
    ignored      columns that fill no field.
    notices      notes for the user about the rows that were read.
    empty        the file has no rows.
    resume_from  the line to resume from, if the end was not reached or a row was refused.
    broken       why the end was not reached.
    """

    published: int
    declined: int
    copies: int
    rejected: int
    rejects: str | None
    refused: tuple[Refused, ...]
    ignored: tuple[str, ...]
    notices: tuple[Notice, ...]
    empty: bool
    resume_from: int | None
    broken: str
    interrupted: bool
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return asdict(self)


class _Nowhere:
    """The topic of a dry run: messages are encoded, checked, counted and discarded."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        return ()

    def close(self) -> None: ...


def send(
    file: Path,
    event: type[Event],
    mapping: Mapping,
    topic: TopicTransport | int,
    *,
    source: str,
    rejects: Path | None,
    resume_from: int,
    codec: Codec | None = None,
    language: Language = "en",
) -> SentRows:
    """Publish the rows of `file`, starting at line `resume_from`.

    With a number instead of the topic, the rows are only checked, against that size limit in bytes.
    """
    piped = str(file) == "-"
    try:
        table = events_from(sys.stdin.buffer if piped else file, event, mapping, language=language)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    aside = rejects or BadRows.beside("stdin.csv" if piped else file)
    if not piped and aside.exists() and aside.samefile(file):
        table.close()
        raise ConfigurationError(f"--rejects {aside}: that is the file to be read; name another")
    if isinstance(topic, int):  # someone may be correcting the existing file
        aside = BadRows.free(aside)
    with table, BadRows(aside, table.header, delimiter=table.delimiter) as bad:
        run = _PublishRun(table, bad, resume_from)
        target = _Nowhere(topic) if isinstance(topic, int) else topic
        with Publisher(target, source=source, codec=codec) as publisher, _progress(table) as show:
            result, broken = run.publish(publisher, show)
    return run.sent(result, broken, dry_run=isinstance(topic, int))


class _PublishRun:
    """One pass over the file; it remembers the line of each event passed to the publisher."""

    def __init__(self, table: Table[Event], bad: BadRows, resume_from: int) -> None:
        self._table = table
        self._bad = bad
        self._resume_from = resume_from
        self._lines = array("Q")
        self._id = ""
        self._interrupted = False
        self._read = 0

    def publish(
        self, publisher: Publisher, show: Callable[[PublishProgress], None]
    ) -> tuple[PublishResult, str]:
        # Ctrl-C ends the reading; requests in flight are completed and reported. A second one exits
        # without waiting.
        with asked_by_signals(self._interrupt, (signal.SIGINT,)):
            try:
                return publisher.publish_many(self._events(), id=self._id_of, on_progress=show), ""
            except PublishError as error:
                if not isinstance(error.result, PublishResult):
                    raise
                return error.result, str(error)

    def sent(self, result: PublishResult, broken: str, *, dry_run: bool) -> SentRows:
        refused = tuple(
            Refused(line=self._lines[one.index], id=one.id, code=one.code, reason=one.reason)
            for one in result.failed
        )
        resume_from = refused[0].line if refused else None
        if resume_from is None and (self._interrupted or broken):
            resume_from = self._lines[-1] + 1 if self._lines else self._resume_from
        return SentRows(
            published=result.accepted,
            declined=result.declined,
            copies=result.copies,
            rejected=self._bad.count,
            rejects=str(self._bad.path) if self._bad.count else None,
            refused=refused,
            ignored=tuple(self._table.ignored),
            notices=self._table.notices,
            empty=not self._read and not self._interrupted,
            resume_from=None if dry_run else resume_from,
            broken=broken,
            interrupted=self._interrupted,
            dry_run=dry_run,
        )

    def _events(self) -> Iterator[Event]:
        for row in self._table:
            if self._interrupted:
                return
            self._read += 1
            if isinstance(row, BadRow):
                # Also for lines before `resume_from`: the side file is rewritten completely.
                self._set_aside(row)
            elif row.line >= self._resume_from:
                self._lines.append(row.line)
                self._id = row.id
                yield row.event

    def _set_aside(self, row: BadRow) -> None:
        try:
            self._bad.write(row)
        except OSError as error:
            raise ConfigurationError(
                f"the side file for bad rows, {self._bad.path}: {error.strerror}; "
                "give another place with --rejects"
            ) from None

    def _id_of(self, event: Event) -> str:
        return self._id

    def _interrupt(self) -> None:
        self._interrupted = True


def _progress(table: Table[Event]) -> AbstractContextManager[Callable[[PublishProgress], None]]:
    """Show a progress bar on stderr if it is a terminal."""
    if not screen.console(stderr=True).is_terminal:
        return nullcontext(lambda so_far: None)
    return _Bar(table)


class _Bar:
    def __init__(self, table: Table[Event]) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._table = table
        self._progress = Progress(
            TextColumn("publishing"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[accepted]} accepted"),
            console=screen.console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=table.size, accepted=0)

    def __enter__(self) -> Callable[[PublishProgress], None]:
        self._progress.start()
        return self._show

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def _show(self, so_far: PublishProgress) -> None:
        self._progress.update(self._task, completed=self._table.position, accepted=so_far.accepted)
