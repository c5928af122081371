"""Tables: rows of a CSV file, as Brazilian schools export them, to events.

    mapping = Mapping.load("mapeamento.toml").merged(defaults={"origem": "csv"})
    with events_from("alunos.csv", AlunoCadastrado, mapping) as table:
        with BadRows("alunos.rejeitados.csv", table.header, delimiter=table.delimiter) as rejected:
            publisher.publish_many(table.events(on_bad=rejected.write), id=table.id_of)

Read as they come: `;`, `,`, tab or `|`; UTF-8, UTF-16, Windows-1252, code page 850, and mixtures;
a zip with one file, and .xlsx with the extra `xlsx`; titles above the header; dd/mm/aaaa or
mm/dd/yyyy, as the column proves; 1.234,56 and 1234.56; sim and não. One row is held in memory at a
time. A row that cannot be an event is a `BadRow`, which names line, column and reason but never
shows the value; the good rows go on. `Table.notices` tells what was guessed or put right.
"""

from __future__ import annotations

from messaging.csvfile.mapping import Mapping
from messaging.csvfile.notices import Notice
from messaging.csvfile.rejects import BadRows
from messaging.csvfile.rows import Row, Rows, Source, read_rows
from messaging.csvfile.table import BadRow, EventRow, Table, events_from
from messaging.csvfile.wording import Language

__all__ = [
    "BadRow",
    "BadRows",
    "EventRow",
    "Language",
    "Mapping",
    "Notice",
    "Row",
    "Rows",
    "Source",
    "Table",
    "events_from",
    "read_rows",
]
