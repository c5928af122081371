"""Tables: turns rows of CSV files, as Brazilian schools export them, into events.

    mapping = Mapping.load("mapeamento.toml").merged(defaults={"origem": "csv"})
    with events_from("alunos.csv", AlunoCadastrado, mapping) as table:
        with BadRows("alunos.rejeitados.csv", table.header, delimiter=table.delimiter) as rejected:
            publisher.publish_many(table.events(on_bad=rejected.write), id=table.id_of)

Files are read as they are: `;`, `,`, tab or `|`; UTF-8, UTF-16, Windows-1252, code page 850, and
mixtures; a zip with one file, and .xlsx with the extra `xlsx`; titles above the header; dd/mm/yyyy
or mm/dd/yyyy, as determined by the column; 1.234,56 and 1234.56; sim and não. Only one row at a
time is held in memory. A row that cannot become an event is a `BadRow`, which gives line, column
and reason but never shows the value; the good rows are still processed. `Table.notices` lists
everything that was guessed or corrected.
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
