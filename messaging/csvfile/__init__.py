"""Tables: rows of a CSV file, as Brazilian schools export them, to events.

    mapping = Mapping.load("mapeamento.toml").merged(defaults={"origem": "csv"})
    with events_from("alunos.csv", AlunoCadastrado, mapping) as table:
        with BadRows("alunos.rejeitados.csv", table.header, delimiter=table.delimiter) as rejected:
            publisher.publish_many(table.events(on_bad=rejected.write), id=table.id_of)

Read as they come: `;`, `,`, tab or `|`; UTF-8 with or without BOM, Windows-1252, and both in one
file; quoted line breaks; dd/mm/aaaa; 1.234,56 and 1234.56; sim and não. One row is held in memory
at a time. A row that cannot be an event is a `BadRow`, which names line, column and reason but
never shows the value; the good rows go on.
"""

from __future__ import annotations

from messaging.csvfile.mapping import Mapping
from messaging.csvfile.rejects import BadRows
from messaging.csvfile.rows import Row, Rows, Source, read_rows
from messaging.csvfile.table import BadRow, EventRow, Table, events_from

__all__ = [
    "BadRow",
    "BadRows",
    "EventRow",
    "Mapping",
    "Row",
    "Rows",
    "Source",
    "Table",
    "events_from",
    "read_rows",
]
